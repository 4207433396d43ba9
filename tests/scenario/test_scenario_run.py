"""What a run makes of its stages: order, failures, limits, interrupts; with little stages."""

import asyncio
import json

import pytest

from benchcore.base.errors import (
    ConfigError,
    InvalidRunError,
    ResultsError,
    TargetError,
    VerdictError,
)
from benchcore.config.scenario import RUN_TYPES, Scenario, StageSettings
from benchcore.config.servers import Asking
from benchcore.runs.reading import read_scenario
from benchcore.scenario.run import ScenarioRun
from benchcore.scenario.stage import (
    BaseStage,
    StagePhase,
    StagePlan,
    StageSkippedError,
)
from benchcore.scenario.stages import LoadedScenario

SCENARIO = Scenario.model_validate({"id": "a", "target": {"base_url": "http://127.0.0.1:1"}})


class Step(BaseStage):
    """A stage that does what it is told."""

    def __init__(self, name, phase, does=None, settings=None, **marks):
        super().__init__(StageSettings.model_validate(settings or {}))
        self.name, self.phase, self.does = name, phase, does
        self.interrupts = 0
        for mark, value in marks.items():
            setattr(self, mark, value)

    def plan(self, context):
        if isinstance(self.does, ConfigError):
            raise self.does
        return StagePlan([f"{self.name} would do something"], 1.0, {"found": None})

    async def run(self, context):
        self.facts["began"] = True
        if isinstance(self.does, Exception):
            raise self.does
        if self.does is not None:
            await self.does(self)
        self.facts["ended"] = True


def loaded(steps, run_type="pr"):
    settings = {step.name: step.settings for step in steps}
    return LoadedScenario(
        SCENARIO,
        "a.yaml",
        RUN_TYPES[run_type],
        list(steps),
        settings,
        Asking(),
        "http://127.0.0.1:1",
        {},
    )


@pytest.fixture
def run(tmp_path):
    """Runs steps as a scenario, and returns the result."""

    def make(*steps, run_type="pr", **fields):
        folder = tmp_path / "20260101T000000Z-a"
        folder.mkdir()
        found = loaded(steps, run_type)
        found.path = tmp_path / "a.yaml"
        return ScenarioRun(found, folder, tmp_path, **fields)

    return make


def statuses(result):
    return {part.name: str(part.status) for part in result.stages}


def frame(*between):
    return [
        Step("launch", StagePhase.LAUNCH, essential=True, warnable=frozenset()),
        *between,
        Step("cleanup", StagePhase.CLEAN_UP, always=True, warnable=frozenset()),
    ]


async def test_stages_run_one_after_the_other_and_the_result_is_on_disk_after_each(run):
    order = []

    async def note(step):
        order.append(step.name)
        found = json.loads((machine.context.folder / "result.json").read_bytes())
        assert found["status"] == "running"
        assert found["verdict"] is None
        assert len(found["stages"]) == len(order) - 1

    machine = run(*(Step(name, StagePhase.CHECK, note) for name in "abc"))
    result = await machine()
    assert order == ["a", "b", "c"]
    assert (result.verdict, result.exit_code, result.status) == ("passed", 0, "complete")
    read = read_scenario(machine.context.folder)
    assert read.to_json() == result.to_json()
    assert [part.facts for part in read.stages] == [{"began": True, "ended": True}] * 3
    log = (machine.context.folder / "logs" / "benchcore.log").read_text()
    assert [line.split(" ", 1)[1] for line in log.splitlines()][:2] == [
        "a: begins",
        "a: passed after 0.0 s",
    ]


@pytest.mark.parametrize(
    ("error", "code", "pr", "daily"),
    [
        (VerdictError("no"), 5, "failed", "warned"),
        (InvalidRunError("no"), 4, "failed", "warned"),
        (TargetError("no"), 3, "failed", "failed"),
        (ValueError("no"), 1, "failed", "failed"),
    ],
)
async def test_a_failure_of_the_load_fails_a_pr_and_warns_a_daily_run(
    run, error, code, pr, daily, tmp_path
):
    steps = frame(Step("perf", StagePhase.LOAD, error), Step("accuracy", StagePhase.SCORE))
    result = await run(*steps)()
    assert statuses(result) == {
        "launch": "passed",
        "perf": pr,
        "accuracy": "skipped",
        "cleanup": "passed",
    }
    assert (result.verdict, result.exit_code) == ("failed", code)
    assert result.stages[2].message == "perf failed"
    (tmp_path / "20260101T000000Z-a").rename(tmp_path / "before")
    result = await run(
        *frame(Step("perf", StagePhase.LOAD, error), Step("accuracy", StagePhase.SCORE)),
        run_type="daily",
    )()
    assert statuses(result) == {
        "launch": "passed",
        "perf": daily,
        "accuracy": "passed",
        "cleanup": "passed",
    }
    assert result.verdict == daily
    assert result.exit_code == (code if daily == "failed" else 0)


