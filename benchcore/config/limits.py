"""Limits: what a list of levels must be, and what a good request meets."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Self

from benchcore.base.errors import ConfigError
from benchcore.config.catalogue import SLO_LATENCIES


def check_climbs(levels: Sequence[float]) -> None:
    """Check that each level is above the one before.

    Raises:
        ConfigError: it is not; the message has the list in its right order.
    """
    if any(after <= before for before, after in pairwise(levels)):
        listed = ",".join(f"{level:.12g}" for level in levels)
        ordered = ",".join(f"{level:.12g}" for level in sorted(set(levels)))
        raise ConfigError(f"{listed} does not climb; did you mean {ordered}?")


def check_levels(concurrency: Sequence[int], rate: Sequence[float]) -> None:
    """Check levels of which only one kind may be given.

    Raises:
        ValueError: both are given, or those given do not climb.
    """
    if concurrency and rate:
        raise ValueError("levels are of concurrency or of rate: give one of them")
    for name, levels in (("concurrency", concurrency), ("rate", rate)):
        try:
            check_climbs(levels)
        except ConfigError as error:
            raise ValueError(f"{name} {error}") from None


_UNITS_NS = {"ns": 1, "us": 1_000, "µs": 1_000, "ms": 1_000_000, "s": 1_000_000_000}
_DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*(ns|us|µs|ms|s|m|min|h)?")


def parse_duration_ns(text: str) -> int:
    """Read `500ms`, `2s`, `1.5m` or a bare number of seconds; returns nanoseconds.

    Raises:
        ConfigError: it is none of these.
    """
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise ConfigError(f"{text!r} is not a duration such as 500ms, 2s or 1.5m")
    unit = match[2] or "s"
    scale = {"m": 60 * 10**9, "min": 60 * 10**9, "h": 3600 * 10**9}.get(unit) or _UNITS_NS[unit]
    return round(float(match[1]) * scale)


@dataclass(frozen=True, slots=True)
class Slo:
    """A limit in ns on one figure; `icl` and `itl` are judged by the request's own p99."""

    metric: str
    limit_ns: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `ttft:500ms`.

        Raises:
            ConfigError: it is not METRIC:DURATION.
        """
        name, _, limit = text.partition(":")
        if name not in SLO_LATENCIES or not limit:
            raise ConfigError(
                f"SLO {text!r} is not METRIC:DURATION with METRIC one of "
                f"{', '.join(SLO_LATENCIES)}, such as ttft:500ms"
            )
        limit_ns = parse_duration_ns(limit)
        if limit_ns <= 0:
            raise ConfigError(f"SLO {text!r}: a limit must be above 0")
        number = limit.strip()
        if not number[-1].isalpha():
            raise ConfigError(f"SLO {text!r} needs a unit: {name}:{number}ms or {name}:{number}s")
        return cls(name, limit_ns)

    def __str__(self) -> str:
        return f"{self.metric}:{self.limit_ns / 1e6:g}ms"


def check_slos(texts: tuple[str, ...]) -> tuple[str, ...]:
    """Return SLOs as they are given, once each has been read.

    Raises:
        ValueError: some are none; names all that are wrong.
    """
    faults = []
    for text in texts:
        try:
            Slo.parse(text)
        except ConfigError as error:
            faults.append(str(error))
    if faults:
        raise ValueError("; ".join(faults))
    return texts
