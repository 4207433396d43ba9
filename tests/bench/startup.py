"""Start-up: how long a person waits."""

import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

import orjson

from tests.bench.fixture import server
from tests.bench.row import Row, at_most

FIRST_SECONDS = {1: 0.7, 256: 0.9, 1000: 1.5}
FLOOR = ("numpy", "pydantic", "uvloop", "orjson", "click")
"""What a climb cannot do without."""
HEAVY = ("numpy", "aiohttp", "kubernetes_asyncio", "uvloop", "pydantic", "hdrh", "rich")


def wall_seconds(command: Sequence[str]) -> float:
    """Run a command and return how long it took."""
    begun = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begun


def rows(*, rounds: int = 10) -> Iterator[Row]:
    """Measure and yield the rows."""
    program = str(Path(sys.executable).with_name("benchcore"))
    helps, passes = [], []
    for _ in range(rounds):
        helps.append(wall_seconds([program, "--help"]))
        passes.append(wall_seconds([sys.executable, "-c", "pass"]))
    yield at_most("startup", "benchcore --help", median(helps), 0.25, " s", all=helps)
    ratio = median(h / p for h, p in zip(helps, passes, strict=True))
    yield Row("startup", "  ÷ python -c pass", f"{ratio:.1f}", data={"pass": passes})
    script = (
        "import sys; from benchcore.cli.main import run; run(['--help']); "
        f"print(*(m for m in {HEAVY!r} if m in sys.modules), file=sys.stderr)"
    )
    helped = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    )
    loaded = helped.stderr.split()
    yield Row(
        "startup", "  heavy modules it imports", " ".join(loaded) or "none", "none", not loaded
    )
    for users, limit in FIRST_SECONDS.items():
        firsts = [first_request_seconds(program, users) for _ in range(5)]
        what = f"climb --sim to its first measured request, {users:,} user{'s' * (users > 1)}"
        yield at_most("startup", what, median(firsts), limit, " s", all=firsts)
    with server() as target:
        least, whole = [], []
        for _ in range(rounds):
            least.append(cpu_seconds([sys.executable, "-c", f"import {', '.join(FLOOR)}"]))
            whole.append(climb_cpu_seconds(program, target.base_url))
    yield Row(
        "startup",
        f"CPU of an interpreter that imports {', '.join(FLOOR)}",
        f"{median(least):.2f} s",
        data={"all": least},
    )
    yield Row(
        "startup",
        "CPU of a climb of one user and two requests",
        f"{median(whole):.2f} s",
        data={"all": whole},
    )


def cpu_seconds(command: Sequence[str]) -> float:
    """Run a command and return the processor time it took, with its children."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def climb_cpu_seconds(program: str, base_url: str) -> float:
    """Return what a climb costs that measures next to nothing."""
    with tempfile.TemporaryDirectory() as folder:
        return cpu_seconds(
            [
                *(program, "climb", "--base-url", base_url, "--concurrency", "1"),
                *("--requests", "2", "--warmup", "0", "--input-tokens", "16"),
                *("--output-tokens", "8", "--idle", "0s", "--output", folder, "--quiet"),
            ]
        )


def first_request_seconds(program: str, users: int) -> float:
    """Return how long `climb --sim` takes from its start to the first request it measures."""
    with tempfile.TemporaryDirectory() as folder:
        begun_ns = time.perf_counter_ns()
        subprocess.run(
            [
                *(program, "climb", "--sim", "--concurrency", str(users)),
                *("--requests", str(2 * users)),
                *("--warmup", "0", "--save-events", "--output", folder, "--quiet"),
            ],
            check=False,  # two requests are too few to be valid
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        (events,) = Path(folder).glob("*/events.jsonl")
        sent = [orjson.loads(line)["sent_ns"] for line in events.read_bytes().splitlines()]
        return (min(sent) - begun_ns) / 1e9
