"""Stages: those that are installed, and one of them planned or done."""

from __future__ import annotations

import asyncio
import time
import traceback
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final

from benchcore.base.errors import BenchcoreError, ConfigError
from benchcore.config.scenario import StageSettings
from benchcore.runs.run_json import dump
from benchcore.scenario.stage import (
    Stage,
    StageContext,
    StageFaultError,
    StagePart,
    StagePhase,
    StagePlan,
    StageSkippedError,
    StageStatus,
)

GROUP: Final = "benchcore.stages"
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
    found: dict[str, Any] = {}
    values: dict[str, str] = {}
    for point in entry_points(group=GROUP):
        other = values.setdefault(point.name, point.value)
        if other != point.value:
            raise ConfigError(
                f"stage {point.name}: is both {other} and {point.value}; uninstall one of them"
            )
        found[point.name] = _loaded(point)

    def place(name: str) -> tuple[int, bool, str]:
        return found[name].phase.place, not values[name].startswith("benchcore."), name

    return {name: found[name] for name in sorted(found, key=place)}


def _loaded(point: EntryPoint) -> Any:
    try:
        stage = point.load()
    except Exception as error:  # noqa: BLE001 - the code is somebody else's and raises anything
        said = " ".join(f"{type(error).__name__}: {error}".split())
        raise ConfigError(
            f"stage {point.name} of {point.value}: cannot be loaded: {said}; mend or uninstall it"
        ) from None
    fault = _loading_fault(stage, point.name)
    if fault:
        raise ConfigError(f"stage {point.name} of {point.value}: {fault}; mend or uninstall it")
    return stage


def _loading_fault(stage: Any, name: str) -> str:
    """Return what keeps a class from being a stage; empty where nothing does."""
    missing = [needed for needed in _NEEDED if not hasattr(stage, needed)]
    if missing:
        return f"has no {missing[0]}"
    if stage.name != name:
        return f"calls itself {stage.name}"
    if not isinstance(stage.phase, StagePhase):
        return f"its phase is {stage.phase!r}, which is no StagePhase"
    model = stage.settings_model
    if not (isinstance(model, type) and issubclass(model, StageSettings)):
        return f"its settings_model is {model!r}, which is no subclass of StageSettings"
    limit = stage.limit_seconds
    if type(limit) not in (int, float) or not limit > 0:
        return f"its limit_seconds is {limit!r}, which is no number above 0"
    return ""


GRACE_SECONDS: Final = 30.0
"""What a stage may take to end after it was asked to."""
_LATE_SECONDS: Final = 1.0
"""A stage that ends at its limit has kept it; one that blocks the loop ends long after."""
_LIMIT_CODE: Final = 5


def plan_stage(stage: Stage, context: StageContext) -> StagePlan:
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

    def __init__(self, stage: Stage, context: StageContext, part: StagePart) -> None:
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
        part.seconds = time.monotonic() - begun
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
        error = task.exception()
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
