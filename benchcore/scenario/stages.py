"""Stages: those that are installed, and how they are run, one after the other."""

from __future__ import annotations

import asyncio
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchcore.base.clock import utc_now
from benchcore.base.errors import BenchcoreError, ConfigError, TargetError
from benchcore.base.plugins import Group
from benchcore.base.secrets import masked, masked_text
from benchcore.config.scenario import (
    FunctionalSettings,
    RunType,
    Scenario,
    SinksSettings,
    StageSettings,
)
from benchcore.config.servers import Asking
from benchcore.runs.run_json import dump
from benchcore.runs.scenarios import StageResult, StageStatus
from benchcore.scenario.stage import (
    BaseStage,
    StageContext,
    StageFaultError,
    StagePhase,
    StagePlan,
    StageSkippedError,
)

STAGES: Final = Group("benchcore.stages", "stage")
_NEEDED: Final = (
    "name",
    "phase",
    "settings_model",
    "limit_seconds",
    "wanted",
    "always",
    "essential",
    "warnable",
    "plan",
    "run",
    "interrupt",
)


def installed_stages() -> dict[str, Any]:
    """Return the classes of all stages by name, in the order in which they run.

    Raises:
        ConfigError: one cannot be loaded or is no stage, or two have one name.
    """
    points = STAGES.points()
    found = STAGES.load_all()
    for name, stage in found.items():
        fault = _loading_fault(stage, name)
        if fault:
            value = points[name].value
            raise ConfigError(f"stage {name} of {value}: {fault}; repair or uninstall it")

    def place(name: str) -> tuple[int, bool, str]:
        return found[name].phase.place, not points[name].value.startswith("benchcore."), name

    return {name: found[name] for name in sorted(found, key=place)}


def _loading_fault(stage: Any, name: str) -> str:
    """Return what keeps a class from being a stage; empty where nothing does."""
    missing = [needed for needed in _NEEDED if not hasattr(stage, needed)]
    missing += sorted(getattr(stage, "__abstractmethods__", ()))
    if missing:
        return f"has no {missing[0]}"
    if stage.name != name:
        return f"calls itself {stage.name}"
    if not isinstance(stage.phase, StagePhase):
        return f"its phase is {stage.phase!r}, which is not a StagePhase"
    model = stage.settings_model
    if not (isinstance(model, type) and issubclass(model, StageSettings)):
        return f"its settings_model is {model!r}, which is not a subclass of StageSettings"
    limit = stage.limit_seconds
    if type(limit) not in (int, float) or not limit > 0:
        return f"its limit_seconds is {limit!r}, which is not a number above 0"
    return ""


GRACE_SECONDS: Final = 30.0
"""What a stage may take to end after it was asked to."""
_LATE_SECONDS: Final = 1.0
"""A stage that ends at its limit has kept it; one that blocks the loop ends long after."""
_LIMIT_CODE: Final = 5


def plan_stage(stage: BaseStage[Any], context: StageContext) -> StagePlan:
    """Return what a stage would do.

    Raises:
        BenchcoreError: it could not be done.
        StageFaultError: the stage has a bug.
    """
    try:
        found = stage.plan(context)
    except BenchcoreError:
        raise
    except Exception as error:  # the code may be somebody else's
        raise StageFaultError(_fault(error)) from error
    if not isinstance(found, StagePlan):
        raise StageFaultError(f"internal fault: plan returns {type(found).__name__}")
    return found


