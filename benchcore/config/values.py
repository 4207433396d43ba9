"""Values: numbers of tokens, fixed or drawn, and regular expressions."""

from __future__ import annotations

import math
import random
import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from benchcore.base.errors import ConfigError

MOST_TOKENS = 10_000_000
# Sigma of the logarithm: at 10 one draw in six is over 20,000 times the median.
_WIDEST_SIGMA = 10
_FORM = (
    "a number of tokens, uniform:LOW:HIGH, normal:MEAN:STD or lognormal:MEDIAN:SIGMA, "
    "the last two optionally with :LOW:HIGH"
)


@dataclass(frozen=True, slots=True)
class Length:
    """How many tokens: fixed, or drawn.

    Args:
        kind: the distribution.
        a: the number, the lower end, the mean, or the median.
        b: nothing, the upper end, the standard deviation in tokens, or sigma of the logarithm.
        low: what a draw is at least.
        high: what a draw is at most.
    """

    kind: Literal["fixed", "uniform", "normal", "lognormal"]
    a: float
    b: float = 0.0
    low: int = 1
    high: int = MOST_TOKENS

    @classmethod
    def parse(cls, text: str | int) -> Self:
        """Read `128`, `uniform:10:500`, `normal:256:32` or `lognormal:200:0.8:1:4096`.

        Raises:
            ConfigError: it is none of these, or its numbers make no sense.
        """
        parts = str(text).strip().split(":")
        kind, numbers = (
            ("fixed", parts) if re.fullmatch(r"\d+", parts[0]) else (parts[0], parts[1:])
        )
        if kind not in ("fixed", "uniform", "normal", "lognormal"):
            raise ConfigError(f"length {text!r} is not {_FORM}")
        try:
            values = [float(number) for number in numbers]
        except ValueError:
            raise ConfigError(f"length {text!r} is not {_FORM}") from None
        wanted = {"fixed": (1,), "uniform": (2,), "normal": (2, 4), "lognormal": (2, 4)}[kind]
        if len(values) not in wanted or not all(math.isfinite(value) for value in values):
            raise ConfigError(f"length {text!r} is not {_FORM}")
        ends = values if kind == "uniform" else values[2:]
        if any(not end.is_integer() for end in ends):
            raise ConfigError(f"length {text!r}: the ends must be whole numbers")
        bounds = [int(end) for end in ends] or [1, MOST_TOKENS]
        if values[0] < 1 or (len(values) > 1 and values[1] < 0):
            raise ConfigError(
                f"length {text!r}: tokens start at 1, and a spread cannot be negative"
            )
        if values[0] > MOST_TOKENS or bounds[1] > MOST_TOKENS:
            raise ConfigError(f"length {text!r}: more than {MOST_TOKENS} tokens")
        if not 1 <= bounds[0] <= bounds[1]:
            raise ConfigError(f"length {text!r}: the lower end lies above the upper end or below 1")
        if kind == "lognormal" and values[1] > _WIDEST_SIGMA:
            raise ConfigError(
                f"length {text!r}: sigma is of the logarithm, {_WIDEST_SIGMA} at most"
            )
        return cls(kind, values[0], values[1] if len(values) > 1 else 0.0, *bounds)  # type: ignore[arg-type]

    def draw(self, stream: random.Random) -> int:
        """Return one length in tokens, from `stream.random()` alone, within `low` and `high`."""
        if self.kind == "fixed":
            return int(self.a)
        if self.kind == "uniform":
            return self.low + int(stream.random() * (self.high - self.low + 1))
        # Box-Muller (1958); random.gauss is not promised to be the same in every Python.
        radius = math.sqrt(-2.0 * math.log(1.0 - stream.random()))
        z = radius * math.cos(2.0 * math.pi * stream.random())
        value = self.a + self.b * z if self.kind == "normal" else self.a * math.exp(self.b * z)
        return int(min(max(round(min(value, 1e9)), self.low), self.high))

    @property
    def mean(self) -> float:
        """The mean in tokens, before the bounds of normal and lognormal draws."""
        if self.kind == "uniform":
            return (self.low + self.high) / 2
        if self.kind == "lognormal":
            return self.a * math.exp(self.b**2 / 2)
        return self.a

    def __str__(self) -> str:
        if self.kind == "fixed":
            return str(int(self.a))
        # Twelve digits: plain `g` would round what the run folder must give back.
        text = f"{self.kind}:{self.a:.12g}:{self.b:.12g}"
        bounded = self.kind != "uniform" and (self.low, self.high) != (1, MOST_TOKENS)
        return f"{text}:{self.low}:{self.high}" if bounded else text

    @classmethod
    def __get_pydantic_core_schema__(
        cls, _source: Any, _handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return _read_from_text(cls, (str, int), _FORM, "a length")


_SPANS = "a number of seconds, uniform:LOW:HIGH, exponential:MEAN or lognormal:MEDIAN:SIGMA"
_LONGEST_SECONDS = 7 * 86400.0


@dataclass(frozen=True, slots=True)
class Span:
    """How long something takes, in seconds: fixed, or drawn.

    Args:
        kind: the distribution.
        a: the number, the lower end, the mean, or the median.
        b: nothing, the upper end, or sigma of the logarithm.
    """

    kind: Literal["fixed", "uniform", "exponential", "lognormal"]
    a: float
    b: float = 0.0

    @classmethod
    def parse(cls, text: str | float) -> Self:
        """Read `2`, `uniform:1:5`, `exponential:3` or `lognormal:2:0.5`.

        Raises:
            ConfigError: it is none of these.
        """
        kind, _, rest = str(text).strip().partition(":")
        numbers = rest.split(":") if rest else []
        if not rest:
            kind, numbers = "fixed", [kind]
        wanted = {"fixed": 1, "uniform": 2, "exponential": 1, "lognormal": 2}.get(kind)
        try:
            values = [float(number) for number in numbers]
        except ValueError:
            values = []
        if (
            wanted != len(values)
            or not all(0 <= value <= _LONGEST_SECONDS for value in values)
            or (kind == "uniform" and values[0] > values[1])
            or (kind == "lognormal" and values[1] > _WIDEST_SIGMA)
        ):
            raise ConfigError(f"time {text!r} is not {_SPANS}")
        return cls(kind, *values)  # type: ignore[arg-type]

    def draw(self, stream: random.Random) -> float:
        """Return one span in seconds, from `stream.random()` alone, a week at most."""
        if self.kind == "fixed":
            return self.a
        if self.kind == "uniform":
            return self.a + (self.b - self.a) * stream.random()
        if self.kind == "exponential":
            return min(-self.a * math.log(1.0 - stream.random()), _LONGEST_SECONDS)
        # Box-Muller (1958); random.gauss is not promised to be the same in every Python.
        radius = math.sqrt(-2.0 * math.log(1.0 - stream.random()))
        z = radius * math.cos(2.0 * math.pi * stream.random())
        return min(self.a * math.exp(self.b * z), _LONGEST_SECONDS)

    def __str__(self) -> str:
        if self.kind == "fixed":
            return f"{self.a:.12g}"
        second = f":{self.b:.12g}" if self.kind != "exponential" else ""
        return f"{self.kind}:{self.a:.12g}{second}"

    @classmethod
    def __get_pydantic_core_schema__(
        cls, _source: Any, _handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return _read_from_text(cls, (str, int, float), _SPANS, "a time")


def _read_from_text(
    cls: Any, types: tuple[type, ...], forms: str, what: str
) -> core_schema.CoreSchema:
    """Return the schema of a value that is written as text, or as a bare number."""

    def read(value: Any) -> Any:
        if isinstance(value, cls):
            return value
        if isinstance(value, types) and not isinstance(value, bool):
            try:
                return cls.parse(value)
            except ConfigError as error:
                raise ValueError(str(error)) from None
        raise ValueError(f"{what} is {forms}")

    return core_schema.no_info_plain_validator_function(
        read, serialization=core_schema.to_string_ser_schema()
    )


def _compiles(value: str) -> str:
    try:
        re.compile(value)
    except re.error as error:
        raise ValueError(f"is not a regular expression: {error}") from None
    return value


Regex = Annotated[str, AfterValidator(_compiles)]
"""A regular expression, as text."""
