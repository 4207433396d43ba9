"""What holds of letters, numbers and expressions whatever a model says around them."""

from fractions import Fraction

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from benchcore.evals.letters import LETTERS, first_letter, plain_letter, robust_letter
from benchcore.evals.numbers import (
    answer_number,
    anywhere_expression,
    equal_expressions,
    equal_numbers,
    final_expression,
    flexible_number,
    mgsm_number,
    normal_number,
    simple_evals_expression,
    strict_number,
)

pytestmark = pytest.mark.accuracy

LETTER_FORMS = [
    "Answer: {}",
    "answer: {}",
    "**Answer:** {}",
    "**Answer: {}**",
    "Answer: ({})",
    "Answer: **{}**.",
    "Answer: $\\boxed{{{}}}$",
    "Final Answer: {}",
    "The final answer is: {}",
    "$$\\boxed{{{}}}$$",
    "\\boxed{{\\text{{{}}}}}",
    "\\boxed{{\\text{{Option {}}}}}",
    "<answer>{}</answer>",
    '{{"answer": "{}"}}',
    "答案：{}",
    "【答案】{}",
    "Antwort: {}",
]
"""Answers in their form: no remark weighs as much."""
LETTER_REMARKS = [
    "While option {} is correct only in a vacuum.",
    "Option {} is wrong.",
    "{}) is what many would say.",
    "The answer is {} for others.",
    "One might choose {}.",
    "Note that ({}) and the rest do not hold.",
    "选项{}错误。",
    "No formula here.",
]
NUMBER_FORMS = [
    "Answer: {}",
    "**Answer:** {}",
    "The answer is {}.",
    "#### {}",
    "$\\boxed{{{}}}$",
    "Answer: ${}$",
    "答案：{}",
    "Respuesta: {}",
]
NUMBER_REMARKS = [
    "I checked this 3 times.",
    "(2 + 2 = 4)",
    "There were 7, 8 and 9 of them.",
    "On 1990-01-02 it was so.",
    "Nothing else.",
]
EXPRESSION_FORMS = [
    "\\boxed{{{}}}",
    "so $\\boxed{{{}}}$.",
    "Answer: {}",
    "**Answer:** ${}$",
    "Answer:\n{}",
    "#### {}",
    "答案：{}",
]
EXPRESSION_REMARKS = ["I checked it: $x = 9$.", "It is not 7.", "Done.", "As $$y^2$$ shows."]
ATOMS = st.sampled_from(["1", "23", "x", "y", "\\pi", "\\sqrt{2}", "\\frac{1}{2}", "\\text{even}"])
EXPRESSIONS = st.recursive(
    ATOMS, lambda inner: st.builds("\\frac{{{}}}{{{}}}".format, inner, inner), max_leaves=4
)
PROSE = st.lists(st.sampled_from(["Let me see.", "Hence it follows.", "", "So:"]), max_size=3)


def said(forms, values, remarks, *, first_remarks=True):
    """Texts of answers in their form among remarks, with what the last of them says."""
    form = st.tuples(st.sampled_from(forms), values)
    remark = st.lists(st.sampled_from(remarks), max_size=3)
    before = st.lists(st.one_of(form, st.tuples(st.sampled_from(remarks), values)), max_size=3)
    if not first_remarks:
        before = st.lists(form, max_size=2)
    return st.tuples(PROSE, before, form, remark, values)


def text_of(parts):
    prose, before, (form, value), remarks, other = parts
    lines = [*prose, *(shape.format(one) for shape, one in before), form.format(value)]
    return "\n".join([*lines, *(remark.format(other) for remark in remarks)]), value


# Letters.


@given(said(LETTER_FORMS, st.sampled_from("ABCD"), LETTER_REMARKS))
def test_the_last_letter_in_its_form_wins_over_all_that_is_said_after_it(parts):
    text, letter = text_of(parts)
    assert robust_letter(text) == letter


@given(st.text(), st.integers(2, 26))
def test_a_letter_is_one_of_the_choices_and_is_found_again_in_itself(text, count):
    letters = LETTERS[:count]
    found = robust_letter(text, letters)
    if found is not None:
        assert found in tuple(letters)
        assert robust_letter(found, letters) == found
    assert first_letter(text, letters) in (None, *letters, *letters.lower())


@given(st.sampled_from(LETTER_FORMS), st.sampled_from(LETTERS), st.integers(2, 26))
def test_a_letter_that_is_no_choice_is_no_answer(form, letter, count):
    letters = LETTERS[:count]
    expected = letter if letter in letters else None
    assert robust_letter(form.format(letter), letters) == expected


