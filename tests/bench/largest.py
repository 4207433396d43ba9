"""Largest: how many streams one process reads and stays `valid`, by either reader.

Server and client share the machine's processors: both readers have the same server beside them.
"""

import os
from collections.abc import Iterator

from tests.bench.climb_run import climb, ramp
from tests.bench.fixture import server
from tests.bench.row import Row

INTERVAL_MS, TOKENS = 20.0, 100
LEAST, MOST = 128, 8192
STEP = 1.1
"""Loads are told apart by a tenth."""
TRIES = 2
"""A load counts as valid where one of so many levels is: the machine may be disturbed."""
WANTED = 1.8


def is_valid(reader: str, streams: int) -> bool:
    """Return whether a level of so many streams of 50 tokens/s is valid."""
    os.environ["BENCHCORE_READER"] = reader
    try:
        for _ in range(TRIES):
            with server(interval_ms=INTERVAL_MS) as target:
                run = climb(
                    target.base_url,
                    *ramp(streams, TOKENS, INTERVAL_MS),
                    tokens=TOKENS,
                    duration=6,
                    warmup=3,
                )
            judged = run.judged()
            run.remove()
            if judged == "valid":
                return True
        return False
    finally:
        del os.environ["BENCHCORE_READER"]


def largest(reader: str) -> int:
    """Return the most streams that are valid; between two loads that are told apart, the lower."""
    low, high = 0, LEAST
    while high <= MOST and is_valid(reader, high):
        low, high = high, 2 * high
    while low and high > low * STEP:
        middle = round((low * high) ** 0.5)
        low, high = (middle, high) if is_valid(reader, middle) else (low, middle)
    return low


def rows() -> Iterator[Row]:
    """Measure and yield the row."""
    native, python = largest("native"), largest("python")
    ratio = native / python if python else 0.0
    yield Row(
        "largest",
        "streams of 50 tokens/s that stay valid, native ÷ Python",
        f"{native:,} ÷ {python:,} = {ratio:.2f}",
        f"≥ {WANTED:g}",
        ratio >= WANTED,
        {"native": native, "python": python},
    )
