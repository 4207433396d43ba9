"""Shapes: a rate, or a number of users, that changes over time."""

from __future__ import annotations

import csv
import math
import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Protocol, Self

from benchcore.base.errors import ConfigError
from benchcore.config.limits import parse_duration_ns

FORMS = (
    "hold:RATE/TIME, ramp:FROM..TO/TIME, steps:FROM..TO/COUNT/TIME, sine:LOW..HIGH/PERIOD/TIME, "
    "spike:BASE..PEAK/WIDTH/TIME or csv:FILE"
)
_HIGHEST = 1e6
_LONGEST_SECONDS = 366 * 86400.0


class Piece(Protocol):
    """A stretch of a shape; `t` is in seconds from its own start."""

    @property
    def seconds(self) -> float:
        """How long it is."""
        ...

    @property
    def highest(self) -> float:
        """The highest value that it has."""
        ...

    def value(self, t: float) -> float:
        """Return the value at an instant."""
        ...

    def area(self, t: float) -> float:
        """Return the integral of the value from 0 to `t`."""
        ...

    def when(self, area: float) -> float:
        """Return when the integral reaches `area`, which is no more than that of the piece."""
        ...

    def above(self, level: float) -> Iterator[tuple[float, float]]:
        """Yield the stretches in which the value is `level` or more."""
        ...


@dataclass(frozen=True, slots=True)
class Hold:
    """A value that stays."""

    rate: float
    seconds: float

    @property
    def highest(self) -> float:
        """See `Piece`."""
        return self.rate

    def value(self, t: float) -> float:
        """See `Piece`."""
        del t
        return self.rate

    def area(self, t: float) -> float:
        """See `Piece`."""
        return self.rate * t

    def when(self, area: float) -> float:
        """See `Piece`."""
        return min(area / self.rate, self.seconds) if self.rate > 0 else self.seconds

    def above(self, level: float) -> Iterator[tuple[float, float]]:
        """See `Piece`."""
        if self.rate >= level:
            yield 0.0, self.seconds


@dataclass(frozen=True, slots=True)
class Ramp:
    """A value that changes evenly from one to another."""

    begin: float
    end: float
    seconds: float

    @property
    def highest(self) -> float:
        """See `Piece`."""
        return max(self.begin, self.end)

    def value(self, t: float) -> float:
        """See `Piece`."""
        return self.begin + (self.end - self.begin) * t / self.seconds

    def area(self, t: float) -> float:
        """See `Piece`."""
        return self.begin * t + (self.end - self.begin) * t * t / (2 * self.seconds)

    def when(self, area: float) -> float:
        """See `Piece`; the root of `area(t)`, in the form that loses no digits where it is flat."""
        if area <= 0:
            return 0.0
        root = self.begin**2 + 2 * area * (self.end - self.begin) / self.seconds
        below = self.begin + math.sqrt(max(root, 0.0))
        return min(2 * area / below, self.seconds) if below > 0 else self.seconds

    def above(self, level: float) -> Iterator[tuple[float, float]]:
        """See `Piece`."""
        low, high = min(self.begin, self.end), max(self.begin, self.end)
        if low >= level:
            yield 0.0, self.seconds
        elif high >= level:
            crossing = (level - self.begin) / (self.end - self.begin) * self.seconds
            yield (crossing, self.seconds) if self.end > self.begin else (0.0, crossing)


@dataclass(frozen=True, slots=True)
class Sine:
    """A value that swings between two, beginning with the lower one."""

    low: float
    high: float
    period: float
    seconds: float

    @property
    def highest(self) -> float:
        """See `Piece`."""
        half = min(self.seconds, self.period / 2)  # it is reached after half a period
        return self.value(half)

    @property
    def _mean(self) -> float:
        return (self.low + self.high) / 2

    @property
    def _swing(self) -> float:
        return (self.high - self.low) / 2

    def value(self, t: float) -> float:
        """See `Piece`."""
        return self._mean - self._swing * math.cos(2 * math.pi * t / self.period)

    def area(self, t: float) -> float:
        """See `Piece`."""
        turn = 2 * math.pi / self.period
        return self._mean * t - self._swing / turn * math.sin(turn * t)

    def when(self, area: float) -> float:
        """See `Piece`; by Newton's method, by halves where that would leave the bracket."""
        low, high = 0.0, self.seconds
        t = min(area / self._mean, self.seconds) if self._mean > 0 else self.seconds
        for _ in range(200):
            over = self.area(t) - area
            if high - low < 1e-9 or abs(over) < 1e-12 * max(area, 1.0):
                break
            if over > 0:
                high = t
            else:
                low = t
            rate = self.value(t)
            step = t - over / rate if rate > 0 else math.inf
            t = step if low < step < high else (low + high) / 2
        return t

    def above(self, level: float) -> Iterator[tuple[float, float]]:
        """See `Piece`."""
        if self.low >= level:
            yield 0.0, self.seconds
        elif self.high >= level:
            share = max((self._mean - level) / self._swing, -1.0)  # a last bit may be beyond it
            half = math.acos(share) / (2 * math.pi) * self.period
            start = 0.0
            while start < self.seconds:
                begin, end = start + half, min(start + self.period - half, self.seconds)
                if begin < end:
                    yield begin, end
                start += self.period


