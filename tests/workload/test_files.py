"""Rows of files: every format and encoding, and what is wrong where."""

import csv
import io
import itertools
import json
import sys

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchcore.base.errors import ConfigError
from benchcore.workload import files
from benchcore.workload.files import format_of, rows

LINES = {
    "jsonl": ['{"prompt": "Grüße"}', '{"prompt": "二"}', '{"prompt": "3"}'],
    "csv": ["prompt,n", "Grüße,1", '"二, zwei",2', "3,3"],
    "txt": ["Grüße", "二", "3"],
}
VALUES = {
    "jsonl": [{"prompt": "Grüße"}, {"prompt": "二"}, {"prompt": "3"}],
    "csv": [
        {"prompt": "Grüße", "n": "1"},
        {"prompt": "二, zwei", "n": "2"},
        {"prompt": "3", "n": "3"},
    ],
    "txt": ["Grüße", "二", "3"],
}
# Blank lines stand behind the second line.
NUMBERS = {"jsonl": [1, 2, 5], "csv": [2, 5, 6], "txt": [1, 2, 5]}


def read(path, **options):
    return [(row.line, row.value) for row in rows(path, **options)]


@pytest.mark.parametrize("suffix", LINES)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("last", [True, False])
def test_every_encoding_and_line_end_gives_the_same_rows(tmp_path, suffix, encoding, newline, last):
    lines = [*LINES[suffix][:2], "", "", *LINES[suffix][2:]]
    path = tmp_path / f"rows.{suffix}"
    path.write_bytes((newline.join(lines) + newline * last).encode(encoding))
    assert read(path) == list(zip(NUMBERS[suffix], VALUES[suffix], strict=True))


def test_utf_16_of_either_order_is_read(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"\xfe\xff" + '{"a": "é"}\n'.encode("utf-16-be"))
    assert read(path) == [(1, {"a": "é"})]


@pytest.mark.parametrize(
    ("name", "text", "form"),
    [
        ("rows", '{"a": 1}\n{"a": 2}\n', "jsonl"),
        ("rows", '{"a": 1}', "jsonl"),
        ("rows", '{\n "a": 1\n}\n', "json"),
        ("rows", '\n\n[{"a": 1}]', "json"),
        ("rows", "a,b\n1,2\n", "csv"),
        ("rows", "one prompt\n", "text"),
        ("rows.json", '{"a": 1}\n', "json"),
        ("rows.json", '{"a": 1}\n\n{"a": 2}\n', "jsonl"),
        ("rows.JSON", '{"a": {\n}}\n', "json"),
        ("rows.ndjson", '{"a": 1}\n', "jsonl"),
        ("rows.tsv", "a\tb\n1\t2\n", "csv"),
        ("rows.txt", '{"a": 1}\n', "text"),
        ("rows.csv", "PAR1 is no header", "parquet"),
    ],
)
def test_the_format_is_seen_by_the_name_and_by_how_the_file_begins(tmp_path, name, text, form):
    path = tmp_path / name
    path.write_text(text)
    assert format_of(path) == form


def test_a_long_first_line_is_read_whole_to_see_the_format(tmp_path):
    path = tmp_path / "rows"
    path.write_text(json.dumps({"a": "x" * 200_000}) + '\n{"a": "y"}\n')
    assert [len(row.value["a"]) for row in rows(path)] == [200_000, 1]


def test_json_is_an_array_an_object_with_one_list_or_a_row(tmp_path):
    path = tmp_path / "rows.json"
    for text, values in [
        ('[{"a": 1},\n {"a": 2}]', [{"a": 1}, {"a": 2}]),
        ('{"rows": [{"a": 1}]}', [{"a": 1}]),
        ('{"rows": [{"a": 1}], "n": 1}', [{"rows": [{"a": 1}], "n": 1}]),
        ('{"a": 1}', [{"a": 1}]),
    ]:
        path.write_text(text)
        assert [row.value for row in rows(path)] == values
        assert next(rows(path)).at("p") == "p: row 1"


def test_a_tsv_is_cut_at_tabs(tmp_path):
    path = tmp_path / "rows.tsv"
    path.write_text("a\tb\n1,5\t2\n")
    assert read(path) == [(2, {"a": "1,5", "b": "2"})]


