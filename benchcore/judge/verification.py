"""Verification: a certificate computed again from the rows of its folder, and compared."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from benchcore.base.errors import ConfigError, VerdictError
from benchcore.config.limits import Objective
from benchcore.judge.capacity import SearchRule
from benchcore.judge.certificate import (
    REQUESTS_FILE,
    RUN_FILE,
    SCHEMA_VERSION,
    certificate_of,
    digests,
    rule_of,
    search_of,
)
from benchcore.runs.certificates import CERTIFICATE, Certificate
from benchcore.runs.reading import RunFolder, read_result
from benchcore.version import __version__

_WORDS: Final = ("says", "edge_why")
_CLOSE: Final = 1e-9
"""Figures that differ by less are the same: another machine may round the last digit otherwise."""


def verified(path: Path) -> Certificate:
    """Return the certificate of a folder, once all it says has been computed again from its rows.

    Raises:
        ConfigError: it is no folder of a search.
        VerdictError: a file is missing or has changed, or a figure is another.
    """
    if not (path / CERTIFICATE).is_file():
        what = "is no folder" if not path.is_dir() else f"has no {CERTIFICATE}"
        raise ConfigError(f"{path}: {what}; name the folder of benchcore find")
    said = read_result(path / CERTIFICATE, Certificate)
    if said.schema_version > SCHEMA_VERSION:
        raise ConfigError(
            f"{path / CERTIFICATE}: has schema_version {said.schema_version}, but this benchcore "
            f"reads versions up to {SCHEMA_VERSION}; install a newer one"
        )
    for name in (RUN_FILE, REQUESTS_FILE, *said.sha256):
        if not (path / name).is_file():
            raise VerdictError(f"{path}: {name} is missing: the certificate cannot be verified")
    try:
        _same_files(path, said)
        folder = RunFolder(path)
        search = search_of(folder, _rule(said))
        made = certificate_of(folder, search)
    except ConfigError as error:
        raise VerdictError(f"{error}: the certificate cannot be verified") from None
    certified = (said.versions or {}).get("benchcore")
    by = "" if certified == __version__ else f" (made by benchcore {certified})"
    stray = search.stray()
    if stray is not None:
        raise VerdictError(
            f"{path}: {folder.levels[stray].name} is not the level that the search comes to after "
            f"{stray} others{by}"
        )
    figures, again = said.to_json(), made.to_json()
    if by:  # another version may word it otherwise
        for words in _WORDS:
            figures[words] = again[words]
    difference = next(_differences(figures, again, ""), None)
    if difference is not None:
        raise VerdictError(f"{path}: {CERTIFICATE} does not agree with its rows: {difference}{by}")
    return said


def _same_files(path: Path, said: Certificate) -> None:
    for name, digest in digests(path).items():
        if said.sha256.get(name) != digest:
            raise VerdictError(
                f"{path}: {name} has changed since the certificate was made (SHA-256 {digest[:12]}…"
                f", certified {str(said.sha256.get(name))[:12]}…)"
            )


def _rule(said: Certificate) -> SearchRule:
    rule = said.rule
    if not rule.objectives or not 0 < rule.confidence < 1 or not 0 < rule.lowest <= rule.highest:
        raise ConfigError(f"{CERTIFICATE}: its rule is none")
    if not 1 <= rule.looks <= 100:
        raise ConfigError(f"{CERTIFICATE}: its rule has {rule.looks} looks")
    return rule_of(
        [Objective.parse(text) for text in rule.objectives],
        lowest=rule.lowest,
        highest=rule.highest,
        whole=said.mode == "closed",
        confidence=rule.confidence,
        looks=rule.looks,
        narrow=rule.narrow,
        most_requests=rule.most_requests,
        most_seconds=rule.most_seconds,
    )


def _differences(said: Any, made: Any, where: str) -> Iterator[str]:
    """Yield where two values of JSON differ, and by what."""
    if isinstance(said, dict) and isinstance(made, dict):
        for key in dict.fromkeys((*made, *said)):
            yield from _differences(said.get(key), made.get(key), f"{where}.{key}".lstrip("."))
    elif isinstance(said, list) and isinstance(made, list):
        if len(said) != len(made):
            yield f"{where} has {len(said)} entries, and {len(made)} come of the rows"
        for place, (one, other) in enumerate(zip(said, made, strict=False)):
            yield from _differences(one, other, f"{where}[{place}]")
    elif isinstance(said, (int, float)) and isinstance(made, (int, float)):
        if not math.isclose(said, made, rel_tol=_CLOSE, abs_tol=_CLOSE):
            yield f"{where} is {said:.9g}, and {made:.9g} comes of the rows"
    elif said != made:
        yield f"{where} is {said!r}, and {made!r} comes of the rows"
