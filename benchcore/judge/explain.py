"""Explain: why the slow requests of a level are slow, and what goes with it.

Two questions are asked of each part of a request's time (`parts`):

- Is it an outlier's? Of some requests the part is far beyond what it is of the others, and by
  enough to be felt in their latency. How far the middle half is spread says what is far.
- Is it always there? It takes a large share of the typical request's time, though it is not what
  the server is there for.

Then the slow requests are compared with the middle half in what is known of them beside their
times: the probability that a slow request has the higher value (Mann and Whitney's statistic ÷ the
number of pairs), with its interval by Newcombe (2006), "Confidence intervals for an effect size
measure based on the Mann-Whitney statistic. Part 2", Statistics in Medicine 25, method 5.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchcore.judge.parts import (
    CONNECT,
    DECODE,
    FEWEST,
    FEWEST_SLOW,
    PARTS,
    RESIDUAL,
    Parts,
    TimePart,
    Until,
    middle_of,
    parts,
    slowest_of,
)
from benchcore.runs.reading import Requests

Floats = NDArray[np.float64]
Marks = NDArray[np.bool_]

_FAR: Final = 6.0
"""Robust standard deviations (interquartile range ÷ 1.349) from the median."""
_IQR_OF_NORMAL: Final = 1.349
_FELT: Final = 0.1
"""Of the median latency: an excess below this is not felt."""
_SHARE: Final = 0.005
"""Of all requests, that a cause must concern: half of the slowest hundredth."""
_FEWEST_CONCERNED: Final = 3
_ALWAYS: Final = {Until.END: 0.1, Until.FIRST_TOKEN: 0.4}
"""Of the median latency: what is no work of the server's and takes more is told of. Before its
first token a request always waits for the step that runs."""
_LONGER: Final = {Until.END: 1.25, Until.FIRST_TOKEN: 2.0}
"""Times the middle: where the slowest take so much longer, the part that most of it is spent in is
told, however many requests share its fate. Before its first token a request waits for a step or
two, as it happens."""
_DRAWS: Final = 500
_LEVEL: Final = 0.05
_TELLING: Final = 0.75
"""The probability that a slow request has more (or less) of something, from which it is told."""
_APART: Final = 0.1
"""Of the middle's value, or as a share: what lies closer together explains nothing."""
_GATHERED: Final = 10
"""Stretches that the level is cut into, to see whether the slow ones come together."""


@dataclass(frozen=True, slots=True)
class PartStands:
    """One part of the time, of the requests in the middle and of the slowest.

    Args:
        part: which.
        how: how it is known.
        middle: its median over the middle half, in seconds.
        slowest: its mean over the slowest less that over the middle half, in seconds: these add
            up to what the slowest take longer.
        concerned: how many requests it is an outlier of; 0: it is no cause.
        excess: what these have more of it than the middle, their median, in seconds.
        interval: the excess at 95 %, by bootstrap over seconds of the level.
        among_slowest: how many of these are among the slowest.
        always: whether it takes a large share of the typical request's time.
        leads: whether the slowest take much longer than the middle, and half of that here.
    """

    part: TimePart
    how: str
    middle: float
    slowest: float
    concerned: int = 0
    excess: float = 0.0
    interval: tuple[float, float] = (0.0, 0.0)
    among_slowest: int = 0
    always: bool = False
    leads: bool = False

    @property
    def is_named(self) -> bool:
        """Whether it is given as a reason."""
        return self.concerned > 0 or self.always or self.leads

    @property
    def size(self) -> float:
        """How much of it is too much, in seconds: the largest of what it is named for."""
        return max(
            self.excess, self.middle if self.always else 0.0, self.slowest if self.leads else 0.0
        )


