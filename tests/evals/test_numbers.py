from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchcore.evals.numbers import (
    answer_number,
    equal_numbers,
    flexible_number,
    mgsm_equal,
    mgsm_number,
    normal_number,
    strict_number,
)


@pytest.mark.parametrize(
    ("text", "strict", "flexible", "robust"),
    [
        ("#### 42", "42", "42", "42"),
        ("It is 7.\n#### 1,234", "1234", "1234", "1234"),
        ("#### -5", "-5", "-5", "-5"),
        ("#### $18", None, "18", "18"),
        ("####42", None, "42", "42"),
        ("#### 1\n#### 2", "1", "2", "2"),
        ("#### 18.00", "18", "18", "18"),
        ("#### 5.", "5", "5", "5"),
        ("The answer is 5. I checked 3 times.", None, "3", "5"),
        ("The total is $1,234.50.", None, "1234.5", "1234.5"),
        ("**Answer:** 18 apples", None, "18", "18"),
        ("Answer: 3 × 4 = 12", None, "12", "12"),
        ("Answer: 12 (that is 3 × 4)", None, "4", "12"),
        (r"\boxed{18}", None, "18", "18"),
        (r"so $\boxed{\$18}$ and 3 left", None, "3", "18"),
        (r"\boxed{1{,}234}", None, "1234", "1234"),
        (r"\boxed{\text{18 dollars}}", None, "18", "18"),
        (r"\boxed{\frac{3}{4}}", None, "0.75", "0.75"),
        ("Answer: 5\n\n\\boxed{6}", None, "6", "6"),
        ("\\boxed{6} so Answer: 5", None, "5", "5"),
        ("so 1 234 in all", None, "1234", "1234"),
        ("It is 50%.", None, "50", "50"),
        ("3/4 of it", None, "0.75", "0.75"),
        ("1/3", None, "1/3", "1/3"),
        ("1/0", None, None, None),
        ("minus five: −5", None, "-5", "-5"),
        ("10-5=5", None, "5", "5"),
        ("1.2e3", None, "1200", "1200"),
        ("0.10", None, "0.1", "0.1"),
        ("１２", None, "12", "12"),
        ("১২", None, "12", "12"),
        ("答案是 12", None, "12", "12"),
        ("答案：12。对了 3 遍", None, "3", "12"),
        ("উত্তর: ১২", None, "12", "12"),
        ("He has 7, 8, 9", None, "9", "9"),
        ("<think>#### 5</think>7", "5", "7", "7"),
        ("x2 and A4", None, None, None),
        ("version 1.2.3", None, "1.2", "1.2"),
        (r"\boxed{\frac34}", None, "0.75", "0.75"),
        (r"The answer is \dfrac12", None, "0.5", "0.5"),
        ("Answer: 2½", None, "2.5", "2.5"),
        ("⅓ of it", None, "1/3", "1/3"),
        ("none", None, None, None),
        ("", None, None, None),
        ("-0", None, "0", "0"),
        ("Answer: half", None, None, None),
        ("Respuesta: 1.5", None, "1.5", "1.5"),
    ],
)
def test_numbers_in_texts(text, strict, flexible, robust):
    assert (strict_number(text), flexible_number(text), answer_number(text)) == (
        strict,
        flexible,
        robust,
    )


@pytest.mark.parametrize(
    ("text", "prefix", "number"),
    [
        ("Antwort: 12", "Antwort", "12"),
        ("Antwort: 1,234.", "Antwort", "1234"),
        ("Antwort: 3 mal 4 ist 12.50", "Antwort", "12.50"),
        ("Antwort: 1\nAntwort: 2", "Antwort", "2"),
        ("12", "Antwort", ""),
        ("Antwort: keine", "Antwort", ""),
        ("答案: -5", "答案", "5"),
    ],
)
def test_simple_evals_rule_for_mgsm(text, prefix, number):
    assert mgsm_number(text, prefix) == number


@pytest.mark.parametrize(
    ("target", "given_number", "equal"),
    [("12", "12", True), ("1,234", "1234", True), ("12", "12.00", True), ("12", "12.50", False)],
)
def test_simple_evals_comparison_for_mgsm(target, given_number, equal):
    assert mgsm_equal(target, given_number) is equal


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("1,200", "1200"),
        ("$1,200.", "1200"),
        ("+5", "5"),
        ("-5.50", "-5.5"),
        ("2/4", "0.5"),
        ("2/3", "2/3"),
        ("100", "100"),
        ("0", "0"),
        (".5", "0.5"),
        ("12 apples", None),
        ("a", None),
        ("", None),
        ("9" * 500, None),
    ],
)
def test_plain_forms(text, plain):
    assert normal_number(text) == plain


def test_numbers_are_compared_exactly():
    assert equal_numbers("0.5", "1/2")
    assert equal_numbers("1,000", "1000.0")
    assert not equal_numbers("0.333", "1/3")
    assert not equal_numbers("five", "five")


@given(st.fractions(max_denominator=10**6))
def test_a_plain_form_is_the_same_number(value):
    plain = normal_number(f"{value.numerator}/{value.denominator}")
    assert Fraction(plain) == value
    assert normal_number(plain) == plain


@given(st.text(alphabet=st.sampled_from("0123456789 .,-/$%e#\\boxed{}=\n") | st.characters()))
def test_any_text_gives_a_number_or_none(text):
    for read in (strict_number, flexible_number, answer_number):
        found = read(text)
        assert found is None or normal_number(found) == found


@pytest.mark.parametrize(
    "piece", ["1 ", "1,", "(", "answer ", "####", "\\boxed{", "1/", "-", " ", "1 234 "]
)
def test_a_long_text_of_one_piece_is_read_to_its_end(piece):
    assert answer_number(piece * (60_000 // len(piece)) + "\nAnswer: 42") == "42"
