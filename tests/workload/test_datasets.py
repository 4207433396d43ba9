"""Data sets: layouts, replies, columns, sampling, and rows that cannot be used."""

import itertools
import json
import random
import sys

import pytest

from benchcore.base.errors import ConfigError
from benchcore.workload.datasets import DataSet, OpenAIBodies, ShareGPT
from benchcore.workload.kinds import sessions_of
from benchcore.workload.named import load_workload
from benchcore.workload.token_costs import LocalTokenizer


@pytest.fixture
def write(tmp_path):
    def write(rows, name="data.jsonl"):
        path = tmp_path / name
        if name.endswith(".jsonl"):
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        elif name.endswith(".json"):
            path.write_text(json.dumps(rows))
        else:
            path.write_text(rows)
        return str(path)

    return write


def asked(session):
    """Return what each turn asks and says."""
    return [
        ([one["content"] for one in turn.ask.messages], turn.reply, turn.ask.output_tokens)
        for turn in session.turns
    ]


def shared(who, text):
    return {"from": who, "value": text}


TALK = [
    {"role": "system", "content": "Be short."},
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello there, friend!"},
    {"role": "user", "content": "Bye"},
]


def test_a_conversation_is_cut_after_each_answer(write):
    (session,) = DataSet(path=write([{"messages": TALK}]), replies="recorded").sessions("c1")
    assert asked(session) == [
        (["Be short.", "Hi"], "Hello there, friend!", 5),
        (["Bye"], "", None),
    ]
    assert [turn.follows for turn in session.turns] == [None, 0]


def test_the_servers_own_answers_stand_in_the_history_unless_told_otherwise(write):
    path = write([{"messages": TALK}])
    (session,) = DataSet(path=path).sessions("c1")
    assert [turn.reply for turn in session.turns] == [None, None]
    (session,) = DataSet(path=path, turns=1).sessions("c1")
    assert len(session.turns) == 1


@pytest.mark.parametrize(
    ("row", "prompt", "output"),
    [
        ({"prompt": "Why?"}, "Why?", None),
        ({"prompt": "Why?", "output_tokens": 7}, "Why?", 7),
        ({"prompt": "Why?", "max_tokens": "9"}, "Why?", 9),
        ({"question": "Why?", "answer": "So it is."}, "Why?", 4),
        (
            {"instruction": "Sum up.", "input": "A text.", "output": "Text."},
            "Sum up.\n\nA text.",
            2,
        ),
        ({"instruction": "Sing.", "input": ""}, "Sing.", None),
        (
            {
                "conversations": [
                    {"from": "human", "value": "Why?"},
                    {"from": "gpt", "value": "So."},
                ]
            },
            "Why?",
            2,
        ),
        (
            {
                "conversations": [
                    {"from": "gpt", "value": "Hi!"},
                    {"from": "human", "value": "Why?"},
                ]
            },
            "Why?",
            None,
        ),
    ],
)
def test_each_layout_gives_its_prompt_and_length(write, row, prompt, output):
    (session,) = DataSet(path=write([row])).sessions("c1")
    (turn,) = session.turns
    assert (turn.ask.messages[-1]["content"], turn.ask.output_tokens) == (prompt, output)


def test_lengths_of_ones_own_count_instead_of_the_datas(write):
    path = write([{"prompt": "Why?", "output_tokens": 7}] * 50)
    found = DataSet(path=path, output_tokens="uniform:10:20", ignore_eos=True).sessions("c1", 1)
    lengths = [session.turns[0].ask.output_tokens for session in found]
    assert all(10 <= length <= 20 for length in lengths)
    assert len(set(lengths)) > 5
    (first, *_) = DataSet(path=path, output_tokens=3, ignore_eos=True).sessions("c1")
    assert first.turns[0].ask.extra == {"ignore_eos": True, "min_tokens": 3}


def test_a_csv_a_text_and_an_array_are_read_by_their_names(write):
    csv = write('question,n\nWhy?,3\n"How,\nthen?",4\n', "data.csv")
    kind = DataSet(path=csv, columns="prompt=question; output_tokens=n")
    assert [asked(one)[0] for one in kind.sessions("c1")] == [
        (["Why?"], None, 3),
        (["How,\nthen?"], None, 4),
    ]
    text = load_workload(write("one\n\ntwo\n", "data.txt")).parts[0].workload
    assert [asked(one)[0][0] for one in sessions_of(text, "c1")] == [["one"], ["two"]]
    array = load_workload(write([{"prompt": "a"}, {"prompt": "b"}], "data.json")).parts[0]
    assert array.name == "data"
    assert len(list(sessions_of(array.workload, "c1"))) == 2


