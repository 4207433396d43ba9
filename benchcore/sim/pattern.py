"""Pattern: a text that a regular expression matches whole."""

from __future__ import annotations

import re
import string
from typing import TYPE_CHECKING, Final

from benchcore.sim.ask import ApiError

if TYPE_CHECKING:
    import random

_CLASSES: Final = {
    "d": string.digits,
    "w": string.ascii_letters + string.digits + "_",
    "s": " ",
    "D": string.ascii_letters,
    "W": " -",
    "S": string.ascii_letters + string.digits,
}
_ESCAPES: Final = {"n": "\n", "t": "\t", "r": "\r"}
_ANY: Final = string.ascii_letters + string.digits
_UNBOUNDED: Final = 3
"""Of `*`, `+` and `{m,}`: how many more than the least are drawn at most."""


def matching(pattern: object, draw: random.Random, param: str) -> str:
    """Returns a text that a regular expression matches whole.

    Literals, escapes, classes, groups, alternation and the quantifiers are understood.

    Args:
        pattern: the expression.
        draw: what is drawn at random.
        param: named where the expression is at fault.

    Raises:
        ApiError: 400, it does not compile, or uses what is not understood.
    """
    if not isinstance(pattern, str):
        raise ApiError(400, "a regular expression must be a string", param=param)
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ApiError(
            400, f"the regular expression does not compile: {error}", param=param
        ) from None
    text = _Writer(pattern, draw).write()
    if compiled.fullmatch(text) is None:
        raise ApiError(400, f"the regular expression {pattern!r} is not understood", param=param)
    return text


class _Writer:
    """Reads an expression from left to right and writes what matches."""

    def __init__(self, pattern: str, draw: random.Random) -> None:
        self._rest = pattern
        self._draw = draw

    def write(self) -> str:
        """Returns one of the alternatives up to the end of the group."""
        found = [self._sequence()]
        while self._rest.startswith("|"):
            self._rest = self._rest[1:]
            found.append(self._sequence())
        return self._draw.choice(found)

    def _sequence(self) -> str:
        text = ""
        while self._rest and self._rest[0] not in "|)":
            before = self._rest
            piece = self._atom()
            atom = before[: len(before) - len(self._rest)]
            low, high = self._quantifier()
            count = self._draw.randint(low, high)
            pieces = [piece]
            after = self._rest
            while len(pieces) < count:  # each repetition draws anew
                self._rest = atom
                pieces.append(self._atom())
            self._rest = after
            text += "".join(pieces[:count])
        return text

    def _take(self, count: int = 1) -> str:
        taken, self._rest = self._rest[:count], self._rest[count:]
        return taken

    def _atom(self) -> str:
        char = self._take()
        match char:
            case "(":
                if self._rest.startswith("?:"):
                    self._take(2)
                elif self._rest.startswith("?P<"):
                    self._take(self._rest.index(">") + 1)
                text = self.write()
                self._take()
                return text
            case "[":
                return self._draw.choice(self._set())
            case ".":
                return self._draw.choice(_ANY)
            case "^" | "$":
                return ""
            case "\\":
                return self._draw.choice(self._escape())
            case _:
                return char

    def _escape(self) -> str:
        char = self._take()
        if char in "AbBZ":
            return " " if char == "B" else "\0"
        return _CLASSES.get(char) or _ESCAPES.get(char, char)

    def _set(self) -> str:
        negated = self._rest.startswith("^")
        if negated:
            self._take()
        chars = ""
        while not chars or not self._rest.startswith("]"):
            char = self._take()
            if char == "\\":
                chars += self._escape()
            elif self._rest[:1] == "-" and self._rest[1:2] not in ("]", ""):
                self._take()
                chars += "".join(map(chr, range(ord(char), ord(self._take()) + 1)))
            else:
                chars += char
        self._take()
        if not negated:
            return chars
        return "".join(char for char in _ANY + " -" if char not in chars) or "~"

    def _quantifier(self) -> tuple[int, int]:
        low, high = 1, 1
        if self._rest[:1] in ("?", "*", "+"):
            sign = self._take()
            low = 1 if sign == "+" else 0
            high = 1 if sign == "?" else low + _UNBOUNDED
        elif (found := re.match(r"\{(\d+)(,(\d*))?\}", self._rest)) is not None:
            self._take(found.end())
            low = int(found[1])
            high = low if found[2] is None else int(found[3]) if found[3] else low + _UNBOUNDED
        else:
            return low, high
        if self._rest[:1] in ("?", "+"):
            self._take()
        return low, high
