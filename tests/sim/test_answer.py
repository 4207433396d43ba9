"""What the simulated model answers: its tokens, its skills, its answers."""

from __future__ import annotations

import json
import random
import statistics
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchcore.sim.answer import BabbleAnswerer, Kind
from benchcore.sim.options import SimProfile
from benchcore.sim.requests import read_chat
from benchcore.sim.skills import attempt
from benchcore.sim.vocabulary import (
    CHINESE,
    ENGLISH,
    VOCABULARY_SIZE,
    mostly_ideographs,
    pieces,
    token_ids,
)


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_the_pieces_of_a_text_joined_are_the_text(text):
    assert "".join(pieces(text)) == text


@given(st.text(alphabet=" a1.,你好\n<|_>é\u3000", max_size=40))
def test_awkward_texts_keep_every_character_too(text):
    assert "".join(pieces(text)) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hello world", ["hello", " world"]),
        ("a  b", ["a", " ", " b"]),
        ("one, two.", ["one", ",", " two", "."]),
        ("你好world", ["你", "好", "world"]),
        ("<|user|>hi", ["<|user|>", "hi"]),
        ("x" * 17, ["x" * 16, "x"]),
        ("", []),
    ],
)
def test_text_is_cut_into_words_marks_and_ideographs(text, expected):
    assert pieces(text) == expected


@given(st.lists(st.sampled_from(ENGLISH + CHINESE), max_size=30))
def test_the_tokens_of_an_answer_are_the_pieces_of_its_text(tokens):
    assert pieces("".join(tokens)) == tokens


@given(st.lists(st.text(max_size=5), max_size=5))
def test_token_ids_are_in_the_vocabulary(tokens):
    assert all(0 <= number < VOCABULARY_SIZE for number in token_ids(tokens))


def test_token_ids_are_the_same_in_a_process_with_another_hash_seed():
    code = "from benchcore.sim.vocabulary import *; print(token_ids(pieces('the same 你好')))"
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert found == {f"{token_ids(pieces('the same 你好'))}\n".encode()}


def test_a_text_is_chinese_from_a_fifth_of_ideographs_on():
    assert mostly_ideographs("你好 with")
    assert not mostly_ideographs("你 with English words around it")
    assert not mostly_ideographs("")


ABLE = SimProfile.named("fast", ability=1.0)
LOST = SimProfile.named("fast", ability=0.0)
CHOICES = "How many?\n12 + 30 = ?\n\nA) 43\nB) 52\nC) 42\nD) 39"


def tried(prompt, profile, batch=1, seed=0):
    return attempt(prompt, profile, batch, random.Random(seed))


@pytest.mark.parametrize(
    ("prompt", "right", "wrong"),
    [
        ("12 + 30 = ?", "Answer: 42", "Answer: 43"),
        ("50 − 8 = ?", "Answer: 42", "Answer: 43"),
        ("6 × 7 = ?", "Answer: 42", "Answer: 43"),
        ("After ####, as in #### 1. 6 × 7 = ?", "#### 42", "#### 43"),
        ('in the format of "Antwort:" only. 6 × 7 = ?', "Antwort: 42", "Antwort: 43"),
        ('以 "答案: " 的形式 6 × 7 = ?', "答案: 42", "答案: 43"),
        (CHOICES, "Answer: C", "Answer: A"),
    ],
)
def test_an_able_model_is_right_and_another_wrong(prompt, right, wrong):
    assert tried(prompt, ABLE).text.endswith(right)
    assert tried(prompt, ABLE).worth == "right"
    assert tried(prompt, LOST).text.endswith(wrong)
    assert tried(prompt, LOST).worth == "wrong"


@pytest.mark.parametrize(
    "prompt", ["", "Tell me a story.", "12 + 30 = 42", "1 + 1 = ?\nA) 3\nB) 4"]
)
def test_what_it_cannot_know_it_leaves(prompt):
    assert tried(prompt, ABLE) is None


def test_without_an_ability_it_knows_what_anybody_does():
    assert tried("6 × 7 = ?", SimProfile()) is not None


@pytest.mark.parametrize(
    ("order", "text"),
    [
        ("Do not use any commas.", "Rivers carry water to the sea"),
        ("Write in all lowercase letters.", "rivers carry water to the sea"),
        ("Include the word harbour.", "Rivers carry water to the sea harbour"),
        (
            "At least this: exactly 3 bullet points",
            "* Rivers carry water to the sea\n* and on\n* and on",
        ),
        ("at least 9 words", "Rivers carry water to the sea on on on"),
        ("End with the phrase: the end.", "Rivers carry water to the sea\nthe end"),
    ],
)
def test_it_does_what_instructions_say(order, text):
    assert tried(f"Write about rivers. {order}", ABLE).text == text
    assert tried(f"Write about rivers. {order}", LOST).text == "Well, I would RATHER not, really."


def test_fates_come_in_the_fractions_that_are_set():
    profile = SimProfile.named("fast", ability=0.5, ability_cut=0.1, ability_unparsable=0.2)
    found = [tried("6 × 7 = ?", profile, seed=seed).worth for seed in range(4000)]
    shares = {worth: found.count(worth) / 4000 for worth in ("right", "wrong", "cut", "unparsable")}
    assert shares == pytest.approx(
        {"right": 0.5, "wrong": 0.2, "cut": 0.1, "unparsable": 0.2}, abs=0.025
    )


def test_above_a_batch_size_some_of_the_right_ones_become_wrong_and_no_others_change():
    profile = SimProfile.named("fast", ability=0.8, ability_batch=8, ability_beyond=0.5)
    for seed in range(300):
        below, above = (tried("6 × 7 = ?", profile, batch, seed).worth for batch in (8, 9))
        assert (below, above) in {("right", "right"), ("right", "wrong"), ("wrong", "wrong")}
    lost = [
        seed
        for seed in range(300)
        if tried("6 × 7 = ?", profile, 8, seed) != tried("6 × 7 = ?", profile, 9, seed)
    ]
    assert 60 < len(lost) < 120


@pytest.mark.parametrize(
    "fields",
    [
        {"ability": 0.9, "ability_cut": 0.2},
        {"ability": 0.5, "ability_cut": 0.3, "ability_unparsable": 0.3},
        {"ability": 0.1, "ability_batch": 4, "ability_beyond": 0.9, "ability_cut": 0.2},
    ],
)
def test_fractions_that_are_more_than_one_are_refused(fields):
    with pytest.raises(ValueError, match="more than 1 together"):
        SimProfile.named("fast", **fields)


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