@dataclass(frozen=True, slots=True)
class Companion:
    """What slow requests have more or less of than those in the middle.

    Args:
        name: what it is, such as `prompt tokens`.
        slow: its median over the slow requests; of what a request has or has not, their share.
        middle: likewise over the middle half.
        probability: that a slow request has more of it, 0 to 1; ties count half.
        interval: the same at 95 %, corrected for how many were looked at.
        is_share: whether it is what a request has or has not.
    """

    name: str
    slow: float
    middle: float
    probability: float
    interval: tuple[float, float]
    is_share: bool = False


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why the slow requests of a level are slow.

    Args:
        until: up to where their time was looked at.
        requests: how many were looked at.
        slowest: how many of them are the slowest hundredth, five at least.
        middle_seconds: the median of those in the middle half.
        slowest_seconds: the median of the slowest.
        residual: the median of what nothing explains, its size ÷ the whole.
        parts: those that are known of any request, in the order in which they are passed through.
        companions: what goes with being slow, the clearest first.
        gathered: where most of the slow ones were due, as seconds of the level; `None`: everywhere.
    """

    until: Until
    requests: int
    slowest: int
    middle_seconds: float
    slowest_seconds: float
    residual: float
    parts: tuple[PartStands, ...]
    companions: tuple[Companion, ...]
    gathered: tuple[float, float] | None = None

    @property
    def named(self) -> tuple[PartStands, ...]:
        """The parts that are given as reasons, the one with the largest excess first."""
        reasons = [part for part in self.parts if part.is_named]
        return tuple(sorted(reasons, key=lambda part: -part.size))


def explain(
    requests: Requests,
    until: Until = Until.END,
    server: Mapping[str, Floats] | None = None,
) -> Explanation | None:
    """Return why the slow requests of a level are slow.

    Args:
        requests: of the level.
        until: up to where their time is looked at.
        server: how the server stood when each left; see `server_at_departure`.

    Returns:
        `None` where fewer than `FEWEST` requests have this latency.
    """
    spent = parts(requests, until)
    count = len(spent)
    if count < FEWEST:
        return None
    total = spent.total
    slowest, middle = np.zeros(count, dtype=bool), np.zeros(count, dtype=bool)
    slowest[slowest_of(total)] = True
    middle[middle_of(total)] = True
    due = requests.second("scheduled_seconds")[spent.rows]
    tokens = requests.number("output_tokens")[spent.rows]
    level = _Level(spent, until, middle, slowest, np.floor(due).astype(np.int64))
    standings = []
    slow = slowest.copy()
    for part in PARTS:
        if part in spent.how:
            values = np.nan_to_num(spent.of[part])
            # A longer answer takes longer: what is compared is decode at equal length.
            compared = _at_equal_length(values, tokens) if part is DECODE else values
            stands, marks = _stands(part, values, compared, level)
            standings.append(stands)
            if stands.concerned:
                slow |= marks
    is_slow = float(np.median(total[slowest])) > (1 + _FELT) * float(np.median(total))
    return Explanation(
        until=until,
        requests=count,
        slowest=int(slowest.sum()),
        middle_seconds=float(np.median(total[middle])),
        slowest_seconds=float(np.median(total[slowest])),
        residual=float(np.median(np.abs(spent.of[RESIDUAL]) / total)),
        parts=tuple(standings),
        companions=_companions(requests, spent, slow, middle, server or {}) if is_slow else (),
        gathered=_gathered(due, slow) if is_slow else None,
    )


@dataclass(frozen=True, slots=True)
class _Level:
    """The requests of a level, and which of them are held against each other.

    Args:
        spent: what their time was spent on.
        until: up to where.
        middle: shape (n,), whether each is a typical one.
        slowest: shape (n,), whether each is one of the slowest.
        second: shape (n,), of the level in which each was due.
    """

    spent: Parts
    until: Until
    middle: Marks
    slowest: Marks
    second: NDArray[np.int64]

    def longer(self, values: Floats) -> float:
        """Return how much more the slowest have of something, in the mean, than the typical."""
        return float(values[self.slowest].mean() - values[self.middle].mean())

    @property
    def ratio(self) -> float:
        """How many times as long as the typical ones the slowest take."""
        total = self.spent.total
        return float(np.median(total[self.slowest]) / np.median(total[self.middle]))


def _stands(
    part: TimePart, values: Floats, compared: Floats, level: _Level
) -> tuple[PartStands, Marks]:
    """Return how a part stands, and of which requests it is an outlier.

    Args:
        part: which.
        values: shape (n,), its seconds; 0 where it did not happen.
        compared: likewise, as they would be if all requests had asked the same.
        level: the requests.
    """
    total = level.spent.total
    typical = float(np.median(compared))
    low, high = np.percentile(compared, [25, 75])
    far = max(_FAR * (high - low) / _IQR_OF_NORMAL, _FELT * float(np.median(total)))
    marks = compared - typical > far
    concerned = int(marks.sum())
    excess, interval = 0.0, (0.0, 0.0)
    if concerned < max(_FEWEST_CONCERNED, _SHARE * len(values)):
        marks, concerned = np.zeros(len(values), dtype=bool), 0
    else:
        excess = float(np.median(compared[marks])) - typical
        interval = _interval(compared[marks] - typical, level.second[marks])
    share = float(np.median(values / total))
    longer = level.longer(values)
    return (
        PartStands(
            part=part,
            how=level.spent.how[part],
            middle=float(np.median(values[level.middle])),
            slowest=longer,
            concerned=concerned,
            excess=excess,
            interval=interval,
            among_slowest=int((marks & level.slowest).sum()),
            always=not part.is_work and part is not CONNECT and share > _ALWAYS[level.until],
            leads=level.ratio >= _LONGER[level.until] and longer >= level.longer(total) / 2,
        ),
        marks,
    )


def _at_equal_length(decode: Floats, tokens: Floats) -> Floats:
    """Return decode as it would be, at each request's own pace, for the median number of tokens."""
    steps = tokens - 1
    with np.errstate(divide="ignore", invalid="ignore"):
        pace = decode / steps
    known = np.isfinite(pace) & (steps > 0)
    if not known.any():
        return decode
    typical = float(np.median(pace[known]))
    shift = np.where(known, (steps - np.median(steps[known])) * typical, 0.0)
    return decode - shift


