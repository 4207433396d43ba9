from __future__ import annotations

import json
import statistics

import pytest

from benchcore.sim.answer import BabbleAnswerer, Kind
from benchcore.sim.ask import read_chat
from benchcore.sim.profile import SimProfile
from benchcore.sim.text import pieces

MANY = 30_000


def answer(text="hello", choice=0, seed=0, figures=None, limit=None, **fields):
    ask = read_chat({"messages": [{"role": "user", "content": text}], **fields})
    answerer = BabbleAnswerer(SimProfile.named("default", **(figures or {})), seed)
    return answerer.answer(ask, ask.prompts[0], choice, limit or ask.max_tokens or MANY)


def test_the_same_question_gets_the_same_answer():
    assert answer() == answer()


@pytest.mark.parametrize("other", [{"text": "hallo"}, {"choice": 1}, {"seed": 1}])
def test_another_question_choice_or_seed_gets_another_answer(other):
    assert answer(**other).tokens != answer().tokens


def test_temperature_changes_nothing():
    assert answer(temperature=0.7) == answer()


def test_the_seed_of_the_request_counts():
    ask = {"messages": [{"role": "user", "content": "hello"}]}
    answerer = BabbleAnswerer(SimProfile(), 0)
    one, two = (read_chat({**ask, "seed": seed}) for seed in (1, 2))
    assert answerer.answer(one, one.prompts[0], 0, MANY) == answerer.answer(
        one, one.prompts[0], 0, MANY
    )
    assert (
        answerer.answer(one, one.prompts[0], 0, MANY).tokens
        != answerer.answer(two, two.prompts[0], 0, MANY).tokens
    )


def test_answer_lengths_are_lognormal_around_the_median():
    lengths = [len(answer(f"question {index}").tokens) for index in range(400)]
    assert 115 < statistics.median(lengths) < 141
    assert len(set(lengths)) > 100


def test_an_answer_that_ends_by_itself_says_stop_and_one_that_is_cut_says_length():
    whole = answer()
    assert whole.finish == "stop"
    cut = answer(max_tokens=len(whole.tokens) - 1)
    assert (cut.finish, cut.tokens) == ("length", whole.tokens[:-1])
    exact = answer(max_tokens=len(whole.tokens))
    assert (exact.finish, exact.tokens) == ("stop", whole.tokens)


def test_ignoring_eos_uses_up_the_limit():
    long = answer(max_tokens=1000, ignore_eos=True)
    assert (len(long.tokens), long.finish) == (1000, "length")


def test_min_tokens_makes_a_short_answer_longer():
    assert len(answer(min_tokens=5000, max_tokens=6000).tokens) == 5000


def test_a_stop_string_ends_the_answer_before_it():
    whole = answer(max_tokens=50, ignore_eos=True).tokens
    word = whole[20].strip()
    stopped = answer(max_tokens=50, ignore_eos=True, stop=[word, "never said"])
    text = "".join(whole)
    assert stopped.finish == "stop"
    assert stopped.text == text[: text.index(word)]


def test_min_tokens_holds_off_a_stop_string():
    whole = answer(max_tokens=50, ignore_eos=True).tokens
    stopped = answer(max_tokens=50, ignore_eos=True, stop=" ", min_tokens=30)
    assert len(stopped.tokens) >= 30
    assert stopped.text == "".join(whole)[: len(stopped.text)]


def test_reasoning_comes_first_and_counts_against_the_limit():
    thoughtful = answer(figures={"reasoning_tokens": 5}, max_tokens=8, ignore_eos=True)
    assert [thoughtful.kind(index) for index in range(8)] == [Kind.REASONING] * 5 + [
        Kind.CONTENT
    ] * 3
    assert pieces(thoughtful.reasoning) == thoughtful.tokens[:5]
    assert pieces(thoughtful.text) == thoughtful.tokens[5:]
    only = answer(figures={"reasoning_tokens": 5}, max_tokens=3)
    assert (len(only.tokens), only.reasoning_tokens, only.text, only.finish) == (3, 3, "", "length")


def test_a_chinese_question_gets_a_chinese_answer():
    assert all("\u3000" <= token <= "\uffff" for token in answer("你好，请说点什么").tokens)


TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {
            "properties": {
                "city": {"type": "string"},
                "days": {"type": "integer"},
                "unit": {"enum": ["C", "F"]},
                "wind": {"type": "boolean"},
                "above": {"type": "number"},
                "tags": {"type": "array"},
                "more": {"type": "object"},
                "odd": True,
            }
        },
    },
}


@pytest.mark.parametrize(
    "choice", ["required", {"type": "function", "function": {"name": "weather"}}]
)
def test_a_required_tool_is_called_with_arguments_of_its_schema(choice):
    call = answer(tools=[TOOL], tool_choice=choice)
    assert ([one.name for one in call.calls], call.finish) == (["weather"], "tool_calls")
    assert call.kind(0) is Kind.TOOL
    given = json.loads(call.text)
    assert list(given) == list(TOOL["function"]["parameters"]["properties"])
    assert isinstance(given["city"], str)
    assert type(given["days"]) is int
    assert given["unit"] in ("C", "F")
    assert type(given["wind"]) is bool
    assert type(given["above"]) in (int, float)
    assert {type(tag) for tag in given["tags"]} == {str}
    assert isinstance(given["more"], dict)
    assert isinstance(given["odd"], str)


def test_a_tool_that_is_not_required_is_not_called():
    assert answer(tools=[TOOL], tool_choice="auto").calls == ()
    assert answer(tools=[TOOL]).calls == ()


def test_a_call_that_does_not_fit_is_cut():
    call = answer(tools=[TOOL], tool_choice="required", max_tokens=3)
    assert (len(call.tokens), call.finish) == (3, "length")
