"""Files: what an eval writes while and after it asks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from benchcore.base.errors import ResultsError
from benchcore.base.files import replace_file
from benchcore.metrics.accuracy import Sample
from benchcore.publish.prometheus import accuracy_metrics
from benchcore.runs.run_json import dump
from benchcore.runs.samples import ACCURACY, Eval, SampleFile, write_samples
from benchcore.show.pages import accuracy_page


def write_accuracy(folder: Path, report: Eval) -> None:
    """Write `accuracy.json` and `accuracy.prom`.

    Raises:
        OSError: they cannot be written.
    """
    from prometheus_client import generate_latest

    replace_file(folder / ACCURACY, dump(report.to_json()))
    replace_file(folder / "accuracy.prom", generate_latest(accuracy_metrics(report)))


class EvalFiles:
    """`accuracy.json`, `samples.jsonl` and a page in the folder of a run.

    Args:
        folder: of the run.
        page: name of the page.
        show_text: let the page show questions and answers, where they are kept.
        beside: writes what else goes with the report, such as `run.json`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        page: str = "report.html",
        show_text: bool = False,
        beside: Callable[[Eval], None] = lambda _report: None,
    ) -> None:
        self._folder = folder
        self._page = page
        self._show_text = show_text
        self._beside = beside
        self._samples: SampleFile | None = None

    @property
    def begun(self) -> bool:
        """Whether anything was written."""
        return self._samples is not None

    def begin(self, report: Eval) -> None:
        """Write what is known before anything is asked; samples of before stand in place.

        Raises:
            ResultsError: it cannot be written.
        """
        try:
            write_samples(self._folder, report.samples)
            self._samples = SampleFile(self._folder)
            self._write(report)
        except OSError as error:
            raise self._fault(error) from None

    def write(self, sample: Sample) -> None:
        """Append a sample.

        Raises:
            ResultsError: it cannot be written.
        """
        assert self._samples is not None
        try:
            self._samples.write(sample)
        except OSError as error:
            raise self._fault(error) from None

    def finish(self, report: Eval) -> None:
        """Write the whole; nothing where it never began.

        Raises:
            ResultsError: it cannot be written.
        """
        if self._samples is None:
            return
        try:
            self._samples.close()
            self._write(report)
            page = accuracy_page(report, show_text=self._show_text)
            replace_file(self._folder / self._page, page.encode())
        except OSError as error:
            raise self._fault(error) from None

    def _write(self, report: Eval) -> None:
        write_accuracy(self._folder, report)
        self._beside(report)

    def _fault(self, error: OSError) -> ResultsError:
        return ResultsError(
            f"{self._folder}: cannot be written ({error.strerror}); free some room and go on with "
            "--resume"
        )