def test_rows_are_shuffled_by_the_seed_and_sampled(write):
    path = write([{"prompt": str(n)} for n in range(100)])

    def prompts(**fields):
        found = DataSet(path=path, **fields).sessions("c1")
        return [session.turns[0].ask.messages[0]["content"] for session in found]

    assert prompts() == [str(n) for n in range(100)]
    shuffled = prompts(order="shuffled", seed=3)
    assert shuffled != prompts()
    assert sorted(shuffled, key=int) == prompts()
    assert prompts(order="shuffled", seed=3, sample=5) == shuffled[:5]
    assert prompts(order="shuffled", seed=4) != shuffled


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({}, "has no messages, conversations, instruction or prompt (it has nothing)"),
        ({"promt": "x"}, "(it has promt); name its column with columns: prompt=COLUMN"),
        ([1], "is not an object"),
        ({"messages": []}, "messages is no list of messages"),
        ({"messages": ["x"]}, "messages.0 is no message"),
        ({"messages": [{"role": "boss", "content": "x"}]}, "messages.0: role 'boss' is none"),
        (
            {"messages": [{"role": "assistant", "content": "x"}]},
            "messages has no message of a user",
        ),
        (
            {"prompt": "x", "output_tokens": "many"},
            "output_tokens 'many' is not a number of tokens",
        ),
        ({"prompt": "x", "output_tokens": 0}, "output_tokens '0' is not a number of tokens"),
        ({"prompt": "x", "max_tokens": 1.5}, "max_tokens '1.5' is not a number of tokens"),
    ],
)
def test_a_row_that_cannot_be_used_is_named_or_dropped_and_counted(write, row, says):
    path = write([{"prompt": "good"}, row, {"prompt": "good too"}])
    with pytest.raises(ConfigError) as caught:
        list(DataSet(path=path).sessions("c1"))
    assert str(caught.value).startswith(f"{path}:2: ")
    assert says in str(caught.value)
    kind = DataSet(path=path, drop_bad=True)
    assert len(list(kind.sessions("c1"))) == 2
    facts = kind.describe()
    assert facts["dropped"] == 1
    assert says in facts["faults"][0]


def test_columns_that_are_none_are_refused(write):
    path = write([{"prompt": "x"}])
    for columns, says in (
        ("prompt", "'prompt' is not NAME=COLUMN"),
        ("promt=x", "promt: unknown; did you mean prompt?"),
    ):
        with pytest.raises(ConfigError) as caught:
            load_workload(f"dataset,path={path},columns={columns}")
        assert says in str(caught.value)
    with pytest.raises(ConfigError, match="has no column que; did you mean query"):
        list(DataSet(path=write([{"query": "x"}]), columns="prompt=que").sessions("c1"))


def test_what_is_not_there_or_holds_nothing_is_refused(write, tmp_path):
    with pytest.raises(ConfigError, match="No such file or directory"):
        DataSet(path=str(tmp_path / "none.jsonl"))
    with pytest.raises(ConfigError, match="holds no Parquet files"):
        list(DataSet(path=str(tmp_path)).sessions("c1"))
    with pytest.raises(ConfigError, match="is empty"):
        list(DataSet(path=write([])).sessions("c1"))


