"""Faults on demand: what a request asks to go wrong, and where."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

HEADER: Final = "x-sim-fault"
"""Request header that asks for faults: ``stall:5:0.2, no_done``."""

_Argument = Callable[[str], float]


def _count(text: str) -> float:
    number = int(text)
    if not 0 <= number <= 1 << 34:
        raise ValueError
    return number


def _positive(text: str) -> float:
    number = _count(text)
    if number < 1:
        raise ValueError
    return number


def _status(text: str) -> float:
    number = int(text)
    if not 400 <= number <= 599:
        raise ValueError
    return number


def _seconds(text: str) -> float:
    number = float(text)
    if not 0.0 <= number <= 86_400.0:
        raise ValueError
    return number


FAULTS: Final[Mapping[str, tuple[tuple[str, _Argument], ...]]] = {
    "status": (("CODE", _status),),
    "retry_after": (("SECONDS", _seconds),),
    "slow_headers": (("SECONDS", _seconds),),
    "slow_queue": (("SECONDS", _seconds),),
    "slow_prefill": (("SECONDS", _seconds),),
    "garbage": (),
    "error_event": (("TOKENS", _count),),
    "error_after_finish": (),
    "truncate": (("TOKENS", _count),),
    "cut": (("TOKENS", _count),),
    "reset": (("TOKENS", _count),),
    "stall": (("TOKENS", _count), ("SECONDS", _seconds)),
    "stall_first": (("SECONDS", _seconds),),
    "bad_utf8": (("TOKENS", _positive),),
    "no_done": (),
    "no_usage": (),
    "empty": (),
    "role_only": (),
    "huge_line": (("BYTES", _positive),),
    "close_after": (),
    "merge": (("TOKENS", _positive),),
    "multi_token": (("TOKENS", _positive),),
}
"""Every fault and its arguments. TOKENS counts token events of the answer."""


@dataclass(slots=True, frozen=True)
class Faults:
    """What is to go wrong with one request: fault name to its arguments."""

    asked: Mapping[str, tuple[float, ...]]

    def __contains__(self, name: str) -> bool:
        return name in self.asked

    def __bool__(self) -> bool:
        return bool(self.asked)

    def seconds(self, name: str) -> float:
        """The last argument of a fault, or 0 where it was not asked for."""
        return self.asked[name][-1] if name in self.asked else 0.0

    def count(self, name: str, default: int) -> int:
        """The first argument of a fault as a whole number, or ``default``."""
        return int(self.asked[name][0]) if name in self.asked else default


NONE: Final = Faults({})


def usage(name: str) -> str:
    """How a fault is written, for messages: ``stall:TOKENS:SECONDS``."""
    return ":".join((name, *(label for label, _ in FAULTS[name])))


def parse_fault(text: str) -> tuple[str, tuple[float, ...]]:
    """Reads one fault such as ``stall:5:0.2``.

    Raises:
        ValueError: the name is unknown or the arguments are not what it takes.
    """
    name, *given = text.strip().split(":")
    if name not in FAULTS:
        raise ValueError(f"unknown fault {name!r}: choose one of {', '.join(FAULTS)}")
    wanted = FAULTS[name]
    if len(given) != len(wanted):
        raise ValueError(f"fault {text.strip()!r} is written {usage(name)}")
    arguments: list[float] = []
    for (label, parse), argument in zip(wanted, given, strict=True):
        try:
            arguments.append(parse(argument))
        except ValueError:
            raise ValueError(
                f"fault {text.strip()!r} is written {usage(name)}: bad {label} {argument!r}"
            ) from None
    return name, tuple(arguments)


def parse_faults(header: str) -> Faults:
    """Reads the comma-separated faults of a request header.

    Raises:
        ValueError: as ``parse_fault``.
    """
    return Faults(dict(parse_fault(one) for one in header.split(",") if one.strip()))


@dataclass(slots=True, frozen=True)
class RandomFault:
    """A fault that strikes requests at random."""

    name: str
    arguments: tuple[float, ...]
    probability: float

    @classmethod
    def parse(cls, text: str) -> RandomFault:
        """Reads ``error_event:5@0.1``; without ``@`` the fault strikes every request.

        Raises:
            ValueError: as ``parse_fault``, or the probability is not between 0 and 1.
        """
        fault, at, odds = text.partition("@")
        name, arguments = parse_fault(fault)
        try:
            probability = float(odds) if at else 1.0
        except ValueError:
            probability = -1.0
        if not 0.0 <= probability <= 1.0:
            raise ValueError(f"fault {text!r}: the probability {odds!r} is not between 0 and 1")
        return cls(name, arguments, probability)


class FaultDice:
    """Draws the faults that strike at random, one draw per configured fault and request."""

    __slots__ = ("_faults", "_random")

    def __init__(self, faults: Iterable[RandomFault], seed: int) -> None:
        self._faults = tuple(faults)
        self._random = random.Random(f"faults/{seed}")

    def draw(self, header: str | None) -> Faults:
        """Returns the faults of the next request: those drawn and those its header names.

        Raises:
            ValueError: the header is not a list of faults.
        """
        if not self._faults and header is None:
            return NONE
        drawn = {
            fault.name: fault.arguments
            for fault in self._faults
            if self._random.random() < fault.probability
        }
        if header is not None:
            drawn.update(parse_faults(header).asked)
        return Faults(drawn)