@given(st.sampled_from(LETTER_FORMS), st.permutations("ABCD"))
def test_reasoning_before_an_answer_is_not_the_answer(form, order):
    text = f"<think>{form.format(order[0])}</think>\n{form.format(order[1])}"
    assert robust_letter(text) == order[1]


# Numbers.


def whole(value):
    return str(value)


def with_thousands(sign):
    return lambda value: f"{value:,}".replace(",", sign)


INTEGER_FORMATS = [whole, *map(with_thousands, (",", "'", "\u2019", "\u202f", " ", "{,}"))]


@given(
    st.integers(0, 10**12),
    st.sampled_from(INTEGER_FORMATS),
    st.sampled_from(NUMBER_FORMS),
    st.lists(st.sampled_from(NUMBER_REMARKS), max_size=3),
)
def test_thousands_are_read_as_they_are_written_and_later_remarks_are_none(
    value, write, form, remarks
):
    text = "\n".join([form.format(write(value)), *remarks])
    assert answer_number(text) == str(value)


@given(st.integers(10**6, 10**12))
def test_points_between_thousands_are_german(value):
    assert answer_number(f"Antwort: {with_thousands('.')(value)}") == str(value)
    cents = f"{with_thousands('.')(value)},25"
    assert answer_number(f"Antwort: {cents}") == f"{value}.25"


@given(st.integers(1, 999), st.integers(1, 999))
def test_three_decimals_are_thousands_only_where_all_are_zero(one, decimals):
    assert answer_number(f"Answer: {one}.000") == f"{one}000"
    text = f"{one}.{decimals:03d}"
    assert Fraction(answer_number(f"Answer: {text}")) == Fraction(text)


@given(st.integers(1, 999), st.integers(1, 9), st.integers(2, 9), st.sampled_from("dt "))
def test_a_whole_number_and_a_fraction_are_one_number(number, above, below, kind):
    assume(above < below)
    expected = number + Fraction(above, below)
    command = f"\\{kind.strip()}frac"
    for written in (
        f"{number}{command}{above}{below}",
        f"{number}{command}{{{above}}}{{{below}}}",
        f"{number} {command}{{{above}}}{{{below}}}",
        f"{number} {above}/{below}",
    ):
        for form in ("Answer: {}", "$\\boxed{{{}}}$", "The answer is ${}$."):
            found = answer_number(form.format(written))
            assert found is not None
            assert Fraction(found) == expected, (form, written)


@given(said(NUMBER_FORMS, st.integers(0, 99999), NUMBER_REMARKS))
def test_the_last_number_in_its_form_wins_over_all_that_is_said_after_it(parts):
    text, value = text_of(parts)
    assert answer_number(text) == str(value)


@given(st.text(alphabet=st.sampled_from("0123456789 .,'-/$%e#\\frac{}=\n½") | st.characters()))
def test_a_number_is_found_again_in_itself(text):
    for read in (answer_number, flexible_number, strict_number):
        found = read(text)
        if found is not None:
            assert read is strict_number or read(found) == found
            assert normal_number(found) == found
            assert equal_numbers(found, found)
    assert "\n" not in mgsm_number(text, "e")


# Expressions.


@given(said(EXPRESSION_FORMS, EXPRESSIONS, EXPRESSION_REMARKS))
def test_the_last_expression_in_its_form_wins_over_all_that_is_said_after_it(parts):
    text, expression = text_of(parts)
    assert final_expression(text) == expression


@given(st.text(alphabet=st.sampled_from("\\boxed{}$Answer: 12\n()") | st.characters()))
def test_an_expression_is_found_again_in_a_box(text):
    found = final_expression(text)
    if found is not None and found.count("{") == found.count("}") == 0:
        assert final_expression(f"\\boxed{{{found}}}") == found
    assert plain_letter(text) in (None, *"ABCDabcd")


@settings(max_examples=60)
@given(
    st.text(alphabet=st.sampled_from("\\frac{}$^_()[]+-*/=12xy, .\n|&%!") | st.characters()),
    st.text(alphabet=st.sampled_from("\\frac{}$^_()[]+-*/=12xy, .\n|&%!") | st.characters()),
)
def test_no_text_at_all_raises_where_expressions_are_read_and_compared(target, found):
    assert equal_expressions(target, found) in (True, False)
    assert equal_expressions(target, target) is True
    for read in (anywhere_expression, simple_evals_expression):
        assert read(found) is None or isinstance(read(found), str)


@settings(max_examples=60)
@given(EXPRESSIONS, st.sampled_from(EXPRESSION_FORMS))
def test_an_expression_equals_itself_however_it_is_said(expression, form):
    found = final_expression(form.format(expression))
    assert equal_expressions(expression, found)