def _interval(excess: Floats, cluster: NDArray[np.int64]) -> tuple[float, float]:
    """Return the interval of a median by the bootstrap, whole seconds drawn at a time.

    What lies in one second is not independent; where all lies in few, requests are drawn instead.
    """
    draw = np.random.default_rng(len(excess))
    groups = [excess[cluster == second] for second in np.unique(cluster)]
    if len(groups) < FEWEST_SLOW:
        groups = [excess[place : place + 1] for place in range(len(excess))]
    medians = [
        float(np.median(np.concatenate([groups[place] for place in places])))
        for places in draw.integers(0, len(groups), (_DRAWS, len(groups)))
    ]
    low, high = np.percentile(medians, [2.5, 97.5])
    return float(low), float(high)


def _companions(
    requests: Requests,
    spent: Parts,
    slow: Marks,
    middle: Marks,
    server: Mapping[str, Floats],
) -> tuple[Companion, ...]:
    known = [
        (name, values, is_share)
        for name, values, is_share in _known_of(requests, spent, server)
        if not np.isnan(values).any() and float(values.max()) > float(values.min())
    ]
    z = NormalDist().inv_cdf(1 - _LEVEL / 2 / max(len(known), 1))
    others = middle & ~slow
    companions = []
    for name, values, is_share in known:
        theirs, usual = values[slow], values[others]
        probability = _superiority(theirs, usual)
        low, high = _score_interval(probability, len(theirs), len(usual), z)
        typical = np.mean if is_share else np.median
        theirs_is, usual_is = float(typical(theirs)), float(typical(usual))
        apart = _APART if is_share else _APART * abs(usual_is)
        more = probability >= _TELLING and low > 0.5
        less = probability <= 1 - _TELLING and high < 0.5
        if (more or less) and abs(theirs_is - usual_is) > apart:
            companions.append(
                Companion(name, theirs_is, usual_is, probability, (low, high), is_share)
            )
    return tuple(sorted(companions, key=lambda companion: -abs(companion.probability - 0.5)))


