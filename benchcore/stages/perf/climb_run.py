"""Climb run: a climb's result, and how it is written after the fact."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from benchcore.clock import stamp_of
from benchcore.errors import ResultsError
from benchcore.metrics.run import RunResult
from benchcore.sinks.fanout import FanOut, installed_sinks
from benchcore.sinks.folder import make_folder
from benchcore.sinks.protocol import LevelHead, RequestRow, SinkOptions


@dataclass(slots=True)
class ClimbRun(RunResult):
    """A climb, with what it takes to write it down."""

    options: SinkOptions = field(default_factory=SinkOptions)

    def save(self, results: str | Path, name: str = "climb") -> Path:
        """Write the run folder after the fact and return it.

        Of the unmeasured requests no rows are kept in memory, so `requests.csv` has only the
        measured ones.

        Raises:
            ConfigError: the folder cannot be written.
            ResultsError: a file in it cannot.
        """
        folder = make_folder(Path(results), stamp_of(self.started_at), name)
        sinks = FanOut(installed_sinks())
        sinks.open(self, folder, self.options)
        for level in self.levels:
            head = LevelHead(level.level, level.repeat, level.start_ns)
            sinks.requests([RequestRow(head, record, "window") for record in level.records])
            for row in level.rows:
                sinks.second(head, row)
        sinks.close(self)
        raise_problems(sinks, folder)
        self.folder = folder
        return folder


def raise_problems(sinks: FanOut, folder: Path) -> None:
    """Raise what the sinks could not write.

    Raises:
        ResultsError: with every problem.
    """
    if sinks.problems:
        what = "; ".join(dict.fromkeys(sinks.problems.values()))
        raise ResultsError(
            f"{folder} is not complete ({what}); what was measured is printed; free some room or "
            "name another folder with --output"
        )
