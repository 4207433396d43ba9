"""Runs: one scenario, stage after stage, from the launch to the clean-up.

`ScenarioRun` runs that of a file, `OneStageRun` that which a command makes of its options.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchcore.base.clock import stamp_of, utc_now
from benchcore.base.errors import BenchcoreError, ConfigError, ResultsError
from benchcore.base.files import GrowingFile, make_folder, replace_file
from benchcore.base.secrets import hide, masked, masked_text
from benchcore.base.stored import Status
from benchcore.config.scenario import RunType, StageSettings
from benchcore.runs.facts import TargetFacts
from benchcore.runs.reading import RESULT_FILE, RunFolder, read_scenario
from benchcore.runs.run_json import dump, target_facts
from benchcore.runs.scenarios import ScenarioResult, StageResult, StageStatus
from benchcore.scenario.stage import (
    NOWHERE,
    BaseStage,
    ServerStage,
    StageContext,
    StageFaultError,
    StagePhase,
)
from benchcore.scenario.stages import CleanUpStage, LoadedScenario, StagesRun, plan_stage
from benchcore.show.progress import Progress, Silent

if TYPE_CHECKING:
    from benchcore.config.target import Target
    from benchcore.sim.process import SimulatorProcess


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
            result = read_scenario(file.parent)
        except ConfigError:
            continue  # a broken neighbour only costs an estimate
        same = (result.scenario, result.run_type) == (scenario, run_type)
        if same and result.status == "complete" and not result.dry_run:
            over = (StageStatus.PASSED, StageStatus.WARNED)
            return {one.name: one.seconds for one in result.stages if one.status in over}
    return {}


class ScenarioRun(StagesRun):
    """Runs a scenario from a file; the result is on disk after each stage.

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
        scenario = loaded.scenario
        context = StageContext(
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
        super().__init__(loaded, context)
        self._tell = tell
        self._file: GrowingFile | None = None
        self._headed = False
        self._secrets = context.secrets
        hide(self._secrets)
        if scenario.launch is not None and scenario.launch.simulator is not None:
            context.kind = "simulator"
        self.result = ScenarioResult.begun(
            scenario.id,
            loaded.run_type.name,
            folder.name,
            context.started_at,
            dry_run=dry_run,
            file=str(loaded.path),
            command=context.command,
            labels=context.labels,
            target=TargetFacts(kind=context.kind, base_url=loaded.base_url),
            digest=loaded.digest,
        )

    async def __call__(self) -> ScenarioResult:
        """Run, and return the result.

        Raises:
            ResultsError: it cannot be written.
        """
        (self.context.folder / "logs").mkdir(parents=True, exist_ok=True)
        self._file = GrowingFile(self.context.folder / "logs" / "benchcore.log")
        status: Status = "failed"
        try:
            self._save()
            if self.result.dry_run or self._can_be_done():
                self._head("running")
                await self.run_stages()
                status = "interrupted" if self.signal else "complete"
        finally:
            self.result.target = TargetFacts(kind=self.context.kind, base_url=self.context.base_url)
            self.result.end(status, self.signal)
            with suppress(ResultsError, OSError):  # the first such fault is raised already
                self._save()
                self._file.close()
        return self.result

    def _before(self, stage: BaseStage[Any]) -> None:
        if stage.phase.place >= StagePhase.JUDGE.place and not self._headed:
            self._headed = True
            self._head(self._measured())
            self._reports()

    def _begins(self, stage: BaseStage[Any]) -> None:
        self._say(f"{stage.name}: begins")

    def _ended(self, part: StageResult) -> None:
        self.result.stages.append(part)
        self._save()

    async def _part(self, stage: BaseStage[Any]) -> StageResult:
        if self.result.dry_run:
            return self._planned(stage)
        part = await super()._part(stage)
        if part.started_at:
            said = f": {part.message}" if part.message else ""
            self._say(f"{stage.name}: {part.status} after {part.seconds:.1f} s{said}")
        return part

    def _log(self, text: str) -> None:
        if self._file is not None:
            self._file.write(masked_text(text, self._secrets).encode())

    def _can_be_done(self) -> bool:
        """Tell whether every stage could be done, before anything is started for them."""
        faults: dict[str, BenchcoreError] = {}
        for stage in self.loaded.stages:
            try:
                plan_stage(stage, self.context)
            except BenchcoreError as error:
                faults[stage.name] = error
        try:
            self.context.target_at(self.context.base_url or NOWHERE)
        except BenchcoreError as error:
            faults.setdefault(self.loaded.stages[0].name, error)
        if faults:
            self._refuse(faults)
        return not faults

    def _refuse(self, faults: Mapping[str, BenchcoreError]) -> None:
        for stage in self.loaded.stages:
            part = StageResult.begun(stage.name, message="nothing was begun")
            if stage.name in faults:
                error = faults[stage.name]
                part.status, part.exit_code = StageStatus.FAILED, error.exit_code
                part.message = str(error)
                self._say(f"{stage.name}: cannot be done: {error}")
            self.result.stages.append(part)

    def _planned(self, stage: BaseStage[Any]) -> StageResult:
        limit = self.loaded.settings[stage.name].limit_seconds or stage.limit_seconds
        part = StageResult.begun(stage.name, limit_seconds=limit)
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
        if path.is_file() and RunFolder(path.parent).run.status != "running":
            return
        context = self.context
        target = target_facts(context.target_at(context.base_url or NOWHERE), context.kind)
        target.base_url = context.base_url
        context.write_head(status, target)

    def _reports(self) -> None:
        """Write the pages for people, once everything that they show is there."""
        folder = self.context.folder
        if self.result.dry_run or not RunFolder(folder).levels:
            return
        try:
            from benchcore.show.page import write_reports

            write_reports(folder)
        except OSError as error:
            raise ResultsError(
                f"{folder}: the reports cannot be written ({error.strerror})"
            ) from None

    def _measured(self) -> Status:
        """Return how far the measuring stages have come."""
        if self.signal:
            return "interrupted"
        failed = any(part.exit_code in (1, 2, 3) for part in self.result.stages)
        return "failed" if failed else "complete"

    def _say(self, line: str) -> None:
        line = masked_text(line, self._secrets)
        self._tell(line)
        if self._file is not None:
            self._file.write(f"{utc_now()} {line}\n".encode())
            with suppress(OSError):  # the result says it; a log is not worth a run
                self._file.flush()

    def _save(self) -> None:
        found = masked(self.result.to_json(), self._secrets)
        self._replace(self.context.folder / RESULT_FILE, dump(found))

    def _replace(self, path: Path, data: bytes) -> None:
        try:
            replace_file(path, data)
        except OSError as error:
            raise ResultsError(f"{path}: cannot be written ({error.strerror})") from None


# A scenario that a command makes of its options and runs as any other.

ONE_STAGE: Final = RunType("pr", {}, warns=frozenset(), continues=False, pushes=False)
"""Nothing is laid below what the options say, and whatever fails fails the run."""


class OneStageRun(StagesRun):
    """Runs one stage on a server that is there or on the simulator.

    The folder is made as the stage begins; where nothing is written into it, it is removed.

    Args:
        stage: what is run.
        context: what there is to know of it; `alone` is set. Its scenario names the run, and its
            `results` is where the folder is made.
        simulator: is started, where there is no address.
        folder: that is gone on with, instead of a new one.
        begins: told of the server as the stage begins, before the folder is made.
    """

    def __init__(
        self,
        stage: ServerStage[Any],
        context: StageContext,
        *,
        simulator: SimulatorProcess | None = None,
        folder: Path | None = None,
        begins: Callable[[Target], None] = lambda _target: None,
    ) -> None:
        stages: list[BaseStage[Any]] = [stage, CleanUpStage(StageSettings())]
        if simulator is not None:
            from benchcore.scenario.simulator import SimulatorStage

            stages.insert(0, SimulatorStage(simulator))
        loaded = LoadedScenario(
            context.scenario,
            context.base,
            context.run_type,
            stages,
            dict.fromkeys((one.name for one in stages), StageSettings()),
            context.asking,
            context.base_url,
            context.environ,
        )
        super().__init__(loaded, context)
        self._stage = stage
        self._told = begins
        self._given_folder = folder
        self.folder: Path | None = None
        """Of the run, once it has begun and as long as anything is in it."""
        # What is wrong with the options is said before anything is started.
        self.target = stage.target(context)

    @property
    def error(self) -> BaseException | None:
        """What ended the run; `None`: nothing did."""
        for part in self.context.parts.values():
            if part.error is not None:
                return part.error
            if part.exit_code:
                return StageFaultError(part.message)
        return None

    def end(self) -> int:
        """Return the exit code of a run whose results are shown.

        Raises:
            BaseException: what ended it, unless a signal did, which what is left then only echoes.
        """
        error = self.error
        ours = isinstance(error, BenchcoreError) and error.exit_code != 1
        if error is not None and not (self.signal and ours):
            raise error
        return 128 + self.signal if self.signal else 0

    async def __call__(self) -> None:
        """Run it; what ends it is in `error`.

        Raises:
            ConfigError: the folder cannot be made.
        """
        try:
            await self.run_stages()
        finally:
            if self.folder is not None:
                with suppress(OSError):  # it is empty only where the run never came to begin
                    self.folder.rmdir()
                    self.folder = None

    def _begins(self, stage: BaseStage[Any]) -> None:
        if not stage.phase.measures:
            return
        self._told(self._stage.target(self.context))
        context = self.context
        context.started_at = utc_now()
        self.folder = context.folder = self._given_folder or make_folder(
            context.results, stamp_of(context.started_at), context.scenario.id
        )
        context.run_id = context.folder.name