class StageRun:
    """Runs a stage to its end, its limit, or an interrupt.

    Args:
        stage: what is run.
        context: of the scenario.
        part: what becomes of it.
    """

    def __init__(self, stage: BaseStage[Any], context: StageContext, part: StageResult) -> None:
        self._stage = stage
        self._context = context
        self._part = part
        self._task: asyncio.Task[None] | None = None
        self._interrupted = False
        self.trace = ""
        """Of a bug in the stage, for the log."""

    @property
    def stuck(self) -> bool:
        """Whether the stage goes on although it was cancelled: nothing ends it but our end."""
        return self._task is not None and not self._task.done()

    def interrupt(self) -> None:
        """Ask the stage to end; again: now."""
        self._interrupted = True
        if self._task is not None and not self._stage.interrupt():
            self._task.cancel()

    async def __call__(self) -> None:
        """Run it, and let the part say what became of it."""
        part = self._part
        begun = time.monotonic()
        self._task = task = asyncio.ensure_future(self._guarded())
        late = False
        try:
            done, _ = await asyncio.wait([task], timeout=part.limit_seconds)
            late = not done
            if late:
                await self._end(task)
        finally:
            if not task.done():
                task.cancel()
        part.seconds = round(time.monotonic() - begun, 3)
        limit = part.limit_seconds
        late = late or (limit is not None and part.seconds > limit + _LATE_SECONDS)
        self._judge(task)
        self._take_findings()
        if late:
            part.status, part.exit_code = StageStatus.FAILED, part.exit_code or _LIMIT_CODE
            part.message = f"stopped after its limit of {limit:g} s"

    async def _guarded(self) -> None:
        try:
            await self._stage.run(self._context)
        except (SystemExit, KeyboardInterrupt) as error:
            # Out of a task these would tear the loop down, and the run with it.
            raise StageFaultError(f"internal fault: {type(error).__name__}: {error}") from error

    async def _end(self, task: asyncio.Task[None]) -> None:
        self._interrupted = True
        if not self._stage.interrupt():
            task.cancel()
        done, _ = await asyncio.wait([task], timeout=GRACE_SECONDS)
        if not done:
            task.cancel()
            await asyncio.wait([task], timeout=GRACE_SECONDS)

    def _judge(self, task: asyncio.Task[None]) -> None:
        part = self._part
        if not task.done():
            part.status, part.exit_code = StageStatus.FAILED, 1
            part.message = "does not end, although it was cancelled"
            return
        if task.cancelled():
            if self._interrupted:
                part.status, part.message = StageStatus.INTERRUPTED, "interrupted"
            else:
                part.status, part.exit_code = StageStatus.FAILED, 1
                part.message = "internal fault: it was cancelled from inside"
            return
        part.error = error = task.exception()
        if error is None:
            part.status = StageStatus.PASSED
        elif isinstance(error, StageSkippedError):
            part.status, part.message = StageStatus.SKIPPED, str(error)
        elif isinstance(error, BenchcoreError):
            part.status, part.message = StageStatus.FAILED, str(error)
            part.exit_code = error.exit_code
        else:
            # A bug in a stage, perhaps of somebody else's: the others and the clean-up go on.
            part.status, part.exit_code = StageStatus.FAILED, 1
            part.message = _fault(error)
            self.trace = "".join(traceback.format_exception(error))

    def _take_findings(self) -> None:
        """Take what the stage has found, where a file of JSON can hold it."""
        facts, notes = self._stage.facts, self._stage.notes
        problem = ""
        if not isinstance(facts, dict) or not isinstance(notes, list):
            problem = f"facts is {type(facts).__name__} and notes is {type(notes).__name__}"
        else:
            try:
                dump({"facts": facts, "notes": notes})
            except (TypeError, ValueError) as error:
                problem = f"its facts are not of JSON: {error}"
        if problem:
            self._part.status, self._part.exit_code = StageStatus.FAILED, 1
            self._part.message = f"internal fault: {problem}"
            return
        self._part.facts, self._part.notes = facts, [str(note) for note in notes]