def test_a_folder_of_parquet_is_one_data_set(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    for number in range(2):
        table = pyarrow.table({"prompt": [f"{number} {n}" for n in range(3)]})
        parquet.write_table(table, tmp_path / f"{number}.parquet")
    found = DataSet(path=str(tmp_path)).sessions("c1")
    assert [asked(one)[0][0] for one in found] == [
        [f"{number} {n}"] for number in range(2) for n in range(3)
    ]


def test_hugging_face_needs_its_package_and_its_cache(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ConfigError, match="hf:org/name: needs the package datasets"):
        list(DataSet(path="hf:org/name").sessions("c1"))


# ShareGPT by vLLM's rules.


def share(question, answer):
    return {
        "id": "x",
        "conversations": [
            {"from": "human", "value": question},
            {"from": "gpt", "value": answer},
        ],
    }


def test_sharegpt_by_the_rules_of_vllm(write):
    words = "word " * 10
    rows = [share(f"{n} {words}", "an answer of some words") for n in range(50)]
    rows += [share("too short", "an answer of some words")]
    rows += [share(words, "no")]
    rows += [share("word " * 1100, "an answer of some words")]
    rows += [share("word " * 1000, "word " * 1100)]
    rows += [{"conversations": [{"from": "human", "value": words}]}]
    path = write(rows, "share.json")
    kind = ShareGPT(path=path, filters="vllm", seed=7)
    prompts = [one.turns[0].ask.messages[0]["content"] for one in kind.sessions("c1")]
    assert len(prompts) == 50
    expected = [row["conversations"][0]["value"] for row in rows[:54]]
    random.Random(7).shuffle(expected)
    kept = {row["conversations"][0]["value"] for row in rows[:50]}
    assert prompts == [one for one in expected if one in kept]
    assert next(kind.sessions("c1")).turns[0].ask.output_tokens == 5
    assert len(list(ShareGPT(path=path, filters="vllm", sample=3).sessions("c1"))) == 3
    assert len(list(ShareGPT(path=path).sessions("c1"))) == 55


def test_a_sample_of_more_than_there_are_draws_some_again_as_vllm_does(write):
    rows = [share(f"{n} " + "word " * 10, "an answer of some words") for n in range(4)]
    kind = ShareGPT(path=write(rows, "share.json"), filters="vllm", seed=7, sample=9)
    found = [asked(one) for one in kind.sessions("c1")]
    draws = random.Random(7)
    assert found == found[:4] + [draws.choice(found[:4]) for _ in range(5)]
    assert len(set(map(str, found[:4]))) == 4
    kind = ShareGPT(path=write(rows, "share.json"), filters="vllm", seed=7)
    assert [asked(one) for one in kind.sessions("c1")] == found[:4]


def test_a_filter_that_leaves_nothing_is_refused(write):
    with pytest.raises(ConfigError, match="no conversation is left by the filters"):
        list(ShareGPT(path=write([share("a", "b")], "s.json"), filters="vllm").sessions("c1"))


async def test_a_tokenizer_counts_the_recorded_answers(write, tmp_path):
    tokenizers = pytest.importorskip("tokenizers")
    model = tokenizers.models.WordLevel({"[UNK]": 0, "so": 1}, unk_token="[UNK]")
    made = tokenizers.Tokenizer(model)
    made.pre_tokenizer = tokenizers.pre_tokenizers.Split("", "isolated")
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.save(str(tmp_path / "tokenizer.json"))
    kind = DataSet(path=write([{"prompt": "Why?", "answer": "so so so-so"}]))
    assert kind.describe()["tokens_counted_by"] == "nominal"
    await kind.prepare(LocalTokenizer(tmp_path / "tokenizer.json"))
    assert next(kind.sessions("c1")).turns[0].ask.output_tokens == 5
    assert kind.describe()["tokens_counted_by"] == "tokenizer"


# Whole bodies.


def test_bodies_pass_through_but_for_what_the_run_says(write):
    body = {
        "model": "theirs",
        "stream": False,
        "messages": [{"role": "user", "content": "Hi"}],
        "temperature": 0.3,
        "max_completion_tokens": 5,
        "vendor_field": {"deep": [1]},
    }
    batch = {"custom_id": "1", "method": "POST", "url": "/v1/chat/completions", "body": body}
    found = list(OpenAIBodies(path=write([body, batch, {"prompt": "Go", "n": 2}])).sessions("c1"))
    first, second, third = (one.turns[0].ask for one in found)
    assert first == second
    assert first.messages == body["messages"]
    assert first.extra == {
        "temperature": 0.3,
        "max_completion_tokens": 5,
        "vendor_field": {"deep": [1]},
    }
    assert (third.text, third.extra) == ("Go", {"n": 2})


def test_bodies_take_a_length_of_ones_own_instead(write):
    body = {"messages": [{"role": "user", "content": "Hi"}], "max_completion_tokens": 5}
    kind = OpenAIBodies(path=write([body]), output_tokens=9, ignore_eos=True)
    (turn,) = next(kind.sessions("c1")).turns
    assert (turn.ask.output_tokens, turn.ask.extra) == (9, {"ignore_eos": True, "min_tokens": 9})


def test_a_body_that_asks_nothing_is_refused_by_its_line(write):
    path = write([{"prompt": "x"}, {"temperature": 1}])
    with pytest.raises(ConfigError, match=r":2: has no messages, prompt or input"):
        list(OpenAIBodies(path=path).sessions("c1"))
    kind = OpenAIBodies(path=path, drop_bad=True)
    assert len(list(kind.sessions("c1"))) == 1
    assert kind.describe()["dropped"] == 1


def test_a_stream_of_rows_is_read_as_it_is_asked_for(write):
    path = write([{"prompt": "good"}, {"prompt": "good"}, 5])
    assert len(list(itertools.islice(DataSet(path=path).sessions("c1"), 2))) == 2
