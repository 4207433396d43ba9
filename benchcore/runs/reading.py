"""Reading: what a run left, which somebody else may have written."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from benchcore.base.errors import ConfigError
from benchcore.base.files import read_json
from benchcore.base.stored import Stored
from benchcore.config.catalogue import SPANS
from benchcore.runs.certificates import CERTIFICATE, Certificate
from benchcore.runs.run import SCHEMA_VERSION, Level, Run
from benchcore.runs.scenarios import MatrixResult, ScenarioResult, StageStatus
from benchcore.runs.tables import FLAG, REQUESTS, SECONDS, TEXT, TIMELINE, WHOLE

if TYPE_CHECKING:
    from benchcore.runs.checks import Checks
    from benchcore.runs.samples import Eval


Kind = TypeVar("Kind", bound=Stored)
_KINDS: Final = {
    "Run": "a run",
    "Checks": "checks",
    "Eval": "an eval",
    "ScenarioResult": "a scenario",
    "MatrixResult": "a matrix",
    "Certificate": "a certificate",
}
"""By the names of their classes: those of checks and evals are imported where there are any."""


def read_result(path: Path, kind: type[Kind]) -> Kind:
    """Return what a file of JSON holds; its texts hold nothing that a terminal would obey.

    Args:
        path: of the file.
        kind: what it should hold.

    Raises:
        ConfigError: it cannot be read, or something is missing or of another type; says where.
    """
    return _as(path, read_json(path), kind)


def _as(path: Path, content: object, kind: type[Kind]) -> Kind:
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
    where = "".join(
        f"[{step}]" if isinstance(step, int) else f".{step}" for step in fault["loc"]
    ).lstrip(".")
    # Of what is no object, pydantic says the name of the class.
    told = fault["msg"] if fault["type"] != "model_type" else "Input should be a valid dictionary"
    said = f"{where}: {told.lower()}" if where else told.lower()
    raise ConfigError(
        f"{path}: is not of {_KINDS[kind.__name__]} ({said}); it is damaged: name another run"
    )


Floats = NDArray[np.float64]
_OWN: Final = frozenset({"request_id", "error"})
"""Columns of texts that are another one in each row."""
_NEEDED: Final = ("level", "repeat", "stage", "outcome", "scheduled_seconds", "sent_seconds")


@dataclass(frozen=True, slots=True)
class Requests:
    """The requests of one level, a value each, in the order in which they were scheduled.

    Args:
        measured: whether it was scheduled inside the window.
        ok: whether it ended well.
        outcome: how it ended.
        seconds: by column of `requests.csv`, in seconds from the level's start; NaN: never.
        numbers: by column that counts something, or that is 1 where something holds; NaN: unknown.
        texts: by column of texts; empty: none.
    """

    measured: NDArray[np.bool_]
    ok: NDArray[np.bool_]
    outcome: list[str]
    seconds: Mapping[str, Floats]
    numbers: Mapping[str, Floats]
    texts: Mapping[str, list[str]]

    def __len__(self) -> int:
        """How many there are."""
        return len(self.outcome)

    def second(self, name: str) -> Floats:
        """Return a column of seconds; NaN throughout where the file lacks it."""
        return self.seconds.get(name, np.full(len(self), np.nan))

    def number(self, name: str) -> Floats:
        """Return a column of numbers; NaN throughout where the file lacks it."""
        return self.numbers.get(name, np.full(len(self), np.nan))

    def text(self, name: str) -> list[str]:
        """Return a column of texts; empty throughout where the file lacks it."""
        return self.texts.get(name) or [""] * len(self)

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
        end, begin = SPANS[metric]
        values = self.seconds[f"{end}_seconds"] - self.seconds[f"{begin}_seconds"]
        kept = self.measured & self.ok & ~np.isnan(values)
        return values[kept], self.seconds["scheduled_seconds"][kept]


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
    def levels(self) -> list[Level]:
        """The levels of a climb; none of another run."""
        return self.run.levels

    @property
    def unfinished(self) -> str:
        """Why it must be read with care; empty where it is whole."""
        status = self.run.status
        if status == "complete":
            return ""
        error = f" ({self.run.error})" if self.run.error else ""
        return f"{self.path} is {status}{error}: it holds what was measured until then"

    def checks(self) -> Checks | None:
        """Return what the checks came to; `None`: it made none.

        Raises:
            ConfigError: `functional.json` is damaged.
        """
        from benchcore.runs.checks import Checks

        return self._read("functional.json", Checks)

    def certificate(self) -> Certificate | None:
        """Return what a search for its capacity came to; `None`: it was none.

        Raises:
            ConfigError: `certificate.json` is damaged.
        """
        return self._read(CERTIFICATE, Certificate)

    def eval(self) -> Eval | None:
        """Return what the eval came to; `None`: it was none.

        That of a climb has a score for each level and none of its own.

        Raises:
            ConfigError: `accuracy.json` is damaged.
        """
        from benchcore.runs.samples import Eval

        return self._read("accuracy.json", Eval)

    def _read(self, name: str, kind: type[Kind]) -> Kind | None:
        path = self.path / name
        return read_result(path, kind) if path.is_file() else None

    def requests(self, level: str, repeat: int) -> Requests | None:
        """Return the requests of a level; `None`: the folder has no rows of it.

        Raises:
            ConfigError: `requests.csv` cannot be read.
        """
        if self._requests is None:
            path = self.path / "requests.csv"
            self._requests = read_requests(path) if path.is_file() else {}
        return self._requests.get((level, repeat))

    def timeline(self, level: Level) -> Timeline | None:
        """Return the seconds of a level; `None`: the folder has none.

        Raises:
            ConfigError: `timeline.csv` cannot be read.
        """
        path = self.path / "timeline.csv"
        if not path.is_file():
            return None
        rows = [
            row
            for row in TIMELINE.cells(path, ("level", "repeat", "second"))
            if row["level"] == level.level and row["repeat"] == str(level.repeat)
        ]
        if not rows:
            return None
        names = [name for name in TIMELINE.names[2:] if name in rows[0]]
        try:
            return Timeline(
                {name: np.array([float(row[name] or "nan") for row in rows]) for name in names}
            )
        except ValueError as error:
            raise ConfigError(f"{path}: cannot be read: {error}") from None


def _read_run(path: Path) -> Run:
    if not path.is_dir():
        what = "is a file" if path.exists() else "does not exist"
        raise ConfigError(f"{path}: {what}; name the folder of a run")
    file = path / "run.json"
    if not file.is_file():
        raise ConfigError(f"{path}: has no run.json; name the folder of a run")
    run = read_json(file)
    if not isinstance(run, dict) or "schema_version" not in run or "status" not in run:
        raise ConfigError(
            f"{file}: is not a run of benchcore; read the results of other tools with "
            "benchcore import"
        )
    version = run["schema_version"]
    if not isinstance(version, int) or version > SCHEMA_VERSION:
        raise ConfigError(
            f"{file}: has schema_version {version}, but this benchcore reads versions up to "
            f"{SCHEMA_VERSION}; install a newer one"
        )
    return _as(file, run, Run)


def read_requests(path: Path, begin: int = 0) -> dict[tuple[str, int], Requests]:
    """Return the requests of a `requests.csv` by level and repeat.

    Args:
        path: of the file.
        begin: where the first line to be read begins, in bytes; 0: behind the head.

    Raises:
        ConfigError: it cannot be read.
    """
    levels: dict[tuple[str, str], _Columns] = {}
    try:
        for names, rows in REQUESTS.chunks(path, _NEEDED, begin):
            places = [names.index(name) for name in ("level", "repeat")]
            for key, of_level in groupby(rows, itemgetter(*places)):
                if key not in levels:
                    levels[key] = _Columns(names)
                levels[key].add(list(of_level))
        return {
            (level, int(repeat)): columns.requests() for (level, repeat), columns in levels.items()
        }
    except ValueError as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None


class _Columns:
    """The cells of one level, a column each; of texts that come again and again, one is kept.

    Args:
        names: of the columns of the file.
    """

    def __init__(self, names: list[str]) -> None:
        kinds = {column.name: column.form for column in REQUESTS.columns if column.csv}
        self._numbers: dict[str, list[Floats]] = {
            name: [] for name in names if kinds.get(name) in (SECONDS, WHOLE, FLAG)
        }
        self._texts: dict[str, list[str]] = {name: [] for name in names if kinds.get(name) is TEXT}
        self._seconds = {name for name in self._numbers if kinds[name] is SECONDS}
        self._places = {name: place for place, name in enumerate(names)}

    def add(self, rows: list[list[str]]) -> None:
        """Take some rows.

        Raises:
            ValueError: a cell is no number.
        """
        cells = list(zip(*rows, strict=False))
        for name, parts in self._numbers.items():
            column = cells[self._places[name]]
            # One way for what is always there, which is most of it.
            filled = column if all(column) else [cell or "nan" for cell in column]
            parts.append(np.array(filled, dtype=np.float64))
        for name, texts in self._texts.items():
            column = cells[self._places[name]]
            texts.extend(column if name in _OWN else map(sys.intern, column))

    def requests(self) -> Requests:
        """Return the requests in the order in which they were scheduled."""
        columns = {name: np.concatenate(parts) for name, parts in self._numbers.items()}
        seconds = {name: columns[name] for name in self._seconds}
        order = np.argsort(seconds["scheduled_seconds"], kind="stable")
        unknown = np.full(len(order), np.nan)
        last = seconds.get("last_token_seconds", unknown)
        # A plain answer has no last token: it ends with its body.
        seconds["end_seconds"] = np.where(
            np.isnan(last), seconds.get("done_seconds", unknown), last
        )
        texts = {name: [texts[place] for place in order] for name, texts in self._texts.items()}
        return Requests(
            measured=np.array([stage == "window" for stage in texts["stage"]]),
            ok=np.array([outcome == "ok" for outcome in texts["outcome"]]),
            outcome=texts["outcome"],
            seconds={name: values[order] for name, values in seconds.items()},
            numbers={
                name: values[order] for name, values in columns.items() if name not in seconds
            },
            texts=texts,
        )


@dataclass(frozen=True, slots=True)
class Timeline:
    """The seconds of one level, a value each; NaN: not known.

    Args:
        columns: by column of `timeline.csv`; none where it lacks it.
    """

    columns: Mapping[str, Floats]

    def __len__(self) -> int:
        """How many seconds there are."""
        return len(self.columns["second"])

    def column(self, name: str) -> Floats:
        """Return a column; NaN throughout where the file lacks it."""
        return self.columns.get(name, np.full(len(self), np.nan))


def newest(results: Path) -> Path:
    """Return the newest run in a folder of runs.

    Raises:
        ConfigError: there is none.
    """
    folders = sorted(path.parent for path in results.glob("*/run.json"))
    if not folders:
        raise ConfigError(f"{results}: holds no run; name one, or measure one with benchcore climb")
    return folders[-1]


# Scenarios and matrices that ran before.

RESULT_FILE: Final = "result.json"
MATRIX_FILE: Final = "matrix.json"
_OF_THE_MACHINE: Final = (1, 2, 3)
"""Exit codes of what may go well another time: the server or a file was not there."""
_HELD: Final = {"perf": "run.json", "functional": "functional.json", "accuracy": "accuracy.json"}


def read_scenario(folder: Path) -> ScenarioResult:
    """Return what a folder's `result.json` holds.

    Raises:
        ConfigError: there is none, or it is not whole.
    """
    return read_result(folder / RESULT_FILE, ScenarioResult)


def earlier(folder: Path) -> MatrixResult:
    """Return an earlier run of a matrix, each scenario with what its own folder says of it.

    Raises:
        ConfigError: the folder holds none, or it is damaged.
    """
    path = folder / MATRIX_FILE
    if not path.is_file():
        raise ConfigError(f"{folder}: has no {MATRIX_FILE}; name the folder of a matrix")
    found = read_result(path, MatrixResult)
    for entry in found.scenarios:
        if not entry.folder:
            entry.leave_out(entry.message or "did not run")
            continue
        with suppress(ConfigError):  # a run that left nothing to read has failed
            result = read_scenario(folder.parent / entry.folder)
            entry.end(entry.exit_code, result, entry.message)
    return found


def whole(folder: Path, digest: str = "") -> ScenarioResult:
    """Return the result of a scenario that is finished, with every file that it speaks of.

    Args:
        folder: of its run.
        digest: of the scenario as it is now; empty: whatever it was.

    Raises:
        ConfigError: it is not finished, or was of something else; says why.
    """
    result = read_scenario(folder)
    if result.status != "complete" or result.dry_run:
        raise ConfigError(f"{folder}: is {'a dry run' if result.dry_run else result.status}")
    if result.exit_code in _OF_THE_MACHINE:
        raise ConfigError(f"{folder}: ended with {result.exit_code}, which may be different now")
    if digest and result.digest != digest:
        raise ConfigError(f"{folder}: belongs to a scenario that said something else then")
    for stage in result.stages:
        file = _HELD.get(stage.name)
        if file is None or stage.status not in (StageStatus.PASSED, StageStatus.WARNED):
            continue
        run = RunFolder(folder)
        if stage.name == "perf":
            _check_climb(run)
        elif (run.checks() if stage.name == "functional" else run.eval()) is None:
            raise ConfigError(f"{folder / file}: does not exist")
    return result


def _check_climb(run: RunFolder) -> None:
    if run.unfinished:
        raise ConfigError(f"{run.path / 'run.json'}: is not complete")
    for name in ("summary.csv", "timeline.csv", "histograms.hlog"):
        if not (run.path / name).is_file():
            raise ConfigError(f"{run.path / name}: does not exist")
    for level in run.levels:
        rows = run.requests(level.level, level.repeat)
        if rows is None or int(rows.measured.sum()) != level.scheduled:
            raise ConfigError(f"{run.path / 'requests.csv'}: does not have every request")
