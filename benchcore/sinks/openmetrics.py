"""`metrics.prom`: a run's metrics as a file for node_exporter's textfile collector.

The collector does not read OpenMetrics proper: it takes Prometheus' text format 0.0.4 from files
named `*.prom`, and skips a file that has a time stamp in it (node_exporter,
collector/textfile.go). So that is what is written: gauges, without time stamps.
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import Any, ClassVar, Final

from benchcore.errors import ConfigError
from benchcore.metrics.level import LevelResult
from benchcore.metrics.run import RunResult
from benchcore.sinks.folder import replace_file
from benchcore.sinks.protocol import QuietSink, SinkOptions
from benchcore.sinks.run_metrics import GROUPING, run_labels, run_metrics

FILE: Final = "metrics.prom"
DIRECTORY: Final = "BENCHCORE_TEXTFILE_DIR"
"""Variable with the folder that node_exporter reads."""


def textfile_name(run: dict[str, Any]) -> str:
    """Return the name of a run's file among those that node_exporter reads.

    A run has the file of the run before it with the same grouping labels: two files with one
    series would make the whole scrape fail.

    Args:
        run: what `run.json` holds.
    """
    labels = run_labels(run)
    key = [labels[name] for name in GROUPING]
    shown = re.sub(r"[^A-Za-z0-9._-]+", "-", "-".join(filter(None, key[:2]))).strip("-.")
    digest = hashlib.sha256("\0".join(key).encode()).hexdigest()[:8]
    return f"benchcore-{shown[:80] or 'run'}-{digest}.prom"


class OpenMetricsSink(QuietSink):
    """Writes `metrics.prom` after each level, and a copy where node_exporter looks.

    Raises:
        ConfigError: the variable names no folder that can be written.
    """

    optional: ClassVar[bool] = True

    def __init__(self) -> None:
        super().__init__()
        named = os.environ.get(DIRECTORY, "")
        self._directory = Path(named) if named else None
        if self._directory is not None and not (
            self._directory.is_dir() and os.access(self._directory, os.W_OK | os.X_OK)
        ):
            raise ConfigError(
                f"{DIRECTORY}: {named} is no folder that can be written; make it, or unset the "
                "variable"
            )

    def open(self, run: RunResult, folder: Path, options: SinkOptions) -> None:
        """Look whether the run is one for a dashboard.

        Raises:
            ConfigError: it is of the simulator, and was to be copied.
        """
        super().open(run, folder, options)
        simulated = run.facts["target"]["kind"] == "simulator"
        if self._directory is not None and simulated and not options.allow_simulator:
            raise ConfigError(
                f"{DIRECTORY}: the run is of the simulator, whose figures belong on no dashboard; "
                "unset the variable, or give --allow-simulator"
            )

    def level(self, run: RunResult, level: LevelResult) -> None:  # noqa: ARG002
        """Write them with one more level."""
        self._write(run)

    def close(self, run: RunResult) -> None:
        """Write them as they are at the end."""
        self._write(run)

    def _write(self, run: RunResult) -> None:
        from prometheus_client import generate_latest

        found = run.to_json()
        text = generate_latest(run_metrics(found))
        replace_file(self.folder / FILE, text)
        if self._directory is None:
            return
        copy = self._directory / textfile_name(found)
        try:
            replace_file(copy, text)
        except OSError as error:
            # What is told of a sink says what is wrong and not where; the copy lies elsewhere.
            raise OSError(f"{copy}: {error.strerror}") from None
