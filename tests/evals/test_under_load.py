"""climb --eval: each level has its latency and its score."""

import pytest

from benchcore import ClimbConfig, SimOptions, SimProfile, Target
from benchcore.client.records import Outcome, Record
from benchcore.climbs.climb import Climb
from benchcore.climbs.plan import Part
from benchcore.evals.under_load import LoadGrader, Questions
from benchcore.runs.samples import EvalData
from benchcore.sim.app import start

pytestmark = [pytest.mark.accuracy, pytest.mark.perf]


@pytest.fixture
async def climbed(asked, tmp_path):
    """Climbs two levels of questions on a simulator of a given ability."""
    runners = []

    async def go(name="mmlu", concurrency=(1, 24), on_sample=lambda *_: None, workers=1, **ability):
        profile = SimProfile.named("fast", decode_base_seconds=0.0005, **ability)
        runner, url = await start(SimOptions(profile=profile))
        runners.append(runner)
        task, config, questions = await asked(name, max_tokens=64, n_repeats=1)
        load = Questions(task, questions, config, "chat", EvalData())
        settings = ClimbConfig(
            concurrency=concurrency,
            requests=len(load),
            ramp_seconds=0.0,
            idle_seconds=0.1,
            workers=workers,
        )
        grader = LoadGrader(load, on_sample)
        machine = Climb(Target(url), [Part(load.name, load, settings)], grader=grader)
        return await machine()

    yield go
    for runner in runners:
        await runner.cleanup()


@pytest.mark.parametrize("workers", [1, 2])
async def test_where_load_changes_nothing_the_levels_score_alike(climbed, workers):
    taken = []
    run = await climbed(on_sample=lambda *found: taken.append(found), ability=0.7, workers=workers)
    first, second = (level.accuracy for level in run.levels)
    assert (first.n, first.completed) == (100, 100)
    assert first.score == second.score
    assert first.against_first is None
    assert (second.against_first.difference, second.against_first.mcnemar_p) == (0.0, 1.0)
    assert not second.against_first.significant
    assert [level for level, _, _ in taken] == ["c1"] * 100 + ["c24"] * 100
    assert len({sample.question for _, _, sample in taken}) == 100
    assert all(level.ok == 100 for level in run.levels)
    # Texts were kept to be judged and no longer.
    assert {record.text for level in run.levels for record in level.records} == {None}


async def test_quality_that_falls_with_the_batch_is_found(climbed):
    run = await climbed(ability=0.9, ability_batch=2, ability_beyond=0.4)
    first, second = (level.accuracy for level in run.levels)
    assert first.interval[0] < 0.9 < first.interval[1]
    assert second.score < first.score - 0.3
    assert second.against_first.significant
    assert second.against_first.better == 0
    assert second.against_first.worse == round(100 * (first.score - second.score))
    found = run.to_json()["levels"][1]["accuracy"]
    assert found["against_first"]["significant"] is True
    assert found["n"] == 100


async def test_a_level_says_in_the_table_what_its_answers_were_worth(climbed):
    from benchcore.show.table import render

    run = await climbed(ability=0.9, ability_batch=2, ability_beyond=0.4)
    text = render(run, color=False)
    assert max(map(len, text.splitlines())) <= 100
    assert "c24: answers are worse than at the first level by 0." in text
    rows = [line.split() for line in text.splitlines() if line.startswith(("c1 ", "c24 "))]
    assert len(rows) == 4
    assert rows[2][1] == f"{run.levels[0].accuracy.score:.4f}"


async def test_a_climb_without_an_eval_has_no_accuracy(climbed, asked):
    from benchcore import climb

    task, config, questions = await asked("mmlu", max_tokens=8)
    profile = SimProfile.named("fast", decode_base_seconds=0.0005)
    runner, url = await start(SimOptions(profile=profile))
    try:
        load = Questions(task, questions, config, "chat", EvalData())
        run = await climb(url, concurrency=[2], requests=10, workload=load, idle_seconds=0.1)
    finally:
        await runner.cleanup()
    assert run.levels[0].accuracy is None
    assert "accuracy" not in run.to_json()["levels"][0]


async def test_what_was_never_asked_is_no_sample_and_what_failed_is_an_error(asked):
    task, config, questions = await asked("mmlu")
    load = Questions(task, questions, config, "chat", EvalData())
    records = []
    for outcome, text in (
        (Outcome.OK, f"Answer: {questions[0].target}"),
        (Outcome.HTTP_ERROR, None),
        (Outcome.DROPPED, None),
        (Outcome.CANCELLED, None),
    ):
        record = Record(str(len(records)))
        record.outcome, record.text = outcome, text
        records.append((len(records), record))
    # Prompt 100 is question 0 again.
    again = Record("again")
    again.outcome, again.text = Outcome.OK, f"Answer: {questions[0].target}"
    found = await LoadGrader(load).grade("c1", 1, [*records, (100, again)])
    assert (found.n, found.errors, found.completed) == (3, 1, 2)
    assert found.score == pytest.approx(2 / 3)
    assert found.questions == 2