async def test_a_failed_check_fails_a_daily_run_and_what_follows_is_measured(run):
    steps = frame(
        Step("functional", StagePhase.CHECK, VerdictError("1 of 4")), Step("perf", StagePhase.LOAD)
    )
    result = await run(*steps, run_type="daily")()
    assert statuses(result) == {
        "launch": "passed",
        "functional": "failed",
        "perf": "passed",
        "cleanup": "passed",
    }
    assert (result.verdict, result.exit_code) == ("failed", 5)


async def test_what_a_stage_says_of_itself_counts_more_than_the_run_type(run):
    steps = frame(
        Step(
            "functional",
            StagePhase.CHECK,
            VerdictError("x"),
            {"on_failure": "warn", "continue_on_error": False},
        ),
        Step(
            "perf",
            StagePhase.LOAD,
            VerdictError("x"),
            {"on_failure": "fail", "continue_on_error": True},
        ),
        Step("accuracy", StagePhase.SCORE),
    )
    result = await run(*steps)()
    assert statuses(result) == {
        "launch": "passed",
        "functional": "warned",
        "perf": "failed",
        "accuracy": "passed",
        "cleanup": "passed",
    }
    assert result.exit_code == 5


async def test_nothing_runs_on_a_server_that_did_not_come_up_and_clean_up_does(run):
    steps = frame(
        Step(
            "health",
            StagePhase.HEALTH,
            TargetError("not up"),
            {"on_failure": "warn"},
            essential=True,
            warnable=(),
        ),
        Step("perf", StagePhase.LOAD),
    )
    result = await run(*steps, run_type="daily")()
    assert statuses(result) == {
        "launch": "passed",
        "health": "failed",
        "perf": "skipped",
        "cleanup": "passed",
    }
    assert (result.verdict, result.exit_code) == ("failed", 3)


async def test_a_stage_that_has_nothing_to_do_is_skipped_and_fails_nothing(run):
    result = await run(*frame(Step("gate", StagePhase.JUDGE, StageSkippedError("no baseline"))))()
    assert statuses(result)["gate"] == "skipped"
    assert result.stages[1].message == "no baseline"
    assert (result.verdict, result.exit_code) == ("passed", 0)


async def test_a_stage_that_takes_too_long_is_stopped_and_fails(run):
    async def forever(_step):
        await asyncio.Event().wait()

    steps = frame(
        Step("perf", StagePhase.LOAD, forever, {"limit_seconds": 0.01}),
        Step("accuracy", StagePhase.SCORE),
    )
    result = await run(*steps)()
    part = result.stages[1]
    assert (str(part.status), part.exit_code) == ("failed", 5)
    assert part.message == "stopped after its limit of 0.01 s"
    assert part.facts == {"began": True}
    assert statuses(result)["cleanup"] == "passed"


async def test_a_stage_that_ends_by_itself_when_it_is_stopped_keeps_what_it_found(run):
    class Saver(Step):
        async def run(self, context):
            self.stop = asyncio.Event()
            await self.stop.wait()
            self.facts["levels"] = 1

        def interrupt(self):
            self.stop.set()
            return True

    result = await run(*frame(Saver("perf", StagePhase.LOAD, settings={"limit_seconds": 0.01})))()
    assert result.stages[1].facts == {"levels": 1}
    assert str(result.stages[1].status) == "failed"


async def test_an_interrupt_ends_the_stage_leaves_out_the_rest_and_cleans_up(run):
    async def interrupted(_step):
        asyncio.get_running_loop().call_soon(machine.interrupt, 15)
        await asyncio.Event().wait()

    machine = run(
        *frame(Step("perf", StagePhase.LOAD, interrupted), Step("accuracy", StagePhase.SCORE))
    )
    result = await machine()
    assert statuses(result) == {
        "launch": "passed",
        "perf": "interrupted",
        "accuracy": "interrupted",
        "cleanup": "passed",
    }
    assert (result.verdict, result.status, result.exit_code) == ("interrupted", "interrupted", 143)
    assert read_scenario(machine.context.folder).exit_code == 143


