"""`histograms.hlog`: every latency figure as an HDR histogram log, readable by any HDR tool."""

from __future__ import annotations

from pathlib import Path

from benchcore.metrics.level import LevelResult
from benchcore.metrics.run import RunResult
from benchcore.sinks.folder import replace_file
from benchcore.sinks.protocol import QuietSink, SinkOptions


def tag(level: LevelResult, metric: str) -> str:
    """Return `level/metric`, with the repeat behind the level where it is not the first."""
    name = level.level if level.repeat == 1 else f"{level.level}.{level.repeat}"
    return f"{name}/{metric}"


def histogram_log(run: RunResult) -> bytes:
    """Return the log, version 1.2: values in ns, its interval maximum in ms.

    The library's writer knows no tags and rounds the maximum down to a whole millisecond.
    """
    lines = [
        f"#[benchcore run {run.run_id}; values in nanoseconds]",
        f"#[target: {run.facts['target']['kind']}]",
        "#[Histogram log format version 1.2]",
        '"StartTimestamp","Interval_Length","Interval_Max","Interval_Compressed_Histogram"',
    ]
    elapsed = 0.0
    for level in run.levels:
        for metric, summary in level.metrics.items():
            hdr = summary.histogram.hdr
            lines.append(
                f"Tag={tag(level, metric)},{elapsed:.3f},{level.window_seconds:.3f},"
                f"{hdr.get_max_value() / 1e6:.3f},{hdr.encode().decode()}"
            )
        elapsed += level.warmup_seconds + level.window_seconds + level.drain_seconds
    return "\n".join(lines).encode() + b"\n"


class HistogramLogSink(QuietSink):
    """Writes `histograms.hlog` after each level."""

    def open(self, run: RunResult, folder: Path, options: SinkOptions) -> None:
        """Write it empty."""
        super().open(run, folder, options)
        self._write(run)

    def level(self, run: RunResult, level: LevelResult) -> None:  # noqa: ARG002
        """Write it with one more level."""
        self._write(run)

    def _write(self, run: RunResult) -> None:
        replace_file(self.folder / "histograms.hlog", histogram_log(run))
