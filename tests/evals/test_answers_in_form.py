"""Where an answer stands: forms that were missed once, and their siblings."""

import pytest

from benchcore.config.evals import EvalConfig
from benchcore.evals.letters import robust_letter
from benchcore.evals.numbers import (
    answer_number,
    anywhere_expression,
    equal_expressions,
    final_expression,
)
from benchcore.evals.sampling import guessed, without_reasoning
from benchcore.evals.task import find_task


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("Answer: B\n\nwhile option A is correct only in a vacuum", "B"),
        ("\\boxed{B} though option A is the correct choice elsewhere", "B"),
        ("Answer: B, while the answer is A for others", "B"),
        ("Answer: A\nNo. Answer: B", "B"),
        ("<answer>B</answer>", "B"),
        ("<answer>\n(B)\n</answer>", "B"),
        ("<final_answer>D</final_answer>", "D"),
        ('{"answer": "B"}', "B"),
        ("{'answer': 'b'}", "B"),
        ('```json\n{"reasoning": "x", "final_answer": "C"}\n```', "C"),
        ("【答案】B", "B"),
        ("【答案】：C", "C"),
        ("选项B正确", "B"),
        ("选项 C 是正确的", "C"),
        ("答案：B。选项A是错误的", "B"),
        ("\\boxed{\\text{Option B}}", "B"),
        ("\\boxed{\\textbf{(C) } 5}", "C"),
        ("The `<think>` tag opens reasoning. Answer: B", "B"),
        ("The <think> tag opens reasoning.\nAnswer: B", "B"),
        ("<seed:think>Answer: A", None),
        ("<|channel|>analysis<|message|>Answer: A", None),
        (
            (
                "<|channel|>analysis<|message|>A?<|end|><|start|>assistant<|channel|>final<|message|>"
                "Answer: B<|return|>"
            ),
            "B",
        ),
    ],
)
def test_the_last_answer_in_its_form_goes_before_any_remark(text, letter):
    assert robust_letter(text) == letter


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("Answer: 10 (where n = 2)", "10"),
        ("Answer: 3 × 4 = 12", "12"),
        ("Answer: 12 = 3 × 4", "12"),
        ("Answer: x = 5, since y = 6", "5"),
        ("The answer is 60 minutes = 1 hour", "60"),
        ("Answer: 5 + 3 = 8", "8"),
        ("#### 1.000", "1000"),
        ("#### 1.000.000", "1000000"),
        ("#### 0.125", "0.125"),
        ("#### 1'000", "1000"),
        ("#### 1\u2019000", "1000"),
        ("Answer: 1.234,50 €", "1234.5"),
        ("\\boxed{2\\frac12}", "2.5"),
        ("2\\dfrac{1}{2}", "2.5"),
        ("Answer: -2\\frac12", "-2.5"),
        ("Answer: 2 1/2 cups", "2.5"),
    ],
)
def test_a_number_is_what_is_said_and_not_what_explains_it(text, number):
    assert answer_number(text) == number


@pytest.mark.parametrize(
    "text",
    [
        "Answer:\n5", "**Answer:**\n\n$5$", "#### 5", "答案：5", "Answer:\n\\[\n5\n\\]",
        "**Final Answer**: 5", "So we get $x = 5$.", "The answer is 5", "Answer: It is $5$.",
    ],
)  # fmt: skip
def test_an_expression_is_found_in_every_usual_form(text):
    found = final_expression(text) or anywhere_expression(text)
    assert found is not None
    assert equal_expressions("5", found)


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ("[THINK]a[/THINK]b", "b"),
        ("a</seed:think>b", "b"),
        ("analysisWe think.assistantfinalIt is 5.", "It is 5."),
        ("analysisWe think", ""),
        ("Use <think> and go on.", "Use <think> and go on."),
        ("Close it with `</think>`. Done.", "Close it with `</think>`. Done."),
    ],
)
def test_reasoning_is_known_in_its_forms_and_a_tag_that_is_spoken_of_is_none(text, rest):
    assert without_reasoning(text) == rest


@pytest.mark.parametrize(
    ("text", "guess"),
    [
        ("Maybe the answer is B, let me check", True),
        ("thinking</think>The answer is B", False),
        ("Answer: B\n\nThis is since", False),
    ],
)
def test_what_stands_in_cut_thinking_is_a_guess(text, guess):
    assert guessed(text, find_task("mmlu"), EvalConfig()) is guess
