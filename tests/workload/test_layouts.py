"""Layouts: what a file is found to be, and the rows of it that cannot be used."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchcore.base.errors import ConfigError
from benchcore.workload.jsonl import PromptFile
from benchcore.workload.kinds import sessions_of
from benchcore.workload.layouts import FAULTS_TOLD, layout_of, validate
from benchcore.workload.named import load_workload
from benchcore.workload.traces import Azure, Mooncake, Plain

FIXTURES = Path(__file__).parent.parent / "fixtures" / "workloads"
SHARED = {"id": "a", "conversations": [{"from": "human", "value": "Hi"}]}
TALK = [{"role": "user", "content": "Hi"}]


@pytest.fixture
def write(tmp_path):
    def write(rows, name="data.jsonl"):
        path = tmp_path / name
        if isinstance(rows, bytes):
            path.write_bytes(rows)
        elif isinstance(rows, str):
            path.write_text(rows)
        elif name.endswith(".json"):
            path.write_text(json.dumps(rows))
        else:
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path

    return write


@pytest.mark.parametrize(
    ("file", "kind", "sessions", "turns"),
    [
        ("azure_2023.csv", "azure", 3, 3),
        ("azure_2024.csv", "azure", 3, 3),
        ("bailian.jsonl", "bailian", 3, 5),
        ("burstgpt.csv", "burstgpt", 3, 3),
        ("mooncake.jsonl", "mooncake", 4, 4),
        ("mooncake_sessions.jsonl", "mooncake", 2, 5),
        ("otel.jsonl", "otel", 2, 8),
        ("plain.csv", "trace", 3, 3),
        ("weka", "weka", 2, 8),
    ],
)
def test_each_public_format_is_known_by_its_rows(file, kind, sessions, turns):
    found = validate(FIXTURES / file)
    assert (found.layout.kind, found.sessions, found.turns) == (kind, sessions, turns)
    assert (found.bad, found.fault, found.is_good) == (0, "", True)
    assert found.name() == f"{kind},path={FIXTURES / file}"


@pytest.mark.parametrize(
    ("rows", "name", "form", "kind"),
    [
        ([{"prompt": "Hi"}], "a.jsonl", "jsonl", "jsonl"),
        ([{"messages": TALK, "output_tokens": 5}], "a.jsonl", "jsonl", "jsonl"),
        ([{"prompt": "Hi", "id": 7}], "a.jsonl", "jsonl", "dataset"),
        ([{"prompt": "Hi"}], "a.json", "json", "dataset"),
        ([{"id": 1, "messages": TALK}], "a.json", "json", "dataset"),
        ([{"instruction": "Sing.", "input": "", "output": "La."}], "a.jsonl", "jsonl", "dataset"),
        ([{"conversation": TALK, "model": "m"}], "a.jsonl", "jsonl", "dataset"),
        ([SHARED], "a.json", "json", "sharegpt"),
        ([SHARED], "a.jsonl", "jsonl", "sharegpt"),
        ([{"model": "m", "messages": TALK}], "a.jsonl", "jsonl", "openai"),
        ([{"custom_id": "1", "url": "/v1/chat/completions", "body": {}}], "a", "jsonl", "openai"),
        ("one\ntwo\n", "a.txt", "text", "dataset"),
        ("question,answer\nWhy?,So.\n", "a.csv", "csv", "dataset"),
        ("timestamp,input_tokens,output_tokens\n1,2,3\n", "a.csv", "csv", "trace"),
        (json.dumps({"prompt": "Hi"}).encode("utf-16"), "a", "jsonl", "dataset"),
        # Most rows count, not the first one.
        ([{"note": 1}, SHARED, SHARED], "a.jsonl", "jsonl", "sharegpt"),
        ([{"prompt": "Hi", "id": 1}, SHARED, SHARED], "a.jsonl", "jsonl", "sharegpt"),
        # Only JSON lines are prompts of the kind jsonl.
        ("prompt,output_tokens\nWhy?,5\n", "a.csv", "csv", "dataset"),
    ],
)
def test_a_layout_is_found_out(write, rows, name, form, kind):
    layout = layout_of(write(rows, name))
    assert (layout.form, layout.kind) == (form, kind)


def test_a_row_is_as_like_a_kind_as_the_most_of_its_signs():
    names = ("timestamp", "input_length", "output_length", "hash_ids", "session_id")
    row = dict.fromkeys(names, 1)
    assert Mooncake.likeness(row) == 4
    assert Plain.likeness(row) == 3
    assert Azure.likeness(row) == 0
    assert PromptFile.likeness({"prompt": "x", "extra": {}}) == 2
    assert PromptFile.likeness({"prompt": "x", "id": 1}) == 0
    assert PromptFile.likeness({"extra": {}}) == 0


def test_what_a_recorder_writes_is_the_trace_that_it_is(write):
    row = {"timestamp": 0, "input_length": 5, "output_length": 2, "hash_ids": [1]}
    row |= {"session_id": "1", "model": "m", "body": {"messages": TALK}, "answer": "Hi"}
    assert layout_of(write([row])).kind == "mooncake"


def test_the_name_is_what_a_climb_takes(write):
    path = write([SHARED, {"conversations": 5}], "my.json")
    found = validate(path)
    assert found.name() == f"sharegpt,path={path}"
    assert found.droppable
    workload = load_workload(found.name(drop_bad=True)).parts[0].workload
    assert len(list(sessions_of(workload, "c1"))) == 1
    prompts = write([{"prompt": "Hi"}], "my.jsonl")
    assert validate(prompts).name() == str(prompts)
    assert load_workload(validate(prompts).name()).parts[0].name == "my"


def test_bad_rows_are_told_by_line_the_first_of_them_and_counted(write):
    lines = ['{"messages": [{"role": "user", "content": "x"}], "id": 1}'] * 60
    for place in range(10, 40):
        lines[place] = '{"id": 1}'
    lines[11] = '{"messages": oops}'
    path = write("\n".join(lines))
    found = validate(path)
    assert (found.layout.kind, found.sessions, found.bad) == ("dataset", 30, 30)
    assert len(found.faults) == FAULTS_TOLD
    assert found.faults[0].startswith(f"{path}:11: has no messages, conversations")
    assert found.faults[1].startswith(f"{path}:12:14: is not JSON: ")
    assert not found.is_good
    assert found.to_json()["bad_rows"] == 30


def test_a_line_of_prompts_with_two_faults_is_one_bad_row(write):
    path = write([{"prompt": "a"}, {"promt": "b"}])
    found = validate(path, kind="jsonl")
    assert (found.bad, found.sessions) == (1, 1)
    (told,) = found.faults
    assert told == (
        f"{path}:2: unknown key 'promt'; did you mean prompt?; has neither prompt nor messages; "
        "give one"
    )


def test_a_trace_out_of_order_is_told_by_line(write):
    rows = [{"timestamp": t, "input_length": 5, "output_length": 2, "hash_ids": []} for t in (5, 3)]
    found = validate(write(rows))
    assert found.bad == 1
    assert ":2: its time, 0.003, lies before" in found.faults[0]


def test_where_no_row_can_be_used_it_says_so(write):
    found = validate(write([{"messages": 5, "id": 1}] * 3))
    assert (found.bad, found.sessions) == (3, 0)
    assert found.fault.endswith("holds no prompt")
    assert not found.droppable


def test_columns_are_those_that_are_named(write):
    path = write("frage,n\nWarum?,3\nWie?,viele\n", "a.csv")
    with pytest.raises(ConfigError, match=r"no kind of workload knows its columns \(frage, n\)"):
        validate(path)
    found = validate(path, columns="prompt=frage;output_tokens=n")
    assert found.faults == [f"{path}:3: n 'viele' is not a number of tokens"]
    assert found.name(drop_bad=True) == (
        f"dataset,path={path},columns=prompt=frage;output_tokens=n,drop_bad=true"
    )
    for kind, columns, says in (
        ("azure", "prompt=frage", "--columns: the kind azure has its own"),
        ("jsonl", "prompt=frage", "--columns: the kind jsonl has its own"),
        ("dataset", "promt=frage", "columns: promt: unknown; did you mean prompt?"),
        ("dataset", "prompt", "columns: 'prompt' is not NAME=COLUMN"),
    ):
        with pytest.raises(ConfigError) as caught:
            validate(path, kind=kind, columns=columns)
        assert says in str(caught.value)


def test_a_kind_that_is_none_or_reads_no_file_is_refused(write):
    path = write([{"prompt": "x"}])
    with pytest.raises(ConfigError, match="kind 'sharedgpt' is unknown; did you mean sharegpt"):
        validate(path, kind="sharedgpt")
    with pytest.raises(ConfigError, match="--kind prefix: reads no file row by row; those that do"):
        validate(path, kind="prefix")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty; give a file with rows"),
        (b"[1, 2]", "holds no objects in its first rows; name its kind with --kind"),
        (b"{oops}\n", "holds no objects in its first rows"),
    ],
)
def test_a_file_without_rows_to_know_it_by_is_refused(write, content, says):
    with pytest.raises(ConfigError) as caught:
        validate(write(content, "a.jsonl"))
    assert says in str(caught.value)


def test_parquet_is_known_by_its_columns(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = pyarrow.table({"question": ["Why?", "How?", ""], "answer": ["So.", "Thus.", "x"]})
    parquet.write_table(table, tmp_path / "a.parquet")
    for path, form in ((tmp_path / "a.parquet", "parquet"), (tmp_path, None)):
        found = validate(path)
        assert (found.layout.form, found.layout.kind) == (form, "dataset")
        assert (found.sessions, found.bad) == (2, 1)
        assert ": row 3: has no messages" in found.faults[0]


def test_a_folder_without_data_is_refused(tmp_path):
    (tmp_path / "readme.md").write_text("x")
    with pytest.raises(ConfigError, match=r"holds no \.parquet, \.json or \.jsonl files"):
        layout_of(tmp_path)


@given(
    bad=st.lists(st.sampled_from([b"{", b"[]", b"5", b'{"id": 1}', b'"\\ud800"', b"\xff"])),
    good=st.integers(1, 30),
    end=st.sampled_from([b"\n", b"\r\n"]),
    bom=st.sampled_from([b"", b"\xef\xbb\xbf"]),
    draws=st.randoms(use_true_random=False),
)
def test_good_rows_and_bad_ones_are_counted_in_any_order(
    tmp_path_factory, bad, good, end, bom, draws
):
    lines = [*bad, *[b'{"prompt": "x", "id": 1}'] * good]
    draws.shuffle(lines)
    path = tmp_path_factory.mktemp("rows") / "a.jsonl"
    path.write_bytes(bom + end.join(lines))
    found = validate(path, kind="dataset")
    assert (found.sessions, found.turns, found.bad) == (good, good, len(bad))
    told = [one.removeprefix(f"{path}:").partition(":")[0] for one in found.faults]
    where = [str(n) for n, line in enumerate(lines, 1) if b"prompt" not in line]
    assert told == where[:FAULTS_TOLD]
