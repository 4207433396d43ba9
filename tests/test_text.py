"""Strings of strangers: bounded, printable, and no formula."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchcore.base.errors import ConfigError
from benchcore.base.files import read_json
from benchcore.base.secrets import masked_text
from benchcore.base.text import LONGEST, cell, harmless, harmless_json, printable, visible

NASTY = "\x1b]0;pwned\x07\x1b[2Jred\u202e\x00\ud800"


def test_what_a_terminal_would_obey_is_replaced():
    assert harmless(NASTY) == "�]0;pwned��[2Jred���"
    assert printable("é 中 😀") == "é 中 😀"


def test_lines_become_one():
    assert harmless("a\r\n b\t\tc\n") == "a b c"


@pytest.mark.parametrize("length", [301, 5_000, 65_536, 65_537, 10_000_000])
def test_what_is_longer_ends_in_its_length(length):
    found = harmless("x" * length)
    note = f"… ({length:,} characters)"
    assert found == "x" * (LONGEST - len(note)) + note
    assert len(found) == LONGEST
    assert harmless("x" * 300) == "x" * 300


@given(st.text(max_size=2_000) | st.text("\x1b ab", min_size=290, max_size=310))
def test_the_result_is_one_bounded_printable_line(text):
    found = harmless(text)
    assert len(found) <= LONGEST
    assert found.isprintable()


@given(
    st.integers(0, 70_000),
    st.integers(0, 400),
    st.sampled_from([" ", ".", "\n", "\x1b"]),
)
def test_a_secret_is_masked_before_the_text_is_cut(before, after, filler):
    key = "sk-0123456789abcdef"
    text = filler * before + key + "." * after
    found = harmless(text, lambda said: masked_text(said, [key]))
    assert not any(key[:size] in found for size in range(4, len(key) + 1))


@pytest.mark.parametrize(
    "text", ["=1+1", "+1", "-1", "@SUM(A1)", " \t=cmd|' /C calc'!A0", "\r\n@x"]
)
def test_a_cell_is_no_formula(text):
    found = cell(text)
    assert found == "'" + " ".join(text.split())


@pytest.mark.parametrize("text", ["", "a=b", "1-2", "stop", "c8", "e@x"])
def test_other_cells_are_as_they_are(text):
    assert cell(text) == text


@given(st.text())
def test_a_body_made_visible_is_printable_and_the_same_json(text):
    body = json.dumps({"said": text}, ensure_ascii=False)
    shown = visible(body)
    assert all(char.isprintable() for char in shown if char not in "\n\t")
    assert json.loads(shown) == {"said": text}


def test_json_of_strangers_has_nothing_in_it_that_is_obeyed():
    found = harmless_json({"a\x1b": ["b\x07", "two\nlines", 1, None, True, {"c": "\u202e"}]})
    assert found == {"a�": ["b�", "two\nlines", 1, None, True, {"c": "�"}]}


def test_a_file_of_json_is_read_harmless_and_bounded_in_depth(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"name": "\x1b[2J"}))
    assert read_json(path) == {"name": "�[2J"}
    path.write_text("[" * 1_020 + "]" * 1_020)
    with pytest.raises(ConfigError, match=r"a\.json: is nested more deeply"):
        read_json(path)
