import hashlib

import pytest

from benchcore.base.errors import ConfigError
from benchcore.evals.data import Rows


def read(path, data, *shape):
    path.write_bytes(data)
    rows = Rows()
    rows.add(path, *shape)
    return rows


def test_csv_with_quotes_line_breaks_and_a_byte_order_mark(tmp_path):
    data = '\ufeffQuestion,Answer\n"a, ""b""\nc",1\nd,2\n'.encode()
    rows = read(tmp_path / "x.csv", data)
    assert rows.rows == [
        {"Question": 'a, "b"\nc', "Answer": "1"},
        {"Question": "d", "Answer": "2"},
    ]
    assert rows.facts == [{"file": "x.csv", "sha256": hashlib.sha256(data).hexdigest(), "rows": 2}]


def test_a_field_longer_than_the_librarys_limit(tmp_path):
    rows = read(tmp_path / "x.csv", b"q\n" + b"x" * 200_000 + b"\n")
    assert len(rows.rows[0]["q"]) == 200_000


def test_tsv_has_no_quotes_and_may_have_no_first_line(tmp_path):
    rows = read(tmp_path / "mgsm_de.tsv", b'"a" b\t1,000\n', ("question", "answer"), "de")
    assert rows.rows == [{"question": '"a" b', "answer": "1,000", "group": "de"}]
    assert read(tmp_path / "y.tsv", b"q\ta\n1\t2\n").rows == [{"q": "1", "a": "2"}]


def test_jsonl_skips_blank_lines(tmp_path):
    rows = read(tmp_path / "x.jsonl", '{"q": "\u2028"}\n\n{"q": 2}'.encode())
    assert rows.rows == [{"q": "\u2028"}, {"q": 2}]


def test_parquet(tmp_path):
    import pyarrow as pa
    from pyarrow import parquet

    path = tmp_path / "x.parquet"
    parquet.write_table(pa.table({"q": ["a"], "options": [["x", "y"]]}), path)
    rows = Rows()
    rows.add(path)
    assert rows.rows == [{"q": "a", "options": ["x", "y"]}]


def test_parquet_without_pyarrow_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(ConfigError, match=r"pip install 'benchcore-llm\[parquet\]'"):
        read(tmp_path / "x.parquet", b"")


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("x.csv", b"a,b\n1\n", "x.csv:2: does not have as many fields as there are columns"),
        ("x.csv", b"a,b\n1,2,3\n", "x.csv:2: does not have as many fields"),
        ("x.csv", b"a\n\xff\n", "x.csv:2: is not UTF-8"),
        ("x.csv", b"a\n", "x.csv: holds no rows"),
        ("x.tsv", b"a\tb\n1\n", "x.tsv:2: has 1 fields, not 2"),
        ("x.jsonl", b'{"a": 1}\n{\n', "x.jsonl:2: is not JSON"),
        ("x.jsonl", b"[]\n", "x.jsonl:1: is not an object"),
        ("x.parquet", b"no", "x.parquet: is not Parquet"),
        ("x.txt", b"a", "x.txt: its name does not end in one of .csv, .tsv, .jsonl, .parquet"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(tmp_path, name, data, says):
    with pytest.raises(ConfigError) as caught:
        read(tmp_path / name, data)
    assert says in str(caught.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match=r"gone\.csv: No such file"):
        Rows().add(tmp_path / "gone.csv")
