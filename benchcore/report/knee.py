"""Knee: the level beyond which more load brings little more throughput."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

GAIN: Final = 0.05
"""A level that brings less more throughput than this is beyond the knee."""


@dataclass(frozen=True, slots=True)
class Knee:
    """Where throughput stops to grow.

    Args:
        level: the last level that brought more.
        throughput: of it, per second.
        unit: of the throughput: `tokens` or `requests`.
        beyond: the next level; empty: the climb ended while throughput still grew.
        gain: what that one brought, in shares.
        cost: what it did to the TTFT p99, in shares; `None`: unknown.
    """

    level: str
    throughput: float
    unit: str
    beyond: str = ""
    gain: float = 0.0
    cost: float | None = None

    def __str__(self) -> str:
        """Return it as a sentence."""
        found = f"{self.level} reaches {self.throughput:,.4g} {self.unit}/s"
        if not self.beyond:
            return f"{found}, and throughput still grew: the knee lies beyond what was climbed"
        cost = "" if self.cost is None else f" for {self.cost:+.0%} TTFT p99".replace("%", " %")
        return f"{found}; {self.beyond} brings {self.gain:+.1%}".replace("%", " %") + cost


def knee(levels: Sequence[Mapping[str, Any]]) -> Knee | None:
    """Return the knee of one climb; `None` where fewer than two levels tell a throughput."""
    climb = [level for level in levels if level["repeat"] == 1 and level["validity"] != "invalid"]
    name = "output_token_throughput"
    if any(level.get(name) is None for level in climb):
        name = "request_throughput"
    climb = [level for level in climb if level.get(name)]
    if len(climb) < 2:
        return None
    unit = "tokens" if name.startswith("output") else "requests"
    for place, (one, other) in enumerate(pairwise(climb)):
        gain = other[name] / one[name] - 1
        best_after = max(level[name] for level in climb[place + 1 :]) / one[name] - 1
        if best_after < GAIN:
            return Knee(one["level"], one[name], unit, other["level"], gain, _cost(one, other))
    return Knee(climb[-1]["level"], climb[-1][name], unit)


def _cost(one: Mapping[str, Any], other: Mapping[str, Any]) -> float | None:
    before = (one["metrics"].get("ttft") or {}).get("p99")
    after = (other["metrics"].get("ttft") or {}).get("p99")
    return after / before - 1 if before and after else None
