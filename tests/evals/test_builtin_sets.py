"""The test sets that ship: as their maker makes them, with the columns of the public ones."""

import pytest

from benchcore.evals.data import builtin_file
from tests.builtin_sets import files


@pytest.mark.parametrize(("name", "content"), list(files()), ids=lambda value: value[:12])
def test_a_file_is_what_its_maker_makes(name, content):
    assert builtin_file(name).read_text(encoding="utf-8") == content


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("gpqa", 400),
        ("mmlu", 100),
        ("mmlu_pro", 60),
        ("mmlu_pro_cot", 60),
        ("gsm8k", 100),
        ("math500", 60),
        ("ifeval", 42),
        ("mgsm", 220),
    ],
)
async def test_every_set_is_asked_and_no_question_is_there_twice(asked, name, count):
    _, _, questions = await asked(name)
    assert len(questions) == count
    assert len({(question.key, question.repeat) for question in questions}) == count
    assert not any("-" in question.key for question in questions)
