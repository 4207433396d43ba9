"""The stages that are installed, and what is said of one that is no stage."""

import sys
from importlib.metadata import EntryPoint

import pytest

from benchcore.base import plugins
from benchcore.base.errors import ConfigError
from benchcore.scenario.stage import StagePhase
from benchcore.scenario.stages import STAGES, installed_stages

STAGE = """
from benchcore.scenario.stage import BaseStage, StagePhase, StagePlan

class Mine(BaseStage):
    name = "mine"
    phase = StagePhase.CHECK

    def plan(self, context):
        return StagePlan()

    async def run(self, context):
        pass
"""


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Puts a module in place, and entry points beside those of benchcore."""
    monkeypatch.syspath_prepend(tmp_path)
    ours = list(plugins.entry_points(group=STAGES.name))

    def put(text, *values, name="mine"):
        (tmp_path / "somebody.py").write_text(text)
        monkeypatch.delitem(sys.modules, "somebody", raising=False)
        points = [EntryPoint(name, value, STAGES.name) for value in values]
        monkeypatch.setattr(plugins, "entry_points", lambda group: [*ours, *points])

    return put


def test_a_stage_of_somebody_else_stands_where_it_says(install):
    install(STAGE, "somebody:Mine")
    names = list(installed_stages())
    assert names[names.index("functional") + 1] == "mine"


def test_the_stages_of_benchcore_run_in_the_order_of_their_phases():
    stages = installed_stages()
    assert [*stages] == [
        *("launch", "health", "functional", "perf", "accuracy", "gate", "sinks", "cleanup")
    ]
    assert [stage.phase for stage in stages.values()] == list(StagePhase)


def test_the_stage_of_benchcore_goes_first_in_its_phase_and_the_others_by_name(install):
    stage = STAGE.replace("CHECK", "SCORE").replace('"mine"', '"a"')
    install(stage, "somebody:Mine", name="a")
    names = list(installed_stages())
    assert names[names.index("accuracy") + 1] == "a"


def test_one_that_is_found_twice_is_one(install):
    install(STAGE, "somebody:Mine", "somebody:Mine")
    assert list(installed_stages()).count("mine") == 1


def test_two_of_one_name_are_told_by_where_they_are(install):
    install(STAGE, "somebody:Mine", name="perf")
    with pytest.raises(ConfigError) as told:
        installed_stages()
    assert str(told.value) == (
        "stage perf: is provided by both benchcore.scenario.perf_stage:PerfStage and "
        "somebody:Mine; uninstall one of them"
    )


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("raise RuntimeError('no CUDA')", "cannot be loaded: RuntimeError: no CUDA"),
        ("raise ValueError('two\\nlines')", "cannot be loaded: ValueError: two lines; "),
        ("def", "cannot be loaded: SyntaxError: "),
        ("import no_such_module", "cannot be loaded: ModuleNotFoundError: "),
        ("", "cannot be loaded: AttributeError: "),
        ("Mine = 5", "has no name"),
        (STAGE.replace("async def run", "async def runs"), "has no run"),
        (STAGE.replace('"mine"', '"other"'), "calls itself other"),
        (STAGE.replace("    phase = StagePhase.CHECK", ""), "has no phase"),
        (STAGE.replace("StagePhase.CHECK", "25"), "its phase is 25, which is not a StagePhase"),
        (STAGE.replace("StagePhase.CHECK", "None"), "its phase is None, which is not a StagePhase"),
        (
            STAGE.replace("CHECK", "CHECK\n    settings_model = dict"),
            "its settings_model is <class 'dict'>, which is not a subclass of StageSettings",
        ),
        (
            STAGE.replace("CHECK", "CHECK\n    settings_model = None"),
            "its settings_model is None, which is not a subclass of StageSettings",
        ),
        (
            STAGE.replace("CHECK", "CHECK\n    limit_seconds = '10m'"),
            "its limit_seconds is '10m', which is not a number above 0",
        ),
        (
            STAGE.replace("CHECK", "CHECK\n    limit_seconds = None"),
            "its limit_seconds is None, which is not a number above 0",
        ),
        (
            STAGE.replace("CHECK", "CHECK\n    limit_seconds = float('nan')"),
            "its limit_seconds is nan, which is not a number above 0",
        ),
    ],
)
def test_one_that_is_no_stage_is_told_with_what_is_wrong(install, text, fault):
    install(text, "somebody:Mine")
    with pytest.raises(ConfigError) as told:
        installed_stages()
    said = str(told.value)
    assert said.startswith(f"stage mine of somebody:Mine: {fault}")
    assert said.endswith("; repair or uninstall it")
    assert "\n" not in said
