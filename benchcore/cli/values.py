"""Values: what the options and arguments of a command may be."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from benchcore.base.errors import ConfigError

if TYPE_CHECKING:
    from benchcore.runs.reading import RunFolder


T = TypeVar("T")


class Value(click.ParamType[Any]):
    """A type of option that a function reads.

    Args:
        name: shown in the help.
        read: takes the text; its ConfigError or ValueError becomes the message.
    """

    def __init__(self, name: str, read: Callable[[str], Any]) -> None:
        self.name = name
        self._read = read

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read the text; what has been read already passes."""
        if not isinstance(value, str):
            return value
        try:
            return self._read(value)
        except (ConfigError, ValueError) as error:
            self.fail(str(error), param, ctx)


def _seconds(text: str) -> float:
    from benchcore.config.limits import parse_duration_ns  # with pydantic: not before it is needed

    return parse_duration_ns(text) * 1e-9


def _levels(text: str, read: Callable[[str], float]) -> tuple[Any, ...]:
    parts = [part.strip() for part in text.split(",")]
    if not any(parts):
        raise ConfigError("the list is empty; give levels such as 1,8,64")
    try:
        levels = tuple(read(part) for part in parts)
    except ValueError:
        raise ConfigError(f"{text!r} is not a list of numbers such as 1,8,64") from None
    if any(not 0 < level < float("inf") for level in levels):
        raise ConfigError(f"{text!r}: every level must be above 0")
    from benchcore.config.limits import check_climbs

    check_climbs(levels)
    return levels


def _timeouts(text: str) -> dict[str, float]:
    """Read `30` or `connect=2,first_token=30,between_tokens=5,total=600`, in seconds."""
    names = ("connect", "first_token", "between_tokens", "total")
    limits: dict[str, float] = {}
    for part in text.split(","):
        name, given, value = part.partition("=")
        if not given:
            name, value = "total", part
        if name.strip() not in names:
            raise ConfigError(f"{name!r} is not a phase; the phases are {', '.join(names)}")
        seconds = _seconds(value)
        if seconds <= 0:
            raise ConfigError(f"{part!r}: a limit must be above 0")
        limits[name.strip()] = seconds
    return limits


def _no_number(text: str) -> None:
    raise ConfigError(f"{text} is not a number in JSON")


def _short_integer(text: str) -> int:
    number = int(text)
    if not -(2**63) <= number < 2**64:
        raise ConfigError(f"{text} has more than 64 bits")
    return number


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text, parse_constant=_no_number, parse_int=_short_integer)
    except json.JSONDecodeError as error:
        raise ConfigError(f"{text!r} is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise ConfigError(f"{text!r} is not a JSON object such as '{{\"temperature\": 0}}'")
    return value


def _pair(text: str) -> tuple[str, str]:
    name, given, value = text.partition("=")
    if not given or not name.strip():
        raise ConfigError(f"{text!r} is not KEY=VALUE")
    return name.strip(), value.strip()


def _share(text: str) -> float:
    number = text.strip()
    try:
        value = float(number.removesuffix("%")) / (100 if number.endswith("%") else 1)
    except ValueError:
        raise ConfigError(f"{text!r} is not a share such as 20% or 0.2") from None
    if not 0 <= value <= 1:
        raise ConfigError(f"{text!r} is not between 0 and 100 %")
    return value


def _warmup(text: str) -> dict[str, Any]:
    """Read a number of requests, or a time with its unit."""
    if text.strip().isdigit():
        return {"warmup_requests": int(text)}
    return {"warmup_seconds": _seconds(text)}


def _workers(text: str) -> int | str:
    if text.strip() == "auto":
        return "auto"
    if not text.strip().isdigit() or int(text) < 1:
        raise ConfigError(f"{text!r} is neither a number of processes, 1 or more, nor auto")
    return int(text)


CONCURRENCY = Value("LIST", lambda text: _levels(text, int))
RATE = Value("LIST", lambda text: _levels(text, float))
DURATION = Value("DURATION", _seconds)
TIMEOUTS = Value("SECONDS|PHASE=SECONDS,…", _timeouts)
JSON_OBJECT = Value("JSON", _object)
PAIR = Value("K=V", _pair)
SHARE = Value("SHARE", _share)
WORKERS = Value("N|auto", _workers)
WARMUP = Value("N|DURATION", _warmup)


def pairs(values: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Return repeated `K=V` options as a dictionary; the last of a name counts."""
    return dict(values)


RESULTS = click.option(
    "--results",
    default="results",
    show_default=True,
    type=click.Path(path_type=Path),
    help="Look for runs and baselines in this folder.",
)


def chosen(run: Path | None, results: Path) -> RunFolder:
    """Read the run that is named, or the newest one.

    Raises:
        ConfigError: there is none.
    """
    from benchcore.runs.reading import newest

    return read_folder(newest(results) if run is None else run)


def read_folder(path: Path) -> RunFolder:
    """Read the folder of a run; of an unfinished one it is said that it is.

    Raises:
        ConfigError: it holds no run.
    """
    from benchcore.runs.reading import RunFolder

    folder = RunFolder(path)
    if folder.unfinished:
        click.echo(f"benchcore: {folder.unfinished}", err=True)
    return folder
