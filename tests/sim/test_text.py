from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchcore.sim.text import (
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
    code = "from benchcore.sim.text import *; print(token_ids(pieces('the same 你好')))"
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
