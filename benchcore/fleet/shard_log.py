"""Shard log: what a worker has begun, ended and counted, in a file that outlives it.

A worker writes each request before it is sent and as soon as it has ended, so that one that is
killed leaves all that it had finished, and how much it had begun. A write to a file does not wait
for whoever reads it, as one to a pipe would.
"""

from __future__ import annotations

import os
import pickle
import struct
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchcore.client.records import Record
from benchcore.load.level_plan import Stage
from benchcore.metrics.spool import packed, unpacked
from benchcore.metrics.throughput import Second

_HEAD: Final = struct.Struct("<IBB")
"""How long what follows is, what it is, and the stage."""
_BEGUN: Final = struct.Struct("<qq")
_SECOND: Final = struct.Struct("<qd")
BEGUN, ENDED, SECOND = range(3)
_STAGES: Final = tuple(Stage)
_PLACES: Final = {stage: place for place, stage in enumerate(Stage)}
_CHUNK: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Begun:
    """A request that is about to be sent: its number, when it was planned for, and where."""

    index: int
    scheduled_ns: int
    stage: Stage


@dataclass(frozen=True, slots=True)
class Ended:
    """A request that has ended, where it belongs, and the bytes that it came as."""

    record: Record
    stage: Stage
    data: bytes = b""


@dataclass(frozen=True, slots=True)
class Closed:
    """A second that is over: its number, the mean number of requests on their way, its counts."""

    number: int
    in_flight: float
    second: Second


Entry = Begun | Ended | Closed


