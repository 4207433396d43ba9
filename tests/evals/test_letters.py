from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from benchcore.evals.letters import first_letter, plain_letter, robust_letter
from benchcore.evals.sampling import without_reasoning

FORMS = yaml.safe_load((Path(__file__).parent / "answers.yaml").read_text(encoding="utf-8"))


def test_there_are_at_least_eighty_forms_and_no_two_alike():
    assert len(FORMS) >= 80
    assert len({(form["text"], form.get("letters")) for form in FORMS}) == len(FORMS)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: repr(form["text"][-40:]))
def test_a_form_gives_what_both_extractions_must_say(form):
    letters = form.get("letters", "ABCD")
    found = (first_letter(form["text"], letters), robust_letter(form["text"], letters))
    assert found == (form["simple"], form["robust"])


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("**Answer:** B", "B"),
        (r"Answer: $\boxed{C}$", "C"),
        (r"Answer: \(D\)", "D"),
        (r"Answer: $\text{A}$", "A"),
        ("Answer: **C**", "C"),
        ("الإجابة: ب", "B"),
        ("উত্তর: ঢ", "D"),
        ("答案：Ｃ", "C"),
        ("답: A", "A"),
        ("Antwort: B", "B"),
        # The English word goes first, wherever it stands.
        ("Antwort: B\nAnswer: C", "C"),
        ("answer: b", "b"),
        ("Answer: E", None),
        ("B", None),
    ],
)
def test_simple_evals_rule_for_mmlu(text, letter):
    assert plain_letter(text) == letter


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("plain", "plain"),
        ("<think>a</think> b", "b"),
        ("a</think> b", "b"),
        ("<think>a", ""),
        ("x <think>a</think> y", "x  y"),
        ("<THINK>a</THINK>b<think>c</think>d", "d"),
        ("<reasoning>a</reasoning>b <thinking>c", "b"),
        ("◁think▷a◁/think▷b", "b"),
        ("a < b and b > a", "a < b and b > a"),
        ("", ""),
    ],
)
def test_reasoning_is_taken_out(text, left):
    assert without_reasoning(text) == left


@given(
    st.text(
        alphabet=st.sampled_from("ABCDabcd ()[]{}*$\\:.\n,answerisboxed答案选") | st.characters()
    )
)
def test_any_text_gives_a_letter_or_none(text):
    assert robust_letter(text) in (None, "A", "B", "C", "D")
    assert first_letter(text) in (None, *"ABCDabcd")
    assert plain_letter(text) in (None, *"ABCDabcd")


@pytest.mark.parametrize(
    "piece",
    [
        "answer ",
        "(",
        "\\boxed{",
        "answer is ",
        " ",
        "A) ",
        "**",
        "the ",
        "选",
        "\n",
        "A",
        "- ",
        "\\text{",
    ],
)
def test_a_long_text_of_one_piece_is_read_to_its_end(piece):
    # A pattern that steps back over what it has read would not come to an end here.
    assert robust_letter(piece * (60_000 // len(piece)) + "\nAnswer: C") == "C"
