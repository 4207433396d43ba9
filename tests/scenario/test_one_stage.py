"""One stage that a command makes of its options: what ends it, its folder, the simulator."""

import asyncio
import signal

import click
import pytest

from benchcore.base.errors import ConfigError, ResultsError, TargetError, VerdictError
from benchcore.cli.target import usage_error
from benchcore.config.scenario import Scenario, StageSettings
from benchcore.config.servers import Asking
from benchcore.runs.facts import TargetFacts
from benchcore.scenario.run import ONE_STAGE, OneStageRun
from benchcore.scenario.simulator import SimulatorServer
from benchcore.scenario.stage import (
    ServerStage,
    StageContext,
    StageFaultError,
    StagePhase,
    StagePlan,
)
from benchcore.sim.options import SimOptions
from benchcore.sim.process import SimulatorProcess
from tests.conftest import is_there


class Alone(ServerStage):
    """A stage that does what it is told."""

    name = "alone"
    phase = StagePhase.CHECK

    def __init__(self, does):
        super().__init__(StageSettings())
        self.does = does

    def plan(self, context):
        return StagePlan()

    async def run(self, context):
        await self.does(self, context)


@pytest.fixture
def alone(tmp_path):
    """Makes the run of one stage."""

    def make(does, simulator=None, base_url="http://127.0.0.1:1", **fields):
        context = StageContext(
            scenario=Scenario.model_construct(id="a name of any kind", labels={"gpu": "none"}),
            run_type=ONE_STAGE,
            base=tmp_path,
            folder=tmp_path,
            results=tmp_path / "results",
            run_id="",
            started_at="",
            command=["benchcore"],
            asking=Asking(),
            base_url=None if simulator else base_url,
            alone=True,
            **fields,
        )
        return OneStageRun(Alone(does), context, simulator=simulator)

    return make


async def writes(_stage, context):
    context.write_head("complete", TargetFacts(base_url=context.base_url))


async def test_the_folder_is_made_as_the_stage_begins_and_holds_what_the_stage_wrote(alone):
    machine = alone(writes)
    assert not machine.context.results.exists()
    await machine()
    assert machine.end() == 0
    assert machine.folder.name.endswith("Z-a-name-of-any-kind")
    assert [path.name for path in machine.folder.iterdir()] == ["run.json"]
    assert machine.context.labels == {"gpu": "none"}


async def test_a_run_that_wrote_nothing_leaves_no_folder(alone):
    async def fails(_stage, context):
        assert context.folder.is_dir()
        raise TargetError("nobody is there")

    machine = alone(fails)
    await machine()
    assert machine.folder is None
    assert list(machine.context.results.iterdir()) == []
    with pytest.raises(TargetError, match="nobody is there"):
        machine.end()


async def cancels_itself(_stage, _context):
    asyncio.current_task().cancel()
    await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("does", "error"), [(cancels_itself, StageFaultError), (writes, ZeroDivisionError)]
)
async def test_a_fault_is_never_taken_for_a_good_end(alone, does, error):
    async def breaks(stage, context):
        await does(stage, context)
        raise ZeroDivisionError

    machine = alone(breaks)
    await machine()
    with pytest.raises(error):
        machine.end()


@pytest.mark.parametrize(
    ("error", "ends"),
    [
        (VerdictError("too little was asked"), 143),
        (TargetError("gone"), 143),
        (ResultsError("the disk is full"), None),
    ],
)
async def test_a_signal_is_the_exit_code_unless_results_are_lost(alone, error, ends):
    async def interrupted(_stage, _context):
        machine.interrupt(signal.SIGTERM)
        raise error

    machine = alone(interrupted)
    await machine()
    if ends is None:
        with pytest.raises(ResultsError):
            machine.end()
    else:
        assert machine.end() == ends


async def test_the_first_signal_asks_the_stage_and_a_second_one_again(alone):
    asked = []

    async def interrupted(stage, _context):
        stage._interrupt = lambda: asked.append(len(asked))
        machine.interrupt(signal.SIGINT)
        machine.interrupt(signal.SIGTERM)

    machine = alone(interrupted)
    await machine()
    assert asked == [0, 1]
    assert machine.end() == 128 + signal.SIGINT


async def test_the_simulator_is_there_for_the_stage_and_gone_after_it(alone):
    seen = []

    async def looks(_stage, context):
        seen.append((context.base_url, context.key(), context.launcher._process.pid))

    options = SimOptions(api_key="key-of-its-own")
    machine = alone(looks, SimulatorProcess(options), environ={"BENCHCORE_API_KEY": "another"})
    await machine()
    ((url, key, pid),) = seen
    assert url.startswith("http://127.0.0.1:")
    assert key == "key-of-its-own"
    assert not is_there(pid)


async def test_a_signal_while_the_simulator_starts_takes_it_down_and_the_stage_never_begins(
    alone, monkeypatch
):
    started = []
    start = SimulatorServer.start

    async def interrupted(self):
        served = await start(self)
        started.append(self._process.pid)
        machine.interrupt(signal.SIGINT)
        await asyncio.sleep(0)
        return served

    monkeypatch.setattr(SimulatorServer, "start", interrupted)
    began = []

    async def begins(stage, _context):
        began.append(stage)

    machine = alone(begins, SimulatorProcess())
    await machine()
    assert machine.end() == 130
    assert began == []
    assert machine.folder is None
    assert not is_there(started[0])


def test_what_is_wrong_with_the_options_is_said_before_anything_begins(alone):
    with pytest.raises(click.UsageError, match=r"^--base-url: "):
        alone(writes, base_url="ftp://127.0.0.1", option_fault=usage_error)
    with pytest.raises(ConfigError, match=r"^target\.base_url: "):
        alone(writes, base_url="ftp://127.0.0.1")


def test_a_folder_that_cannot_be_made_ends_the_run(alone, tmp_path):
    (tmp_path / "results").write_text("in the way")

    machine = alone(writes)
    with pytest.raises(ConfigError, match="--output"):
        asyncio.run(machine())
