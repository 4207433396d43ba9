"""Arrivals: the whole schedule of an open loop, drawn before it starts."""

import math
import random
from collections.abc import Iterator

from benchcore.config.arrival import Arrival

__all__ = ["Arrival", "offsets_ns"]


def offsets_ns(
    arrival: Arrival, rate: float, horizon_ns: int, stream: random.Random, *, fewest: int = 0
) -> list[int]:
    """Return when each request is due, in ns from the start, ascending, before `horizon_ns`.

    The gaps have the mean 1/rate. Offsets are whole microseconds, so that a last-bit difference
    between two machines' logarithms does not show.

    Args:
        arrival: how they are spaced.
        rate: requests per second.
        horizon_ns: where the schedule ends.
        stream: draws, from `random()` alone.
        fewest: the schedule goes on beyond the horizon until it has so many.
    """
    if rate <= 0 or not math.isfinite(rate):
        raise ValueError(f"rate {rate} is not a positive number")
    found: list[int] = []
    seconds = 0.0
    gaps = _gaps(arrival, stream)
    # The first request of a random schedule comes after its first gap, of a constant one at once.
    if arrival.kind != "constant":
        seconds = next(gaps) / rate
    count = 0
    # Judged as rounded: the last one may round up to the horizon itself.
    while (offset_ns := round(seconds * 1e6) * 1000) < horizon_ns or count < fewest:
        found.append(offset_ns)
        count += 1
        # No running sum where the sum is known: it would drift over a million gaps.
        seconds = count / rate if arrival.kind == "constant" else seconds + next(gaps) / rate
    return found


def _gaps(arrival: Arrival, stream: random.Random) -> Iterator[float]:
    """Yield random gaps with mean 1."""
    while True:
        if arrival.kind == "poisson":
            yield -math.log(1.0 - stream.random())
        else:
            yield _gamma(arrival.shape, stream) / arrival.shape


def _gamma(shape: float, stream: random.Random) -> float:
    """Draw from gamma(shape, 1) by the method of Marsaglia and Tsang (2000)."""
    if shape < 1.0:
        # Their boost: gamma(a) = gamma(a + 1) · U^(1/a).
        boost: float = (1.0 - stream.random()) ** (1.0 / shape)
        return _gamma(shape + 1.0, stream) * boost
    d = shape - 1.0 / 3.0
    c = 1.0 / math.sqrt(9.0 * d)
    while True:
        radius = math.sqrt(-2.0 * math.log(1.0 - stream.random()))
        x = radius * math.cos(2.0 * math.pi * stream.random())
        v = (1.0 + c * x) ** 3
        if v > 0.0 and math.log(1.0 - stream.random()) < 0.5 * x * x + d - d * v + d * math.log(v):
            return d * v
