import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchcore.workload.families import (
    ASK_WORD,
    LessonPack,
    MemoryChat,
    SearchQA,
    cites_well,
    is_lesson,
    remembers,
)


@pytest.mark.parametrize(
    ("answer", "wrong"),
    [
        ("It rains [1]. It pours [3].\nSources: [1], [3]", ""),
        ("It rains [1][3].\n\n**Sources:** 1, 3\n", ""),
        ("It rains [1].", "has no line of sources"),
        ("It rains.\nSources: [1]", "cites no source"),
        ("It rains [4].\nSources: [4]", "cites a source that there is not"),
        ("It rains [0].\nSources: [0]", "cites a source that there is not"),
        ("It rains [1].\nSources: [1], [2]", "lists a source that it does not use"),
        ("It rains [1], pours [2].\nSources: [1]", "uses a source that it does not list"),
        ("", "has no line of sources"),
    ],
)
def test_citations_are_of_sources_that_exist_and_are_listed(answer, wrong):
    assert cites_well(answer, sources=3) == wrong


@given(st.sets(st.integers(1, 9), min_size=1), st.integers(1, 9))
def test_any_set_of_citations_that_is_listed_is_good_and_nothing_else(cited, left_out):
    text = " ".join(f"So [{n}]." for n in sorted(cited))
    listed = ", ".join(f"[{n}]" for n in sorted(cited))
    assert cites_well(f"{text}\nSources: {listed}", sources=9) == ""
    if left_out in cited:
        less = ", ".join(f"[{n}]" for n in sorted(cited - {left_out}))
        assert cites_well(f"{text}\nSources: {less}", sources=9) != ""
    else:
        assert cites_well(f"{text}\nSources: {listed}, [{left_out}]", sources=9) != ""


LESSON = """\
# Tides

## Why
The moon pulls.
- it is near
- it is heavy

## When
Twice a day.
1. in the morning
2. in the evening

## Summary
So it is.
"""


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        (("", ""), ""),
        (("# Tides\n", "# Tides\n```\n# not a heading\n```\n"), ""),
        (("# Tides\n", "Sure!\n# Tides\n"), "does not begin with its title"),
        (("# Tides\n", "## Tides\n"), "does not begin with its title"),
        (("## When", "# When"), "has several titles"),
        (("## When", "### When"), "has not as many sections as asked for"),
        (("## Summary", "## The end"), "does not end with its summary"),
        (("So it is.\n", ""), "has an empty section"),
        (("2. in the evening\n", ""), "has a section without its list"),
        (("So it is.", "```"), "has a fence of code that is not closed"),
    ],
)
def test_a_lesson_has_its_structure(change, wrong):
    assert is_lesson(LESSON.replace(*change), sections=3) == wrong


def test_an_empty_answer_is_no_lesson():
    assert is_lesson("", sections=3) == "does not begin with its title"


def test_a_code_word_is_remembered_in_whatever_case():
    assert remembers("It is JUNIPER.", word="juniper") == ""
    assert remembers("I do not know.", word="juniper") == "does not remember the code word"


def test_a_question_has_as_many_sources_as_its_judge_knows():
    for session in itertools.islice(SearchQA(sources="uniform:2:5").sessions("c1"), 30):
        (turn,) = session.turns
        count = sum(f"\n[{n}] " in turn.ask.text for n in range(1, 10))
        assert turn.judge.keywords == {"sources": count}
        assert turn.judge(f"So [{count}].\nSources: [{count}]") == ""
        assert turn.judge(f"So [{count + 1}].\nSources: [{count + 1}]") != ""


def test_a_lesson_is_asked_for_with_the_sections_of_its_judge():
    for session in itertools.islice(LessonPack(sections=4).sessions("c1"), 5):
        (turn,) = session.turns
        assert "exactly 4 sections" in turn.ask.text
        assert turn.judge.keywords == {"sections": 4}


def test_a_conversation_asks_for_the_word_of_its_beginning_at_its_end():
    for session in itertools.islice(MemoryChat(turns=4, think_time=1).sessions("c1"), 10):
        first, *_, last = session.turns
        word = last.judge.keywords["word"]
        assert f"The code word is {word}." in first.ask.text
        assert last.ask.text == ASK_WORD
        assert [turn.judge is None for turn in session.turns] == [True] * 3 + [False]
        assert [turn.wait_ns for turn in session.turns] == [0] + [10**9] * 3
        assert [turn.follows for turn in session.turns] == [None, 0, 1, 2]
