"""Regex: a text that is a regular expression."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator


def _compiles(value: str) -> str:
    try:
        re.compile(value)
    except re.error as error:
        raise ValueError(f"is no regular expression: {error}") from None
    return value


Regex = Annotated[str, AfterValidator(_compiles)]
"""A regular expression, as text."""