def _fault(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"internal fault: {type(error).__name__}: {text}"


class CleanUpStage(BaseStage[StageSettings]):
    """Takes down what was launched, whatever happened before."""

    name = "cleanup"
    phase = StagePhase.CLEAN_UP
    wanted = True
    always = True
    warnable = frozenset()

    def plan(self, context: StageContext) -> StagePlan:
        """Return whether there would be anything to take down."""
        line = "nothing: the server was running before"
        return StagePlan(["what was launched" if context.scenario.launch else line], 0.0)

    async def run(self, context: StageContext) -> None:
        """Take it down.

        Raises:
            TargetError: something of it is left.
        """
        if context.launcher is None:
            return
        left = await context.launcher.stop()
        self.facts = {"left": left}
        if left:
            raise TargetError(f"not everything could be taken down: {'; '.join(left)}")

    def interrupt(self) -> bool:
        """Go on: what is not taken down now stays."""
        return True


@dataclass(slots=True)
class LoadedScenario:
    """A scenario, ready to be run once.

    Args:
        scenario: it.
        path: its file.
        run_type: for which it was read.
        stages: that run, in order, made anew.
        settings: of them, by name.
        asking: how the server may be asked, the provider's part put in.
        base_url: where it is; `None`: it is launched.
        environ: the variables that it was read with.
        digest: of all that it says for this run type.
    """

    scenario: Scenario
    path: Path
    run_type: RunType
    stages: list[BaseStage[Any]]
    settings: dict[str, StageSettings]
    asking: Asking
    base_url: str | None
    environ: Mapping[str, str]
    digest: str = ""

    @property
    def secret_names(self) -> list[str]:
        """The variables that stages name for keys of their own."""
        found = []
        for settings in self.settings.values():
            if isinstance(settings, FunctionalSettings) and settings.expired_key_env is not None:
                found.append(settings.expired_key_env)
            if isinstance(settings, SinksSettings):
                found.append(settings.password_env)
        return found


class StagesRun:
    """Runs stages one after the other; whatever happens, what was launched is taken down.

    Args:
        loaded: the scenario that they are of.
        context: what they share.
    """

    def __init__(self, loaded: LoadedScenario, context: StageContext) -> None:
        self.loaded = loaded
        self.context = context
        self.signal = 0
        """That interrupted it; 0: none."""
        self.stuck = False
        """Whether a stage goes on although it was cancelled: it ends with the process only."""
        self._secrets: list[str] = []
        self._current: StageRun | None = None
        self._blocked = ""

    def interrupt(self, number: int = 15) -> None:
        """End soon, by this signal: the stage that runs is asked to, and later ones are left out.

        A second time the stage ends at once. What was launched is taken down all the same.
        """
        self.signal = self.signal or number
        self._blocked = self._blocked or "interrupted"
        if self._current is not None:
            self._current.interrupt()

    async def run_stages(self) -> None:
        """Run them all, each as far as those before it let it."""
        try:
            for stage in self.loaded.stages:
                self._before(stage)
                self._ended(await self._recorded(stage))
        except BaseException:
            # A full disk, or a loop that is torn down, is no reason to leave a server running.
            if self.context.launcher is not None and "cleanup" not in self.context.parts:
                await self.context.launcher.stop()
            raise

    async def stage(self, name: str) -> StageResult:
        """Run one of them alone, and return what became of it."""
        return await self._recorded(next(one for one in self.loaded.stages if one.name == name))

    async def _recorded(self, stage: BaseStage[Any]) -> StageResult:
        self.context.parts[stage.name] = part = await self._part(stage)
        return part

    def _before(self, stage: BaseStage[Any]) -> None:
        """Do what is to be done before a stage, also where it will not run."""

    def _begins(self, stage: BaseStage[Any]) -> None:
        """Do what is to be done as a stage begins."""

    def _ended(self, part: StageResult) -> None:
        """Take what became of a stage, also where it did not run."""

    async def _part(self, stage: BaseStage[Any]) -> StageResult:
        loaded = self.loaded
        settings = loaded.settings[stage.name]
        limit = settings.limit_seconds or (None if self.context.alone else stage.limit_seconds)
        part = StageResult.begun(stage.name, limit_seconds=limit)
        if self._blocked and not stage.always:
            part.message = self._blocked
            part.status = StageStatus.INTERRUPTED if self.signal else StageStatus.SKIPPED
            return part
        part.started_at = utc_now()
        self._begins(stage)
        await self._run(stage, part)
        warns = settings.on_failure == "warn" or (
            settings.on_failure is None and stage.name in loaded.run_type.warns
        )
        if part.status is StageStatus.FAILED:
            if warns and part.exit_code in stage.warnable:
                part.status, part.exit_code = StageStatus.WARNED, 0
            goes_on = settings.continue_on_error
            if goes_on is None:
                goes_on = loaded.run_type.continues
            if stage.essential or (part.status is StageStatus.FAILED and not goes_on):
                self._blocked = self._blocked or f"{stage.name} failed"
        return part

    async def _run(self, stage: BaseStage[Any], part: StageResult) -> None:
        self._current = run = StageRun(stage, self.context, part)
        try:
            await run()
        finally:
            self._current = None
            self.stuck = self.stuck or run.stuck
        if run.trace:
            self._log(run.trace)
        if self.signal and not stage.always and part.exit_code != 1:
            # What it makes of the little that it has is no judgement of the server.
            part.status, part.exit_code, part.message = StageStatus.INTERRUPTED, 0, "interrupted"
        elif stage.phase.measures:
            self._see_whether_it_is_gone(part)
        part.message = masked_text(part.message or "", self._secrets) or None
        part.facts, part.notes = (
            masked(part.facts, self._secrets),
            masked(part.notes, self._secrets),
        )

    def _log(self, text: str) -> None:
        """Keep what only a log is told."""

    def _see_whether_it_is_gone(self, part: StageResult) -> None:
        """Fail a stage under which the server has ended: what it found is of a dying one."""
        launcher = self.context.launcher
        gone = None if launcher is None else launcher.ended()
        if gone is None or part.status is StageStatus.FAILED:
            return
        part.status, part.exit_code = StageStatus.FAILED, TargetError.exit_code
        part.message = f"the server is gone: {gone}"
        self._blocked = self._blocked or part.message
