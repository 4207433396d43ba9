"""Ceiling: how much load one worker of this machine can drive, and how many a climb needs.

`benchcore doctor` measures it and keeps it in the user's cache; a climb reads it.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from benchcore.base.files import replace_file
from benchcore.client.native.library import chosen
from benchcore.climbs.plan import Step
from benchcore.climbs.probe import ProbeResult
from benchcore.metrics.validity import Thresholds
from benchcore.observe.machine import processor_name, usable_processors
from benchcore.version import __version__

COMFORT: Final = 0.6
"""Share of the ceiling beyond which a planned load is called tight."""
_FILE: Final = "ceiling.json"


@dataclass(frozen=True, slots=True)
class Load:
    """What a level asks of the load generator.

    Args:
        tokens_per_second: that arrive.
        requests_per_second: that are sent.
    """

    tokens_per_second: float
    requests_per_second: float


@dataclass(frozen=True, slots=True)
class Ceiling:
    """What one event loop of this machine can drive at 100 % of a processor.

    Args:
        cpu_per_token: seconds of processor time per token event.
        cpu_per_request: seconds of processor time per request, besides its tokens.
    """

    cpu_per_token: float
    cpu_per_request: float

    @property
    def tokens_per_second(self) -> float:
        """Token events per second, up to the share of a processor that keeps a level valid."""
        return Thresholds().cpu_share / self.cpu_per_token

    @property
    def requests_per_second(self) -> float:
        """One-token requests per second, likewise."""
        return Thresholds().cpu_share / (self.cpu_per_request + self.cpu_per_token)

    def share(self, load: Load) -> float:
        """Return how many times a load is what one worker can drive."""
        used = (
            load.tokens_per_second * self.cpu_per_token
            + load.requests_per_second * self.cpu_per_request
        )
        return used / Thresholds().cpu_share


def most_workers() -> int:
    """Return for how many workers there are processors: one is left to whoever merges."""
    return max(usable_processors() - 1, 1)


def load_of(step: Step, found: ProbeResult) -> Load | None:
    """Return what a level asks for if the server stays as fast as it is alone; `None`: unknown.

    Under load a server is slower, and a closed loop then asks for less.

    Args:
        step: which level.
        found: what the probe has measured.
    """
    tokens, e2e_seconds = found.output_tokens, found.e2e_seconds
    if not tokens or not e2e_seconds or step.part.config.speed:
        return None
    if not step.part.config.closed:
        return Load(step.level * tokens, step.level)
    requests = step.level / (e2e_seconds + step.part.config.think_time_seconds)
    return Load(requests * tokens, requests)


def workers_for(loads: Iterable[Load | None], ceiling: Ceiling) -> int:
    """Return how many workers the largest of some loads needs, at most one a processor."""
    share = max((ceiling.share(load) for load in loads if load is not None), default=0.0)
    return min(max(math.ceil(share / COMFORT), 1), most_workers())


def save_ceiling(ceiling: Ceiling) -> Path:
    """Keep what was measured for the climbs of this user on this machine; returns where.

    Raises:
        OSError: it cannot be written.
    """
    path = _folder() / _FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    known = {
        **_of_this_machine(),
        "cpu_per_token": ceiling.cpu_per_token,
        "cpu_per_request": ceiling.cpu_per_request,
    }
    replace_file(path, orjson.dumps(known, option=orjson.OPT_INDENT_2))
    return path


def known_ceiling() -> Ceiling | None:
    """Return what was measured before; `None`: nothing, or of another machine or version."""
    try:
        known = orjson.loads((_folder() / _FILE).read_bytes())
        if {name: known[name] for name in _of_this_machine()} != _of_this_machine():
            return None
        found = Ceiling(float(known["cpu_per_token"]), float(known["cpu_per_request"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if found.cpu_per_token > 0 and found.cpu_per_request > 0 else None


def _folder() -> Path:
    # XDG Base Directory Specification 0.8.
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "benchcore"


def _of_this_machine() -> dict[str, Any]:
    """Return what a ceiling hangs on."""
    return {"version": __version__, "processor": processor_name(), "reader": chosen()[1]}
