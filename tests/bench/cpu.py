"""CPU: what a token event costs, beside the least it can cost and beside the usual client."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any

from tests.bench.climb_run import climb, ramp
from tests.bench.fixture import ROOT, server
from tests.bench.row import Row, at_most

STREAMS, TOKENS = 256, 100
SHAPES = {"each stream its own phase": 0.0, "tokens of 1 ms together": 1.0}
Cost = tuple[float, float]
"""CPU in seconds per million token events, and reads per token."""


def reader(name: str) -> Callable[[str], Cost]:
    """Return what measures one of the scripts beside this one."""

    def run(base_url: str) -> Cost:
        command = [sys.executable, "-m", f"tests.bench.{name}", "--base-url", base_url]
        sizes = ["--streams", str(STREAMS), "--tokens", str(TOKENS)]
        done = subprocess.run(
            [*command, *sizes], check=True, capture_output=True, text=True, cwd=ROOT
        )
        used: dict[str, Any] = json.loads(done.stdout)
        return used["cpu_seconds"] / used["tokens"] * 1e6, used["reads"] / used["tokens"]

    return run


def climb_cost(base_url: str) -> Cost:
    """Measure the whole `benchcore climb` process inside its window."""
    run = climb(base_url, *ramp(STREAMS, TOKENS, 10), tokens=TOKENS)
    try:
        used = run.level["client"]["process_cpu_seconds"]
        return used / run.tokens_in_window * 1e6, run.reads_per_token
    finally:
        run.remove()


PROGRAMS: dict[str, Callable[[str], Cost]] = {
    "bare": reader("bare"),
    "aiohttp": reader("aiohttp_reader"),
    "client": reader("client_only"),
    "climb": climb_cost,
}


def rows(*, rounds: int) -> Iterator[Row]:
    """Measure in turns and yield the medians of the ratios within a round."""
    for shape, tick_ms in SHAPES.items():
        costs: dict[str, list[Cost]] = {name: [] for name in PROGRAMS}
        with server(tick_ms=tick_ms) as target:
            for _ in range(rounds):
                for name, program in PROGRAMS.items():
                    costs[name].append(program(target.base_url))
        data: dict[str, Any] = {
            "costs_seconds_per_million": {n: [c for c, _ in v] for n, v in costs.items()},
            "reads_per_token": {n: [r for _, r in v] for n, v in costs.items()},
            "server": target.counts,
        }

        def ratio(above: str, below: str, costs: dict[str, list[Cost]] = costs) -> float:
            return median(a / b for (a, _), (b, _) in zip(costs[above], costs[below], strict=True))

        yield Row("cpu", f"256 streams × 100 tokens/s, {shape}:", "")
        reads = {name: min(r for _, r in value) for name, value in costs.items()}
        fewest = min(reads["climb"], reads["bare"])
        yield at_most("cpu", "  CPU, climb ÷ bare recvmsg", ratio("climb", "bare"), 1.6, **data)
        yield at_most("cpu", "  CPU, climb ÷ aiohttp iter_any", ratio("climb", "aiohttp"), 0.7)
        yield Row(
            "cpu", "  reads per token, climb and bare", f"{fewest:.3f}", "≥ 0.98", fewest >= 0.98
        )
        yield Row("cpu", "  CPU, the client alone ÷ bare", f"{ratio('client', 'bare'):.2f}")
        yield Row("cpu", "  CPU, aiohttp ÷ bare", f"{ratio('aiohttp', 'bare'):.2f}")
        each = "/".join(f"{median(c for c, _ in costs[name]):.1f}" for name in PROGRAMS)
        yield Row("cpu", f"  µs a token: {', '.join(PROGRAMS)}", each)
