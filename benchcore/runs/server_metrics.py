"""Server metrics: `server_metrics.csv.gz`, every family of every source over time, changes only."""

from __future__ import annotations

import csv
import io
import math
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchcore.base.errors import ConfigError
from benchcore.base.files import GrowingFile
from benchcore.base.secrets import unhidden
from benchcore.base.text import cell
from benchcore.observe.families import Series
from benchcore.observe.scraper import MOST_BYTES, Page
from benchcore.runs.sinks import QuietSink

SERVER_METRICS: Final = "server_metrics.csv.gz"
_HEAD: Final = ("time", "source", "name", "labels", "value")
_GZIP: Final = 31
"""Bits of zlib's window, with the head and the tail of gzip."""
_FAST: Final = 1


class ServerMetricsSink(QuietSink):
    """Writes it while the run goes on; without a page of metrics there is no file."""

    _file: GrowingFile | None = None
    _heads: dict[tuple[str, int], str]

    def server_metrics(self, page: Page, unix_seconds: float) -> None:
        """Take what is new on a page.

        Args:
            page: it.
            unix_seconds: when it came.
        """
        if self._file is None:
            self._file = GrowingFile(self.folder / SERVER_METRICS)
            # The first part of its lines is the same for every change of a series.
            self._heads = {}
            self._packer = zlib.compressobj(_FAST, wbits=_GZIP)
            self._pack(_row(*_HEAD))
        at, heads = f"{unix_seconds:.6f}", self._heads
        lines = []
        for change in page.changes:
            key = (page.source, change.place)
            head = heads.get(key)
            if head is None:
                series = page.series[change.place]
                head = heads[key] = unhidden(
                    _row(cell(page.source), series.name, label_text(series))[:-1]
                )
            lines.append(f"{at},{head},{change.text}\n")
        self._pack("".join(lines))

    def _pack(self, lines: str) -> None:
        assert self._file is not None
        self._file.write(self._packer.compress(lines.encode()))

    def flush(self) -> None:
        """Write whole lines: what is there can be read even if nothing more comes."""
        if self._file is not None:
            self._file.write(self._packer.flush(zlib.Z_SYNC_FLUSH))
            self._file.flush()

    def close(self, run: object) -> None:  # noqa: ARG002
        """End the file."""
        if self._file is not None:
            self._file.write(self._packer.flush(zlib.Z_FINISH))
            self._file.close()


def label_text(series: Series) -> str:
    """Return the labels of a series as a page has them, without braces."""

    def escaped(text: str) -> str:
        return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")

    return ",".join(f'{name}="{escaped(value)}"' for name, value in series.labels.items())


def _row(*cells: str) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()


@dataclass(frozen=True, slots=True)
class SeriesValue:
    """One change of one series.

    Args:
        time: when it was read, in seconds of Unix time.
        source: whose it is.
        name: of the series.
        labels: as a page has them, without braces.
        value: what it is from then on; `None`: the series is gone.
    """

    time: float
    source: str
    name: str
    labels: str
    value: float | None


def read_server_metrics(
    path: Path, wanted: Callable[[str], bool] = lambda _name: True
) -> Iterator[SeriesValue]:
    """Yield the changes in a file, in the order in which they were read.

    What a run that was killed had not finished writing is passed over.

    Args:
        path: of the file.
        wanted: whether the series of a name are.

    Raises:
        ConfigError: it cannot be read.
    """
    # A label may be as long as a page; by default a cell ends at 128 KiB.
    csv.field_size_limit(max(csv.field_size_limit(), MOST_BYTES))
    try:
        for row in csv.reader(_lines(path)):
            if len(row) == len(_HEAD) and row[0] != _HEAD[0] and wanted(row[2]):
                value = float(row[4]) if row[4] else None
                yield SeriesValue(float(row[0]), row[1], row[2], row[3], value)
    except (OSError, ValueError, zlib.error, csv.Error) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None


def _lines(path: Path) -> Iterator[str]:
    """Yield the whole lines of a gzip file, whose end may be missing."""
    unpacker, left = zlib.decompressobj(wbits=_GZIP), b""
    with path.open("rb") as file:
        while data := file.read(1 << 16):
            *lines, left = (left + unpacker.decompress(data)).split(b"\n")
            for line in lines:
                yield f"{line.decode()}\n"


def sums_at(
    path: Path, wanted: Mapping[str, Collection[str]], times: NDArray[np.float64]
) -> dict[str, NDArray[np.float64]]:
    """Return what sums over series were at some moments, by the last page before each.

    Args:
        path: of the file.
        wanted: by the name of a sum, the names of its series; of several names that there are, the
            first counts.
        times: shape (n,), in seconds of Unix time.

    Returns:
        By sum, shape (n,); NaN before the first page. A sum whose series are not there is missing.

    Raises:
        ConfigError: it cannot be read.
    """
    names = {name: key for key, theirs in wanted.items() for name in theirs}
    now: dict[tuple[str, str, str], float] = {}
    steps: dict[str, list[tuple[float, float]]] = {}
    for reading in read_server_metrics(path, names.__contains__):
        series = (reading.name, reading.source, reading.labels)
        if reading.value is None or not math.isfinite(reading.value):
            now.pop(series, None)
        else:
            now[series] = reading.value
        total = sum(value for (name, *_), value in now.items() if name == reading.name)
        steps.setdefault(reading.name, []).append((reading.time, total))
    sums = {}
    for key, theirs in wanted.items():
        name = next((name for name in theirs if name in steps), None)
        if name is not None:
            at = np.array([time for time, _ in steps[name]])
            values = np.array([np.nan, *(value for _, value in steps[name])])
            sums[key] = values[np.searchsorted(at, times, side="right")]
    return sums
