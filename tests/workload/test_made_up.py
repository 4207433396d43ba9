"""Conversations, shared prefixes and mixtures: what they ask, the same in every process."""

import hashlib
import itertools
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from benchcore.base.errors import ConfigError
from benchcore.base.seeds import stream
from benchcore.config.values import Span
from benchcore.workload.datasets import DataSet, OpenAIBodies, ShareGPT
from benchcore.workload.families import LessonPack, MemoryChat, SearchQA
from benchcore.workload.kinds import made_of, sessions_of
from benchcore.workload.made_up import Conversation, SharedPrefixes
from benchcore.workload.mixture import Mixture
from benchcore.workload.named import load_workload

MIX = {
    "mix": [
        {"workload": "conversation,turns=2,input_tokens=40", "weight": 1, "class": "chat"},
        {"workload": "prefix,groups=3,prefix_tokens=60", "weight": 3, "class": "rag"},
    ]
}
KINDS = {
    "synthetic": lambda: load_workload("synthetic,input_tokens=40").parts[0].workload,
    "conversation": lambda: Conversation(input_tokens="uniform:20:60", think_time="exponential:2"),
    "prefix": lambda: SharedPrefixes(groups=20, popularity="zipf:1.1", cold=0.2, input_tokens=30),
    "mixture": lambda: Mixture(**MIX),
    "search_qa": lambda: SearchQA(source_tokens="uniform:20:40"),
    "lesson_pack": LessonPack,
    "memory_chat": lambda: MemoryChat(think_time="uniform:1:2"),
    "dataset": lambda: from_rows(DataSet, "prompt", order="shuffled", output_tokens="uniform:5:50"),
    "sharegpt": lambda: from_rows(ShareGPT, "conversations", filters="vllm", seed=4),
    "openai": lambda: from_rows(OpenAIBodies, "messages", order="shuffled"),
}


def from_rows(kind, layout, **fields):
    """Return a kind over a file of 6,000 rows that are the same everywhere."""
    path = Path(tempfile.mkdtemp()) / "rows.jsonl"
    with path.open("w") as file:
        for number in range(6000):
            asked = f"Question {number} of those that are asked here?"
            row = {
                "prompt": asked,
                "conversations": [
                    {"from": "human", "value": asked},
                    {"from": "gpt", "value": "An answer of " + "many words " * (number % 7)},
                ],
                "messages": [{"role": "user", "content": asked}],
            }
            file.write(json.dumps({layout: row[layout]}) + "\n")
    return kind(path=str(path), **fields)


def first_texts(workload, count, *path):
    """Yield the texts and waits of the first turns."""
    turns = (turn for session in sessions_of(workload, *path) for turn in session.turns)
    for turn in itertools.islice(turns, count):
        prompt = made_of(workload, turn.ask)
        said = prompt.text or json.dumps(prompt.messages)
        yield f"{turn.wait_ns} {turn.follows} {turn.kind} {prompt.output_tokens} {said}"


def common_tokens(texts):
    """Return how many words and marks all texts begin with."""
    cut = [re.findall(r"\w+|[^\w\s]", text) for text in texts]
    return next(n for n, words in enumerate(zip(*cut, strict=False)) if len(set(words)) > 1)


def digest(name, count=10_000):
    """Return the hash of the first turns of a kind."""
    found = hashlib.sha256()
    for text in first_texts(KINDS[name](), count, "c1", 1):
        found.update(text.encode())
    return found.hexdigest()[:16]


DIGESTS = {
    "synthetic": "4c118824a35275eb",
    "conversation": "66c08c93282d993f",
    "prefix": "c48275db1dd60afb",
    "mixture": "d6d8873f3034d039",
    "openai": "779c82da0e258298",
    "sharegpt": "d40305fb45d06cd0",
    "dataset": "3b44c52ef2be533f",
    "memory_chat": "ac898862a9ce71b3",
    "lesson_pack": "5062c7c8b4573f7e",
    "search_qa": "9ee76e39cc659880",
}


@pytest.mark.parametrize("name", KINDS)
def test_the_first_ten_thousand_bodies_are_what_they_always_were(name):
    assert digest(name) == DIGESTS[name]


