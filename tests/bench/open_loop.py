"""Open loop: whether requests leave when the schedule says, beside streams that are read."""

from collections import Counter
from collections.abc import Iterator

import numpy as np

from benchcore.base.seeds import stream
from benchcore.load.open_loop import Arrival, offsets_ns
from tests.bench.climb_run import ClimbRun, climb
from tests.bench.fixture import BUILD, read_received, server
from tests.bench.row import Row, at_most

STREAMS, INTERVAL_MS = 512, 20.0
RATES = (400, 1000)
P50_MS, P99_MS = 0.05, 0.25
ONE_PERCENT = 1.628
"""The limit of Kolmogorov and Smirnov's statistic at 1 %, times the root of the sample's size."""


def rows(*, seconds: float = 12) -> Iterator[Row]:
    """Measure Poisson arrivals of two rates, each beside some 512 streams, and yield the rows."""
    for rate in RATES:
        tokens = round(STREAMS / rate / INTERVAL_MS * 1e3)
        stamps = BUILD / "stamps.bin"
        with server(interval_ms=INTERVAL_MS, ttft_ms="20:40", stamps=stamps) as target:
            run = climb(target.base_url, "--rate", str(rate), tokens=tokens, duration=seconds)
        most = target.counts["most_streams"]
        judged = run.judged()
        what = f"{rate:,} requests/s, Poisson, beside {most} streams at most:"
        yield Row("open", what, judged, "valid", judged == "valid", run.level["client"])
        yield from _lags(run)
        yield _as_drawn(run, rate)
        yield _seconds(run)
        yield _spacing(run, read_received(stamps), rate)
        run.remove()


def _lags(run: ClimbRun) -> Iterator[Row]:
    lag = run.level["metrics"]["dispatch_lag"]
    for name, limit in (("p50", P50_MS), ("p99", P99_MS)):
        yield at_most("open", f"  dispatch_lag {name}", lag[name] * 1e3, limit, " ms", 3, lag=lag)


def _as_drawn(run: ClimbRun, rate: float) -> Row:
    planned = [float(row["scheduled_seconds"]) for row in run.requests if row["sent_seconds"]]
    level = run.level
    seed = stream(1, "arrivals", level["level"], level["repeat"])
    drawn = offsets_ns(Arrival("poisson"), rate, round((max(planned) + 1) * 1e9), seed)
    pairs = zip(sorted(planned), drawn, strict=False)
    same = sum(abs(ours - theirs / 1e9) < 1e-6 for ours, theirs in pairs)
    told = f"{same:,} of {len(planned):,}"
    return Row("open", "  planned as drawn anew from the seed", told, "all", same == len(planned))


def _seconds(run: ClimbRun) -> Row:
    sent = [row for row in run.requests if row["sent_seconds"]]
    planned = [float(row["scheduled_seconds"]) for row in sent]
    left = [float(row["sent_seconds"]) for row in sent]
    moved = [
        (1 - plan % 1) * 1e3 for plan, at in zip(planned, left, strict=True) if int(plan) != int(at)
    ]
    farthest = max(moved, default=0.0)
    bins = (Counter(map(int, planned)), Counter(map(int, left)))
    return Row(
        "open",
        "  sends in another second than planned; from its edge",
        f"{len(moved)}; {farthest:.2f} ms",
        "≤ 1.2 ms",
        farthest <= 1.2,
        {"planned": dict(bins[0]), "sent": dict(bins[1]), "dropped": run.level["dropped"]},
    )


def _spacing(run: ClimbRun, received: dict[str, int], rate: float) -> Row:
    """Hold the gaps between arrivals, as the server saw them, against the exponential law."""
    wanted = [row["request_id"] for row in run.requests if row["stage"] == "window"]
    at = np.sort(np.array([received[name] for name in wanted if name in received]))
    gaps = np.sort(np.diff(at) / 1e9)
    law = 1 - np.exp(-rate * gaps)
    rank = np.arange(len(gaps) + 1) / len(gaps)
    statistic = float(max((rank[1:] - law).max(), (law - rank[:-1]).max()))
    limit = ONE_PERCENT / len(gaps) ** 0.5
    return at_most(
        "open", "  gaps at the server: Kolmogorov–Smirnov", statistic, round(limit, 4), "", 4
    )
