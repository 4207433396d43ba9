"""How often the bounds of `benchcore find` hold, on simulated servers whose knees are known.

Each server is drawn from a seed: its capacity, how steeply latency rises around it, how requests
resemble their neighbours, whether it falls off a cliff, and whether it drifts. The search is the
one of the command; only the requests are drawn instead of sent.

    python -m tests.bench.capacity                  # 200 servers, about ten seconds
    python -m tests.bench.capacity --servers 2000 --seed 7

Exit code 1 where a bound holds less often than it says by more than the number of servers explains.
"""

from __future__ import annotations

import sys
from pathlib import Path

if Path(sys.path[0]) == Path(__file__).parent:
    sys.path[0] = str(Path(__file__).parents[2])

import argparse
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from statistics import NormalDist, median

import numpy as np

from benchcore.judge.attainment import Visit, grows, pace_of, share_of
from benchcore.judge.capacity import Search, SearchRule, halfway
from tests.bench.row import Row, at_most

KINDS = ("slope", "correlated", "cliff", "queue", "drift")
TARGET = 0.99
LIMIT = 0.5
REQUESTS = 500


@dataclass
class Server:
    """A server of which it is known what it holds.

    Args:
        capacity: the level at which just the target keeps within the limit, at the beginning.
        steep: how many times as slow it is at e times the load, as a power.
        spread: of the logarithm of the latency of requests.
        waves: likewise, of what requests have in common with their neighbours.
        memory: requests after which that is forgotten.
        cliff: beyond its capacity latencies are so many times as long; 1: no cliff.
        queue: beyond its capacity requests wait longer and longer.
        drift: logarithm by which it is slower after 20,000 requests.
    """

    capacity: float
    steep: float
    spread: float
    waves: float = 0.0
    memory: float = 1.0
    cliff: float = 1.0
    queue: bool = False
    drift: float = 0.0
    sent: int = field(default=0)

    def middle(self, level: float, sent: float) -> float:
        """Return the logarithm of the median latency at a level."""
        total = math.hypot(self.spread, self.waves)
        steady = math.log(LIMIT) - total * NormalDist().inv_cdf(TARGET)
        room = -0.7 if self.cliff > 1 or self.queue else 0.0
        drifted = self.drift * sent / 20_000
        return steady + room + self.steep * math.log(level / self.capacity) + drifted

    def holds(self, level: float) -> bool:
        """Return whether it held a level at what it has come to."""
        if self.cliff > 1 or self.queue:
            return level < self.capacity
        moved = self.capacity * math.exp(-self.drift * self.sent / 20_000 / self.steep)
        return level <= moved

    def visit(self, draw: np.random.Generator, level: float, requests: int) -> Visit:
        """Return what a level of so many requests measures."""
        values = draw.standard_normal(requests) * self.spread
        if self.waves:
            kept = math.exp(-1 / self.memory)
            noise = draw.standard_normal(requests) * math.sqrt(1 - kept * kept)
            wave = draw.standard_normal()
            for place in range(requests):
                wave = kept * wave + noise[place]
                values[place] += self.waves * wave
        values += self.middle(level, self.sent)
        if level >= self.capacity:
            values += math.log(self.cliff)
        seconds = np.exp(values)
        if self.queue and level >= self.capacity:
            over = level / self.capacity - 1
            seconds = seconds + LIMIT * (0.05 + over) * np.arange(requests) / requests * 20
        self.sent += requests
        at = np.arange(requests) / level
        request = float(seconds.mean())
        return Visit(
            level,
            valid=bool(draw.random() > 0.02),
            shares={"ttft": share_of(seconds, at, LIMIT, TARGET, request)},
            grows=grows(seconds, at, request),
            pace=pace_of(seconds, at, request),
            requests=requests,
            seconds=requests / level,
        )


def server_of(kind: str, draw: np.random.Generator) -> Server:
    """Draw a server of a kind."""
    capacity = math.exp(draw.uniform(math.log(6), math.log(400)))
    server = Server(capacity, draw.uniform(0.5, 2.0), draw.uniform(0.15, 0.4))
    if kind == "correlated":
        server.waves = server.spread * draw.uniform(0.3, 1.0)
        server.memory = draw.uniform(5, 40)
    elif kind == "cliff":
        server.cliff = draw.uniform(3, 10)
    elif kind == "queue":
        server.queue = True
    elif kind == "drift":
        server.drift = draw.uniform(-0.3, 0.3)
    return server


