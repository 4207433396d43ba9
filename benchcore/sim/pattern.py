"""Pattern: a text that a regular expression matches whole."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from benchcore.sim.ask import ApiError

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    _Write = Callable[[], str]
    _Ranges = tuple[tuple[str, str], ...]

_ANY: Final = (("a", "z"), ("A", "Z"), ("0", "9"))
_CLASSES: Final[dict[str, _Ranges]] = {
    "d": (("0", "9"),),
    "w": (*_ANY, ("_", "_")),
    "s": ((" ", " "),),
}
_CONTROLS: Final = {"n": "\n", "t": "\t", "r": "\r", "f": "\f", "v": "\v", "a": "\a"}
_CODES: Final = {"x": 2, "u": 4, "U": 8}
_EDGES: Final = frozenset("AZbB")
_CANDIDATES: Final = "".join(map(chr, range(32, 127))) + "é中"
"""What a negated class is drawn from."""
_GROUP: Final = re.compile(r"\?(?::|P<\w+>)")
_BOUNDS: Final = re.compile(r"\{(\d*)(?:(,)(\d*))?\}")
_SPREAD: Final = 3
"""Repetitions that are drawn beyond the least."""
_TRIES: Final = 64
_MOST_WRITTEN: Final = 100_000


def matching(
    pattern: object, draw: random.Random, param: str, least: int = 0, most: int | None = None
) -> str:
    """Returns a text that a regular expression matches whole.

    Literals, escapes, classes, groups, alternation, quantifiers and anchors are understood.

    Args:
        pattern: the expression.
        draw: what is drawn at random.
        param: named where the expression is at fault.
        least: characters that the text must have.
        most: characters that it may have.

    Raises:
        ApiError: 400, it does not compile, or uses what is not understood.
    """
    if not isinstance(pattern, str):
        raise ApiError(400, "a regular expression must be a string", param=param)
    try:
        compiled = re.compile(pattern)
    except (re.error, ValueError, OverflowError, RecursionError) as error:
        message = f"the regular expression does not compile: {error}"
        raise ApiError(400, message, param=param) from None
    try:
        reader = _Reader(pattern, draw, max(_SPREAD, least))
        write = reader.read()
        for attempt in range(_TRIES):
            # Chance seldom gives one certain length: every other time the counts are set.
            reader.times = least - attempt // 2 if attempt % 2 else None
            text = write()
            fits = least <= len(text) and (most is None or len(text) <= most)
            if fits and compiled.fullmatch(text) is not None and _encodes(text):
                return text
    except (_NotUnderstoodError, RecursionError):
        pass
    raise ApiError(400, f"the regular expression {pattern!r} is not understood", param=param)


def _encodes(text: str) -> bool:
    """Whether a text holds no half of a surrogate pair."""
    return not any("\ud800" <= char <= "\udfff" for char in text)


class _NotUnderstoodError(Exception):
    """The expression is beyond what is written here."""


class _Reader:
    """Turns an expression that compiles into a function that writes a text for it."""

    def __init__(self, pattern: str, draw: random.Random, spread: int) -> None:
        self._pattern = pattern
        self._place = 0
        self._draw = draw
        self._spread = spread
        self._written = 0
        self.times: int | None = None

    def read(self) -> _Write:
        """Reads the alternatives up to the end of the group or of the expression."""
        found = [self._sequence()]
        while self._skip("|"):
            found.append(self._sequence())

        def write() -> str:
            return self._draw.choice(found)()

        return found[0] if len(found) == 1 else write

    def _sequence(self) -> _Write:
        found = []
        while self._place < len(self._pattern) and self._pattern[self._place] not in "|)":
            found.append(self._repeated(self._atom()))
        return lambda: "".join([write() for write in found])

    def _repeated(self, write: _Write) -> _Write:
        """Reads the quantifier behind an atom, if there is one."""
        low, high = 1, 1
        if self._skip("?"):
            low = 0
        elif self._skip("*"):
            low, high = 0, self._spread
        elif self._skip("+"):
            high = self._spread
        elif (found := _BOUNDS.match(self._pattern, self._place)) and found[0] != "{}":
            self._place = found.end()
            low = int(found[1] or 0)
            high = low + self._spread
            if not found[2]:
                high = low
            elif found[3]:
                high = min(high, int(found[3]))
        else:
            return write
        _ = self._skip("?") or self._skip("+")  # lazy or possessive, it matches much the same

        def repeat() -> str:
            times = self._draw.randint(low, high) if self.times is None else self.times
            return "".join([self._counted(write) for _ in range(min(max(low, times), high))])

        return repeat

    def _counted(self, write: _Write) -> str:
        self._written += 1
        if self._written > _MOST_WRITTEN:
            raise _NotUnderstoodError
        return write()

    def _skip(self, sign: str) -> bool:
        found = self._pattern.startswith(sign, self._place)
        self._place += found
        return found

    def _take(self) -> str:
        self._place += 1
        return self._pattern[self._place - 1]

    def _atom(self) -> _Write:
        char = self._take()
        match char:
            case "(":
                return self._group()
            case "[":
                return self._set()
            case ".":
                return self._one_of(_ANY)
            case "^" | "$":
                return str
            case "\\" if self._pattern[self._place] in _EDGES:
                self._place += 1
                return str
            case "\\":
                return self._one_of(self._escape())
            case _:
                return lambda: char

    def _group(self) -> _Write:
        if (found := _GROUP.match(self._pattern, self._place)) is not None:
            self._place = found.end()
        elif self._pattern.startswith("?", self._place):
            raise _NotUnderstoodError
        write = self.read()
        self._place += 1
        return write

    def _escape(self) -> _Ranges:
        """Reads what is behind a backslash, as ranges of characters."""
        char = self._take()
        if char in _CLASSES:
            return _CLASSES[char]
        if char.lower() in _CLASSES:
            return _without(_CLASSES[char.lower()])
        if char in _CODES:
            digits = self._pattern[self._place : self._place + _CODES[char]]
            self._place += len(digits)
            char = chr(int(digits, 16))
        elif char.isalnum() and char not in _CONTROLS:
            raise _NotUnderstoodError  # a reference back, an octal code
        else:
            char = _CONTROLS.get(char, char)
        return ((char, char),)

    def _set(self) -> _Write:
        negated = self._skip("^")
        ranges = self._item()
        while not self._skip("]"):
            ranges += self._item()
        return self._one_of(_without(ranges) if negated else ranges)

    def _item(self) -> _Ranges:
        """Reads a character, a class or a range within square brackets."""
        found = self._end()
        if not self._pattern.startswith("-", self._place) or self._pattern[self._place + 1] == "]":
            return found
        self._place += 1
        return ((found[0][0], self._end()[0][1]),)

    def _end(self) -> _Ranges:
        """Reads one end of a range, or what stands alone."""
        char = self._take()
        return self._escape() if char == "\\" else ((char, char),)

    def _one_of(self, ranges: _Ranges) -> _Write:
        if not ranges:
            raise _NotUnderstoodError

        def write() -> str:
            first, last = self._draw.choice(ranges)
            return chr(self._draw.randint(ord(first), ord(last)))

        return write


def _without(ranges: _Ranges) -> _Ranges:
    return tuple(
        (char, char)
        for char in _CANDIDATES
        if not any(first <= char <= last for first, last in ranges)
    )