async def test_clean_up_goes_on_through_interrupts(run):
    class CleanUp(Step):
        async def run(self, context):
            machine.interrupt(2)
            machine.interrupt(2)
            await asyncio.sleep(0)
            self.facts["left"] = []

        def interrupt(self):
            return True

    machine = run(
        Step("launch", StagePhase.LAUNCH), CleanUp("cleanup", StagePhase.CLEAN_UP, always=True)
    )
    result = await machine()
    assert result.stages[1].facts == {"left": []}
    assert str(result.stages[1].status) == "passed"
    assert result.exit_code == 130


async def test_what_is_found_of_a_stage_that_was_interrupted_is_no_judgement(run):
    async def interrupted(_step):
        machine.interrupt(15)
        raise VerdictError("not one check passed")

    class Keeps(Step):
        def interrupt(self):
            return True

    machine = run(*frame(Keeps("functional", StagePhase.CHECK, interrupted)))
    result = await machine()
    assert statuses(result)["functional"] == "interrupted"
    assert (result.verdict, result.exit_code) == ("interrupted", 143)


class Launcher:
    """A server that ends when it is told to."""

    def __init__(self):
        self.why, self.stopped = None, 0

    def ended(self):
        return self.why

    async def stop(self):
        self.stopped += 1
        return []


async def test_a_server_that_ends_under_a_stage_fails_it(run):
    launcher = Launcher()

    async def dies(_step):
        machine.context.launcher = launcher
        launcher.why = "it was ended by signal 9"

    steps = frame(
        Step("perf", StagePhase.LOAD, dies),
        Step("accuracy", StagePhase.SCORE),
        Step("gate", StagePhase.JUDGE),
    )
    machine = run(*steps, run_type="daily")
    result = await machine()
    assert statuses(result) == {
        "launch": "passed",
        "perf": "failed",
        "accuracy": "skipped",
        "gate": "skipped",
        "cleanup": "passed",
    }
    assert result.stages[1].message == "the server is gone: it was ended by signal 9"
    assert result.exit_code == 3


async def test_what_cannot_be_done_is_said_before_anything_is_begun(run):
    steps = frame(
        Step("perf", StagePhase.LOAD, ConfigError("no such workload")),
        Step("accuracy", StagePhase.SCORE),
    )
    machine = run(*steps)
    result = await machine()
    assert statuses(result) == {
        "launch": "skipped",
        "perf": "failed",
        "accuracy": "skipped",
        "cleanup": "skipped",
    }
    assert result.stages[1].message == "no such workload"
    assert (result.verdict, result.exit_code, result.status) == ("failed", 2, "failed")
    assert not (machine.context.folder / "run.json").exists()


@pytest.mark.parametrize(
    ("does", "says"),
    [
        (lambda _step: cancelled(), "internal fault: it was cancelled from inside"),
        (lambda _step: left(), "internal fault: SystemExit: 0"),
        (lambda step: found(step, {"x": object()}), "internal fault: its facts are not of JSON: "),
        (lambda step: found(step, {"x": {1}}), "internal fault: its facts are not of JSON: "),
        (lambda step: found(step, {"x": float("nan")}), "internal fault: its facts are not of "),
        (lambda step: found(step, None), "internal fault: facts is NoneType and notes is list"),
        (lambda _step: broken(), "internal fault: ValueError: one line and another"),
    ],
)
async def test_a_stage_that_misbehaves_fails_alone(run, does, says):
    machine = run(
        *frame(Step("other", StagePhase.CHECK, does), Step("perf", StagePhase.LOAD)),
        run_type="daily",
    )
    result = await machine()
    assert statuses(result) == {
        "launch": "passed",
        "other": "failed",
        "perf": "passed",
        "cleanup": "passed",
    }
    part = result.stages[1]
    assert part.message.startswith(says)
    assert (part.exit_code, result.exit_code, result.verdict) == (1, 1, "failed")
    assert read_scenario(machine.context.folder).to_json() == result.to_json()


async def cancelled():
    raise asyncio.CancelledError


async def left():
    raise SystemExit(0)


async def broken():
    raise ValueError("one line\nand another")


async def found(step, facts):
    step.facts = facts


async def test_the_trace_of_a_bug_is_in_the_log(run):
    machine = run(*frame(Step("other", StagePhase.CHECK, lambda _step: broken())))
    await machine()
    log = (machine.context.folder / "logs" / "benchcore.log").read_text()
    assert "Traceback (most recent call last)" in log
    assert "ValueError: one line\nand another" in log


async def test_a_plan_that_raises_or_returns_rubbish_fails_before_anything_is_begun(run):
    class Rubbish(Step):
        def plan(self, context):
            return "something"

    result = await run(*frame(Rubbish("other", StagePhase.CHECK)))()
    assert statuses(result)["launch"] == "skipped"
    assert result.stages[1].message == "internal fault: plan returns str"
    assert result.exit_code == 1


