"""Alerts: thresholds that are watched while a run goes on, such as `gpu_memory > 95 %`."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal, Self

from benchcore.base.errors import ConfigError
from benchcore.base.plugins import nearest


@dataclass(frozen=True, slots=True)
class WatchedFigure:
    """A figure that can be watched.

    Args:
        text: what it is, for messages and help.
        is_share: whether it goes from 0 to 1 and is written in per cent.
    """

    text: str
    is_share: bool = False


WATCHED: Final = {
    "gpu_memory": WatchedFigure("memory in use of the fullest GPU", is_share=True),
    "gpu_utilization": WatchedFigure("mean utilization of the GPUs", is_share=True),
    "gpu_power": WatchedFigure("power of all GPUs, in watts"),
    "queue": WatchedFigure("requests waiting in the server's queue"),
    "running": WatchedFigure("requests running in the server"),
    "kv_cache": WatchedFigure("the server's KV cache in use", is_share=True),
    "cache_hit_rate": WatchedFigure(
        "hits of the server's prefix cache since the last look", is_share=True
    ),
}
"""What can be watched, by its name."""

_RULE: Final = re.compile(r"\s*(\w+)\s*(>=|<=|>|<)\s*([0-9.]+(?:[eE][+-]?[0-9]+)?)\s*(%?)\s*")


@dataclass(frozen=True, slots=True)
class Threshold:
    """A threshold.

    Args:
        text: as it was written.
        figure: one of `WATCHED`.
        sign: on which side of the limit it is told.
        limit: of it; of a share, 0 to 1.
    """

    text: str
    figure: str
    sign: Literal[">", ">=", "<", "<="]
    limit: float

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a threshold such as `gpu_memory > 95 %` or `queue >= 20`.

        Raises:
            ConfigError: it is none.
        """
        match = _RULE.fullmatch(text)
        if match is None:
            raise ConfigError(
                f"{text!r} is no threshold; write FIGURE > LIMIT, such as 'gpu_memory > 95 %'"
            )
        figure, sign, number, percent = match.groups()
        watched = WATCHED.get(figure)
        if watched is None:
            hint = nearest(figure, WATCHED, otherwise=f"write one of {', '.join(WATCHED)}")
            raise ConfigError(f"{text!r}: {figure} cannot be watched; {hint}")
        try:
            limit = float(number)
        except ValueError:
            raise ConfigError(f"{text!r}: {number} is no number") from None
        if not math.isfinite(limit):
            raise ConfigError(f"{text!r}: {number} is more than a number can be")
        if percent and not watched.is_share:
            raise ConfigError(f"{text!r}: {figure} is no share; leave out the %")
        if watched.is_share:
            limit = limit / 100 if percent else limit
            if limit > 1:
                raise ConfigError(f"{text!r}: a share is at most 100 %, or 1")
        return cls(" ".join(text.split()), figure, sign, limit)  # type: ignore[arg-type]

    def holds(self, value: float) -> bool:
        """Return whether a value is beyond the limit."""
        match self.sign:
            case ">":
                return value > self.limit
            case ">=":
                return value >= self.limit
            case "<":
                return value < self.limit
            case _:
                return value <= self.limit

    def shown(self, value: float) -> str:
        """Return a value of its figure for people."""
        return f"{value:.1%}".replace("%", " %") if WATCHED[self.figure].is_share else f"{value:g}"

    def worst(self, values: Iterable[float]) -> float:
        """Return the value that is the furthest beyond the limit."""
        return max(values) if self.sign.startswith(">") else min(values)


def is_known(value: float | None) -> bool:
    """Return whether a value can be held against a limit."""
    return value is not None and math.isfinite(value)
