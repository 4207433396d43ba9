"""Certificates: what a search for the capacity of a server came to, and what that rests on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final, Literal

from benchcore.base.stored import Count, Facts, Flag, Number, Stored
from benchcore.runs.tables import TEXT, WHOLE, Column, Table

CERTIFICATE: Final = "certificate.json"
ATTAINMENT: Final = "attainment.csv"


class CertifiedShare(Stored):
    """How much of what an objective is judged by kept within its limit."""

    SPARSE: ClassVar = frozenset({"interval", "p_held", "p_refuted"})

    count: Count
    within: Count
    share: Number | None
    effective: Number
    """As many independent ones as tell as much."""
    freedom: Number | None
    """Degrees of freedom of what they vary by; `None`: taken as independent."""
    interval: tuple[Number, Number] | None = None
    p_held: Number | None = None
    p_refuted: Number | None = None


class CertifiedVisit(Stored):
    """One run of a level, in the order in which they were run."""

    SPARSE: ClassVar = frozenset[str]()

    level: Number
    name: str
    repeat: Count
    validity: str | None
    votes: Flag
    requests: Count
    seconds: Number
    grows: Flag
    mean_log_seconds: Number | None
    """Of its requests from `sent` to their end, by which drift is told."""
    mean_log_seconds_stderr: Number | None
    shares: dict[str, CertifiedShare]


class CertifiedLevel(Stored):
    """What all visits of a level that vote come to, the lowest level first."""

    SPARSE: ClassVar = frozenset[str]()

    level: Number
    decision: Literal["held", "refuted", "open", "unmeasured"]
    visits: Count
    shares: dict[str, CertifiedShare]


class CertifiedDrift(Stored):
    """How the first level was when it came again."""

    SPARSE: ClassVar = frozenset[str]()

    level: Number
    ratio: Number
    p: Number
    noticed: Flag


class CertifiedRule(Stored):
    """By what levels were chosen and judged."""

    SPARSE: ClassVar = frozenset[str]()

    objectives: list[str]
    confidence: Number
    lowest: Number
    highest: Number
    looks: Count
    narrow: Number
    narrow_open: Number
    error_held: Number
    error_refuted: Number
    most_requests: Count | None
    most_seconds: Number | None


class Certificate(Stored):
    """`certificate.json`."""

    SPARSE: ClassVar = frozenset[str]()

    schema_version: Count
    run_id: str | None
    says: str
    at_least: Number | None
    refuted: Number | None
    mode: Literal["closed", "open"]
    confidence: Number
    ended: str
    edge: Literal["slope", "cliff"] | None
    edge_why: str | None
    drifted: Flag | None
    """Whether the server was not the same when its first level came again; `None`: it did not."""
    drifts: list[CertifiedDrift]
    votes_from: Count
    """The first of the visits that votes: those before a drift do not."""
    rule: CertifiedRule
    levels: list[CertifiedLevel]
    visits: list[CertifiedVisit]
    seeds: Facts | None
    versions: dict[str, str] | None
    sha256: dict[str, str]
    """Of the files it rests on; `run.json` by the parts that it rests on."""


@dataclass(frozen=True, slots=True)
class Attained:
    """What one request has to do with an objective that its row in `requests.csv` does not tell.

    Args:
        level: in which it was sent.
        repeat: of the level.
        request_id: of it.
        objective: such as `itl:p99:50ms`.
        count: how many values of the figure it has: gaps, or 1.
        within: how many of them keep within the limit.
    """

    level: str
    repeat: int
    request_id: str
    objective: str
    count: int
    within: int


ATTAINED: Final = Table[Attained](
    (
        Column("level", TEXT, lambda row: row.level),
        Column("repeat", WHOLE, lambda row: row.repeat),
        Column("request_id", TEXT, lambda row: row.request_id),
        Column("objective", TEXT, lambda row: row.objective),
        Column("count", WHOLE, lambda row: row.count),
        Column("within", WHOLE, lambda row: row.within),
    )
)
"""`attainment.csv`."""
