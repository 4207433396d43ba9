"""Orders and permutations: simple-evals', known value by known value."""

import random

import pytest

from benchcore.base.errors import ConfigError
from benchcore.config.evals import EvalConfig
from benchcore.evals.task import find_task

ROWS = [
    {
        "Record ID": f"r{number}",
        "Question": f"Question {number}?",
        "Correct Answer": f"right {number}",
        "Incorrect Answer 1": f"one {number}",
        "Incorrect Answer 2": f"two {number}",
        "Incorrect Answer 3": f"three {number}",
    }
    for number in range(198)
]


def permutations(questions):
    return [question.facts["permutation"] for question in questions]


def test_the_first_permutations_are_those_of_simple_evals():
    questions = find_task("gpqa").questions(ROWS, EvalConfig())
    assert permutations(questions[:4]) == [[3, 1, 0, 2], [3, 1, 2, 0], [2, 3, 0, 1], [2, 0, 3, 1]]
    assert len(questions) == 4 * 198
    # The generator goes on: a repeat has permutations of its own.
    draw = random.Random(0)
    assert permutations(questions) == [draw.sample(range(4), 4) for _ in range(4 * 198)]


def test_ten_of_198_are_the_rows_that_simple_evals_draws():
    questions = find_task("gpqa").questions(ROWS, EvalConfig(limit=10))
    assert [question.facts["id"] for question in questions[:5]] == [
        "r98",
        "r194",
        "r107",
        "r10",
        "r66",
    ]
    assert questions[0].facts["permutation"] == [2, 3, 0, 1]
    assert len(questions) == 10


def test_a_permutation_says_which_choice_stands_where():
    question = find_task("gpqa").questions(ROWS, EvalConfig())[0]
    assert question.text.endswith("Question 0?\n\nA) three 0\nB) one 0\nC) right 0\nD) two 0")
    assert question.target == "C"


def test_a_question_has_one_key_in_every_repeat_and_every_order():
    task = find_task("gpqa")
    all_of_them = task.questions(ROWS, EvalConfig(n_repeats=2))
    some = task.questions(ROWS, EvalConfig(limit=3))
    assert [one.key for one in all_of_them[:198]] == [one.key for one in all_of_them[198:]]
    assert len({one.key for one in all_of_them}) == 198
    assert {one.key for one in some} <= {one.key for one in all_of_them}
    assert [one.index for one in all_of_them] == list(range(396))
    assert [one.repeat for one in all_of_them] == [0] * 198 + [1] * 198


def test_the_same_text_twice_is_two_questions():
    questions = find_task("gpqa").questions([ROWS[0], ROWS[1], ROWS[0]], EvalConfig(n_repeats=2))
    keys = [question.key for question in questions]
    assert keys[:3] == keys[3:]
    assert keys[2] == f"{keys[0]}-2"


def test_mmlu_draws_its_rows_and_keeps_the_order_of_its_choices():
    rows = [
        {"Question": f"Q{n}", "A": "a", "B": "b", "C": "c", "D": "d", "Answer": "B", "Subject": "s"}
        for n in range(50)
    ]
    questions = find_task("mmlu").questions(rows, EvalConfig(limit=5))
    drawn = random.Random(0).sample(range(50), 5)
    assert [question.text.split("\n\n")[1] for question in questions] == [f"Q{n}" for n in drawn]
    assert questions[0].text.endswith("A) a\nB) b\nC) c\nD) d")
    assert {question.target for question in questions} == {"B"}


def test_mgsm_takes_as_many_rows_as_the_limit_says_from_each_language_in_turn():
    rows = [
        {"group": name, "question": f"{name}{n}", "answer": "1"}
        for name in ("zh", "de")
        for n in range(9)
    ]
    questions = find_task("mgsm").questions(rows, EvalConfig(limit=2))
    assert [question.text.rpartition("\n\n")[2] for question in questions] == [
        "de0",
        "zh0",
    ]
    each = find_task("mgsm").questions(rows, EvalConfig(limit=2, extraction="simple-evals"))
    assert [question.group for question in each] == ["de", "de", "zh", "zh"]
    only = find_task("mgsm").questions(rows, EvalConfig(limit=2, variant="zh"))
    assert [question.group for question in only] == ["zh", "zh"]