@dataclass
class Outcome:
    """What a search came to.

    Args:
        kind: of server.
        low: whether the server holds what it is said to hold.
        high: whether it does not hold what is refuted; `None`: nothing was.
        share: of its capacity that was found.
        requests: spent, to those of an oracle bisection.
        edge: slope or cliff.
        drift: whether one was noticed.
    """

    kind: str
    low: bool
    high: bool | None
    share: float
    requests: float
    edge: str | None
    drift: bool


def searched(kind: str, seed: int) -> Outcome:
    """Search for the capacity of a server drawn from a seed."""
    draw = np.random.default_rng([KINDS.index(kind), seed])
    server = server_of(kind, draw)
    whole = bool(seed % 2)
    search = Search(SearchRule({"ttft": TARGET}, 1, 2048, whole=whole))
    while (level := search.next()) is not None:
        search.visits.append(server.visit(draw, level, REQUESTS))
    found = search.verdict()
    at_least = found.at_least
    return Outcome(
        kind,
        low=at_least is None or server.holds(at_least),
        high=None if found.refuted is None else not server.holds(found.refuted),
        share=0.0 if at_least is None else at_least / server.capacity,
        requests=server.sent / oracle_requests(server, whole=whole),
        edge=found.edge,
        drift=any(one.noticed for one in found.drifts),
    )


def oracle_requests(server: Server, *, whole: bool) -> int:
    """Return what a bisection spends that is told of each level, once it is over, if it holds."""
    rule = SearchRule({"ttft": TARGET}, 1, 2048, whole=whole)
    low, high, visits = 0.0, math.inf, 0
    level = rule.lowest
    while True:
        visits += 1
        low, high = (level, high) if server.holds(level) else (low, level)
        if math.isinf(high):
            level = min(2 * low, rule.highest)
            continue
        near = not low or high <= low * (1 + rule.narrow)
        middle = None if near else halfway(low, high, whole=whole)
        if middle is None:
            return visits * REQUESTS
        level = middle


def rows(servers: int = 200) -> Iterator[Row]:
    """Search for the capacities of some servers and yield the rows."""
    each = servers // len(KINDS)
    outcomes = [searched(kind, 10_000 + place) for kind in KINDS for place in range(each)]
    both = float(np.mean([one.low and one.high is not False for one in outcomes]))
    what = f"find on {len(outcomes)} simulated servers: both bounds hold"
    yield Row("capacity", what, f"{both:.1%}", "93 to 97%", 0.93 <= both <= 0.97, {"value": both})
    spent = float(median(one.requests for one in outcomes))
    yield at_most("capacity", "  median requests ÷ those of an oracle's bisection", spent, 1.5)


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--servers", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    begin = time.perf_counter()
    each = given.servers // len(KINDS)
    found = [searched(kind, 10_000 * given.seed + place) for kind in KINDS for place in range(each)]
    heads = ("≥ R", "≤ R'", "both", "R/C", "spent", "cliff", "drift")
    print(f"{'servers':<12}{''.join(f'{head:>8}' for head in heads)}")
    for kind in (*KINDS, "all"):
        some = [one for one in found if kind in (one.kind, "all")]
        told = [one for one in some if one.high is not None]
        print(
            f"{kind:<12}"
            f"{np.mean([one.low for one in some]):>8.1%}"
            f"{np.mean([one.high for one in told]):>8.1%}"
            f"{np.mean([one.low and one.high is not False for one in some]):>8.1%}"
            f"{median(one.share for one in some):>8.2f}"
            f"{median(one.requests for one in some):>8.2f}"
            f"{np.mean([one.edge == 'cliff' for one in some]):>8.1%}"
            f"{np.mean([one.drift for one in some]):>8.1%}"
        )
    print(f"{len(found)} servers, {time.perf_counter() - begin:.1f} s")
    low = float(np.mean([one.low for one in found]))
    return int(low < 0.95 - 3 * math.sqrt(0.95 * 0.05 / len(found)))


if __name__ == "__main__":
    sys.exit(main())
