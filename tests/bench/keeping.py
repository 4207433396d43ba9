"""Keeping: what the token events of a level weigh once it is over, and what long levels cost.

As a script it runs levels through the library and prints one line of JSON for each:

    keeping.py BASE_URL STREAMS SECONDS [SECONDS …]
"""

import ctypes
import gc
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import uvloop

import benchcore
from tests.bench.fixture import server
from tests.bench.reader_arguments import cpu_seconds
from tests.bench.row import Row, at_most

TOKENS = 100


def resident_bytes() -> int:
    """Return the resident memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def release() -> None:
    """Give back what is free: the next level would use it again, so it is not kept."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)


async def measure(base_url: str, streams: int, windows: list[float]) -> None:
    """Run a level of each length, keeping them all."""
    kept = []
    for seconds in windows:
        release()
        memory, cpu = resident_bytes(), cpu_seconds()
        run = await benchcore.climb(
            base_url,
            concurrency=[streams],
            workload=benchcore.Synthetic(input_tokens=16, output_tokens=TOKENS, seed=1),
            duration_seconds=seconds,
            warmup_seconds=0.0,
            warmup_requests=0,
            ramp_seconds=1.0,
            idle_seconds=0.0,
            seed=1,
        )
        cpu = cpu_seconds() - cpu
        untrimmed = resident_bytes() - memory
        release()
        level = run.levels[0]
        line = {
            "cpu_seconds": cpu,
            "tokens": sum(row.tokens for row in level.rows),
            "kept_tokens": sum(record.token_events for record in level.records),
            "kept_bytes": resident_bytes() - memory,
            "kept_and_free_bytes": untrimmed,
            "validity": level.validity.verdict,
        }
        print(json.dumps(line), flush=True)
        kept.append(run)


def rows(*, full: bool) -> Iterator[Row]:
    """Measure and yield the rows; `full` takes seven minutes and 10 M tokens."""
    streams = 256
    per_second = streams * 100 * TOKENS / (TOKENS + 5)
    most = 10_000_000 if full else 1_000_000
    short = 100_000 / per_second
    windows = [0.5, 0.5, short, short, most / per_second, short, short]
    with server() as target:
        done = subprocess.run(
            [sys.executable, "-m", "tests.bench.keeping", target.base_url, str(streams)]
            + [str(seconds) for seconds in windows],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
    # The first one imports what the others find imported.
    _, empty, *others = map(json.loads, done.stdout.splitlines())
    large = others.pop(2)
    weight = large["kept_bytes"] / large["kept_tokens"]  # bytes per event are MB per million

    def cost(level: dict[str, float]) -> float:
        # Beyond what a level costs that has hardly begun: probes, connections, prompts.
        return (level["cpu_seconds"] - empty["cpu_seconds"]) / (level["tokens"] - empty["tokens"])

    data = {"empty": empty, "small": others, "large": large}
    yield at_most("keeping", "memory per million token events kept", weight, 40, " MB", 1, **data)
    millions = large["tokens"] / 1e6
    ratio = cost(large) / median(cost(level) for level in others)
    yield at_most("keeping", f"CPU per token at {millions:.1f} M ÷ at 0.1 M", ratio, 1.1)


if __name__ == "__main__":
    uvloop.run(measure(sys.argv[1], int(sys.argv[2]), [float(text) for text in sys.argv[3:]]))