@dataclass(frozen=True, slots=True)
class Shape:
    """Pieces, one after the other; times in seconds from the first one's start.

    Args:
        text: as it was written.
        pieces: at least one.
    """

    text: str
    pieces: tuple[Piece, ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read pieces such as `ramp:1..20/60s,hold:20/5m`.

        Raises:
            ConfigError: a piece is none of those there are, or a file cannot be read.
        """
        pieces: list[Piece] = []
        for part in text.split(","):
            pieces.extend(_pieces(part.strip(), text))
        shape = cls(text, tuple(pieces))
        if shape.seconds > _LONGEST_SECONDS:
            raise ConfigError(f"shape {text!r} is longer than a year")
        if shape.area <= 0:
            raise ConfigError(f"shape {text!r} is zero all the time: it sends nothing")
        return shape

    @property
    def seconds(self) -> float:
        """How long it is."""
        return sum(piece.seconds for piece in self.pieces)

    @property
    def area(self) -> float:
        """Its integral: as many arrivals as a rate of this shape has."""
        return sum(piece.area(piece.seconds) for piece in self.pieces)

    @property
    def mean(self) -> float:
        """Its mean value."""
        return self.area / self.seconds

    @property
    def last(self) -> float:
        """The value that it ends with."""
        return self.pieces[-1].value(self.pieces[-1].seconds)

    @property
    def highest(self) -> float:
        """The highest value that it has."""
        return max(piece.highest for piece in self.pieces)

    def value(self, t: float) -> float:
        """Return the value at an instant; at a step the later one, after the end the last."""
        for piece in self.pieces:
            if t < piece.seconds:
                return piece.value(t)
            t -= piece.seconds
        return self.last

    def instants(self, areas: Iterator[float]) -> Iterator[float]:
        """Yield when the integral reaches each of ascending areas, until one is never reached.

        This is how a process of rate 1 becomes one of this rate: by the change of time that the
        integral is (Çinlar, 1975).
        """
        begins = [0.0]
        below = [0.0]
        for piece in self.pieces:
            begins.append(begins[-1] + piece.seconds)
            below.append(below[-1] + piece.area(piece.seconds))
        for area in areas:
            place = bisect_right(below, area) - 1
            if place >= len(self.pieces):
                return
            yield begins[place] + self.pieces[place].when(area - below[place])

    def above(self, level: float) -> list[tuple[float, float]]:
        """Return the stretches in which the value is `level` or more; the last may have no end."""
        stretches: list[tuple[float, float]] = []
        begin = 0.0
        for piece in self.pieces:
            for start, end in piece.above(level):
                if stretches and stretches[-1][1] >= begin + start - 1e-9:
                    stretches[-1] = (stretches[-1][0], begin + end)
                else:
                    stretches.append((begin + start, begin + end))
            begin += piece.seconds
        if stretches and stretches[-1][1] >= begin - 1e-9:
            stretches[-1] = (stretches[-1][0], math.inf)
        return stretches

    def __str__(self) -> str:
        return self.text


def _pieces(part: str, text: str) -> list[Piece]:
    kind, _, rest = part.partition(":")
    if kind == "csv" and rest:
        return _from_csv(Path(rest))
    fields = rest.split("/")
    try:
        *middle, last = fields
        seconds = _time(last)
        if kind == "hold" and len(middle) == 1:
            return [Hold(_value(middle[0]), seconds)]
        begin, end = _range(middle[0])
        if kind == "ramp" and len(middle) == 1:
            return [Ramp(begin, end, seconds)]
        if kind == "steps" and len(middle) == 2 and re.fullmatch(r"[1-9]\d{0,3}", middle[1]):
            count = int(middle[1])
            rise = (end - begin) / (count - 1) if count > 1 else 0.0
            return [Hold(begin + rise * n, seconds / count) for n in range(count)]
        if kind == "sine" and len(middle) == 2:
            low, high = min(begin, end), max(begin, end)
            return [Sine(low, high, _time(middle[1]), seconds)]
        if kind == "spike" and len(middle) == 2:
            width = _time(middle[1])
            if width < seconds:
                beside = (seconds - width) / 2
                return [Hold(begin, beside), Hold(end, width), Hold(begin, beside)]
            raise ConfigError(f"shape {text!r}: {part!r}: the spike is no shorter than its piece")
    except (ValueError, IndexError):
        pass
    raise ConfigError(f"shape {text!r}: {part!r} is not {FORMS}")


def _value(text: str) -> float:
    value = float(text)
    if not 0 <= value <= _HIGHEST:  # not a number is neither
        raise ValueError(text)
    return value


def _range(text: str) -> tuple[float, float]:
    begin, dots, end = text.partition("..")
    if not dots:
        raise ValueError(text)
    return _value(begin), _value(end)


def _time(text: str) -> float:
    try:
        seconds = parse_duration_ns(text) / 1e9
    except ConfigError as error:
        raise ValueError(str(error)) from None
    if seconds <= 0:
        raise ValueError(text)
    return seconds


def _from_csv(path: Path) -> list[Piece]:
    """Read rows of `seconds,value`: each value holds until the next row; the last ends it."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = [row for row in csv.reader(file) if row]
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; give a CSV of seconds and values") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: is not UTF-8; save the file as UTF-8") from None
    points: list[tuple[float, float]] = []
    for number, row in enumerate(rows, 1):
        try:
            seconds, value = float(row[0]), _value(row[1])
        except (ValueError, IndexError):
            if number == 1 and not any(char.isdigit() for char in "".join(row)):
                continue  # the names of the columns
            raise ConfigError(f"{path}:{number}: is not seconds,value") from None
        if not math.isfinite(seconds) or (points and seconds <= points[-1][0]):
            raise ConfigError(f"{path}:{number}: {seconds:g} s does not come after the row before")
        points.append((seconds, value))
    if len(points) < 2:
        raise ConfigError(f"{path}: needs two rows of seconds,value or more; the last ends it")
    return [Hold(value, end - begin) for (begin, value), (end, _) in pairwise(points)]
