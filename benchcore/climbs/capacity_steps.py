"""Capacity steps: the levels of a search for the capacity, each chosen once the last is over."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from benchcore.base.errors import ConfigError, ResultsError
from benchcore.base.files import GrowingFile
from benchcore.client.records import Outcome, Record
from benchcore.climbs.plan import Part, Step
from benchcore.config.limits import Objective
from benchcore.judge.attainment import Visit
from benchcore.judge.capacity import Search, SearchRule, Standing
from benchcore.judge.certificate import REQUESTS_FILE, Attainments, is_in_rows, visit_of
from benchcore.metrics.figures import (
    PER_REQUEST,
    POOLED,
    blocks,
    timed_chunk_gaps,
    timed_token_gaps,
)
from benchcore.runs.certificates import ATTAINED, ATTAINMENT, Attained
from benchcore.runs.reading import read_requests
from benchcore.runs.run import Level, Run, level_name

_DECIDED: Final = {
    "held": "holds",
    "refuted": "does not hold",
    "open": "cannot be told yet",
    "unmeasured": "has no vote: it is not valid",
}


class CapacitySteps:
    """The levels of a search; a `StepSource`.

    Args:
        rule: of the search.
        say: takes a line for people.
    """

    def __init__(self, rule: SearchRule, say: Callable[[str], None]) -> None:
        self.search = Search(rule)
        self._objectives = [Objective.parse(text) for text in rule.targets]
        self._beside = [one for one in self._objectives if not is_in_rows(one)]
        self._say = say

    def __call__(self, run: Run, parts: Sequence[Part]) -> Iterator[Step]:
        """Yield the levels.

        Raises:
            ConfigError: the workload has several parts, or no request has a figure that an
                objective is of.
            ResultsError: what a row does not tell cannot be written.
        """
        if len(parts) != 1:
            raise ConfigError(
                f"the workload has {len(parts)} parts, each with a climb of its own: find takes one"
            )
        part, folder, search = parts[0], run.folder, self.search
        assert folder is not None  # a certificate is of a folder
        kind = "c" if part.config.closed else "r"
        if self._beside:
            _write(folder, [], head=True)
        while (level := search.next()) is not None:
            repeat = 1 + sum(visit.level == level for visit in search.visits)
            begin = (folder / REQUESTS_FILE).stat().st_size
            yield Step(part, repeat, level, f"{kind}{level:g}")
            over = run.levels[-1]
            rows = list(self._attained(over))
            if self._beside:
                _write(folder, rows)
            visit = self._visit(folder, over, begin, rows)
            search.visits.append(visit)
            self._tell(over, visit)

    def _visit(self, folder: Path, level: Level, begin: int, attained: Sequence[Attained]) -> Visit:
        rows = read_requests(folder / REQUESTS_FILE, begin)
        key = level.level, level.repeat
        visit = visit_of(level, rows.get(key), self._objectives, Attainments(attained))
        for name, share in visit.shares.items():
            if not share.count and level.ok:
                raise ConfigError(
                    f"{name}: no request of {level.name} has this figure; give an SLO of another, "
                    "such as e2e:p99:10s"
                )
        return visit

    def _tell(self, level: Level, visit: Visit) -> None:
        name = level_name(level.level, level.repeat)
        if not visit.valid:
            why = "; ".join(level.reasons) or "it was interrupted"
            self._say(f"{name}: is {level.verdict} and has no vote ({why})")
            return
        standing = next(one for one in self.search.standings() if one.level == visit.level)
        self._say(f"{name}: {_DECIDED[standing.decision]} ({_in_short(standing)})")

    def _attained(self, level: Level) -> Iterator[Attained]:
        ok = [one for one in level.records if one.outcome is Outcome.OK]
        for objective in self._beside:
            for record, count, within in _counts(ok, objective):
                if count:
                    yield Attained(
                        level.level,
                        level.repeat,
                        record.request_id,
                        str(objective),
                        count,
                        within,
                    )


def _in_short(standing: Standing) -> str:
    told = [
        f"{share.share:.2%} keep {name}"
        for name, share in standing.shares.items()
        if share.share is not None
    ]
    return ", ".join([*told, *(["requests take longer and longer"] if standing.grown else [])])


def _write(folder: Path, rows: Sequence[Attained], *, head: bool = False) -> None:
    path = folder / ATTAINMENT
    try:
        file = GrowingFile(path)
        file.write(ATTAINED.head() if head else ATTAINED.lines(rows))
        file.close()
    except OSError as error:
        raise ResultsError(f"{path}: cannot be written ({error.strerror})") from None


def _counts(records: Sequence[Record], objective: Objective) -> Iterator[tuple[Record, int, int]]:
    """Yield how many values of a figure each request has, and how many keep within the limit."""
    limit_ns = objective.limit_ns
    assert limit_ns is not None
    if objective.metric not in POOLED:
        figure = PER_REQUEST[objective.metric]
        for record in records:
            value_ns = figure(record)
            if value_ns is not None:
                yield record, 1, int(value_ns <= limit_ns)
        return
    gaps_of = timed_chunk_gaps if objective.metric == "icl" else timed_token_gaps
    for block in blocks(records):
        gaps = gaps_of(block)
        counts = np.bincount(gaps.owner, weights=gaps.weights, minlength=len(block))
        kept = gaps.weights * (gaps.values <= limit_ns)
        within = np.bincount(gaps.owner, weights=kept, minlength=len(block))
        for place, record in enumerate(block):
            yield record, math.floor(counts[place]), math.floor(within[place])