def test_bodies_are_the_same_whatever_hash_a_process_has():
    code = (
        "from tests.workload.test_made_up import KINDS, digest\n"
        "print([digest(name, 100) for name in KINDS])"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert told == {str([digest(name, 100) for name in KINDS])}


def test_each_level_has_conversations_of_its_own():
    kind = Conversation()
    assert list(first_texts(kind, 5, "c1", 1)) != list(first_texts(kind, 5, "c8", 1))


def test_a_conversation_goes_on_with_what_was_said_and_thinks_before():
    kind = Conversation(
        turns=3, input_tokens=30, follow_up_tokens=10, think_time="2.5", context_tokens=500
    )
    session = next(kind.sessions("c1", 1))
    assert [(turn.after, turn.follows, turn.wait_ns) for turn in session.turns] == [
        ((), None, 0),
        ((0,), 0, 2_500_000_000),
        ((1,), 1, 2_500_000_000),
    ]
    assert [turn.ask.input_tokens for turn in session.turns] == [30, 10, 10]
    assert session.context_tokens == 500


def test_all_conversations_begin_with_the_same_system_tokens():
    kind = Conversation(turns=1, input_tokens=20, system_tokens=100)
    first, other = (kind.made(s.turns[0].ask) for s in itertools.islice(kind.sessions("c1"), 2))
    assert first.input_tokens == 120
    # What surrounds the pieces is taken off the shared ones: the full stop at the end.
    assert common_tokens([first.text, other.text]) == 99


def test_prompts_of_a_group_begin_alike_and_those_of_others_do_not():
    kind = SharedPrefixes(groups=3, prefix_tokens=100, input_tokens=20)
    by_group = {}
    for session in itertools.islice(kind.sessions("c1", 1), 60):
        ask = session.turns[0].ask
        by_group.setdefault(ask.blocks, []).append(kind.made(ask).text)
    assert len(by_group) == 3
    for texts in by_group.values():
        assert common_tokens(texts) == 99
        assert len(set(texts)) == len(texts)
    heads = [texts[0] for texts in by_group.values()]
    assert common_tokens(heads) <= 2


def test_popular_groups_come_as_often_as_zipf_says():
    kind = SharedPrefixes(groups=4, popularity="zipf:1", prefix_tokens=20, input_tokens=20)
    names = [s.turns[0].ask.blocks[0] for s in itertools.islice(kind.sessions("c1"), 20_000)]
    weights = [1, 1 / 2, 1 / 3, 1 / 4]
    for group, weight in enumerate(weights):
        share = names.count(f"group {group}") / len(names)
        assert share == pytest.approx(weight / sum(weights), abs=0.012)


def test_cold_prompts_have_a_prefix_of_their_own_and_bust_makes_all_so():
    kind = SharedPrefixes(groups=2, cold=0.25, prefix_tokens=20, input_tokens=20)
    names = [s.turns[0].ask.blocks[0] for s in itertools.islice(kind.sessions("c1"), 4000)]
    cold = [name for name in names if name.startswith("cold")]
    assert len(set(cold)) == len(cold)
    assert len(cold) / len(names) == pytest.approx(0.25, abs=0.03)
    bust = SharedPrefixes(groups=2, bust=True, prefix_tokens=20, input_tokens=20)
    names = [s.turns[0].ask.blocks[0] for s in itertools.islice(bust.sessions("c1"), 500)]
    assert len(set(names)) == 500


def test_prompts_of_a_group_come_again_after_so_many():
    kind = SharedPrefixes(groups=1, prompts=3, prefix_tokens=20, input_tokens="uniform:20:40")
    texts = [kind.made(s.turns[0].ask).text for s in itertools.islice(kind.sessions("c1"), 9)]
    assert texts[:3] == texts[3:6] == texts[6:]
    assert len(set(texts)) == 3


def test_a_mixture_draws_by_weight_and_says_the_class():
    kind = Mixture(**MIX)
    sessions = list(itertools.islice(kind.sessions("c1", 1), 4000))
    names = [session.turns[0].kind for session in sessions]
    assert set(names) == {"chat", "rag"}
    assert names.count("chat") / 4000 == pytest.approx(0.25, abs=0.03)
    assert all(turn.kind == "chat" for s in sessions if len(s.turns) == 2 for turn in s.turns)
    assert kind.made(sessions[names.index("rag")].turns[0].ask).input_tokens == 188


def test_a_file_that_ends_begins_again_in_a_mixture(tmp_path):
    path = tmp_path / "two.jsonl"
    path.write_text('{"prompt": "one"}\n{"prompt": "two"}\n')
    kind = Mixture(
        mix=[{"workload": "two.jsonl", "weight": 9}, {"workload": "prefix"}], folder=str(tmp_path)
    )
    turns = [s.turns[0] for s in itertools.islice(kind.sessions("c1"), 50)]
    texts = [kind.made(turn.ask).text for turn in turns if turn.kind == "two"]
    assert len(texts) > 30
    assert texts[:4] == ["one", "two", "one", "two"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("prefix,popularity=zipf:x", "popularity: popularity 'zipf:x' is not uniform, or zipf:S"),
        ("prefix,groups=0", "groups: input should be greater than or equal to 1"),
        ("prefix,cold=2", "cold: input should be less than or equal to 1"),
        ("conversation,turns=0", "turns: length 0: tokens start at 1"),
        ("conversation,think_time=-1", "think_time: time -1 is not a number of seconds"),
        ("conversation,thinktime=1", "thinktime: unknown key; did you mean think_time?"),
        ("conversation,turns", "'turns' is not key=value; write conversation,key=value"),
        ("conversation,turns=1,turns=2", "turns is given twice"),
        ("conversatoin,turns=1", "is unknown; did you mean conversation?"),
        ("mixture", "kind: mixture needs mix; add it"),
    ],
)
def test_a_kind_with_wrong_keys_is_refused_by_key_and_reason(text, says):
    with pytest.raises(ConfigError) as caught:
        load_workload(text)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("mix", "says"),
    [
        ([{"workload": "year1"}, {"workload": "prefix"}], "mix: year1 is a union of 3 workloads"),
        ([{"workload": "short"}, {"workload": "short"}], "mix: class 'short' appears twice"),
        ([{"workload": "nosuch"}, {"workload": "short"}], "workload 'nosuch' is unknown"),
    ],
)
def test_a_mixture_of_what_cannot_be_mixed_is_refused(mix, says):
    with pytest.raises(ConfigError) as caught:
        Mixture(mix=mix)
    assert says in str(caught.value)