def test_a_cell_with_line_ends_counts_as_lines(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text('a,b\n"one\ntwo",1\nx,2\n')
    assert read(path) == [(2, {"a": "one\ntwo", "b": "1"}), (4, {"a": "x", "b": "2"})]


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.jsonl", b'{"a": 1}\n{"a": \n', ":2:6: is not JSON: "),
        ("a.jsonl", b'  {"a": nope}\n', ":1:9: is not JSON: "),
        ("a.jsonl", b'{"a": 1}\n{"a": "\\ud800"}', ":2:8: is not JSON: a lone surrogate"),
        ("a.jsonl", b'{"a": "\\udc00b"}', ":1:8: is not JSON: a lone surrogate"),
        ("a.jsonl", b'{"a": "\xff"}', ":1:8: is not JSON: byte 8 is not UTF-8"),
        ("a", b'{"a": "\\ud800"}\n{"a": 2}', ":1:8: is not JSON: a lone surrogate"),
        ("a.json", b'[{"a": 1},\n {"a": "\xff"}]', ":2:9: is not JSON: byte 9 is not UTF-8"),
        ("a.json", b'[{"a": 1},\n {"a": "\\ud800"}]', ":2:9: is not JSON: a lone surrogate"),
        ("a.json", b'[{"a": 1},\n', ":2:1: is not JSON: "),
        ("a.json", b"17", ": is neither an array of objects nor an object"),
        ("a.csv", b"a,b\n1,2\n3\n", ":3: has 1 cells, and the header has 2"),
        ("a.csv", b'a,b\n"x\ny",1,2\n', ":2: has 3 cells, and the header has 2"),
        ("a.csv", b"a,a\n1,2\n", ":1: two columns have the same name"),
        ("a.csv", b"a,b\n1,2\n3,\xff\n", ":3:3: byte 3 is not UTF-8; save the file as UTF-8"),
        ("a.csv", b'a,b\n1,2\n3,"4\n5,6\n', ":3: is not CSV: unexpected end of data"),
        ("a.txt", b"one\n\n two\xff\n", ":3:5: byte 5 is not UTF-8; save the file as UTF-8"),
        ("a.txt", b"\xff\xfea\x00b", ": is not whole UTF-16; save the file as UTF-8"),
        ("a.jsonl", b"", ": is empty; give a file with rows"),
        ("a.csv", b"\r\n \n", ": is empty; give a file with rows"),
        ("a.txt", b"\xef\xbb\xbf\n", ": is empty; give a file with rows"),
        ("a.txt", b"\xff\xfe", ": is empty; give a file with rows"),
        ("a", b"", ": is empty; give a file with rows"),
        ("a.parquet", b"PAR1 and no more", ": is not whole Parquet: "),
    ],
)
def test_a_fault_is_told_by_file_line_and_column(tmp_path, name, content, told):
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}{told}")
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_opened_says_why(tmp_path):
    with pytest.raises(ConfigError, match="No such file or directory"):
        read(tmp_path / "nosuch.jsonl")
    with pytest.raises(ConfigError, match="Is a directory"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("name", "text", "values", "told"),
    [
        ("a.jsonl", '{"a": 1}\nnope\n{"a": "\\ud800"}\n{"a": 4}', [1, 4], [":2:1:", ":3:8:"]),
        ("a", '{"a": "\\ud800"}\n{"a": 2}', [2], [":1:8:"]),
        ("a.csv", "a\n1\n2,3\n4\n", ["1", "4"], [":3: has 2 cells"]),
    ],
)
def test_bad_rows_are_told_of_and_passed_over(tmp_path, name, text, values, told):
    path = tmp_path / name
    path.write_text(text)
    faults = []
    assert [row.value["a"] for row in rows(path, on_bad=faults.append)] == values
    for fault, one in zip(faults, told, strict=True):
        assert fault.startswith(f"{path}{one}"), fault