def open_log(folder: Path | None) -> int:
    """Return the descriptor of a new log: a file without a name, which goes with who holds it.

    Args:
        folder: where it is made; `None`: where temporary files are.
    """
    file, name = tempfile.mkstemp(prefix=".worker-", dir=folder)
    os.close(file)
    try:
        return os.open(name, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
    finally:
        Path(name).unlink()


class ShardLog:
    """The log as the worker writes it.

    Args:
        file: its descriptor.
        spill: takes what cannot be written to it, and everything from then on.
    """

    def __init__(self, file: int, spill: Callable[[bytes], None]) -> None:
        self._file = file
        self._spill = spill
        self._is_full = False

    def begun(self, index: int, scheduled_ns: int, stage: Stage) -> None:
        """Write that a request is about to be sent."""
        self._write(BEGUN, stage, _BEGUN.pack(index, scheduled_ns))

    def ended(self, record: Record, stage: Stage) -> None:
        """Write a request that has ended."""
        self._write(ENDED, stage, packed(record))

    def second(self, number: int, in_flight: float, second: Second) -> None:
        """Write a second that is over."""
        data = _SECOND.pack(number, in_flight) + pickle.dumps(second)
        self._write(SECOND, Stage.OVER, data)

    def _write(self, kind: int, stage: Stage, data: bytes) -> None:
        data = _HEAD.pack(len(data), kind, _PLACES[stage]) + data
        if not self._is_full:
            try:
                if os.write(self._file, data) == len(data):
                    return
            except OSError:  # the disk is full, say: what is passed on then tells of it
                pass
            self._is_full = True
        self._spill(data)

    def entries(self) -> Iterator[Entry]:
        """Yield all that the file holds."""
        yield from LogReader(self._file).read(None)


class LogReader:
    """The log as it is read, while it grows.

    Args:
        file: its descriptor.
    """

    def __init__(self, file: int) -> None:
        self._file = file
        self._offset = 0
        self._left = b""
        self._is_spilled = False

    def read(self, most: int | None = _CHUNK) -> Iterator[Entry]:
        """Yield what has come since the last time.

        Args:
            most: bytes, about; `None`: all.
        """
        taken = 0
        while most is None or taken < most:
            chunk = b"" if self._is_spilled else os.pread(self._file, _CHUNK, self._offset)
            self._offset += len(chunk)
            taken += len(chunk)
            self._left += chunk
            yield from self._whole()
            if not chunk:
                return

    def spilled(self, data: bytes) -> None:
        """Take what could not be written to the file; what is cut short there comes with it."""
        if not self._is_spilled:
            while chunk := os.pread(self._file, _CHUNK, self._offset):
                self._offset += len(chunk)
                self._left += chunk
            self._left = self._left[: _end_of_whole(self._left)]
            self._is_spilled = True
        self._left += data

    def begin_again(self) -> None:
        """Empty the file, all of which has been read."""
        os.ftruncate(self._file, 0)
        self._offset, self._left, self._is_spilled = 0, b"", False

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    def _whole(self) -> Iterator[Entry]:
        data = self._left
        end = _end_of_whole(data)
        self._left = data[end:]
        return entries_of(data[:end])


class LogPieces:
    """The log as it is passed on to another machine: as bytes, cut between entries.

    Places count from the very first byte, however often the log has been emptied since. Nothing is
    given up until it has been asked for again behind it.

    Args:
        log: the one that the worker writes.
    """

    def __init__(self, log: LogReader) -> None:
        self._file = log._file
        self._begin = 0
        self._file_end: int | None = None
        self._spilled = bytearray()

    def has_more(self, place: int) -> bool:
        """Whether there is anything behind a place."""
        if self._file_end is None:
            return self._begin + os.fstat(self._file).st_size > place
        return self._file_end + len(self._spilled) > place

    def since(self, place: int, most: int = _CHUNK) -> bytes:
        """Return entries from a place on.

        Args:
            place: where an entry begins.
            most: bytes; one entry that is longer comes as a whole.
        """
        if self._file_end is not None and place >= self._file_end:
            return self._cut(bytes(self._spilled[place - self._file_end :]), most)
        data = os.pread(self._file, most, place - self._begin)
        while not (end := _end_of_whole(data)):
            further = os.pread(self._file, _CHUNK, place - self._begin + len(data))
            if not further:
                return b""
            data += further
        return data[:end]

    def _cut(self, data: bytes, most: int) -> bytes:
        return data[: _end_of_whole(data[:most]) or _end_of_whole(data)]

    def spilled(self, data: bytes) -> None:
        """Take what could not be written to the file; an entry that is cut short there is in it."""
        if self._file_end is None:
            written = os.pread(self._file, os.fstat(self._file).st_size, 0)
            self._file_end = self._begin + _end_of_whole(written)
        self._spilled += data

    def begin_again(self) -> None:
        """Empty the file, all of which has been passed on."""
        if self._file_end is None:
            self._begin += os.fstat(self._file).st_size
        else:
            self._begin = self._file_end + len(self._spilled)
        os.ftruncate(self._file, 0)
        self._file_end = None
        self._spilled.clear()


def entries_of(data: bytes) -> Iterator[Entry]:
    """Yield the entries of a piece of a log that begins and ends between two of them."""
    place = 0
    while place < len(data):
        length, kind, stage = _HEAD.unpack_from(data, place)
        place += _HEAD.size
        yield _entry(kind, _STAGES[stage], data[place : place + length])
        place += length


def _end_of_whole(data: bytes) -> int:
    """Return where the last entry ends that is there as a whole."""
    place = 0
    while len(data) - place >= _HEAD.size:
        end = place + _HEAD.size + _HEAD.unpack_from(data, place)[0]
        if end > len(data):
            break
        place = end
    return place


def _entry(kind: int, stage: Stage, data: bytes) -> Entry:
    if kind == ENDED:
        return Ended(unpacked(data), stage, data)
    if kind == BEGUN:
        index, scheduled_ns = _BEGUN.unpack(data)
        return Begun(index, scheduled_ns, stage)
    number, in_flight = _SECOND.unpack_from(data)
    return Closed(number, in_flight, pickle.loads(data[_SECOND.size :]))  # noqa: S301 - our own worker's
