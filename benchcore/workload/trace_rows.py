"""Rows of traces: what one says of a request, and the reading of its fields."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from benchcore.config.values import MOST_TOKENS
from benchcore.workload.files import BadRowError, Row

_ID_TYPES: Final = frozenset({int, str})
MOST_NUMBER: Final = 1e18
"""A number must be smaller: that many seconds are longer than the universe has lasted."""


@dataclass(slots=True)
class Asked:
    """One request of a trace.

    Args:
        at: when it was made, in seconds of the trace's own clock.
        input_tokens: of its prompt.
        output_tokens: of its answer.
        blocks: ids of the blocks that its prompt begins with.
        name: what others call it that wait for it; `None`: nobody does.
        after: the names of those that it waits for.
        delay: seconds from the end of the last of them; `None`: its own time alone counts.
        kind: its class.
        block_tokens: the length of a block; `None`: as the kind has it.
        guessed: its time is not in the trace, and is what it would be if its parent took no time.
        line: where it stands in the file.
        place: which of the requests of that row it is, where a row holds several.
    """

    at: float
    input_tokens: int
    output_tokens: int
    blocks: tuple[int | str, ...] = ()
    name: Any = None
    after: tuple[Any, ...] = ()
    delay: float | None = None
    kind: str = ""
    block_tokens: int | None = None
    guessed: bool = False
    line: int = 0
    place: int = 0


def check_order(at: float, last: float | None) -> None:
    """Refuse a time that lies before the last one.

    Raises:
        BadRowError: it does.
    """
    if last is not None and at < last:
        raise BadRowError(
            f"its time, {at:.12g}, lies before that of the row above, {last:.12g}; sort the file, "
            "or set sort=true"
        )


def object_of(row: Row) -> dict[str, Any]:
    """Return a row's fields.

    Raises:
        BadRowError: it is no object.
    """
    if not isinstance(row.value, dict):
        raise BadRowError("is not an object")
    return row.value


def field_of(value: dict[str, Any], *names: str) -> Any:
    """Return the first of several fields that is there.

    Raises:
        BadRowError: none is.
    """
    for name in names:
        found = value.get(name)
        if found is not None and found != "":
            return found
    raise BadRowError(f"has no {names[0]}")


def number_of(value: dict[str, Any], *names: str) -> float:
    """Return a field that is a number, or a text of one.

    Raises:
        BadRowError: it is missing, no number, or too large.
    """
    raw = value.get(names[0])
    if (type(raw) is float or type(raw) is int) and abs(raw) < MOST_NUMBER:
        return float(raw)
    raw = field_of(value, *names)
    if type(raw) is float or type(raw) is int:
        number: float = raw
    else:
        try:
            number = float("nan") if isinstance(raw, bool) else float(str(raw))
        except ValueError:
            number = float("nan")
    if not abs(number) < MOST_NUMBER:
        raise BadRowError(f"{names[0]} {str(raw)[:40]!r} is not a number")
    return number


def count_of(value: dict[str, Any], *names: str, least: int = 1) -> int:
    """Return a field that is a number of tokens.

    Raises:
        BadRowError: it is missing, no whole number, or not `least` to ten million.
    """
    raw = value.get(names[0])
    if type(raw) is int and least <= raw <= MOST_TOKENS:
        return raw
    raw = field_of(value, *names)
    if type(raw) is not int:
        number = number_of(value, *names)
        if number != int(number):
            raise BadRowError(f"{names[0]} {number:g} is not a whole number")
        raw = int(number)
    if not least <= raw <= MOST_TOKENS:
        raise BadRowError(f"{names[0]} {raw} is not {least} to {MOST_TOKENS}")
    return raw


def id_of(value: dict[str, Any], name: str) -> int | str | None:
    """Return a field that names something; `None`: it is not there.

    Raises:
        BadRowError: it is neither a number nor a text.
    """
    found = value.get(name)
    if found is None or found == "":
        return None
    if type(found) is not int and not isinstance(found, str):
        raise BadRowError(f"{name} is neither a whole number nor a text")
    return found


def blocks_of(value: dict[str, Any]) -> tuple[int | str, ...]:
    """Return the ids of a row's blocks.

    Raises:
        BadRowError: they are no list of numbers.
    """
    ids = value.get("hash_ids")
    if ids is None:
        return ()
    if not isinstance(ids, list) or not _ID_TYPES.issuperset(map(type, ids)):
        raise BadRowError("hash_ids is not a list of numbers")
    return tuple(ids)


def instant_of(text: str) -> float:
    """Return a date and time as seconds since 1970; without a zone it is UTC.

    Raises:
        BadRowError: it is none.
    """
    # Traces have up to seven decimals of a second, and `fromisoformat` takes six.
    whole, dot, fraction = text.partition(".")
    digits = len(fraction) - len(fraction.lstrip("0123456789"))
    try:
        when = datetime.fromisoformat(whole + fraction[digits:])
        if when.tzinfo is None:
            when = when.replace(tzinfo=UTC)
        return when.timestamp() + (float(f"0.{fraction[:digits]}") if dot and digits else 0.0)
    except (ValueError, OverflowError):
        raise BadRowError(f"TIMESTAMP {text[:40]!r} is not a date and time") from None
