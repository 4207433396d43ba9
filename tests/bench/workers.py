"""Workers: whether a load of several processes is as true as that of one, and what it costs."""

import argparse
import os
import statistics
import sys
from collections.abc import Iterator
from dataclasses import replace

from tests.bench.climb_run import climb, ramp
from tests.bench.fixture import BUILD, read_stamps, server
from tests.bench.pairing import differences, nearest_rank
from tests.bench.peers import SHAPES, Shape, measured
from tests.bench.peers import climb as peers_climb
from tests.bench.row import Row, at_most

CASES = {
    "512 streams × 50 tokens/s": (512, 100),
    "1,000 streams × 50 tokens/s": (1000, 50),
}
INTERVAL_MS = 20.0
WORKERS = 2
SHAPE = SHAPES[0]
LONG, SHORT = 10, 1
"""Requests of each user: what the one costs beyond the other is load, not start-up."""


def rows(*, rounds: int = 3) -> Iterator[Row]:
    """Measure and yield the rows."""
    for case, (streams, tokens) in CASES.items():
        yield from _truth(case, streams, tokens)
    yield from _cost(rounds)


def _truth(case: str, streams: int, tokens: int) -> Iterator[Row]:
    stamps = BUILD / "stamps.bin"
    with server(stamps=stamps, interval_ms=INTERVAL_MS) as target:
        run = climb(
            target.base_url,
            *ramp(streams, tokens, INTERVAL_MS),
            *("--workers", str(WORKERS), "--save-events"),
            tokens=tokens,
            duration=8,
        )
    first, every = differences(run, read_stamps(stamps))
    judged = run.judged()
    data = {"client": run.level["client"], "workers": run.level["workers"]}
    yield Row("workers", f"{case}, {WORKERS} workers:", judged, "valid", judged == "valid", data)
    for name, values in (("first token", first), ("every token", every)):
        p50, p99 = nearest_rank(values, 0.5), nearest_rank(values, 0.99)
        yield Row(
            "workers",
            f"  {name} − its write, p50 / p99",
            f"{p50:.3f} / {p99:.3f} ms",
            "≤ 0.1 / 0.3 ms",
            p50 <= 0.1 and p99 <= 0.3,
            {"p50_ms": p50, "p99_ms": p99, "count": len(values)},
        )
    run.remove()


def _per_token(workers: int, shape: Shape) -> float:
    """Return the µs of processor time that a token costs after start-up, in all processes."""

    def run(url: str, shape: Shape, requests: int) -> float:
        return peers_climb(url, shape, requests, "auto", "--workers", str(workers))

    long_cpu, long_tokens = measured(run, shape, LONG * shape.users)
    short_cpu, short_tokens = measured(run, shape, SHORT * shape.users)
    return 1e6 * (long_cpu - short_cpu) / (long_tokens - short_tokens)


def _cost(rounds: int) -> Iterator[Row]:
    twice = replace(SHAPE, name="twice the load", users=WORKERS * SHAPE.users)
    cases = {
        "one": (1, SHAPE),
        f"{WORKERS} workers, the same load": (WORKERS, SHAPE),
        f"{WORKERS} workers, {WORKERS} times the load": (WORKERS, twice),
    }
    costs: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(rounds):
        for name, case in cases.items():
            costs[name].append(_per_token(*case))
    one, *several = (statistics.median(found) for found in costs.values())
    for name, cost in zip(list(cases)[1:], several, strict=True):
        yield at_most(
            "workers", f"CPU per token after start-up, {name} ÷ one", cost / one, 1.05, costs=costs
        )


STREAMS_EACH = 512
LEAST_CORES = 8


def many_cores() -> int:
    """Print how tokens per second grow with workers; needs a machine of many cores."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--cores",
        type=int,
        default=len(os.sched_getaffinity(0)),
        help="take this machine for one of so many cores, to try the script where there are fewer",
    )
    cores = parser.parse_args().cores
    if cores < LEAST_CORES:
        print(f"make bench-fleet: skipped, {cores} cores; it needs {LEAST_CORES} or more")
        return 0
    before = 0.0
    print("workers  tokens/s  per added worker  busiest loop  verdict")
    for workers in (1, 2, 4, 8, 16, 32):
        if 2 * workers > cores:
            break
        streams = STREAMS_EACH * workers
        with server(interval_ms=INTERVAL_MS) as target:
            run = climb(
                target.base_url,
                *ramp(streams, 100, INTERVAL_MS),
                *("--workers", str(workers)),
                duration=10,
            )
        rate = run.level["output_token_throughput"]
        added = (rate - before) / (workers - workers // 2)
        busiest = run.level["client"]["cpu_share"]
        print(f"{workers:7}  {rate:8,.0f}  {added:16,.0f}  {busiest:12.0%}  {run.judged()}")
        before = rate
        run.remove()
    return 0


if __name__ == "__main__":
    sys.exit(many_cores())
