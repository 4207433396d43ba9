"""Run folder: what a run left, read again."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchcore.config.json_file import read_json
from benchcore.errors import ConfigError
from benchcore.metrics.run import SCHEMA_VERSION
from benchcore.report.shapes import check_shape

Floats = NDArray[np.float64]
_NEEDED: Final = ("level", "repeat", "stage", "outcome", "scheduled_seconds", "sent_seconds")


@dataclass(frozen=True, slots=True)
class Requests:
    """The requests of one level, a value each, in the order in which they were scheduled.

    Args:
        measured: whether it was scheduled inside the window.
        ok: whether it ended well.
        outcome: how it ended.
        seconds: by column of `requests.csv`, in seconds from the level's start; NaN: never.
    """

    measured: NDArray[np.bool_]
    ok: NDArray[np.bool_]
    outcome: list[str]
    seconds: Mapping[str, Floats]

    def figure(self, metric: str) -> Floats:
        """Return a figure of the measured `ok` requests, those that have it, in seconds.

        Raises:
            KeyError: it is not one that can be told from the rows.
        """
        return self.timed_figure(metric)[0]

    def timed_figure(self, metric: str) -> tuple[Floats, Floats]:
        """Return a figure as `figure` does, and when each request was scheduled, in seconds.

        Raises:
            KeyError: it is not one that can be told from the rows.
        """
        end, begin = _SPANS[metric]
        values = self.seconds[end] - self.seconds[begin]
        kept = self.measured & self.ok & ~np.isnan(values)
        return values[kept], self.seconds["scheduled_seconds"][kept]


_SPANS: Final = {
    "ttft": ("first_token_seconds", "sent_seconds"),
    "ttft_from_schedule": ("first_token_seconds", "scheduled_seconds"),
    "ttfo": ("first_output_seconds", "sent_seconds"),
    "first_byte": ("first_byte_seconds", "sent_seconds"),
    "e2e": ("end_seconds", "sent_seconds"),
    "e2e_from_schedule": ("end_seconds", "scheduled_seconds"),
    "dispatch_lag": ("sent_seconds", "scheduled_seconds"),
}
FIGURES: Final = tuple(_SPANS)
"""The figures that can be told from the rows of requests."""


class RunFolder:
    """What a run left.

    Args:
        path: of the folder.

    Raises:
        ConfigError: it is not there, or holds no run that can be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.run = _read_run(path)
        self._requests: dict[tuple[str, int], Requests] | None = None

    @property
    def name(self) -> str:
        """What the folder is called."""
        return self.path.name

    @property
    def levels(self) -> list[dict[str, Any]]:
        """The levels of a climb; none of another run."""
        found: list[dict[str, Any]] = self.run.get("levels") or []
        return found

    @property
    def unfinished(self) -> str:
        """Why it must be read with care; empty where it is whole."""
        status = self.run["status"]
        if status == "complete":
            return ""
        error = f" ({self.run['error']})" if self.run.get("error") else ""
        return f"{self.path} is {status}{error}: it holds what was measured until then"

    def json(self, name: str) -> dict[str, Any] | None:
        """Return what another JSON file of the folder holds; `None`: there is none.

        Raises:
            ConfigError: it is not JSON, or not of that file's shape.
        """
        path = self.path / name
        if not path.is_file():
            return None
        found: dict[str, Any] = read_json(path)
        check_shape(path, found)
        return found

    def requests(self, level: str, repeat: int) -> Requests | None:
        """Return the requests of a level; `None`: the folder has no rows of it.

        Raises:
            ConfigError: `requests.csv` cannot be read.
        """
        if self._requests is None:
            path = self.path / "requests.csv"
            self._requests = _read_requests(path) if path.is_file() else {}
        return self._requests.get((level, repeat))


def _read_run(path: Path) -> dict[str, Any]:
    if not path.is_dir():
        what = "is a file" if path.exists() else "is not there"
        raise ConfigError(f"{path}: {what}; name the folder of a run")
    file = path / "run.json"
    if not file.is_file():
        raise ConfigError(f"{path}: has no run.json; name the folder of a run")
    run = read_json(file)
    if not isinstance(run, dict) or "schema_version" not in run or "status" not in run:
        raise ConfigError(f"{file}: is no run of benchcore; other tools' results: benchcore import")
    version = run["schema_version"]
    if not isinstance(version, int) or version > SCHEMA_VERSION:
        raise ConfigError(
            f"{file}: has schema_version {version} and this benchcore reads up to "
            f"{SCHEMA_VERSION}; install a newer one"
        )
    check_shape(file, run)
    return run


def _read_requests(path: Path) -> dict[tuple[str, int], Requests]:
    rows: dict[tuple[str, int], list[dict[str, str]]] = {}
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            missing = [name for name in _NEEDED if name not in (reader.fieldnames or ())]
            if missing:
                raise ConfigError(f"{path}: has no column {missing[0]}")
            for row in reader:
                # The last line of a run that was killed may be cut short.
                if None not in row.values():
                    rows.setdefault((row["level"], int(row["repeat"])), []).append(row)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except (UnicodeDecodeError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    return {key: _columns(found) for key, found in rows.items()}


def _columns(rows: list[dict[str, str]]) -> Requests:
    names = [name for name in rows[0] if name.endswith("_seconds")]
    seconds = {
        name: np.array([float(row[name]) if row[name] else np.nan for row in rows])
        for name in names
    }
    order = np.argsort(seconds["scheduled_seconds"], kind="stable")
    # A plain answer has no last token: it ends with its body.
    seconds["end_seconds"] = np.where(
        np.isnan(seconds["last_token_seconds"]),
        seconds["done_seconds"],
        seconds["last_token_seconds"],
    )
    return Requests(
        measured=np.array([row["stage"] == "window" for row in rows])[order],
        ok=np.array([row["outcome"] == "ok" for row in rows])[order],
        outcome=[rows[place]["outcome"] for place in order],
        seconds={name: values[order] for name, values in seconds.items()},
    )


def newest(results: Path) -> Path:
    """Return the newest run in a folder of runs.

    Raises:
        ConfigError: there is none.
    """
    found = sorted(path.parent for path in results.glob("*/run.json"))
    if not found:
        raise ConfigError(f"{results}: holds no run; name one, or measure one: benchcore climb")
    return found[-1]
