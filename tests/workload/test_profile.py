"""Profiles: lengths, turns, arrivals and what a perfect cache would hold."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from benchcore.base.errors import ConfigError
from benchcore.client.request import Prompt
from benchcore.workload.datasets import DataSet, OpenAIBodies
from benchcore.workload.jsonl import PromptFile
from benchcore.workload.kinds import SessionKind
from benchcore.workload.made_up import Conversation, SharedPrefixes
from benchcore.workload.profile import USUAL_LIMIT, Arrivals, Spread, profile
from benchcore.workload.sessions import Recipe, Session, Turn, chain, single
from benchcore.workload.synthetic import Synthetic
from benchcore.workload.traces import Mooncake, Plain


class Given(SessionKind):
    """Has the sessions that it is given."""

    kind = "given"
    given: list = Field(default_factory=list)

    def sessions(self, *path):
        del path
        yield from self.given


def talk(*turns, **fields):
    return Session(chain([Turn(Recipe(tokens, output)) for tokens, output in turns]), **fields)


def test_lengths_turns_and_classes_of_a_few_sessions():
    found = profile(
        Given(
            given=[
                single(Recipe(100, 10), kind="a"),
                single(Recipe(300, None), kind="b"),
                talk((50, 20), (7, 30)),
                Session((Turn(Recipe(9, 9)),), warms_up=True),
            ]
        )
    )
    assert (found.sessions, found.requests, found.warm_ups, found.whole) == (3, 4, 1, True)
    assert list(found.input_tokens) == [100, 300, 50, 7]
    assert list(found.output_tokens) == [10, 20, 30]
    assert found.without_output == 1
    assert list(found.turns) == [1, 1, 2]
    assert list(found.prompt_tokens) == [50 + 20 + 7]
    assert found.counted_by == {"workload": 4}
    facts = found.to_json()
    assert facts["classes"] == {
        "a": {"requests": 1, "input_tokens": 100, "output_tokens": 10, "without_output": 0},
        "b": {"requests": 1, "input_tokens": 300, "output_tokens": 0, "without_output": 1},
    }
    assert facts["input_tokens"] == {
        "count": 4,
        "mean": 114.25,
        "low": 7,
        "p50": 50,
        "p90": 300,
        "p99": 300,
        "high": 300,
    }
    assert (facts["wait_seconds"], facts["arrivals"]) == (None, None)


def test_a_history_is_as_long_as_all_that_was_said_and_cut_by_whole_turns():
    turns = [(100, 50), (10, 5), (20, 5), (30, 5)]
    whole = profile(Given(given=[talk(*turns)]))
    assert list(whole.prompt_tokens) == [160, 185, 220]
    cut = profile(Given(given=[talk(*turns, context_tokens=60)]))
    # 150 goes at once, then 15 + 25 + 30 is too long by the 15.
    assert list(cut.prompt_tokens) == [10, 15 + 20, 25 + 30]


def test_a_history_with_an_answer_of_no_known_length_is_unknown():
    found = profile(Given(given=[talk((100, None), (10, 5))]))
    assert list(found.prompt_tokens) == []
    assert found.to_json()["prompt_tokens"] is None
    turns = chain([Turn(Recipe(100, None), reply="so it is"), Turn(Recipe(10, 5))])
    assert list(profile(Given(given=[Session(turns)])).prompt_tokens) == [100 + 3 + 10]


def test_texts_are_counted_by_the_tokenizer_else_by_words_and_marks(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"messages": [{"role": "user", "content": "Why, oh why?"}]}) + "\n")
    found = profile(DataSet(path=str(path)))
    assert (list(found.input_tokens), found.counted_by) == ([5], {"words": 1})

    class Letters:
        def tokens(self, text):
            return len(text)

    found = profile(DataSet(path=str(path)), counter=Letters())
    assert (list(found.input_tokens), found.counted_by) == ([12], {"tokenizer": 1})


def test_a_body_says_how_long_its_answer_is_by_any_name(tmp_path):
    path = tmp_path / "a.jsonl"
    names = ({"max_tokens": 5}, {"max_completion_tokens": 6}, {})
    path.write_text("".join(json.dumps({"prompt": "x", **one}) + "\n" for one in names))
    found = profile(OpenAIBodies(path=str(path)))
    assert (list(found.output_tokens), found.without_output) == ([5, 6], 1)


def test_what_has_no_end_is_read_so_far_and_a_file_to_its_end(tmp_path):
    endless = profile(SharedPrefixes(groups=3))
    assert (endless.sessions, endless.whole) == (USUAL_LIMIT, False)
    assert profile(Synthetic(), limit=5).sessions == 5
    path = tmp_path / "a.jsonl"
    path.write_text('{"prompt": "a"}\n{"prompt": "b"}\n')
    found = profile(PromptFile(path))
    assert (found.sessions, found.whole) == (2, True)
    found = profile(PromptFile(path), limit=1)
    assert (found.sessions, found.whole) == (1, False)
    trace = tmp_path / "t.csv"
    rows = "".join(f"{n},5,2\n" for n in range(USUAL_LIMIT + 1))
    trace.write_text(f"timestamp,input,output\n{rows}")
    found = profile(Plain(path=str(trace)))
    assert (found.sessions, found.whole) == (USUAL_LIMIT + 1, True)
    found = profile(Plain(path=str(trace)), limit=7)
    assert (found.sessions, found.whole) == (7, False)


def test_a_row_that_cannot_be_used_ends_it(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("timestamp,input,output\n1,5,2\n2,x,2\n")
    with pytest.raises(ConfigError, match=":3: input 'x' is not a number"):
        profile(Plain(path=str(path)))


def test_waits_and_the_share_that_a_cache_would_hold(tmp_path):
    found = profile(Conversation(turns=3, think_time=2, input_tokens=100), limit=10)
    assert found.spreads()["wait_seconds"] == Spread(20, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0)
    path = tmp_path / "t.jsonl"
    row = {"input_length": 1024, "output_length": 1, "hash_ids": [1, 2]}
    path.write_text("".join(json.dumps({"timestamp": t, **row}) + "\n" for t in range(4)))
    assert profile(Mooncake(path=str(path))).reuse.share == 0.75


def test_arrivals_have_their_rate_by_stretches_of_equal_length():
    found = Arrivals.of([0, 1_000_000_000, 2_000_000_000, 8_000_000_000])
    assert (found.seconds, found.per_second, found.counts) == (8.0, 3 / 8, [3, 0, 1])
    assert found.width == 8 / 3
    # Gaps of 1, 1 and 6 s: a deviation of √50/3 around 8/3.
    assert math.isclose(found.variation, math.sqrt(50) / 8)
    assert Arrivals.of([5]) is None
    assert Arrivals.of([5, 5, 5]) == Arrivals(0.0, None, None, 0.0, [3])


@given(st.lists(st.integers(0, 10**13), min_size=2, max_size=200))
def test_arrivals_lose_none(times):
    found = Arrivals.of(times)
    assert sum(found.counts) == len(times)
    assert 1 <= len(found.counts) <= 20
    assert math.isclose(found.width * len(found.counts), found.seconds)
    if found.per_second is not None:
        assert math.isclose(found.per_second * found.seconds, len(times) - 1)


@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=300))
def test_a_spread_is_that_of_the_values_in_order(values):
    found = Spread.of(values)
    ordered = sorted(values)
    assert (found.low, found.high, found.count) == (ordered[0], ordered[-1], len(values))
    for share, value in ((50, found.p50), (90, found.p90), (99, found.p99)):
        assert value == ordered[max(-(-share * len(values) // 100), 1) - 1]
    assert math.isclose(found.mean, sum(values) / len(values))


def test_a_prompt_of_parts_is_as_long_as_its_text():
    parts = [{"type": "text", "text": "Two words"}, {"type": "image_url", "image_url": {}}]
    ask = Prompt(messages=[{"role": "user", "content": parts}])
    assert list(profile(Given(given=[single(ask)])).input_tokens) == [2]
