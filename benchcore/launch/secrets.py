"""Secrets: the values that no log or report may show."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

MASK: Final = "***"
_SECRET: Final = re.compile(r"KEY|TOKEN|SECRET|PASSW|CREDENTIAL|AUTH", re.IGNORECASE)
_SHORTEST: Final = 6
"""A shorter value is no secret, and would mask half of a log."""


def is_secret(name: str) -> bool:
    """Tell whether a variable of this name holds a secret, as far as a name can tell."""
    return _SECRET.search(name) is not None


def secret_values(environment: Mapping[str, str]) -> list[str]:
    """Return the values of variables that hold secrets, longest first."""
    found = {
        value
        for name, value in environment.items()
        if is_secret(name) and len(value) >= _SHORTEST and not value.isdigit()
    }
    return sorted(found, key=lambda value: (-len(value), value))


def masked_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return variables with the values of secrets masked."""
    return {name: MASK if is_secret(name) else value for name, value in environment.items()}


def masked_text(text: str, values: Iterable[str]) -> str:
    """Return a text without these values."""
    for value in values:
        text = text.replace(value, MASK)
    return text
