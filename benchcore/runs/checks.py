"""Checks: what became of each, and of all of them, while they are made and in their file."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any, ClassVar, Self

from pydantic import Field, JsonValue

from benchcore.base.stored import Count, Facts, Flag, Number, Status, Stored
from benchcore.base.text import visible_json
from benchcore.runs.facts import TargetFacts

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


class CheckResult(Stored):
    """One check and what became of it."""

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

    @classmethod
    def begun(cls, case_id: str, suite: str, title: str, **said: object) -> Self:
        """Return the result of a check that has not been tried: skipped, until it is.

        Args:
            case_id: `suite.name`.
            suite: the suite it is of.
            title: what it holds the server to, in a sentence.
            **said: other fields that are known by now.
        """
        untried = {"verdict": Verdict.SKIP, "tries": 0, "passed_tries": 0, "seconds": 0.0}
        told = {"severity": Severity.complete(), **untried, **said}
        return cls.complete(case_id=case_id, suite=suite, title=title, **told)


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


class Checks(Stored):
    """What the checks of a run came to: `functional.json`."""

    schema_version: Count | None = None
    summary: CheckSummary
    capabilities: dict[str, Capability] = Field(default_factory=dict)
    results: list[CheckResult]

    @classmethod
    def begun(cls, mode: str, engine: str, target: TargetFacts) -> Self:
        """Return what checks have come to of which none has been made.

        Args:
            mode: `compat` or `strict`.
            engine: the dialect that the server is held to.
            target: whom they ask.
        """
        summary = CheckSummary.complete(
            status="running", mode=mode, engine=engine, target=target, pass_ratio=None
        )
        return cls.complete(schema_version=SCHEMA_VERSION, summary=summary, results=[])

    def end(self, results: Sequence[CheckResult], status: Status, seconds: float) -> None:
        """Take what became of the checks, in the order of the catalogue, and count it.

        Args:
            results: one of each.
            status: `complete`, `interrupted` where checks were left out, or `failed`.
            seconds: how long it took.
        """
        summary = self.summary
        self.results = list(results)
        for verdict in Verdict:
            count = sum(1 for result in results if result.verdict is verdict)
            setattr(summary, _field(verdict), count)
        summary.total = len(results)
        summary.tolerated = sum(1 for result in results if result.tolerated)
        summary.pass_ratio = self.passed / self.judged if self.judged else None
        summary.status, summary.seconds = status, round(seconds, 6)

    def to_json(self) -> dict[str, Any]:
        """Return it as `functional.json`, with nothing in it that a terminal would obey."""
        content: dict[str, Any] = visible_json(super().to_json())
        return content

    def count(self, *verdicts: Verdict) -> int:
        """Return how many checks came to one of the verdicts."""
        return sum(map(self._count, verdicts))

    def _count(self, verdict: Verdict) -> int:
        said: int | None = getattr(self.summary, _field(verdict))
        if said is not None:
            return said
        return sum(1 for result in self.results if result.verdict is verdict)

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

    @property
    def failures(self) -> list[CheckResult]:
        """The checks that failed."""
        return [result for result in self.results if result.verdict is Verdict.FAIL]


def _field(verdict: Verdict) -> str:
    return "passes" if verdict is Verdict.PASS else verdict.value
