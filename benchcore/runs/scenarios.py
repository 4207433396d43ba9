"""Scenarios: what became of a scenario, stage by stage, and of those of a matrix."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import ClassVar, Final, Literal, Self

from pydantic import Field, PrivateAttr, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from benchcore.base.clock import utc_now
from benchcore.base.stored import Count, Facts, Flag, Number, Status, Stored
from benchcore.runs.facts import TargetFacts

SCHEMA_VERSION: Final = 1
Verdict = Literal["passed", "warned", "failed", "interrupted", "planned"]
EntryVerdict = Verdict | Literal["skipped", "running", "waiting"]
_FIRST: Final = (1, 3, 4, 5)
"""Of several exit codes the first of these counts (contract, section 6)."""


def worst(codes: Iterable[int]) -> int:
    """Return the exit code of several: the first of 1, 3, 4, 5 that there is, else another."""
    failing = sorted({code for code in codes if code})
    for code in _FIRST:
        if code in failing:
            return code
    return failing[0] if failing else 0


class StageStatus(StrEnum):
    """What became of a stage."""

    PASSED = "passed"
    WARNED = "warned"
    """It failed, and the run type only tells so."""
    FAILED = "failed"
    SKIPPED = "skipped"
    INTERRUPTED = "interrupted"
    PLANNED = "planned"
    """A dry run."""


class StageFacts(Stored):
    """What a result says of a stage."""

    @property
    def headline(self) -> str:
        """The one figure that says most; empty: it has none."""
        raise NotImplementedError


class CheckFacts(StageFacts):
    """What a result says of the checks."""

    NAMES: ClassVar = {"passes": "pass"}

    passes: Count | None = Field(None, alias="pass")
    flaky: Count | None = None
    total: Count | None = None

    @property
    def headline(self) -> str:
        """See `StageFacts`."""
        known = self.passes is not None and self.flaky is not None
        return f"{(self.passes or 0) + (self.flaky or 0)}/{self.total}" if known else ""


class LevelFacts(Stored):
    """What a result says of a level."""

    level: str
    output_token_throughput: Number | None = None


class ClimbFacts(StageFacts):
    """What a result says of a climb."""

    levels: list[LevelFacts] | None = None

    @property
    def headline(self) -> str:
        """See `StageFacts`."""
        if not self.levels:
            return ""
        last = self.levels[-1]
        tokens = last.output_token_throughput
        return f"{last.level}: {'no' if tokens is None else f'{tokens:.0f}'} tokens/s"


class ScoreFacts(StageFacts):
    """What a result says of an eval."""

    task: str | None = None
    score: Number | None = None

    @property
    def headline(self) -> str:
        """See `StageFacts`."""
        return "" if self.score is None else f"{self.task} {self.score:.3f}"


class RuleFacts(Stored):
    """What a result says of a rule of the gate."""

    verdict: str


class GateFacts(StageFacts):
    """What a result says of the gate."""

    rules: list[RuleFacts] | None = None

    @property
    def headline(self) -> str:
        """See `StageFacts`."""
        held = sum(1 for rule in self.rules or () if rule.verdict == "pass")
        return f"{held}/{len(self.rules)} rules" if self.rules else ""


_FACTS: Final[dict[str, type[StageFacts]]] = {
    "functional": CheckFacts,
    "perf": ClimbFacts,
    "accuracy": ScoreFacts,
    "gate": GateFacts,
}
"""Of the stages whose facts are more than shown."""


class StageResult(Stored):
    """What became of a stage of a scenario."""

    name: str
    status: StageStatus
    message: str | None = None
    """Why, where it did not pass."""
    exit_code: Count
    """What it makes a run exit with; 0 where it fails nothing."""
    started_at: str | None = None
    """UTC, ISO 8601; `None` where it never was."""
    seconds: Number
    limit_seconds: Number | None = None
    """What it was allowed."""
    facts: Facts = Field(default_factory=dict)
    """What it found."""
    notes: list[str] = Field(default_factory=list)
    """What must be known besides."""
    _error: BaseException | None = PrivateAttr(None)

    @classmethod
    def begun(cls, name: str, **said: object) -> Self:
        """Return the result of a stage that has not run: skipped, until it does.

        Args:
            name: of the stage.
            **said: other fields that are known by now.
        """
        untried = {"status": StageStatus.SKIPPED, "exit_code": 0, "seconds": 0.0}
        return cls.complete(name=name, **{**untried, **said})

    @property
    def headline(self) -> str:
        """The one figure of it that says most; empty where it has none.

        A stage of somebody else's may mean something else by its facts: those have none.
        """
        kind = _FACTS.get(self.name)
        if kind is None:
            return ""
        try:
            return kind.model_validate(self.facts).headline
        except ValidationError:
            return ""

    @property
    def error(self) -> BaseException | None:
        """What ended it, for whoever runs this stage alone; not in the file."""
        return self._error

    @error.setter
    def error(self, error: BaseException | None) -> None:
        self._error = error


class ScenarioResult(Stored):
    """What became of a scenario, stage by stage: `result.json`."""

    schema_version: Count
    scenario: str
    """Its id."""
    run_type: str
    run_id: str
    """Name of its folder."""
    started_at: str
    ended_at: str | None = None
    status: Status
    dry_run: Flag
    """Whether nothing was touched."""
    verdict: Verdict | None = None
    """What it comes to; `None` while it runs."""
    exit_code: Count | None = None
    """What a command exits with after it; `None` while it runs."""
    file: str | None = None
    command: list[str] | None = None
    labels: dict[str, str] | None = None
    target: TargetFacts | None = None
    digest: str | None = None
    stages: list[StageResult]

    @model_validator(mode="after")
    def _has_ended(self) -> Self:
        if self.status != "running" and (self.verdict is None or self.exit_code is None):
            name = "verdict" if self.verdict is None else "exit_code"
            raise PydanticCustomError("missing", "{name}: Field required", {"name": name})
        return self

    @classmethod
    def begun(
        cls, scenario: str, run_type: str, run_id: str, started_at: str, **said: object
    ) -> Self:
        """Return the result of a scenario of which no stage has run.

        Args:
            scenario: its id.
            run_type: `pr` or `daily`.
            run_id: name of its folder.
            started_at: UTC, ISO 8601.
            **said: `dry_run, file, command, labels, target, digest`, as far as they are known.
        """
        return cls.complete(
            schema_version=SCHEMA_VERSION,
            scenario=scenario,
            run_type=run_type,
            run_id=run_id,
            started_at=started_at,
            status="running",
            stages=[],
            **{"dry_run": False, **said},
        )

    def end(self, status: Status, signal: int = 0) -> None:
        """Say what it has come to.

        Args:
            status: how far it came.
            signal: that interrupted it; 0: none.
        """
        self.status, self.ended_at = status, utc_now()
        self.verdict = self._judged()
        code = worst(stage.exit_code for stage in self.stages)
        self.exit_code = 128 + signal if signal else code or int(status == "failed")

    def _judged(self) -> Verdict:
        statuses = {stage.status for stage in self.stages}
        if self.status == "interrupted":
            return "interrupted"
        if self.dry_run:
            return "planned" if StageStatus.FAILED not in statuses else "failed"
        if StageStatus.FAILED in statuses or self.status == "failed":
            return "failed"
        return "warned" if StageStatus.WARNED in statuses else "passed"


class MatrixStage(Stored):
    """What a matrix says of a stage of one of its scenarios."""

    name: str
    status: StageStatus
    seconds: Number
    message: str | None = None


class MatrixEntry(Stored):
    """What became of one scenario of a matrix; `folder` lies beside that of the matrix."""

    scenario: str
    """Its id."""
    file: str
    folder: str | None = None
    """Of its run; `None`: it did not run."""
    verdict: EntryVerdict
    exit_code: int
    """Of its process."""
    message: str | None = None
    """What must be known of it besides; of one that was left out, why."""
    stages: list[MatrixStage] = Field(default_factory=list)
    _result: ScenarioResult | None = PrivateAttr(None)

    @classmethod
    def waiting(cls, scenario: str, file: str, **said: object) -> Self:
        """Return a scenario that has not run.

        Args:
            scenario: its id.
            file: of it.
            **said: other fields that are known by now.
        """
        untried = {"verdict": "waiting", "exit_code": 0}
        return cls.complete(scenario=scenario, file=file, **{**untried, **said})

    @property
    def result(self) -> ScenarioResult | None:
        """What became of it; `None`: it has not run, or left nothing that can be read."""
        return self._result

    def begin(self, folder: str) -> None:
        """Forget what it came to before, and run in a folder."""
        self.folder, self.verdict, self.exit_code, self.message = folder, "running", 0, None
        self._take(None)

    def leave_out(self, why: str) -> None:
        """Say why it does not run."""
        self.verdict, self.message = "skipped", why

    def end(
        self,
        exit_code: int,
        result: ScenarioResult | None,
        message: str | None = None,
        *,
        interrupted: bool = False,
    ) -> None:
        """Take what it has come to.

        Args:
            exit_code: of its process.
            result: what became of it; `None`: it left nothing that can be read.
            message: what must be known of it besides.
            interrupted: whether a signal ended it before it had begun.
        """
        self.exit_code, self.message = exit_code, message
        self._take(result)
        if result is not None and result.verdict is not None:
            self.verdict = result.verdict
        else:
            self.verdict = "interrupted" if interrupted else "failed"

    def _take(self, result: ScenarioResult | None) -> None:
        self._result = result
        self.stages = [
            MatrixStage.complete(
                name=stage.name,
                status=stage.status,
                seconds=round(stage.seconds, 3),
                message=stage.message or None,
            )
            for stage in (() if result is None else result.stages)
        ]


class MatrixResult(Stored):
    """What became of a matrix, scenario by scenario: `matrix.json`.

    The scenarios stand in the order in which they run, then those that were left out.
    """

    schema_version: Count
    name: str
    file: str
    run_type: str
    started_at: str
    ended_at: str | None = None
    status: Status
    dry_run: Flag
    verdict: Verdict | None = None
    """The worst of its scenarios; `None` while it runs."""
    exit_code: Count | None = None
    """The first of 1, 3, 4, 5 that any scenario had, or the signal's; `None` while it runs."""
    scenarios: list[MatrixEntry]

    @classmethod
    def begun(cls, name: str, file: str, run_type: str, started_at: str, **said: object) -> Self:
        """Return the result of a matrix that has just begun.

        Args:
            name: of it.
            file: of it.
            run_type: `pr` or `daily`.
            started_at: UTC, ISO 8601.
            **said: other fields that are known by now.
        """
        return cls.complete(
            schema_version=SCHEMA_VERSION,
            name=name,
            file=file,
            run_type=run_type,
            started_at=started_at,
            status="running",
            **{"dry_run": False, "scenarios": [], **said},
        )

    def end(self, status: Status, signal: int = 0) -> None:
        """Say what it has come to.

        Args:
            status: how far it came.
            signal: that interrupted it; 0: none.
        """
        self.status, self.ended_at = status, utc_now()
        code = worst(entry.exit_code for entry in self.scenarios)
        self.exit_code = 128 + signal if signal else code
        verdicts: set[str] = {"interrupted"} if signal else {one.verdict for one in self.scenarios}
        ranks: tuple[Verdict, ...] = ("failed", "interrupted", "warned", "planned")
        self.verdict = next((rank for rank in ranks if rank in verdicts), "passed")
