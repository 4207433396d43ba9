"""Control plane: what a level of a thousand workers asks of the one who conducts and merges it.

    python -m tests.bench.control_plane [WORKERS]

Nothing is sent: each worker is a few instants drawn beforehand, and its messages take as long as
messages take. What is counted are messages and bytes; what is timed is our own code.
"""

import pickle
import random
import sys
import time
from collections.abc import Iterator

import numpy as np

from benchcore.base.clock import FakeClock
from benchcore.client.records import Outcome
from benchcore.climbs.load_run import Measured
from benchcore.load.ensemble import Ensemble
from benchcore.load.level_plan import LevelPlan, LevelRecords, Stage
from benchcore.metrics.percentiles import Histogram
from benchcore.metrics.throughput import Second
from benchcore.metrics.validity import Evidence
from tests.bench.row import Row, at_most

MS = 1_000_000
WORKERS = 1000
USERS_EACH = 1000
SECONDS = 60


class Control:
    """A level of many workers on a clock of its own.

    Args:
        count: how many.
    """

    def __init__(self, count: int) -> None:
        self.clock = FakeClock()
        self.draw = random.Random(1)
        self.messages = self.bytes = 0
        self.took_ns = 0
        self.opened: dict[int, int] = {}
        self.closed: dict[int, int] = {}
        self.finished = 0
        plan = LevelPlan(
            "c",
            mode="closed",
            concurrency=count * USERS_EACH,
            requests=10 * count,
            warmup_requests=count * USERS_EACH,
        )
        self.ensemble = Ensemble(plan, count, self._tell)
        self.ensemble.begin(50 * MS)
        for place in range(count):
            self._hear(50 * MS + self.draw.randrange(1000 * MS), "warm", place)

    def _on_its_way(self, message: object) -> int:
        self.messages += 1
        self.bytes += len(pickle.dumps(message))
        return self.draw.randrange(100_000, 3 * MS)

    def _hear(self, at_ns: int, name: str, place: int, *more: int) -> None:
        delay_ns = self._on_its_way((name, *more))

        def take() -> None:
            begun = time.perf_counter_ns()
            getattr(self.ensemble, name)(place, *more)
            self.ensemble.look(self.clock.now_ns())
            self.took_ns += time.perf_counter_ns() - begun

        self.clock.call_at(at_ns + delay_ns, take)

    def _tell(self, place: int, name: str, *more: object) -> None:
        at_ns = self.clock.now_ns() + self._on_its_way((name, *more))
        self.clock.call_at(at_ns, lambda: self._told(place, name, *more))

    def _told(self, place: int, name: str, *more: object) -> None:
        now_ns = self.clock.now_ns()
        if name == "open":
            self.opened[place] = now_ns
            latest_ns = now_ns + 10_000 * MS + self.draw.randrange(1000 * MS)
            self._hear(latest_ns, "filled", place, latest_ns)
        elif name == "close":
            self.closed[place] = now_ns
            self._hear(now_ns + self.draw.randrange(500 * MS), "drained", place)
        else:
            self.finished += 1
            self._hear(now_ns, "over", place)

    def run(self) -> None:
        """Run the level to its end."""
        while self.ensemble.stage is not Stage.OVER or self.clock.pending:
            self.clock.advance(100 * MS)
            self.ensemble.look(self.clock.now_ns())


def measured(draw: np.random.Generator) -> Measured:
    """Return what one worker sends at the end of a level of a minute."""
    lags = Histogram()
    lags.add(draw.lognormal(11, 1, 10_000).astype(np.int64))
    records = LevelRecords(scheduled=10, sent=10, window_end_ns=1)
    records.ended[Outcome.OK] = 10
    return Measured(records, [1.0] * SECONDS, Evidence(cpu_share=0.5), lags)


def rows(count: int = WORKERS) -> Iterator[Row]:
    """Measure and yield the rows."""
    control = Control(count)
    control.run()
    assert control.finished == count
    late = sum(at_ns > control.ensemble.window_start_ns for at_ns in control.opened.values())
    name = f"{count:,} workers"
    yield Row("control", f"{name}: messages of a level", f"{control.messages / count:.1f} each")
    yield Row("control", "  their bytes", f"{control.bytes / count:.0f} each")
    yield at_most("control", "  orders to open that came late", late, 0, digits=0)
    yield Row("control", "  conducting them", f"{control.took_ns / 1e6:.1f} ms a level")
    draw = np.random.default_rng(1)
    parts = [pickle.dumps(measured(draw)) for _ in range(min(count, 100))]
    begun = time.perf_counter()
    whole = pickle.loads(parts[0])
    for part in range(1, count):
        whole.add(pickle.loads(parts[part % len(parts)]))
    took = time.perf_counter() - begun
    yield Row("control", "  what each sends at its end", f"{len(parts[0]):,} bytes")
    yield Row("control", "  merging it", f"{1e3 * took / count:.2f} ms each", data={"s": took})
    second = Second(sent=100, done=100, tokens=10_000, ttfts_ns=[5 * MS] * 100, gaps=Histogram())
    assert second.gaps is not None
    second.gaps.add(draw.lognormal(16, 0.5, 10_000).astype(np.int64))
    data = pickle.dumps(second)
    begun = time.perf_counter()
    every = Second()
    for _ in range(count):
        every.add(pickle.loads(data))
    every.row(0, 1.0)
    took = time.perf_counter() - begun
    yield Row("control", "  a second of each", f"{len(data):,} bytes")
    yield Row("control", "  merging a second of all", f"{1e3 * took:.0f} ms", data={"s": took})


def main() -> int:
    """Print them."""
    from tests.bench.row import table

    print(table(list(rows(int(sys.argv[1]) if len(sys.argv) > 1 else WORKERS))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