async def test_a_stage_that_blocks_the_loop_past_its_limit_fails(run, monkeypatch):
    import time

    import benchcore.scenario.stages as module

    monkeypatch.setattr(module, "_LATE_SECONDS", 0.01)

    async def blocks(_step):
        time.sleep(0.05)

    result = await run(*frame(Step("other", StagePhase.CHECK, blocks, {"limit_seconds": 0.02})))()
    assert result.stages[1].message == "stopped after its limit of 0.02 s"


async def test_a_stage_that_swallows_its_cancellation_is_left_behind(run, monkeypatch):
    import benchcore.scenario.stages as module

    monkeypatch.setattr(module, "GRACE_SECONDS", 0.01)
    free = asyncio.Event()

    async def swallows(_step):
        while not free.is_set():
            try:
                await free.wait()
            except asyncio.CancelledError:
                continue

    machine = run(*frame(Step("other", StagePhase.CHECK, swallows, {"limit_seconds": 0.01})))
    result = await machine()
    free.set()
    assert machine.stuck
    assert statuses(result)["other"] == "failed"
    assert statuses(result)["cleanup"] == "passed"


async def test_what_is_secret_stands_in_no_file_and_no_line(run, tmp_path):
    (tmp_path / "key").write_text("key-of-a-file\n")
    values = {
        "MY_PAT_NAME": "named-by-the-scenario",
        "OTHER": "value-of-a-header",
        "A_TOKEN": "found-by-its-name",
        "PROM_PUSHGATEWAY_URL": "http://me:in-an-address@gateway",
    }
    secret = [*values.values(), "key-of-a-file"]
    secret[3] = "in-an-address"
    said = []

    async def tells(step):
        for value in secret:
            machine.context.tell(f"says {value}")
        step.facts = {"found": secret, secret[0]: 1}
        step.notes = [f"note {secret[1]}"]
        raise VerdictError(f"refused: {secret[2]} and {secret[4]}")

    machine = run(*frame(Step("other", StagePhase.CHECK, tells)), tell=said.append)
    asked = {"api_key_file": "key", "header_envs": {"x-a": "OTHER", "x-b": "MY_PAT_NAME"}}
    values["OLD_ONE"] = "key-that-has-expired"
    secret.append(values["OLD_ONE"])
    machine.context.secret_names = ("OLD_ONE",)
    machine.context.asking = Asking.model_validate(asked)
    machine.context.environ = values
    machine._secrets = machine.context.secrets
    result = await machine()
    assert result.stages[1].message == "refused: *** and ***"
    assert said.count("says ***") == len(secret)
    files = [path for path in machine.context.folder.rglob("*") if path.is_file()]
    assert len(files) > 2
    for path in files:
        assert not [value for value in secret if value.encode() in path.read_bytes()], path


async def test_a_dry_run_does_nothing_and_shows_each_part(run):
    steps = frame(
        Step("perf", StagePhase.LOAD), Step("accuracy", StagePhase.SCORE, ConfigError("no data"))
    )
    machine = run(*steps, dry_run=True)
    result = await machine()
    assert statuses(result) == {
        "launch": "planned",
        "perf": "planned",
        "accuracy": "failed",
        "cleanup": "planned",
    }
    assert result.stages[1].facts == {"found": None}
    assert result.stages[1].notes == ["perf would do something"]
    assert (result.verdict, result.exit_code) == ("failed", 2)
    assert not (machine.context.folder / "run.json").exists()


async def test_without_a_climb_the_folder_is_a_runs_all_the_same(run):
    seen = []

    async def look(_step):
        seen.append(json.loads((machine.context.folder / "run.json").read_bytes()))

    machine = run(
        *frame(Step("functional", StagePhase.CHECK), Step("gate", StagePhase.JUDGE, look)),
        run_type="daily",
    )
    await machine()
    assert seen[0]["status"] == "complete"
    assert seen[0]["levels"] == []
    assert seen[0]["labels"]["scenario"] == "a"
    assert seen[0]["labels"]["run_type"] == "daily"
    assert seen[0]["labels"]["instance"]


async def test_results_that_cannot_be_written_leave_no_server_behind(run):
    launcher = Launcher()

    async def full_disk(_step):
        machine.context.launcher = launcher
        result = machine.context.folder / "result.json"
        result.unlink()
        result.mkdir()  # what is written cannot take its place

    machine = run(*frame(Step("perf", StagePhase.LOAD, full_disk)))
    with pytest.raises(ResultsError, match=r"result.json: cannot be written"):
        await machine()
    assert launcher.stopped == 1
