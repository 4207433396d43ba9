"""The gate as a stage: what it makes of a baseline that is damaged."""

import json
from types import SimpleNamespace

import pytest

from benchcore.base.errors import VerdictError
from benchcore.config.scenario import GateSettings
from benchcore.scenario.builtin_stages import GateStage
from benchcore.scenario.stage import StageSkippedError

RULES = [{"metric": "functional.pass_ratio", "worse_by": 0}, {"metric": "accuracy.score", "min": 0}]
CHECKS = {"summary": {"pass_ratio": 1.0}, "results": []}
SCORE = {"task": "mmlu", "score": 0.5, "min_score": None}


@pytest.fixture
def results(tmp_path):
    for day in (1, 2, 3):
        folder = tmp_path / f"2026010{day}T000000Z-a"
        folder.mkdir()
        run = {"schema_version": 1, "status": "complete", "name": "a", "levels": []}
        (folder / "run.json").write_text(json.dumps(run))
        (folder / "functional.json").write_text(json.dumps(CHECKS))
        (folder / "accuracy.json").write_text(json.dumps(SCORE))
    return tmp_path


async def judged(results, **settings):
    stage = GateStage(GateSettings.model_validate({"rules": RULES, **settings}))
    context = SimpleNamespace(
        folder=results / "20260103T000000Z-a",
        results=results,
        kind="server",
        allow_simulator=False,
    )
    await stage.run(context)
    return stage.facts["baseline"].rpartition("/")[2]


async def test_a_run_is_held_against_the_one_before(results):
    assert await judged(results) == "20260102T000000Z-a"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("functional.json", "{}"),
        ("functional.json", "[]"),
        ("functional.json", "{"),
        ("accuracy.json", "[]"),
        ("accuracy.json", "{}"),
        ("samples.jsonl", "5\n"),
        ("run.json", "{}"),
    ],
)
async def test_a_named_baseline_that_is_damaged_is_a_verdict(results, name, content):
    damaged = results / "20260101T000000Z-a"
    (damaged / name).write_text(content)
    score = {"metric": "accuracy.score", "worse_by": 0, "needs": "significant"}
    with pytest.raises(VerdictError) as told:
        await judged(results, baseline=str(damaged), rules=[RULES[0], score])
    assert str(told.value).startswith(f"{damaged}/{name}:")


async def test_a_neighbour_that_is_damaged_is_passed_over(results):
    (results / "20260102T000000Z-a" / "functional.json").write_text("{}")
    assert await judged(results) == "20260101T000000Z-a"
    (results / "20260101T000000Z-a" / "accuracy.json").write_text("[]")
    with pytest.raises(StageSkippedError, match="holds no earlier valid run like"):
        await judged(results)
    with pytest.raises(VerdictError, match="holds no earlier valid run like"):
        await judged(results, required=True)
