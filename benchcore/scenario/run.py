"""Scenario run: one scenario, stage after stage, from the launch to the clean-up."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchcore.base.clock import utc_now
from benchcore.base.errors import BenchcoreError, ConfigError, ResultsError, TargetError
from benchcore.base.files import GrowingFile, read_json, replace_file
from benchcore.base.secrets import hide, masked, masked_text
from benchcore.metrics.accuracy import Status
from benchcore.runs.reading import RunFolder
from benchcore.runs.run_json import dump, target_facts, write_head
from benchcore.scenario.result import RESULT_FILE, ScenarioResult
from benchcore.scenario.scenario_file import LoadedScenario
from benchcore.scenario.stage import Stage, StageContext, StagePart, StagePhase, StageStatus
from benchcore.scenario.stages import StageRun, plan_stage
from benchcore.show.page import write_reports
from benchcore.show.progress import Progress, Silent


@dataclass(slots=True)
class PlannedStage:
    """What a stage would do.

    Args:
        name: of the stage.
        lines: for people.
        at_most: seconds; `None`: not known.
        last_time: seconds that it took in the last complete run; `None`: there is none.
        fault: why it could not be done; empty where it could.
    """

    name: str
    lines: list[str]
    at_most: float | None
    last_time: float | None
    fault: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return it as an object of JSON."""
        return {
            "name": self.name,
            "does": self.lines,
            "at_most_seconds": self.at_most,
            "last_time_seconds": self.last_time,
            "fault": self.fault or None,
        }


def plan_scenario(loaded: LoadedScenario, results: Path) -> list[PlannedStage]:
    """Return what each stage would do; nothing is touched.

    Args:
        loaded: the scenario.
        results: where earlier runs are.
    """
    context = ScenarioRun(loaded, results / "planned", results).context
    before = _last_time(loaded.scenario.id, loaded.run_type.name, results)
    found = []
    for stage in loaded.stages:
        took = before.get(stage.name)
        try:
            plan = plan_stage(stage, context)
        except BenchcoreError as error:
            found.append(PlannedStage(stage.name, [], None, took, str(error)))
        else:
            found.append(PlannedStage(stage.name, plan.lines, plan.seconds, took))
    return found


def _last_time(scenario: str, run_type: str, results: Path) -> dict[str, float]:
    """Return the seconds of each stage that passed in the newest complete run of the same."""
    for file in sorted(results.glob(f"*/{RESULT_FILE}"), reverse=True):
        try:
            result = ScenarioResult.read(file.parent)
        except ConfigError:
            continue  # a broken neighbour only costs an estimate
        same = (result.scenario, result.run_type) == (scenario, run_type)
        if same and result.status == "complete" and not result.dry_run:
            over = (StageStatus.PASSED, StageStatus.WARNED)
            return {part.name: part.seconds for part in result.parts if part.status in over}
    return {}


_NOWHERE: Final = "http://127.0.0.1"
"""Stands for the address of a server that has not been launched, where only the rest counts."""


