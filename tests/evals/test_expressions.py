import sys
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchcore.base.errors import ConfigError
from benchcore.evals.numbers import (
    equal_expressions,
    final_expression,
    needs_math_verify,
    simple_evals_expression,
)


@pytest.mark.parametrize(
    ("text", "robust", "simple"),
    [
        (r"so \boxed{\frac{1}{2}}.", r"\frac{1}{2}", None),
        (r"\boxed{1}, no: \boxed{2}", "2", None),
        (r"\fbox{7}", "7", None),
        (r"\boxed{\text{a}_{b_{c}}}", r"\text{a}_{b_{c}}", None),
        (r"\boxed{", None, None),
        (r"\boxed{}", None, None),
        ("**Answer:** $5$", "5", "** $5$"),
        ("Answer: 5.", "5", "5."),
        ("Answer: $5$", "5", "$5$"),
        ("Answer: \\(x=2\\)", "x=2", "\\(x=2\\)"),
        ("Answer: $$x=2$$", "x=2", "$$x=2$$"),
        (r"\boxed{1} then Answer: 7", "7", "7"),
        (r"Answer: 7, or \boxed{1}", "1", r"7, or \boxed{1}"),
        (r"Answer: $\boxed{4}$", "4", r"$\boxed{4}$"),
        ("Answer: 1\nAnswer: 2", "2", "1"),
        ("Answer:\n3", "3", "3"),
        ("answer: 3", "3", "3"),
        (r"<think>\boxed{1}</think>\boxed{2}", "2", None),
        ("nothing", None, None),
        ("", None, None),
    ],
)
def test_where_the_expression_is(text, robust, simple):
    assert (final_expression(text), simple_evals_expression(text)) == (robust, simple)


@pytest.mark.parametrize(
    ("target", "found", "equal"),
    [
        (r"\frac{1}{2}", "0.5", True),
        (r"\dfrac12", r"\frac{1}{2}", True),
        (r"\frac{2}{4}", r"\frac{1}{2}", True),
        (r"-\frac{2}{3}", r"\frac{-2}{3}", True),
        ("2x+3", "3+2x", True),
        ("x^2+2x+1", "(x+1)^2", True),
        ("x^2+2x+1", "y^2+2y+1", False),
        ("(1,2)", "(1, 2)", True),
        ("(1,2)", "(2,1)", False),
        (r"10\%", "0.1", True),
        (r"90^\circ", "90", True),
        (r"\text{even}", "even", True),
        (r"\text{(C)}", r"\text{(C)}", True),
        ("[0,1)", "[0,1)", True),
        ("[0,1)", "[0,1]", False),
        (r"(-\infty, 2)", r"(-\infty,2)", True),
        (r"[1,2] \cup [3,4]", r"[3,4]\cup[1,2]", True),
        (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", True),
        (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{pmatrix} 2 \\ 1 \end{pmatrix}", False),
        (r"5\text{ cm}", "5", True),
        ("5", r"5\text{ square feet}", True),
        ("x=5", "5", True),
        ("5", "x = 5", True),
        (r"\frac{6566}{2}", "3283", True),
        (r"\sqrt{8}", r"2\sqrt{2}", True),
        (r"\sqrt{2}", "1.41", False),
        ("1,2,3", "3,2,1", True),
        ("1,2,3", "1,2", False),
        (r"\pi", "3.14", False),
        ("2\\pi", r"\pi \cdot 2", True),
        (r"11,\!111", "11111", True),
        ("11,111", "11111", True),
        ("2^{10}", "1024", True),
        ("3", "4", False),
        ("3", "", False),
        ("3", "three", False),
        ("$3$", "3", True),
        ("3", "3.0", True),
        ("6+9i", "9i+6", True),
        (r"\frac{\pi}{3}", r"\pi/3", True),
        ("3", "x" * 5000, False),
        ("3", "9^{9^{9^{9}}}", False),
        ("y = 2x + 1", "y=2x+1", True),
    ],
)
def test_expressions_are_compared_by_what_they_mean(target, found, equal, capfd):
    assert equal_expressions(target, found) is equal
    assert capfd.readouterr().err == ""


def test_beside_the_main_thread_there_is_no_alarm_and_nothing_that_needs_one():
    found = []

    def compare():
        found.append(equal_expressions(r"\frac12", "0.5"))
        found.append(equal_expressions("3", "9^{9^{9^{9}}}"))
        found.append(equal_expressions("3", "2^{2^{2^{2^{2^2}}}}"))
        found.append(equal_expressions("3", "99999!"))

    thread = threading.Thread(target=compare)
    thread.start()
    thread.join(timeout=600)
    assert found == [True, False, False, False]


def test_without_math_verify_an_eval_does_not_begin(monkeypatch):
    needs_math_verify()
    monkeypatch.setitem(sys.modules, "math_verify", None)
    with pytest.raises(ConfigError, match=r"pip install 'benchcore-llm\[math\]'"):
        needs_math_verify()


@given(st.text(alphabet=st.sampled_from("\\boxed{}$Answer: 12\n()") | st.characters()))
def test_any_text_has_an_expression_or_none(text):
    for read in (final_expression, simple_evals_expression):
        found = read(text)
        assert found is None or found
