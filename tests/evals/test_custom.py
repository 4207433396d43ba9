import pytest

from benchcore.base.errors import ConfigError
from benchcore.config.evals import EvalConfig
from benchcore.evals.custom import custom_task
from benchcore.evals.run import plan_eval


def task(tmp_path, text, rows='{"question": "1+1", "answer": "2"}\n'):
    (tmp_path / "rows.jsonl").write_text(rows)
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return path


async def planned(path, **fields):
    return await plan_eval(str(path), EvalConfig.model_validate(fields))


async def test_a_file_is_a_task(tmp_path):
    path = task(
        tmp_path,
        "data: rows.jsonl\nprompt: |\n  Solve: {question}\nextract: {kind: number}\nn_repeats: 2\n",
    )
    plan = await planned(path)
    assert plan.task.name == "mine"
    assert [(one.text, one.target, one.repeat) for one in plan.questions] == [
        ("Solve: 1+1\n", "2", 0),
        ("Solve: 1+1\n", "2", 1),
    ]
    assert plan.task.judge(plan.questions[0], "It is 2.0", plan.config).score == 1.0


@pytest.mark.parametrize(
    ("rules", "target", "said", "found", "score"),
    [
        ("{}", "yes", " yes \n", "yes", 1.0),
        ("{}", "yes", "Yes", "Yes", 0.0),
        ("{score: {kind: ignore_case}}", "yes", "<think>no</think>Yes", "Yes", 1.0),
        ("{score: {kind: contains}}", "42", "It is 42, I think", "It is 42, I think", 1.0),
        ("{score: {kind: regex}}", "^4.$", "42", "42", 1.0),
        ("{extract: {kind: last_line}}", "42", "a\n42\n", "42", 1.0),
        ("{extract: {kind: last_line}}", "42", "\n", None, 0.0),
        ("{extract: {kind: number}}", "1,000", "1000 or so", "1000", 1.0),
        ("{extract: {kind: number}, score: {tolerance: 0.05}}", "100", "104", "104", 1.0),
        ("{extract: {kind: number}, score: {tolerance: 0.05}}", "100", "106", "106", 0.0),
        ("{extract: {kind: number}}", "1", "none", None, 0.0),
        ("{extract: {kind: expression}}", "1/2", r"\boxed{0.5}", "0.5", 1.0),
        ("{extract: {kind: regex, pattern: 'x=(.)'}}", "3", "x=1 x=3", "3", 1.0),
        ("{extract: {kind: regex, pattern: 'x=(.)', which: first}}", "3", "x=1 x=3", "1", 0.0),
        ("{extract: {kind: regex, pattern: 'x=.'}}", "x=3", "x=1 x=3", "x=3", 1.0),
        ("{extract: {kind: regex, pattern: 'x=(.)'}}", "3", "y", None, 0.0),
        ("{extract: {kind: json, field: a}}", "b", 'so {"a": "b"}.', "b", 1.0),
        ("{extract: {kind: json, field: a}}", "[1,2]", '{"a": [1, 2]}', "[1,2]", 1.0),
        ("{extract: {kind: json, field: a}}", "b", "{", None, 0.0),
        ("{extract: {kind: json, field: a}}", "b", '{"c": 1}', None, 0.0),
    ],
)
async def test_how_answers_are_found_and_compared(tmp_path, rules, target, said, found, score):
    rows = f'{{"question": "q", "answer": {target!r}}}'.replace("'", '"') + "\n"
    path = task(tmp_path, "data: rows.jsonl\nprompt: '{question}'\n", rows)
    if rules != "{}":
        body = rules[1:-1].replace("}, score:", "}\nscore:")
        path.write_text(path.read_text() + body + "\n")
    plan = await planned(path)
    judgement = plan.task.judge(plan.questions[0], said, plan.config)
    assert (judgement.extracted, judgement.score) == (found, score)
    assert judgement.answered is (found is not None)


@pytest.mark.parametrize(
    ("columns", "row"),
    [
        ("choices: options", '{"question": "q", "options": ["x", "y", "z"], "answer": "y"}'),
        ("choices: options", '{"question": "q", "options": ["x", "y", "z"], "answer": 1}'),
        ("choices: [a, b, c]", '{"question": "q", "a": "x", "b": "y", "c": "z", "answer": "B"}'),
    ],
)
async def test_choices_are_lettered(tmp_path, columns, row):
    path = task(
        tmp_path,
        'data: rows.jsonl\nprompt: "{question}\\n{choices}"\nextract: {kind: letter}\n'
        f"fields: {{{columns}}}\n",
        row + "\n",
    )
    plan = await planned(path)
    (question,) = plan.questions
    assert question.text == "q\nA) x\nB) y\nC) z"
    assert question.target == "B"
    assert plan.task.judge(question, "The answer is (B).", plan.config).score == 1.0
    assert plan.task.judge(question, "The answer is (D).", plan.config).answered is False


async def test_ids_and_groups_come_from_columns(tmp_path):
    path = task(
        tmp_path,
        "name: own\ndata: rows.jsonl\nprompt: '{q}'\n"
        "fields: {question: q, answer: a, id: n, group: kind}\n",
        '{"q": "1", "a": 2, "n": 7, "kind": "sums"}\n',
    )
    plan = await planned(path)
    (question,) = plan.questions
    assert (plan.task.name, question.group, question.facts) == ("own", "sums", {"id": 7})
    assert question.target == "2"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("promt: x\n", "mine.yaml:1: promt: is not known; did you mean prompt?"),
        ("prompt: x\nextract: {kind: regex}\n", "mine.yaml:2: extract: pattern and kind"),
        ("prompt: x\nextract: {kind: regex, pattern: '('}\n", "is not a regular expression"),
        ("prompt: x\nextract: {kind: json}\n", "field and kind json"),
        ("prompt: x\nextract: {kind: letter}\n", "letter needs fields.choices"),
        ("prompt: x\nscore: {kind: exact, tolerance: 0.1}\n", "tolerance needs kind number"),
    ],
)
def test_a_fault_in_the_file_is_told_with_its_line(tmp_path, text, says):
    with pytest.raises(ConfigError) as caught:
        custom_task(task(tmp_path, text))
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("text", "rows", "says"),
    [
        ("prompt: '{nothing}'\n", '{"question": "q", "answer": "a"}', "no column 'nothing'"),
        ("prompt: x\n", '{"q": "q"}', "row 1 has no column 'answer'"),
        (
            "prompt: x\nscore: {kind: regex}\n",
            '{"question": "q", "answer": "("}',
            "row 1: its answer is not a regular expression",
        ),
        (
            "prompt: x\nextract: {kind: number}\n",
            '{"question": "q", "answer": "two"}',
            "row 1: its answer 'two' is not a number",
        ),
        (
            "prompt: x\nfields: {choices: c}\nextract: {kind: letter}\n",
            '{"question": "q", "c": ["a", "b"], "answer": "e"}',
            "row 1: answer 'e' is not a letter, text or place of its choices",
        ),
        (
            "prompt: x\nfields: {choices: c}\n",
            '{"question": "q", "c": "a", "answer": "a"}',
            "is not a list of 2 to 26 choices",
        ),
    ],
)
async def test_a_row_that_does_not_fit_is_named(tmp_path, text, rows, says):
    path = task(tmp_path, f"data: rows.jsonl\n{text}", rows + "\n")
    with pytest.raises(ConfigError) as caught:
        await planned(path)
    assert says in str(caught.value)


async def test_without_data_it_is_asked_for(tmp_path):
    with pytest.raises(ConfigError, match="give its questions with --data"):
        await planned(task(tmp_path, "prompt: x\n"))
