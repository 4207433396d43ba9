"""Open loop: whether requests leave when the schedule says, beside streams that are read."""

from collections import Counter
from collections.abc import Iterator

from benchcore.base.seeds import stream
from benchcore.load.open_loop import Arrival, offsets_ns
from tests.bench.climb_run import climb
from tests.bench.fixture import server
from tests.bench.row import Row, at_most

RATE, LIMIT_MS = 500, 1.2


def rows(*, seconds: float = 12) -> Iterator[Row]:
    """Measure 500 requests/s that last about a second each, and yield the rows."""
    with server(interval_ms=20, ttft_ms="20:40") as target:
        run = climb(target.base_url, "--rate", str(RATE), tokens=50, duration=seconds)
    level = run.level
    judged = run.judged()
    name = f"500 requests/s, Poisson, beside {target.counts['most_streams']} streams at most:"
    yield Row("open", name, judged, "valid", judged == "valid", level["client"])
    lag = level["metrics"]["dispatch_lag"]
    yield at_most(
        "open", "  dispatch_lag p99", lag["p99"] * 1e3, LIMIT_MS, " ms", 2, dispatch_lag=lag
    )

    sent = [row for row in run.requests if row["sent_seconds"]]
    planned = [float(row["scheduled_seconds"]) for row in sent]
    left = [float(row["sent_seconds"]) for row in sent]
    drawn = offsets_ns(
        Arrival("poisson"),
        RATE,
        round((max(planned) + 1) * 1e9),
        stream(1, "arrivals", level["level"], level["repeat"]),
    )
    as_drawn = sum(
        abs(ours - theirs / 1e9) < 1e-6
        for ours, theirs in zip(sorted(planned), drawn, strict=False)
    )
    yield Row(
        "open",
        "  planned as drawn anew from the seed",
        f"{as_drawn:,} of {len(planned):,}",
        "all",
        as_drawn == len(planned),
    )
    moved = [
        (1 - plan % 1) * 1e3 for plan, at in zip(planned, left, strict=True) if int(plan) != int(at)
    ]
    farthest = max(moved, default=0.0)
    bins = (Counter(map(int, planned)), Counter(map(int, left)))
    yield Row(
        "open",
        "  sends in another second than planned; from its edge",
        f"{len(moved)}; {farthest:.2f} ms",
        f"≤ {LIMIT_MS:g} ms",
        farthest <= LIMIT_MS,
        {"planned": dict(bins[0]), "sent": dict(bins[1]), "dropped": level["dropped"]},
    )
    run.remove()
