"""`run.json`: the whole run, replaced whole at every level."""

import math
from pathlib import Path
from typing import Any

import orjson

from benchcore.metrics.level import LevelResult
from benchcore.metrics.run import RunResult
from benchcore.sinks.folder import replace_file
from benchcore.sinks.protocol import QuietSink, SinkOptions


def dump(value: Any) -> bytes:
    """Return indented JSON.

    Raises:
        ValueError: it holds NaN or Infinity, which JSON has not.
    """
    _check(value, "run")
    return orjson.dumps(
        value,
        option=orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE,
    )


def _check(value: Any, where: str) -> None:
    if isinstance(value, dict):
        for key, inner in value.items():
            _check(inner, f"{where}.{key}")
    elif isinstance(value, (list, tuple)):
        for index, inner in enumerate(value):
            _check(inner, f"{where}[{index}]")
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{where} is {value}, which JSON cannot hold")


class RunJsonSink(QuietSink):
    """Writes `run.json` when the run starts, after each level, and when it ends."""

    def open(self, run: RunResult, folder: Path, options: SinkOptions) -> None:
        """Write it with `status: running`."""
        super().open(run, folder, options)
        self._write(run)

    def level(self, run: RunResult, level: LevelResult) -> None:  # noqa: ARG002
        """Write it with one more level."""
        self._write(run)

    def close(self, run: RunResult) -> None:
        """Write it with its final status."""
        self._write(run)

    def _write(self, run: RunResult) -> None:
        replace_file(self.folder / "run.json", dump(run.to_json()))
