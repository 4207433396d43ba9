"""Climb run: one `benchcore climb` as its own process, and the folder it leaves."""

import csv
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import orjson

from tests.bench.fixture import BUILD, ROOT


@dataclass
class ClimbRun:
    """What one climb of a single level left.

    Args:
        folder: its run folder.
    """

    folder: Path

    @cached_property
    def run(self) -> dict[str, Any]:
        """`run.json`."""
        return json.loads((self.folder / "run.json").read_text())

    @property
    def level(self) -> dict[str, Any]:
        """Its level."""
        return self.run["levels"][0]

    @cached_property
    def requests(self) -> list[dict[str, str]]:
        """`requests.csv`: every request of the level, warm-up and drain included."""
        with (self.folder / "requests.csv").open(newline="") as file:
            return list(csv.DictReader(file))

    def events(self) -> Iterator[dict[str, Any]]:
        """Yield the lines of `events.jsonl`."""
        with (self.folder / "events.jsonl").open("rb") as file:
            for line in file:
                yield orjson.loads(line)

    @property
    def tokens_in_window(self) -> float:
        """Token events stamped in the window; here the server bills one token for each."""
        return self.level["output_token_throughput"] * self.level["window_seconds"]

    @property
    def reads_per_token(self) -> float:
        """Reads that held token events ÷ token events, over the whole level."""
        events = sum(int(row["token_events"] or 0) for row in self.requests)
        return self.level["client"]["token_reads"] / events

    def judged(self) -> str:
        """Return the validity, with the names of the reasons."""
        reasons = {reason.partition(":")[0] for reason in self.level["reasons"]}
        return " ".join([self.level["validity"], *(f"({name})" for name in sorted(reasons))])

    def remove(self) -> None:
        """Delete the folder."""
        shutil.rmtree(self.folder)


def climb(
    base_url: str,
    *options: str,
    tokens: int = 100,
    duration: float = 5,
    warmup: float = 2,
    blocked_ms: tuple[float, float] | None = None,
) -> ClimbRun:
    """Run one level of short prompts against the fixture and return what it left.

    Args:
        base_url: the server.
        options: further options of `benchcore climb`, the load among them.
        tokens: output tokens of each request.
        duration: of the window, in seconds.
        warmup: before it, in seconds.
        blocked_ms: block its event loop for so long in every so long.

    Raises:
        SystemExit: it failed.
    """
    program = [str(Path(sys.executable).with_name("benchcore"))]
    if blocked_ms is not None:
        blocked, period = blocked_ms
        module = "tests.bench.blocked_climb"
        program = [sys.executable, "-m", module, str(blocked), str(period)]
    results = Path(tempfile.mkdtemp(prefix="results-", dir=BUILD))
    command = [
        *(*program, "climb", "--base-url", base_url),
        *("--input-tokens", "16", "--output-tokens", str(tokens), "--seed", "1"),
        *("--warmup", f"{warmup}s", "--duration", f"{duration}s", "--idle", "0s"),
        *("--output", str(results), "--name", "bench", "--quiet", "--no-progress"),
        *options,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    folders = list(results.iterdir())
    if done.returncode not in (0, 4) or len(folders) != 1:
        raise SystemExit(f"{' '.join(command)}\nexit {done.returncode}\n{done.stderr}")
    folder = folders[0].rename(BUILD / results.name.replace("results-", "run-"))
    results.rmdir()
    return ClimbRun(folder)


def ramp(streams: int, tokens: int, interval_ms: float) -> tuple[str, ...]:
    """Return the option that spreads the users' starts over the length of one request."""
    return ("--concurrency", str(streams), "--ramp", f"{tokens * interval_ms / 1000}s")
