"""Endurance: whether the memory of a climb grows with the length of its level."""

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import orjson

from tests.bench.fixture import BUILD, server
from tests.bench.row import Row, at_most

USERS, TOKENS = 32, 32
SETTLED_SECONDS = 120
"""From then on memory is to stay as it is."""
EVERY_SECONDS = 5


def status_bytes(pid: int, name: str) -> int:
    """Return a line of a process's status, such as `VmRSS`, in bytes; 0 where it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(one.split()[1]) * 1024 for one in lines if one.startswith(f"{name}:")), 0)


def rows(*, full: bool) -> Iterator[Row]:
    """Measure and yield the rows; `full` takes an hour instead of four minutes."""
    yield from measured(3600 if full else 240)


def measured(seconds: int) -> Iterator[Row]:
    """Measure a level of a given length and yield its rows."""
    BUILD.mkdir(parents=True, exist_ok=True)
    results = Path(tempfile.mkdtemp(prefix="endurance-", dir=BUILD))
    samples: list[tuple[float, int]] = []
    peak = 0
    with server() as target:
        command = [
            *(sys.executable, "-m", "benchcore", "climb", "--base-url", target.base_url),
            *("--concurrency", str(USERS), "--duration", f"{seconds}s", "--warmup", "0s"),
            *("--input-tokens", "16", "--output-tokens", str(TOKENS), "--seed", "1"),
            *("--idle", "0s", "--output", str(results), "--quiet", "--no-progress"),
        ]
        with subprocess.Popen(command) as process:
            began = time.perf_counter()
            while process.poll() is None:
                resident = status_bytes(process.pid, "VmRSS")
                if resident:
                    samples.append((time.perf_counter() - began, resident))
                    peak = status_bytes(process.pid, "VmHWM") or peak
                # More often at the end, where the level is summarized.
                late = time.perf_counter() - began > seconds
                time.sleep(0.05 if late else EVERY_SECONDS)
    if process.returncode not in (0, 4):
        raise SystemExit(f"{' '.join(command)}\nexit {process.returncode}")
    (found,) = results.glob("*/run.json")
    scheduled = orjson.loads(found.read_bytes())["levels"][0]["scheduled"]
    shutil.rmtree(results)
    running = [one for one in samples if one[0] <= seconds]
    settled = next(resident for at, resident in running if at >= SETTLED_SECONDS)
    end_at, end = running[-1]
    since = scheduled * (end_at - SETTLED_SECONDS) / seconds
    data = {"samples": samples[:: max(len(samples) // 200, 1)], "peak": peak, "requests": scheduled}
    what = f"RSS at {USERS} users, {end_at / 60:.0f} min ÷ 2 min"
    yield at_most("endurance", what, end / settled, 1.05, **data)
    yield Row("endurance", "  bytes a request since 2 min", f"{(end - settled) / since:.0f}")
    yield Row("endurance", "  RSS at 2 min", f"{settled / 1e6:.0f} MB")
    yield Row("endurance", "  peak, the summary included ÷ 2 min", f"{peak / settled:.2f}")


if __name__ == "__main__":
    for row in measured(int(sys.argv[1])):
        print(row.what, row.measured, row.target, flush=True)