def _known_of(
    requests: Requests, spent: Parts, server: Mapping[str, Floats]
) -> Iterator[tuple[str, Floats, bool]]:
    """Yield what was known of each request: its name, the values, whether it is had or not."""
    rows = spent.rows

    def number(name: str) -> Floats:
        return requests.number(name)[rows]

    sent = requests.second("sent_seconds")
    prompt, cached = number("prompt_tokens"), number("cached_tokens")
    if np.isnan(cached).all():
        cached = number("server_cached_tokens")
    if np.isnan(cached).all():
        yield "prompt tokens", prompt, False
    else:
        yield "cached prompt tokens", cached, False
        yield "prompt tokens that were not cached", prompt - cached, False
    yield "output tokens", number("output_tokens"), False
    yield "requests in flight at departure", _in_flight(requests)[rows], False
    for name, values in server.items():
        yield name, values[rows], False
    left = np.sort(sent[~np.isnan(sent)])
    before = np.searchsorted(left, sent[rows]) - 1
    since = np.where(before >= 0, sent[rows] - left[np.maximum(before, 0)], np.nan)
    yield "seconds since the last departure", np.nan_to_num(since, nan=float(left[0])), False
    yield "retransmitted segments", number("retransmits"), False
    yield "segments out of order", number("out_of_order"), False
    yield "number of the turn", number("turn"), False
    yield "on a new connection", 1 - number("reused"), True
    yield "sent again", number("retried"), True
    workers = number("worker")
    for worker in np.unique(workers[~np.isnan(workers)]):
        yield f"by worker {worker:g}", (workers == worker).astype(np.float64), True
    classes = requests.texts.get("class", [])
    for text in sorted(set(classes) - {""}):
        values = np.array([classes[row] == text for row in rows], dtype=np.float64)
        yield f"class {text}", values, True


def _in_flight(requests: Requests) -> Floats:
    """Return how many other requests were on their way as each left; shape (n,)."""
    sent, done = requests.second("sent_seconds"), requests.second("done_seconds")
    starts, ends = np.sort(sent[~np.isnan(sent)]), np.sort(done[~np.isnan(done)])
    begun = np.searchsorted(starts, sent, side="left")
    return (begun - np.searchsorted(ends, sent, side="right")).astype(np.float64)


def _superiority(first: Floats, second: Floats) -> float:
    """Return the probability that one of the first is above one of the second; ties count half."""
    ordered = np.sort(second)
    below = np.searchsorted(ordered, first, side="left")
    up_to = np.searchsorted(ordered, first, side="right")
    return float((below + up_to).sum() / 2 / len(first) / len(second))


def _score_interval(theta: float, first: int, second: int, z: float) -> tuple[float, float]:
    """Return the interval of the probability by Newcombe's method 5.

    Args:
        theta: the estimate.
        first: how many values of the one kind there are.
        second: of the other.
        z: the normal quantile.
    """
    pairs = (first + second) / 2 - 1

    def beyond(assumed: float) -> float:
        more = pairs * ((1 - assumed) / (2 - assumed) + assumed / (1 + assumed))
        variance = assumed * (1 - assumed) * (1 + more) / (first * second)
        return abs(theta - assumed) - z * math.sqrt(variance)

    def limit(outer: float) -> float:
        # Between the estimate, which is never beyond, and the end, which always is.
        inner = theta
        for _ in range(60):
            middle = (inner + outer) / 2
            if beyond(middle) > 0:
                outer = middle
            else:
                inner = middle
        return inner

    return limit(0.0), limit(1.0)


def _gathered(due: Floats, slow: Marks) -> tuple[float, float] | None:
    """Return the tenth of the level in which over half of the slow ones were due, if any."""
    begin, end = float(due.min()), float(due.max())
    width = (end - begin) / _GATHERED
    when = np.sort(due[slow])
    if len(when) < FEWEST_SLOW or width <= 0:
        return None
    reached = np.searchsorted(when, when + width, side="right")
    most = int(np.argmax(reached - np.arange(len(when))))
    together = int(reached[most]) - most
    if 2 * together <= len(when):
        return None
    return float(when[most]), float(when[most + together - 1])
