"""Secrets: the values that no log or report may show."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

MASK: Final = "***"
_SECRET: Final = re.compile(
    r"(?:^|_)(?:API_?KEYS?|KEYS?|SECRETS?|PASS|PASSWORD|PASSWD|PASSPHRASE|CREDENTIALS?|AUTH|PAT)(?:_|$)"
    r"|(?:API|ACCESS|SECRET)KEY|TOKEN(?:_|$)|_PWD(?:_|$)",
    re.IGNORECASE,
)
"""Whole words: `MAX_TOKENS`, `TOKENIZER` and `PWD` hold nothing of the kind."""
_USERINFO: Final = re.compile(r"://([^/@\s:]*):([^/@\s]+)@")
_SHORTEST: Final = 6
"""A shorter value is no secret, and would mask half of a log."""
_SHORTEST_NUMBER: Final = 8


def is_secret(name: str) -> bool:
    """Tell whether a variable of this name holds a secret, as far as a name can tell."""
    return _SECRET.search(name) is not None


def secret_values(environment: Mapping[str, str], named: Iterable[str] = ()) -> list[str]:
    """Return the values that must not be shown, longest first.

    Args:
        environment: variables, of which those that hold secrets are known by their names, and
            passwords in addresses by where they stand.
        named: values that are known to be secret.
    """
    found = {value for value in named if value}
    for name, value in environment.items():
        found.update(password for _, password in _USERINFO.findall(value))
        least = _SHORTEST_NUMBER if value.isdigit() else _SHORTEST
        if is_secret(name) and len(value) >= least:
            found.add(value)
    return sorted(found, key=lambda value: (-len(value), value))


def masked_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return variables with the values of secrets masked, and passwords in addresses too."""
    return {
        name: MASK if is_secret(name) else _USERINFO.sub(rf"://\1:{MASK}@", value)
        for name, value in environment.items()
    }


def masked_text(text: str, values: Iterable[str]) -> str:
    """Return a text without these values."""
    for value in values:
        text = text.replace(value, MASK)
    return text


def masked(found: Any, values: Iterable[str]) -> Any:
    """Return an object of JSON without these values, in its keys too."""
    values = list(values)
    if isinstance(found, str):
        return masked_text(found, values)
    if isinstance(found, dict):
        return {
            masked(key, values) if isinstance(key, str) else key: masked(value, values)
            for key, value in found.items()
        }
    if isinstance(found, list | tuple):
        return [masked(value, values) for value in found]
    return found