@pytest.mark.parametrize("name", ["gsm8k", "mmlu_pro", "ifeval"])
async def test_the_others_take_the_first_rows(asked, name):
    _, _, every = await asked(name)
    _, _, first = await asked(name, limit=3)
    assert [one.key for one in first] == [one.key for one in every[:3]]


def test_a_limit_with_repeats_is_refused_in_simple_evals_mode():
    with pytest.raises(ValueError, match="in simple-evals mode limit needs n_repeats 1"):
        EvalConfig(extraction="simple-evals", limit=10, n_repeats=2)
    assert EvalConfig(extraction="robust", limit=10, n_repeats=2).n_repeats == 2


@pytest.mark.parametrize(
    ("name", "row", "says"),
    [
        ("gpqa", {"Question": "?"}, "row 1 has no column 'Correct Answer'; it has Question"),
        ("mmlu", {**dict.fromkeys(["Question", *"ABCD"], "x"), "Answer": "E"}, "Answer is 'E'"),
        ("mmlu_pro", {"question": "?", "options": ["1", "2"], "answer": "C"}, "of its 2 options"),
        ("gsm8k", {"question": "?", "answer": "42"}, "no number after ####"),
        ("mgsm", {"question": "?", "answer": "42", "group": "xx"}, "no question of variant"),
        (
            "ifeval",
            {"prompt": "?", "instruction_id_list": ["a:b"], "kwargs": [{}]},
            "instruction 'a:b' is unknown",
        ),
        (
            "ifeval",
            {"prompt": "?", "instruction_id_list": ["keywords:existence"], "kwargs": [{}]},
            "'keywords', which is missing",
        ),
    ],
)
def test_a_row_that_cannot_be_is_named(name, row, says):
    task = find_task(name)
    if name == "mgsm":
        assert task.questions([row], EvalConfig()) == []
        return
    with pytest.raises(ConfigError, match="row 1") as caught:
        task.questions([row], EvalConfig())
    assert says in str(caught.value)


async def test_solved_questions_stand_before_each_and_do_not_change_its_permutation():
    task = find_task("gpqa")
    bare = task.questions(ROWS, EvalConfig(limit=3))
    shown = task.questions(ROWS, EvalConfig(limit=3, few_shot=2), ROWS[:2])
    assert permutations(shown) == permutations(bare)
    turns = shown[0].messages("Be brief.")
    assert [turn["role"] for turn in turns] == [
        "system",
        *["user", "assistant"] * 2,
        "user",
    ]
    place = "ABCD".index(turns[2]["content"].removeprefix("Answer: "))
    assert turns[1]["content"].splitlines()[-4:][place] == f"{'ABCD'[place]}) right 0"
    assert turns[-1]["content"] == bare[0].text
    assert shown[0].plain("Be brief.").startswith("Be brief.\n\nAnswer the following")
    assert shown[0].plain(None).endswith(bare[0].text)


@pytest.mark.parametrize(
    ("name", "fields", "says"),
    [
        ("gpqa", {"variant": "hard"}, "no variant 'hard'; it has diamond, main, extended"),
        ("gsm8k", {"extraction": "simple-evals"}, "no extraction 'simple-evals'; it has robust"),
        ("mgsm", {"variant": "de,xx"}, "no language 'xx'"),
    ],
)
def test_what_a_task_has_not_is_refused(name, fields, says):
    with pytest.raises(ConfigError, match=says):
        find_task(name).check(EvalConfig.model_validate(fields))


def test_an_unknown_task_is_told_the_nearest():
    with pytest.raises(ConfigError, match="task 'gpaq' is unknown; did you mean gpqa"):
        find_task("gpaq")
