"""Functional: what became of each check, and of all of them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Self

from benchcore.base.text import visible_json
from benchcore.metrics.accuracy import Status

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

    def to_json(self) -> dict[str, Any]:
        """Return it as an entry of `functional.json`'s `results`."""
        return {
            "case_id": self.case_id,
            "suite": self.suite,
            "title": self.title,
            "verdict": self.verdict.value,
            "severity": {"strict": self.strict, "compat": self.compat},
            "tolerance": self.tolerance or None,
            "reason": self.reason or None,
            "expected": self.expected or None,
            "got": self.got or None,
            "tolerated": self.tolerated,
            "tries": self.tries,
            "passed_tries": self.passed_tries,
            "seconds": round(self.seconds, 6),
            "evidence": self.evidence,
        }

    @classmethod
    def from_json(cls, entry: dict[str, Any]) -> Self:
        """Return the check of an entry of `functional.json`.

        Raises:
            ValueError: it is none.
        """
        try:
            plain: dict[str, Any] = {name: entry[name] for name in _PLAIN}
            words: dict[str, Any] = {name: entry[name] or "" for name in _WORDS}
            severity: dict[str, Any] = entry["severity"]
            return cls(**plain, **words, **severity, verdict=Verdict(entry["verdict"]))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"it is no check: {error!r}") from None


_WORDS = ("tolerance", "reason", "expected", "got")
_PLAIN = ("case_id", "suite", "title", "tolerated", "tries", "passed_tries", "seconds", "evidence")


@dataclass(slots=True)
class FunctionalReport:
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
    def passed(self) -> int:
        """Checks that passed, if only in some of their tries."""
        return self.count(Verdict.PASS, Verdict.FLAKY)

    @property
    def judged(self) -> int:
        """Checks that passed or failed."""
        return self.passed + self.count(Verdict.FAIL)

    @property
    def pass_ratio(self) -> float | None:
        """Passed ÷ judged; `None` where nothing was judged."""
        return self.passed / self.judged if self.judged else None

    @property
    def ok(self) -> bool:
        """Whether at least one check passed, and none failed or met a server that had gone."""
        return self.passed > 0 and self.count(Verdict.FAIL, Verdict.ERROR) == 0

    def to_json(self) -> dict[str, Any]:
        """Return it as `functional.json`, with nothing in it that a terminal would obey."""
        found: dict[str, Any] = visible_json(self._as_json())
        return found

    def _as_json(self) -> dict[str, Any]:
        return {
            "schema_version": SCHEMA_VERSION,
            "summary": {
                "status": self.status,
                "mode": self.mode,
                "engine": self.engine,
                "target": self.target,
                "total": len(self.results),
                **{verdict.value: self.count(verdict) for verdict in Verdict},
                "tolerated": sum(1 for result in self.results if result.tolerated),
                "pass_ratio": self.pass_ratio,
                "seconds": round(self.seconds, 6),
            },
            "capabilities": self.capabilities,
            "results": [result.to_json() for result in self.results],
        }

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> Self:
        """Return the report that a `functional.json` holds.

        Raises:
            ValueError: it is none.
        """
        try:
            summary = found["summary"]
            return cls(
                mode=summary["mode"],
                engine=summary["engine"],
                target=summary["target"],
                capabilities=found["capabilities"],
                results=[CheckResult.from_json(entry) for entry in found["results"]],
                status=summary["status"],
                seconds=summary["seconds"],
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"it is no functional.json: {error!r}") from None