def test_rows_come_before_a_fault_behind_them_is_read(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": 1}\nnope\n')
    reading = rows(path)
    assert next(reading).value == {"a": 1}
    with pytest.raises(ConfigError, match=":2:1: "):
        next(reading)


def test_a_line_of_100_mb_is_refused_by_its_number_and_can_be_passed_over(tmp_path):
    path = tmp_path / "a.jsonl"
    with path.open("wb") as file:
        file.write(b'{"a": 1}\n{"a": "')
        for _ in range(100):
            file.write(b"x" * 1_000_000)
        file.write(b'"}\n{"a": 3}\n')
    with pytest.raises(ConfigError) as caught:
        read(path)
    assert str(caught.value) == f"{path}:2: is longer than 64 MB; split the row"
    faults = []
    assert read(path, on_bad=faults.append) == [(1, {"a": 1}), (3, {"a": 3})]
    assert faults == [str(caught.value)]


def test_lines_and_cells_up_to_the_limit_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "MOST_LINE", 100)
    path = tmp_path / "a.txt"
    path.write_text("x" * 99 + "\n" + "y" * 100 + "\nz\n")
    with pytest.raises(ConfigError, match=r":2: is longer than 0 MB"):
        read(path)
    assert [line for line, _ in read(path, on_bad=[].append)] == [1, 3]
    path = tmp_path / "a.csv"
    path.write_text("a\n" + "x" * 99 + "\n")
    assert read(path) == [(2, {"a": "x" * 99})]
    path.write_text('a\n"' + ("x" * 60 + "\n") * 3 + '"\n')
    with pytest.raises(ConfigError, match=r":2: is not CSV: field larger than field limit"):
        read(path)
    path.write_text("a\n" + "x" * 120 + "\n")
    with pytest.raises(ConfigError, match=r":2: is longer than 0 MB"):
        read(path)


def test_json_that_is_too_long_to_be_read_whole_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "MOST_JSON", 10)
    path = tmp_path / "a.json"
    path.write_text('[{"a": 1}, {"a": 2}]')
    with pytest.raises(ConfigError, match="write one object per line"):
        read(path)


def test_parquet_is_read_by_its_rows(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    values = [{"prompt": f"n{n}", "n": n, "list": [n]} for n in range(5)]
    parquet.write_table(pyarrow.Table.from_pylist(values), tmp_path / "a", row_group_size=2)
    found = list(rows(tmp_path / "a"))
    assert [(row.line, row.value) for row in found] == list(enumerate(values, 1))
    assert found[2].at("p") == "p: row 3"


def test_parquet_without_pyarrow_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    path = tmp_path / "a.parquet"
    path.write_bytes(b"PAR1")
    with pytest.raises(ConfigError, match=r"Parquet needs pyarrow \(.*parquet"):
        read(path)


# What is written comes back.

ANY_FILE = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=5,
)
OBJECTS = st.lists(st.dictionaries(TEXTS, JSON, max_size=3), min_size=1, max_size=6)
BLANKS = st.lists(st.sampled_from(["", " ", "\t", "\r"]), max_size=2)


@ANY_FILE
@given(OBJECTS, st.data(), st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]))
def test_json_lines_come_back_with_their_numbers(tmp_path, values, data, encoding):
    lines, wanted = [], []
    for value in values:
        lines += data.draw(BLANKS)
        lines.append(orjson.dumps(value).decode())
        wanted.append((len(lines), value))
    path = tmp_path / "rows.jsonl"
    path.write_bytes("\n".join(lines).encode(encoding))
    assert read(path) == wanted


@ANY_FILE
@given(OBJECTS, st.booleans())
def test_a_json_array_comes_back(tmp_path, values, indent):
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(values, indent=2 if indent else None))
    assert read(path) == list(enumerate(values, 1))


@ANY_FILE
@given(
    st.lists(
        st.tuples(*[st.text(st.characters(exclude_categories=["Cs"]), min_size=1)] * 2), min_size=1
    )
)
def test_csv_comes_back_with_the_lines_where_rows_begin(tmp_path, values):
    buffer = io.StringIO()
    writer = csv.writer(buffer, quoting=csv.QUOTE_ALL)
    lines = []
    for value in [("a", "b"), *values]:
        lines.append(buffer.getvalue().count("\n") + 1)
        writer.writerow(value)
    path = tmp_path / "rows.csv"
    path.write_bytes(buffer.getvalue().encode())
    wanted = [{"a": a, "b": b} for a, b in values]
    assert read(path) == list(zip(lines[1:], wanted, strict=True))


@ANY_FILE
@given(st.binary(max_size=200), st.sampled_from(["a", "a.jsonl", "a.json", "a.csv", "a.txt"]))
def test_any_bytes_are_read_or_refused_in_one_line(tmp_path, content, name):
    path = tmp_path / name
    path.write_bytes(content)
    try:
        for row in itertools.islice(rows(path), 300):
            assert row.line >= 1
    except ConfigError as error:
        told = str(error)
        assert told.startswith(str(path))
        assert "\n" not in told
