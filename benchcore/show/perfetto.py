"""Perfetto: the requests of a level as a trace for ui.perfetto.dev, in Chrome's trace format.

Each request is a slice with its parts inside, on the first track that is free when it is due, so
that a level has about as many tracks as requests in flight. The seconds of the level are counters.
Times are microseconds from the start of the level, as the format wants them ("Trace Event Format",
Google, 2016).
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import orjson

from benchcore.judge.parts import RESIDUAL, Parts, parts
from benchcore.runs.reading import Requests, Timeline
from benchcore.runs.run import Level

_US: Final = 1e6
_REQUESTS: Final = 1
_SERVER: Final = 2
_COUNTERS: Final = {
    "in_flight": "requests in flight",
    "tokens": "output tokens per second",
    "failed": "requests failed",
}


def perfetto_trace(level: Level, requests: Requests, timeline: Timeline | None) -> bytes:
    """Return the measured requests of a level as a trace.

    Args:
        level: which.
        requests: of it.
        timeline: its seconds; `None`: it has none.
    """
    spent = parts(requests)
    events: list[dict[str, Any]] = [
        {"ph": "M", "pid": _REQUESTS, "name": "process_name", "args": {"name": level.name}},
        *_slices(requests, spent),
    ]
    if timeline is not None:
        events.append(
            {"ph": "M", "pid": _SERVER, "name": "process_name", "args": {"name": "per second"}}
        )
        events += _counters(timeline)
    return orjson.dumps({"displayTimeUnit": "ms", "traceEvents": events})


def _slices(requests: Requests, spent: Parts) -> Iterator[dict[str, Any]]:
    """Yield the slices of all requests and the names of their tracks."""
    due = requests.second("scheduled_seconds")[spent.rows]
    names = requests.text("request_id")
    told = {
        name: requests.number(name)[spent.rows]
        for name in ("prompt_tokens", "output_tokens", "cached_tokens", "session", "turn")
    }
    free: list[int] = []
    busy: list[tuple[float, int]] = []
    tracks = 0
    for place in np.argsort(due, kind="stable"):
        begin, whole = float(due[place]), float(spent.total[place])
        while busy and busy[0][0] <= begin:
            heapq.heappush(free, heapq.heappop(busy)[1])
        if free:
            track = heapq.heappop(free)
        else:
            tracks += 1
            track = tracks
            yield {
                "ph": "M",
                "pid": _REQUESTS,
                "tid": track,
                "name": "thread_name",
                "args": {"name": f"requests {track}"},
            }
        heapq.heappush(busy, (begin + whole, track))
        args = {
            name: int(values[place]) for name, values in told.items() if not np.isnan(values[place])
        }
        row = int(spent.rows[place])
        yield _slice(names[row], track, begin, whole, args)
        at = begin
        for name, seconds in _ordered(spent, int(place)):
            yield _slice(name, track, at, seconds, {})
            at += seconds


def _ordered(spent: Parts, place: int) -> Iterator[tuple[str, float]]:
    """Yield the parts of a request in the order in which it passes through them.

    What nothing explains lies at the end, though nobody knows where it was.
    """
    for part in spent.how:
        seconds = float(spent.of[part][place])
        # A clock that is told twice may make a part a few nanoseconds short of nothing.
        if seconds > 0 and (part is not RESIDUAL or seconds > 1e-6):
            yield part.title, seconds


def _slice(
    name: str, track: int, begin: float, seconds: float, args: dict[str, int]
) -> dict[str, Any]:
    return {
        "ph": "X",
        "pid": _REQUESTS,
        "tid": track,
        "name": name,
        "ts": round(begin * _US, 3),
        "dur": round(seconds * _US, 3),
        "args": args,
    }


def _counters(timeline: Timeline) -> Iterator[dict[str, Any]]:
    seconds = timeline.column("second")
    for name, title in _COUNTERS.items():
        for second, value in zip(seconds, timeline.column(name), strict=True):
            if not np.isnan(value):
                yield {
                    "ph": "C",
                    "pid": _SERVER,
                    "name": title,
                    "ts": float(second) * _US,
                    "args": {name: float(value)},
                }