def test_a_kind_of_its_own_in_a_file_names_the_line(tmp_path):
    path = tmp_path / "talk.yaml"
    path.write_text("kind: conversation\nturns: 4\nthink_time: soon\n")
    with pytest.raises(ConfigError) as caught:
        load_workload(path)
    assert str(caught.value).startswith(f"{path}:3: think_time: time 'soon' is not a number of")
    path.write_text("kind: conversation\nturns: 4\nload: {concurrency: [2]}\n")
    (part,) = load_workload(path, output_tokens=9).parts
    assert (part.name, part.load) == ("talk", {"concurrency": [2]})
    assert next(part.workload.sessions("c1")).turns[3].ask.output_tokens == 9
    assert part.workload.describe()["turns"] == "4"


@pytest.mark.parametrize(
    ("text", "mean", "deviation"),
    [
        ("3", 3, 0),
        ("uniform:1:5", 3, 4 / 12**0.5),
        ("exponential:2", 2, 2),
        ("lognormal:2:0.5", 2 * 2.718281828**0.125, None),
    ],
)
def test_times_are_drawn_with_the_moments_of_their_distribution(text, mean, deviation):
    span = Span.parse(text)
    draws = stream(0, "moments")
    values = [span.draw(draws) for _ in range(20_000)]
    found = sum(values) / len(values)
    assert found == pytest.approx(mean, rel=0.03)
    if deviation is not None:
        spread = (sum((one - found) ** 2 for one in values) / len(values)) ** 0.5
        assert spread == pytest.approx(deviation, rel=0.03)
    assert str(span) == text
    assert Span.parse(str(span)) == span


@pytest.mark.parametrize(
    "text",
    ["x", "", "-1", "nan", "inf", "uniform:5:1", "uniform:1", "normal:1:2", "lognormal:1:99"],
)
def test_a_time_that_is_none_is_refused(text):
    with pytest.raises(ConfigError, match="is not a number of seconds"):
        Span.parse(text)