class ScenarioRun:
    """Runs a scenario; whatever happens, what was launched is taken down and the result written.

    Args:
        loaded: the scenario.
        folder: of this run.
        results: where the folders of runs are.
        command: how benchcore was called.
        dry_run: touch neither a target nor a cluster.
        allow_simulator: judge and push a run of the simulator too.
        tell: takes a line for people.
        progress: told how the climb goes.
    """

    def __init__(
        self,
        loaded: LoadedScenario,
        folder: Path,
        results: Path,
        *,
        command: Iterable[str] = (),
        dry_run: bool = False,
        allow_simulator: bool = False,
        tell: Callable[[str], None] = lambda _line: None,
        progress: Progress | None = None,
    ) -> None:
        self._loaded = loaded
        self._tell = tell
        self._log: GrowingFile | None = None
        self._current: StageRun | None = None
        self._interrupts = 0
        self.stuck = False
        """Whether a stage goes on although it was cancelled: it ends with the process only."""
        self._blocked = ""
        scenario = loaded.scenario
        self.context = StageContext(
            scenario=scenario,
            run_type=loaded.run_type,
            base=loaded.path.parent,
            folder=folder,
            results=results,
            run_id=folder.name,
            started_at=utc_now(),
            command=list(command),
            asking=loaded.asking,
            base_url=loaded.base_url,
            environ=loaded.environ,
            secret_names=tuple(loaded.secret_names),
            allow_simulator=allow_simulator,
            tell=self._say,
            progress=progress or Silent(),
        )
        self._secrets = self.context.secrets
        hide(self._secrets)
        if scenario.launch is not None and scenario.launch.simulator is not None:
            self.context.kind = "simulator"
        self.result = ScenarioResult(
            scenario.id,
            loaded.run_type.name,
            folder.name,
            self.context.started_at,
            {
                "file": str(loaded.path),
                "command": self.context.command,
                "labels": self.context.labels,
                "target": {"kind": self.context.kind, "base_url": loaded.base_url},
                "digest": loaded.digest,
            },
            dry_run=dry_run,
        )

    def interrupt(self, number: int = 15) -> None:
        """End soon, by this signal: the stage that runs is asked to, and later ones are left out.

        What was launched is taken down all the same.
        """
        self._interrupts += 1
        self.result.signal = self.result.signal or number
        self._blocked = self._blocked or "interrupted"
        if self._current is not None:
            self._current.interrupt()

    async def __call__(self) -> ScenarioResult:
        """Run, and return the result.

        Raises:
            ResultsError: it cannot be written.
        """
        (self.context.folder / "logs").mkdir(parents=True, exist_ok=True)
        self._log = GrowingFile(self.context.folder / "logs" / "benchcore.log")
        try:
            self._save()
            if not self.result.dry_run and not self._can_be_done():
                self.result.status = "failed"
                return self.result
            self._head("running")
            measured = False
            for stage in self._loaded.stages:
                if stage.phase.place >= StagePhase.JUDGE.place and not measured:
                    measured = True
                    self._head(self._measured())
                    self._reports()
                part = await self._part(stage)
                self.context.parts[stage.name] = part
                self.result.parts.append(part)
                self._save()
            self.result.status = "interrupted" if self._interrupts else "complete"
        except BaseException:
            self.result.status = "failed"
            # A full disk, or a loop that is torn down, is no reason to leave a server running.
            if self.context.launcher is not None and "cleanup" not in self.context.parts:
                await self.context.launcher.stop()
            raise
        finally:
            self.result.ended_at = utc_now()
            self.result.facts["target"] = {
                "kind": self.context.kind,
                "base_url": self.context.base_url,
            }
            with suppress(ResultsError, OSError):  # the first such fault is raised already
                self._save()
                self._log.close()
        return self.result

    async def stage(self, name: str) -> StagePart:
        """Run one stage alone, outside a whole run.

        Args:
            name: of a stage that the scenario has.
        """
        part = await self._part(next(one for one in self._loaded.stages if one.name == name))
        self.context.parts[name] = part
        return part

    async def _part(self, stage: Stage) -> StagePart:
        loaded = self._loaded
        settings = loaded.settings[stage.name]
        part = StagePart(stage.name, limit_seconds=settings.limit_seconds or stage.limit_seconds)
        if self.result.dry_run:
            return self._planned(stage, part)
        if self._blocked and not stage.always:
            part.message = self._blocked
            part.status = StageStatus.INTERRUPTED if self._interrupts else StageStatus.SKIPPED
            return part
        part.started_at = utc_now()
        self._say(f"{stage.name}: begins")
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
        said = f": {part.message}" if part.message else ""
        self._say(f"{stage.name}: {part.status} after {part.seconds:.1f} s{said}")
        return part

    async def _run(self, stage: Stage, part: StagePart) -> None:
        self._current = run = StageRun(stage, self.context, part)
        try:
            await run()
        finally:
            self._current = None
            self.stuck = self.stuck or run.stuck
        if run.trace and self._log is not None:
            self._log.write(masked_text(run.trace, self._secrets).encode())
        if self._interrupts and not stage.always and part.exit_code != 1:
            # What it makes of the little that it has is no judgement of the server.
            part.status, part.exit_code, part.message = StageStatus.INTERRUPTED, 0, "interrupted"
        elif stage.phase.measures:
            self._see_whether_it_is_gone(part)
        part.message = masked_text(part.message, self._secrets)
        part.facts, part.notes = (
            masked(part.facts, self._secrets),
            masked(part.notes, self._secrets),
        )

    def _see_whether_it_is_gone(self, part: StagePart) -> None:
        """Fail a stage under which the server has ended: what it found is of a dying one."""
        launcher = self.context.launcher
        gone = None if launcher is None else launcher.ended()
        if gone is None or part.status is StageStatus.FAILED:
            return
        part.status, part.exit_code = StageStatus.FAILED, TargetError.exit_code
        part.message = f"the server is gone: {gone}"
        self._blocked = self._blocked or part.message

    def _can_be_done(self) -> bool:
        """Tell whether every stage could be done, before anything is started for them."""
        faults: dict[str, BenchcoreError] = {}
        for stage in self._loaded.stages:
            try:
                plan_stage(stage, self.context)
            except BenchcoreError as error:
                faults[stage.name] = error
        try:
            self.context.target_at(self.context.base_url or _NOWHERE)
        except BenchcoreError as error:
            faults.setdefault(self._loaded.stages[0].name, error)
        if faults:
            self._refuse(faults)
        return not faults

    def _refuse(self, faults: Mapping[str, BenchcoreError]) -> None:
        for stage in self._loaded.stages:
            part = StagePart(stage.name, message="nothing was begun")
            if stage.name in faults:
                error = faults[stage.name]
                part.status, part.exit_code = StageStatus.FAILED, error.exit_code
                part.message = str(error)
                self._say(f"{stage.name}: cannot be done: {error}")
            self.result.parts.append(part)

    def _planned(self, stage: Stage, part: StagePart) -> StagePart:
        try:
            plan = plan_stage(stage, self.context)
        except BenchcoreError as error:
            part.status, part.message = StageStatus.FAILED, str(error)
            part.exit_code = error.exit_code
        else:
            part.status = StageStatus.PLANNED
            part.facts, part.notes = plan.facts, plan.lines
        return part

    def _head(self, status: Status) -> None:
        """Write `run.json` where no climb has written its own, so that the folder is a run's."""
        path = self.context.folder / "run.json"
        if self.result.dry_run:
            return
        if path.is_file() and read_json(path)["status"] != "running":
            return
        context = self.context
        try:
            write_head(
                context.folder,
                context.started_at,
                status,
                name=context.scenario.id,
                command=context.command,
                target=target_facts(context.target_at(context.base_url or _NOWHERE), context.kind)
                | {"base_url": context.base_url},
                labels=context.labels,
            )
        except OSError as error:
            raise ResultsError(f"{path}: cannot be written ({error.strerror})") from None

    def _reports(self) -> None:
        """Write the pages for people, once everything that they show is there."""
        folder = self.context.folder
        if self.result.dry_run or not RunFolder(folder).levels:
            return
        try:
            write_reports(folder, draw=True)
        except OSError as error:
            raise ResultsError(
                f"{folder}: the reports cannot be written ({error.strerror})"
            ) from None

    def _measured(self) -> Status:
        """Return how far the measuring stages have come."""
        if self._interrupts:
            return "interrupted"
        failed = any(part.exit_code in (1, 2, 3) for part in self.result.parts)
        return "failed" if failed else "complete"

    def _say(self, line: str) -> None:
        line = masked_text(line, self._secrets)
        self._tell(line)
        if self._log is not None:
            self._log.write(f"{utc_now()} {line}\n".encode())
            with suppress(OSError):  # the result says it; a log is not worth a run
                self._log.flush()

    def _save(self) -> None:
        found = masked(self.result.to_json(), self._secrets)
        self._replace(self.context.folder / RESULT_FILE, dump(found))

    def _replace(self, path: Path, data: bytes) -> None:
        try:
            replace_file(path, data)
        except OSError as error:
            raise ResultsError(f"{path}: cannot be written ({error.strerror})") from None
