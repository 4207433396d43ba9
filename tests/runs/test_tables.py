"""Columns: what is written is read back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchcore.base.errors import ConfigError
from benchcore.runs.tables import FLAG, NUMBER, SECONDS, TEXT, WHOLE, Column, Table

TABLE = Table(
    [
        Column("text", TEXT, lambda row: row[0]),
        Column("whole", WHOLE, lambda row: row[1]),
        Column("flag", FLAG, lambda row: row[2]),
        Column("seconds", SECONDS, lambda row: row[3]),
        Column("number", NUMBER, lambda row: row[4]),
        Column("beside", TEXT, lambda row: "x", csv=False),
    ]
)
numbers = st.floats(allow_nan=False, allow_infinity=False)
rows = st.tuples(
    st.none() | st.text(min_size=1).filter(lambda text: text.split()),
    st.none() | st.integers(),
    st.none() | st.booleans(),
    st.none() | st.integers(0, 10**13).map(lambda ns: ns / 10**9),
    st.none() | st.integers() | numbers,
)


def read_back(path, data):
    path.write_bytes(TABLE.head() + data)
    return [[TABLE.read(*cell) for cell in row.items()] for row in TABLE.cells(path)]


@given(rows=st.lists(rows, max_size=5))
def test_what_is_read_is_written_again_byte_for_byte(tmp_path_factory, rows):
    path = tmp_path_factory.getbasetemp() / "table.csv"
    data = TABLE.lines(rows)
    assert TABLE.written(read_back(path, data)) == data


@pytest.mark.parametrize(
    "row",
    [
        ("=1+1", 7, True, 0.123456789, 0.25),
        ("'quoted'", 0, False, 0.0, -3),
        ("a,b", -1, None, 12.5, 1e21),
        ("-0", 0, False, 0.5, -0.0),
        (None, None, None, None, None),
    ],
)
def test_values_are_those_that_were_written(tmp_path, row):
    (found,) = read_back(tmp_path / "table.csv", TABLE.lines([row]))
    assert tuple(found) == row
    assert TABLE.values(row) == dict(zip(TABLE.names, row, strict=True)) | {"beside": "x"}


def test_a_last_line_that_was_cut_is_passed_over(tmp_path):
    data = TABLE.lines([("a", 1, True, 0.5, 2), ("b", 2, True, 0.5, 2)])
    assert read_back(tmp_path / "table.csv", data[:-20]) == [["a", 1, True, 0.5, 2]]


def test_a_column_that_is_needed_is_named(tmp_path):
    path = tmp_path / "table.csv"
    path.write_bytes(TABLE.head())
    with pytest.raises(ConfigError, match=f"{path}: has no column gone"):
        list(TABLE.cells(path, ("whole", "gone")))
