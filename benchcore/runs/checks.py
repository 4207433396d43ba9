"""Checks: what became of each, and of all of them, while they are made and in their file."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar

from pydantic import Field, JsonValue

from benchcore.base.text import visible_json
from benchcore.metrics.accuracy import Status
from benchcore.runs.results import Count, Facts, Flag, Number, Stored, TargetFacts

SCHEMA_VERSION = 1


class Verdict(StrEnum):
    """What became of a check."""

    PASS = "pass"
    FAIL = "fail"
    UNSUPPORTED = "unsupported"
    """The server refused the feature explicitly, or was found not to have it."""
    SKIP = "skip"
    """Something that the check needs was not there."""
    FLAKY = "flaky"
    """It passed in some of its tries."""
    UNSETTLED = "unsettled"
    """The server put it off with 429, and did so again after every wait: it is not judged."""
    ERROR = "error"
    """The server had gone, or answered everything with 5xx: it is not judged."""


class Counted:
    """What follows from how many checks came to which verdict."""

    __slots__ = ()

    def count(self, *verdicts: Verdict) -> int:
        """Return how many checks came to one of the verdicts."""
        raise NotImplementedError

    @property
    def passed(self) -> int:
        """Checks that passed, if only in some of their tries."""
        return self.count(Verdict.PASS, Verdict.FLAKY)

    @property
    def judged(self) -> int:
        """Checks that passed or failed."""
        return self.passed + self.count(Verdict.FAIL)

    @property
    def ok(self) -> bool:
        """Whether at least one check passed, and none failed or met a server that had gone."""
        return self.passed > 0 and self.count(Verdict.FAIL, Verdict.ERROR) == 0


class Severity(Stored):
    """How much a failure weighs by the OpenAI specification, and among real engines."""

    strict: str = "error"
    compat: str = "error"


class Exchanged(Stored):
    """An answer of a failing try."""

    outcome: str | None = None
    status: Count | None = None
    body: JsonValue = None


class Evidence(Stored):
    """One exchange of a failing try: request, response and a `curl` line."""

    request: Facts = Field(default_factory=dict)
    response: Exchanged = Field(default_factory=Exchanged)
    curl: str = ""

    @property
    def answered(self) -> str:
        """The status of the answer, or why there is none."""
        return str(self.response.status or self.response.outcome)

    @property
    def body(self) -> str:
        """What was answered."""
        return "" if "body" not in self.response.model_fields_set else str(self.response.body)


class Check(Stored):
    """One check and what became of it; the fields are those of `CheckResult`."""

    case_id: str
    suite: str | None = None
    title: str | None = None
    verdict: Verdict
    severity: Severity = Field(default_factory=Severity)
    tolerance: str | None = None
    reason: str | None = None
    expected: str | None = None
    got: str | None = None
    tolerated: list[str] = Field(default_factory=list)
    tries: Count | None = None
    passed_tries: Count | None = None
    seconds: Number | None = None
    evidence: list[Evidence] = Field(default_factory=list)


class Capability(Stored):
    """Whether a server has something; `available` is `None` where that is not known."""

    available: Flag | None = None
    how: str | None = None


class CheckSummary(Stored):
    """What all checks came to; a count that an older file lacks is made from its results."""

    NAMES: ClassVar = {"passes": "pass"}

    status: Status | None = None
    mode: str = "unknown"
    engine: str = "unknown"
    target: TargetFacts = Field(default_factory=TargetFacts)
    total: Count | None = None
    passes: Count | None = Field(None, alias="pass")
    fail: Count | None = None
    unsupported: Count | None = None
    skip: Count | None = None
    flaky: Count | None = None
    unsettled: Count | None = None
    error: Count | None = None
    tolerated: Count | None = None
    pass_ratio: Number | None
    seconds: Number | None = None


class Checks(Stored, Counted):
    """What the checks of a run came to: `functional.json`."""

    schema_version: Count | None = None
    summary: CheckSummary
    capabilities: dict[str, Capability] = Field(default_factory=dict)
    results: list[Check]

    def count(self, *verdicts: Verdict) -> int:
        """Return how many checks came to one of the verdicts."""
        return sum(map(self._count, verdicts))

    def _count(self, verdict: Verdict) -> int:
        name = "passes" if verdict is Verdict.PASS else verdict.value
        said: int | None = getattr(self.summary, name)
        if said is not None:
            return said
        return sum(1 for result in self.results if result.verdict is verdict)

    @property
    def failures(self) -> list[Check]:
        """The checks that failed."""
        return [result for result in self.results if result.verdict is Verdict.FAIL]


@dataclass(slots=True)
class CheckResult:
    """One check and what became of it.

    Args:
        case_id: `suite.name`.
        suite: the suite it is of.
        title: what it holds the server to, in a sentence.
        verdict: what became of it.
        strict: its severity by the OpenAI specification: `error`.
        compat: its severity among real engines: `error` or `tolerated`.
        tolerance: what engines legitimately differ in, where they do.
        reason: why it is not a plain pass.
        expected: what was expected, of a failure.
        got: what came, of a failure.
        tolerated: deviations that were let pass.
        tries: how often it was tried.
        passed_tries: how many of them passed.
        seconds: how long it took.
        fault: what kept the server from answering, where a failure is due to that; not written.
        evidence: request, response and a `curl` line for each exchange of a failing try.
    """

    case_id: str
    suite: str
    title: str
    verdict: Verdict
    strict: str = "error"
    compat: str = "error"
    tolerance: str = ""
    reason: str = ""
    expected: str = ""
    got: str = ""
    tolerated: list[str] = field(default_factory=list)
    tries: int = 0
    passed_tries: int = 0
    seconds: float = 0.0
    fault: str = ""
    evidence: list[dict[str, Any]] = field(default_factory=list)

    def stored(self) -> Check:
        """Return it as `functional.json` holds it."""
        return Check(
            case_id=self.case_id,
            suite=self.suite,
            title=self.title,
            verdict=self.verdict,
            severity=Severity(strict=self.strict, compat=self.compat),
            tolerance=self.tolerance or None,
            reason=self.reason or None,
            expected=self.expected or None,
            got=self.got or None,
            tolerated=self.tolerated,
            tries=self.tries,
            passed_tries=self.passed_tries,
            seconds=round(self.seconds, 6),
            evidence=[Evidence.model_validate(one) for one in self.evidence],
        )


@dataclass(slots=True)
class FunctionalReport(Counted):
    """What all the checks came to.

    Args:
        mode: `compat` or `strict`.
        engine: the dialect that the server was held to.
        target: its address and model.
        capabilities: name to `{available, how}`; `available` is `None` where it is not known.
        results: in the order of the catalogue.
        status: `running`, `complete`, `interrupted` where checks were left out, or `failed`.
        seconds: how long it took.
    """

    mode: str
    engine: str
    target: dict[str, Any]
    capabilities: dict[str, dict[str, Any]] = field(default_factory=dict)
    results: list[CheckResult] = field(default_factory=list)
    status: Status = "running"
    seconds: float = 0.0

    def count(self, *verdicts: Verdict) -> int:
        """Return how many checks came to one of the verdicts."""
        counts = Counter(result.verdict for result in self.results)
        return sum(counts[verdict] for verdict in verdicts)

    @property
    def pass_ratio(self) -> float | None:
        """Passed ÷ judged; `None` where nothing was judged."""
        return self.passed / self.judged if self.judged else None

    def stored(self) -> Checks:
        """Return it as `functional.json` holds it, but for what a terminal would obey."""
        summary = CheckSummary.model_validate(
            {
                "status": self.status,
                "mode": self.mode,
                "engine": self.engine,
                "target": self.target,
                "total": len(self.results),
                **{verdict.value: self.count(verdict) for verdict in Verdict},
                "tolerated": sum(1 for result in self.results if result.tolerated),
                "pass_ratio": self.pass_ratio,
                "seconds": round(self.seconds, 6),
            }
        )
        return Checks(
            schema_version=SCHEMA_VERSION,
            summary=summary,
            capabilities={
                name: Capability.model_validate(one) for name, one in self.capabilities.items()
            },
            results=[result.stored() for result in self.results],
        )

    def to_json(self) -> dict[str, Any]:
        """Return it as `functional.json`, with nothing in it that a terminal would obey."""
        found: dict[str, Any] = visible_json(self.stored().to_json())
        return found
