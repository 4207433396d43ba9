"""Text: strings of strangers, made fit for files, terminals and spreadsheets."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any, Final, TextIO

LONGEST: Final = 300
"""Characters of a server's words that a field keeps."""

_LOOKED_AT: Final = 65_536
"""Characters that are looked at: a server can send megabytes, and the event loop must go on."""
_LONGEST_SECRET: Final = 8_192
AMPLE: Final = 66_000
"""Where a text may be cut that is yet to be masked: more than is looked at, so the cut is seen."""

FORMULA: Final = ("=", "+", "-", "@")


WIDTH: Final = 100
"""Columns of what is printed where no terminal says how many it has, and at most anywhere."""


WIDEST: Final = 120
"""Columns of what is drawn over again, at most."""


def columns(stream: TextIO, most: int = WIDTH) -> int:
    """Return how many columns a report on a stream may have.

    `COLUMNS` wins; else a terminal is asked; a file or a pipe has 100.

    Args:
        stream: that it goes to.
        most: columns.
    """
    said = os.environ.get("COLUMNS", "")
    if said.isdigit() and int(said) > 0:
        return min(int(said), most)
    try:
        return min(os.get_terminal_size(stream.fileno()).columns, most) or WIDTH
    except (OSError, ValueError):  # no terminal; no file at all, as in a test
        return WIDTH


def rows(stream: TextIO) -> int:
    """Return how many lines a terminal has; 0: it is none, or does not say."""
    try:
        return os.get_terminal_size(stream.fileno()).lines
    except (OSError, ValueError):
        return 0


def printable(text: str) -> str:
    """Return text with nothing in it that a terminal would obey: U+FFFD instead."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def visible(text: str) -> str:
    r"""Return a body with what a terminal would obey written out, as `\u001b`, its lines kept.

    JSON means the same afterwards.
    """
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() or char in "\n\t" else json.dumps(char)[1:-1] for char in text
    )


def visible_json(found: Any) -> Any:
    """Return JSON with every string in it visible, keys included."""
    if isinstance(found, str):
        return visible(found)
    if isinstance(found, dict):
        return {visible(str(key)): visible_json(value) for key, value in found.items()}
    if isinstance(found, list):
        return [visible_json(value) for value in found]
    return found


def harmless(
    text: str, mask: Callable[[str], str] = lambda text: text, longest: int = LONGEST
) -> str:
    """Return a stranger's text as one printable line of bounded length.

    Secrets are masked before anything is cut: half a key is still most of a key.

    Args:
        text: as it came.
        mask: takes secrets out of a text.
        longest: characters that are kept; what was longer ends in its length.
    """
    if len(text) <= longest and text.isprintable():
        return mask(text)
    said = mask(text[:_LOOKED_AT])
    if len(text) > _LOOKED_AT:
        # A secret that the limit has cut in two is no longer known as one.
        said = said[:-_LONGEST_SECRET]
    said = printable(mask(" ".join(said.split())))
    if len(said) <= longest and len(text) <= _LOOKED_AT:
        return said
    note = f"… ({len(text):,} characters)"
    return said[: longest - len(note)] + note


def harmless_json(found: Any, longest: int | None = None) -> Any:
    """Return JSON with every string in it printable, its line breaks kept, keys included.

    Args:
        found: of `json.loads`.
        longest: characters that a string keeps; `None`: all.
    """
    if isinstance(found, str):
        if longest is not None and len(found) > longest:
            return harmless(found, longest=longest)
        return "\n".join(map(printable, found.split("\n"))) if not found.isprintable() else found
    if isinstance(found, dict):
        return {printable(str(key)): harmless_json(value, longest) for key, value in found.items()}
    if isinstance(found, list):
        return [harmless_json(value, longest) for value in found]
    return found


def cell(text: str) -> str:
    """Return a cell of CSV on one line, which no spreadsheet takes for a formula.

    A cell that begins with `=`, `+`, `-` or `@` gets an apostrophe in front (OWASP, CSV
    injection). A killed run keeps whole lines, so a cell must not span two.
    """
    text = " ".join(text.split())
    return f"'{text}" if text.startswith(FORMULA) else text


def number(value: float | None) -> str:
    """Return a number with about four digits; `–` where it is unknown."""
    if value is None:
        return "–"
    if value >= 1000:
        return f"{value:,.0f}"
    if value >= 100:
        return f"{value:.0f}"
    if value >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}"


def percent(value: float | None) -> str:
    """Return a share in per cent; `–` where it is unknown."""
    if value is None:
        return "–"
    if value == 0:
        return "0 %"
    return f"{value:.1%}".replace("%", " %")
