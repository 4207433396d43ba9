"""Certificate: the verdict of a search with all it rests on, made of a folder, and made again."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson

from benchcore.base.errors import ConfigError
from benchcore.base.files import read_json
from benchcore.client.records import Outcome
from benchcore.config.catalogue import SPANS
from benchcore.config.limits import FAILURES, Objective
from benchcore.judge.attainment import Visit, grows, pace_of, share_of, share_of_gaps
from benchcore.judge.capacity import (
    NARROW_OPEN,
    Capacity,
    Search,
    SearchRule,
    Standing,
)
from benchcore.judge.shares import Share, interval
from benchcore.runs.certificates import (
    ATTAINED,
    ATTAINMENT,
    Attained,
    Certificate,
    CertifiedDrift,
    CertifiedLevel,
    CertifiedRule,
    CertifiedShare,
    CertifiedVisit,
)
from benchcore.runs.reading import Floats, Requests, RunFolder
from benchcore.runs.run import Level, Run

SCHEMA_VERSION: Final = 1
REQUESTS_FILE: Final = "requests.csv"
RUN_FILE: Final = "run.json"
_PARTS: Final = ("run_id", "target", "workload", "load", "seeds", "versions", "levels")
"""Of `run.json`, what the certificate rests on."""
_DRAIN: Final = "drain"
_SATURATED: Final = "server_saturated:"

Counts = Mapping[str, tuple[int, int]]
"""By request, how many values of a figure it has, and how many of them keep within the limit."""


def is_in_rows(objective: Objective) -> bool:
    """Whether `requests.csv` tells of each request if it keeps an objective."""
    return objective.metric == FAILURES or objective.metric in SPANS


# Of the rows of a level.


class Attainments:
    """What rows of `requests.csv` do not tell of objectives.

    Args:
        rows: of `attainment.csv`.
    """

    def __init__(self, rows: Iterable[Attained]) -> None:
        self._of: dict[tuple[str, int, str], dict[str, tuple[int, int]]] = {}
        for row in rows:
            key = row.level, row.repeat, row.objective
            self._of.setdefault(key, {})[row.request_id] = row.count, row.within

    def of(self, level: Level, objective: Objective) -> Counts:
        """Return the counts of the requests of a level."""
        return self._of.get((level.level, level.repeat, str(objective)), {})


def read_attainments(folder: Path) -> Attainments:
    """Return what `attainment.csv` of a folder says; nothing where there is none.

    Raises:
        ConfigError: it cannot be read.
    """
    path = folder / ATTAINMENT
    if not path.is_file():
        return Attainments(())
    try:
        return Attainments(
            Attained(
                row["level"],
                int(row["repeat"]),
                row["request_id"],
                row["objective"],
                int(row["count"]),
                int(row["within"]),
            )
            for row in ATTAINED.cells(path, ATTAINED.names)
        )
    except ValueError as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None


def value_of(level: Level) -> float:
    """Return the users of a level, or its requests per second.

    Raises:
        ConfigError: it says neither.
    """
    found = level.concurrency if level.mode == "closed" else level.rate
    if found is None:
        raise ConfigError(f"{RUN_FILE}: {level.name} has neither concurrency nor rate")
    return found


def visit_of(
    level: Level,
    requests: Requests | None,
    objectives: Sequence[Objective],
    attained: Attainments,
) -> Visit:
    """Return what the rows of a level tell of its objectives.

    Args:
        level: of a run.
        requests: of that level, from its rows; `None`: it has none.
        objectives: that it is judged by.
        attained: what else is known of its requests.
    """
    if requests is None:
        nothing = {str(one): Share(0, 0, 0.0) for one in objectives}
        return Visit(value_of(level), valid=False, shares=nothing, seconds=level.seconds)
    e2e, at = requests.timed_figure("e2e")
    request = float(e2e.mean()) if len(e2e) else 0.0
    shares = {
        str(one): _share(requests, one, request, attained.of(level, one)) for one in objectives
    }
    return Visit(
        level=value_of(level),
        valid=level.verdict == "valid" and not level.interrupted,
        shares=shares,
        grows=level.mode == "open" and (_is_saturated(level) or _grows(requests, request)),
        pace=pace_of(e2e, at, request),
        requests=len(requests),
        seconds=level.seconds,
    )


def _share(requests: Requests, objective: Objective, request: float, counts: Counts) -> Share:
    if objective.metric == FAILURES:
        failed, at = _failures(requests)
        return share_of(failed, at, 0.5, objective.share, request)
    assert objective.limit_ns is not None
    if is_in_rows(objective):
        values, at = requests.timed_figure(objective.metric)
        # In whole nanoseconds, as they were measured.
        return share_of(np.rint(values * 1e9), at, objective.limit_ns, objective.share, request)
    kept = requests.measured & requests.ok
    names = requests.texts["request_id"]
    places = [place for place in np.flatnonzero(kept) if names[place] in counts]
    told = np.array([counts[names[place]] for place in places], np.int64).reshape(-1, 2)
    at = requests.second("scheduled_seconds")[places]
    return share_of_gaps(told[:, 0], told[:, 1], at, request)


def _failures(requests: Requests) -> tuple[Floats, Floats]:
    """Return of each request 1 where it failed, else 0, and when it was scheduled.

    One that benchcore cut off tells nothing, unless it was still under way when the drain was over.
    """
    cancelled = np.array([outcome == Outcome.CANCELLED.value for outcome in requests.outcome])
    drained = np.array([phase == _DRAIN for phase in requests.texts["phase"]])
    judged = requests.measured & (~cancelled | drained)
    failed = (~requests.ok).astype(np.float64)
    return failed[judged], requests.second("scheduled_seconds")[judged]


def _is_saturated(level: Level) -> bool:
    """Return whether the level itself has found that more came than went."""
    return any(finding.startswith(_SATURATED) for finding in level.findings)


def _grows(requests: Requests, request: float) -> bool:
    """Return whether first turns take longer and longer: later ones may, as conversations grow."""
    begin = requests.second("sent_seconds")
    for name in ("first_token_seconds", "end_seconds"):
        values = requests.second(name) - begin
        turn = requests.number("turn")
        kept = requests.measured & requests.ok & ~np.isnan(values) & ((turn == 1) | np.isnan(turn))
        if kept.any():
            return grows(values[kept], requests.second("scheduled_seconds")[kept], request)
    return False


# The certificate.


def rule_of(
    objectives: Sequence[Objective], *, lowest: float, highest: float, whole: bool, **more: Any
) -> SearchRule:
    """Return the rule of a search; `more` are its other fields."""
    targets = {str(one): one.share for one in objectives}
    return SearchRule(targets, lowest, highest, whole, **more)


def search_of(folder: RunFolder, rule: SearchRule) -> Search:
    """Return the search that the levels of a folder are of.

    Raises:
        ConfigError: its rows cannot be read.
    """
    objectives = [Objective.parse(text) for text in rule.targets]
    attained = read_attainments(folder.path)
    visits = [
        visit_of(level, folder.requests(level.level, level.repeat), objectives, attained)
        for level in folder.levels
    ]
    return Search(rule, visits)


def certificate_of(folder: RunFolder, search: Search) -> Certificate:
    """Return the certificate of a folder whose search is over.

    Args:
        folder: of the run.
        search: as `search_of` makes it.

    Raises:
        ConfigError: a file cannot be read.
    """
    run, rule = folder.run, search.rule
    verdict = search.verdict()
    ended = _ended(search, run)
    mode = "closed" if rule.whole else "open"
    return Certificate.complete(
        schema_version=SCHEMA_VERSION,
        run_id=run.run_id,
        says=says(rule, verdict, ended, [visit.level for visit in search.visits]),
        at_least=verdict.at_least,
        refuted=verdict.refuted,
        mode=mode,
        confidence=rule.confidence,
        ended=ended,
        edge=verdict.edge,
        edge_why=verdict.edge_why or None,
        drifted=any(one.noticed for one in verdict.drifts) if verdict.drifts else None,
        drifts=[
            CertifiedDrift.complete(level=one.level, ratio=one.ratio, p=one.p, noticed=one.noticed)
            for one in verdict.drifts
        ],
        votes_from=verdict.since,
        rule=CertifiedRule.complete(
            objectives=list(rule.targets),
            confidence=rule.confidence,
            lowest=rule.lowest,
            highest=rule.highest,
            looks=rule.looks,
            narrow=rule.narrow,
            narrow_open=NARROW_OPEN,
            error_held=search.error_held,
            error_refuted=search.error_refuted,
            most_requests=rule.most_requests,
            most_seconds=rule.most_seconds,
        ),
        levels=[_level(one, search) for one in search.standings()],
        visits=[
            _visit(visit, level, place >= verdict.since)
            for place, (visit, level) in enumerate(zip(search.visits, run.levels, strict=True))
        ],
        seeds=run.seeds,
        versions=run.versions,
        sha256=digests(folder.path),
    )


def _ended(search: Search, run: Run) -> str:
    if search.next() is None:
        return search.ended
    return run.stopped or run.status


def _level(standing: Standing, search: Search) -> CertifiedLevel:
    errors = search.error_held, search.error_refuted
    return CertifiedLevel.complete(
        level=standing.level,
        decision=standing.decision,
        visits=standing.visits,
        shares={
            name: CertifiedShare.complete(
                **_share_facts(share),
                interval=interval(share, min(errors)),
                p_held=standing.p_held[name],
                p_refuted=standing.p_refuted[name],
            )
            for name, share in standing.shares.items()
        },
    )


def _visit(visit: Visit, level: Level, since: bool) -> CertifiedVisit:
    return CertifiedVisit.complete(
        level=visit.level,
        name=level.level,
        repeat=level.repeat,
        validity=level.verdict,
        votes=visit.valid and since,
        requests=visit.requests,
        seconds=visit.seconds,
        grows=visit.grows,
        mean_log_seconds=None if visit.pace is None else visit.pace.mean,
        mean_log_seconds_stderr=None if visit.pace is None else visit.pace.stderr,
        shares={
            name: CertifiedShare.complete(**_share_facts(share))
            for name, share in visit.shares.items()
        },
    )


def _share_facts(share: Share) -> dict[str, Any]:
    return {
        "count": share.count,
        "within": share.within,
        "share": share.share,
        "effective": share.effective,
        "freedom": None if math.isinf(share.freedom) else share.freedom,
    }


def says(rule: SearchRule, verdict: Capacity, ended: str, tried: Sequence[float]) -> str:
    """Return the verdict in words."""
    low, high = verdict.at_least, verdict.refuted
    sure = f"at {100 * rule.confidence:g} % confidence"
    parts = []
    if low is not None:
        parts.append(f"capacity ≥ {_load(low, rule)} {sure}")
    elif high is None:
        parts.append(f"capacity unknown: no level is held {sure}")
    if high is not None:
        parts.append(f"≤ {_load(high, rule)} refuted" if low is not None else _nothing(high, rule))
        if verdict.edge is not None:
            parts[-1] += f" ({verdict.edge}: {verdict.edge_why})"
    elif low is not None and low >= rule.highest:
        parts.append("nothing above was tried: --to ends there")
    elif low is not None:
        parts.append(f"nothing refuted up to {_load(max(tried), rule)}")
    said = ", ".join(parts)
    return "; ".join([said, *_reservations(rule, verdict, ended)])


def _nothing(level: float, rule: SearchRule) -> str:
    return f"no capacity: {_load(level, rule)}, the lowest level, refuted"


def _reservations(rule: SearchRule, verdict: Capacity, ended: str) -> Iterator[str]:
    if verdict.unmeasured:
        listed = ", ".join(f"{level:g}" for level in verdict.unmeasured)
        yield f"never valid, and so without a vote: {listed}"
    noticed = [one for one in verdict.drifts if one.noticed]
    if not verdict.drifts and ended in ("settled", "budget"):
        yield "whether the server drifted is not known: too few requests of the first level tell"
    if noticed:
        change = noticed[0].ratio - 1
        yield (
            f"the server drifted: {_load(noticed[0].level, rule)} took {abs(change):.1%} "
            f"{'longer' if change > 0 else 'less long'} when it came again, and only what came "
            "after that counts"
        )
    if ended == "drift":
        yield "it drifted once more since: measure it again"
    elif ended != "settled":
        yield f"the search ended early: {ended}"


def _load(level: float, rule: SearchRule) -> str:
    if rule.whole:
        return f"{level:g} {'user' if level == 1 else 'users'}"
    return f"{level:g} requests/s"


# Files.


def digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file that a certificate rests on.

    Raises:
        ConfigError: one cannot be read.
    """
    run = read_json(folder / RUN_FILE)
    parts = {name: run.get(name) for name in _PARTS}
    found = {RUN_FILE: hashlib.sha256(orjson.dumps(parts, option=orjson.OPT_SORT_KEYS)).hexdigest()}
    for name in (REQUESTS_FILE, ATTAINMENT):
        path = folder / name
        if name == ATTAINMENT and not path.exists():
            continue
        try:
            with path.open("rb") as file:
                found[name] = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise ConfigError(f"{path}: {error.strerror}") from None
    return found
