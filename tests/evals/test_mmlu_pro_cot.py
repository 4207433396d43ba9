"""MMLU-Pro by its published protocol: what is asked, and where the letter is found."""

import re

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchcore.base.errors import ConfigError
from benchcore.config.evals import EvalConfig
from benchcore.evals.run import plan_eval
from benchcore.evals.task import Question, find_task
from benchcore.evals.tasks.multiple_choice import published_letter


def row(number, field, options=("one", "two", "N/A"), **more):
    return {
        "question_id": number,
        "question": f"Question {number}?",
        "options": list(options),
        "answer": "B",
        "category": field,
        **more,
    }


def solved(field, count=5):
    return [
        row(n, field, cot_content=f"A: Let's think step by step. {field} {n}. The answer is (B).")
        for n in range(count)
    ]


async def planned(tmp_path, rows, shots, **fields):
    files = []
    for name, found in (("test.jsonl", rows), ("shots.jsonl", shots)):
        files.append(tmp_path / name)
        files[-1].write_bytes(b"\n".join(orjson.dumps(one) for one in found))
    return await plan_eval("mmlu_pro_cot", EvalConfig(**fields), *map(str, files))


async def test_five_solved_questions_of_the_field_stand_before_each_in_one_turn(tmp_path):
    shots = [one for pair in zip(solved("law", 6), solved("math", 6), strict=True) for one in pair]
    plan = await planned(tmp_path, [row(70, "math"), row(71, "law")], shots)
    listed = "Options: A. one\nB. two\n"
    expected = (
        "The following are multiple choice questions (with answers) about math. Think step by step "
        'and then output the answer in the format of "The answer is (X)" at the end.\n\n'
        + "".join(
            f"Question: Question {n}?\n{listed}Answer: Let's think step by step. math {n}. "
            "The answer is (B).\n\n"
            for n in range(5)
        )
        + f"Question: Question 70?\n{listed}Answer: Let's think step by step.\n\n"
    )
    first, second = plan.questions
    assert first.messages(None) == [{"role": "user", "content": expected}]
    assert first.plain(None) == expected
    assert "about law." in second.text
    assert "math" not in second.text
    assert (first.target, first.facts, first.group) == ("B", {"choices": 2, "id": 70}, "math")
    assert plan.config.few_shot == 5
    assert plan.data.few_shot_files[0]["rows"] == 12


async def test_fewer_solved_questions_may_be_asked_for_and_missing_ones_are_told(tmp_path):
    plan = await planned(tmp_path, [row(70, "math")], solved("math"), few_shot=2)
    assert plan.questions[0].text.count("The answer is (B).") == 2
    with pytest.raises(ConfigError, match="few-shot 5: there are 3 solved questions of 'math'"):
        await planned(tmp_path, [row(70, "math")], solved("math", 3))
    with pytest.raises(ConfigError, match="row 1: there is no solved question of its field, 'law'"):
        await planned(tmp_path, [row(70, "law")], solved("math"))


async def test_the_validation_split_is_taken_from_the_folder_of_the_questions(tmp_path):
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    for name, rows in (("test", [row(70, "math")]), ("validation", solved("math"))):
        parquet.write_table(pa.Table.from_pylist(rows), tmp_path / f"mmlu_pro_{name}.parquet")
    plan = await plan_eval("mmlu_pro_cot", EvalConfig(), str(tmp_path))
    assert plan.questions[0].text.count("The answer is (B).") == 5
    assert [one["url"] for one in plan.data.few_shot_files] == [None]


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("So the answer is (C).", "C"),
        ("The answer is D because the answer is (E).", "D"),
        ("The **answer is (F)**.", "F"),
        ("The answer is K, that is Answer: B", "B"),
        ("the answer is (j)", None),
        ("answer: A or Answer: B\nAnswer: C", "B"),
        ("Answer:\n  G", "G"),
        ("Answer:Answer:B", "B"),
        ("ANSWER: G and then H", "H"),
        ("Plan B, and so E is right.", "E"),
        ("I cannot say.", "I"),
        ("BAD", None),
        ("", None),
    ],
)
def test_the_letter_is_found_where_the_published_rule_finds_it(text, letter):
    assert published_letter(text) == letter


def by_the_rule(text):
    """The published rule, said once more by regular expressions that look at all of the text."""
    text = text.replace("**", "")
    for pattern, flags in (
        (r"answer is \(?([A-J])\)?", 0),
        (r".*[aA]nswer:\s*([A-J])", 0),
        (r"\b([A-J])\b(?!.*\b[A-J]\b)", re.DOTALL),
    ):
        found = re.search(pattern, text, flags)
        if found:
            return found[1]
    return None


PIECES = ["answer is ", "Answer:", "answer: ", "(", ")", "A", "B", "J", "K", " ", "\n", "**", "x."]


@given(st.lists(st.sampled_from(PIECES), max_size=20).map("".join))
def test_it_is_the_published_rule(text):
    assert published_letter(text) == by_the_rule(text)


@given(st.text())
def test_no_text_at_all_raises(text):
    assert published_letter(text) == by_the_rule(text)


def test_an_answer_without_a_letter_is_no_answer_and_a_guess_in_the_published_figure():
    task = find_task("mmlu_pro_cot")
    guessed = {}
    for letter in "ABCDEFGHIJ":
        question = Question(0, "k", 0, "?", letter, facts={"choices": 10})
        found = task.judge(question, "nothing to say", EvalConfig())
        assert (found.score, found.answered, found.extracted) == (0.0, False, None)
        guessed[letter] = found.details["published"]
    # random.seed(12345); random.randint(0, 9) is 6 in CPython.
    assert [letter for letter, hit in guessed.items() if hit] == ["G"]
    question = Question(0, "k", 0, "?", "C", facts={"choices": 10})
    found = task.judge(
        question, "<think>The answer is (A).</think>The answer is (C).", EvalConfig()
    )
    assert (found.score, found.extracted, found.details) == (1.0, "C", {"published": True})
