"""A task of another package, found by its entry point; and what a package may get wrong."""

import importlib
import sys

import pytest

from benchcore import SimOptions, SimProfile
from benchcore.base.errors import ConfigError
from benchcore.evals.run import evaluate
from benchcore.evals.task import TASKS, find_task
from benchcore.sim.app import start

MODULE = """
from benchcore import Judgement, Task

class Sums(Task):
    name = "sums"
    title = "sums"

    def ask(self, row, draw):
        return f"{row['sum']} = ?", row["value"], {"drawn": draw.random()}

    def said(self, row):
        return row["sum"]

    def judge(self, question, answer, config):
        found = answer.rpartition(": ")[2]
        return Judgement(float(found == question.target), found)

nothing = object()
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    """An installed package that offers tasks."""
    site = tmp_path / "site"
    info = site / "sums_task-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "sums_task.py").write_text(MODULE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: sums-task\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[benchcore.tasks]\nsums = sums_task:Sums\ngone = sums_task:Gone\nodd = sums_task:nothing\n"
    )
    monkeypatch.syspath_prepend(str(site))
    importlib.invalidate_caches()
    yield
    sys.modules.pop("sums_task", None)


async def test_a_task_of_another_package_runs(package, tmp_path):
    assert "sums" in TASKS.points()
    data = tmp_path / "sums.csv"
    data.write_text("sum,value\n1 + 2,3\n4 × 5,20\n9 − 8,1\n")
    profile = SimProfile.named("fast", ability=1.0)
    runner, url = await start(SimOptions(profile=profile))
    try:
        report = await evaluate(url, "sums", data=str(data), n_repeats=2)
    finally:
        await runner.cleanup()
    assert report.score.score == 1.0
    assert [sample.extracted for sample in report.samples] == ["3", "20", "1"] * 2
    assert len({sample.facts["drawn"] for sample in report.samples}) == 6


def test_a_task_that_does_not_load_is_named(package):
    with pytest.raises(ConfigError, match="task gone of sums_task:Gone: cannot be loaded"):
        find_task("gone")
    with pytest.raises(
        ConfigError, match=r"task 'odd': sums_task:nothing is not a benchcore\.Task"
    ):
        find_task("odd")


def test_a_task_without_a_public_place_asks_for_data(package):
    with pytest.raises(ConfigError, match="task sums: give its questions with --data"):
        find_task("sums").sources("")


def test_the_tasks_that_benchcore_comes_with():
    names = ["gpqa", "gsm8k", "ifeval", "math500", "mgsm", "mmlu", "mmlu_pro", "mmlu_pro_cot"]
    assert [name for name in TASKS.points() if name in names] == names
    assert [find_task(name).name for name in names] == names
