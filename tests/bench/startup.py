"""Start-up: how long a person waits."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

import orjson

from tests.bench.row import Row, at_most

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
    firsts = [first_request_seconds(program) for _ in range(3)]
    yield at_most(
        "startup", "climb --sim to its first request", median(firsts), 2, " s", all=firsts
    )


def first_request_seconds(program: str) -> float:
    """Return how long `climb --sim` takes from its start to the first request of its level."""
    with tempfile.TemporaryDirectory() as folder:
        begun_ns = time.perf_counter_ns()
        subprocess.run(
            [
                *(program, "climb", "--sim", "--concurrency", "1", "--requests", "2"),
                *("--warmup", "0", "--save-events", "--output", folder, "--quiet"),
            ],
            check=False,  # two requests are too few to be valid
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        (events,) = Path(folder).glob("*/events.jsonl")
        sent = [orjson.loads(line)["sent_ns"] for line in events.read_bytes().splitlines()]
        return (min(sent) - begun_ns) / 1e9
