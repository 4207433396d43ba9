"""Given: what an instruction asks for, read from the data set's `kwargs`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Given:
    """The arguments of one instruction; `None` stands for an argument that is not there.

    Args:
        instruction_id: whose they are, for messages.
        kwargs: as the data set has them.
    """

    instruction_id: str
    kwargs: Mapping[str, Any]

    def _read(self, name: str, what: str, fits: Callable[[Any], bool]) -> Any:
        value = self.kwargs.get(name)
        if value is None:
            raise ValueError(f"{self.instruction_id}: needs {name!r}, which is missing")
        if not fits(value):
            raise ValueError(f"{self.instruction_id}: {name!r} must be {what}, not {value!r}")
        return value

    def text(self, name: str) -> str:
        """Return a text that is not blank, white space at its ends taken off.

        Raises:
            ValueError: it is missing or something else.
        """
        text: str = self._read(name, "a text", _is_text)
        return text.strip()

    def texts(self, name: str) -> tuple[str, ...]:
        """Return the texts of a list, at least one, as they are written.

        Raises:
            ValueError: it is missing or something else.
        """
        return tuple(self._read(name, "a list of texts", _are_texts))

    def number(self, name: str) -> int:
        """Return a whole number of 0 or more; some files have it as `3.0`.

        Raises:
            ValueError: it is missing or something else.
        """
        number = self._read(
            name,
            "a whole number from 0",
            lambda value: (
                isinstance(value, int | float)
                and not isinstance(value, bool)
                and value >= 0
                and float(value).is_integer()
            ),
        )
        return int(number)

    def holds(self, found: int, number: str, relation: str) -> bool:
        """Return whether a count is `less than` (strictly) or `at least` (or equal to) a number.

        Args:
            found: the count.
            number: name of the argument it is compared with.
            relation: name of the argument that says how.

        Raises:
            ValueError: one of them is missing or something else.
        """
        asked = self.number(number)
        how = self._read(
            relation, "'less than' or 'at least'", lambda value: value in ("less than", "at least")
        )
        return found < asked if how == "less than" else found >= asked

    def pattern(self, text: str, form: str = "{}") -> re.Pattern[str]:
        """Return an argument as a regular expression that ignores case.

        Args:
            text: the argument; not escaped, as in the reference.
            form: a regular expression with `{}` for its place.

        Raises:
            ValueError: it is no regular expression.
        """
        try:
            return re.compile(form.format(text), re.IGNORECASE)
        except re.error as error:
            raise ValueError(
                f"{self.instruction_id}: {text!r} is no regular expression: {error}"
            ) from None


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _are_texts(value: object) -> bool:
    return isinstance(value, list | tuple) and bool(value) and all(map(_is_text, value))


Checker = Callable[[Given, str], bool]
"""Tells from the arguments and a response whether the instruction was followed."""
