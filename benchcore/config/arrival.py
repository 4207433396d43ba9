"""Arrival: how the requests of an open loop are spaced."""

import math
from dataclasses import dataclass
from typing import Literal, Self

from benchcore.errors import ConfigError

LEAST_SHAPE = 0.01


@dataclass(frozen=True, slots=True)
class Arrival:
    """How arrivals are spaced: `constant`, `poisson`, or `gamma` with a shape (1 is Poisson)."""

    kind: Literal["constant", "poisson", "gamma"] = "poisson"
    shape: float = 1.0

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `constant`, `poisson` or `gamma:SHAPE`.

        Raises:
            ConfigError: it is none of these.
        """
        kind, _, shape = text.strip().partition(":")
        if kind in ("constant", "poisson") and not shape:
            return cls(kind)  # type: ignore[arg-type]
        if kind == "gamma":
            try:
                value = float(shape)
            except ValueError:
                value = 0.0
            # A smaller shape puts all requests into a few bursts without end.
            if math.isfinite(value) and value >= LEAST_SHAPE:
                return cls("gamma", value)
        raise ConfigError(
            f"arrival {text!r} is not constant, poisson or gamma:SHAPE with a SHAPE of "
            f"{LEAST_SHAPE} or more"
        )

    def __str__(self) -> str:
        return f"gamma:{self.shape:g}" if self.kind == "gamma" else self.kind
