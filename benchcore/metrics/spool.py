"""Spool: the requests of a level that have ended, of which memory holds only so many."""

from __future__ import annotations

import marshal
import os
import tempfile
import weakref
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import fields
from itertools import chain
from operator import attrgetter
from pathlib import Path
from typing import Any, Final, overload

import numpy as np
from numpy.typing import NDArray

from benchcore.client.records import InBand, Outcome, Phase, Record, Usage

MOST_BYTES: Final = 8 << 20
"""What the requests in memory may weigh; older ones are in the file."""
AT_HAND_BYTES: Final = 64 << 20
"""Up to this weight all are read back at once for a while, instead of at each going through."""
WEIGHT: Final = 3072
"""Of a request without its arrivals, in bytes."""
MOST_PLACES: Final = 8192
"""So many numbers of where requests are in the file wait in memory, before they are filed, too."""
CHUNK: Final = 1 << 18
"""Bytes read at a time."""

_ARRAYS = ("stamps", "events", "tokens", "lanes")
# The answer as it came (`reply`) is never asked for under load.
_PLAIN = tuple(
    one.name
    for one in fields(Record)
    if one.name not in (*_ARRAYS, "outcome", "phase", "usage", "in_band", "reply")
)
_plain = attrgetter(*_PLAIN)
_arrays = attrgetter(*_ARRAYS)
_usage = attrgetter(*(one.name for one in fields(Usage)))
_in_band = attrgetter(*(one.name for one in fields(InBand)))


def packed(record: Record) -> bytes:
    """Return a request that has ended as bytes, for this process alone."""
    return marshal.dumps(
        (
            _plain(record),
            [None if one is None else one.tobytes() for one in _arrays(record)],
            None if record.outcome is None else record.outcome.value,
            None if record.phase is None else record.phase.value,
            None if record.usage is None else _usage(record.usage),
            None if record.in_band is None else _in_band(record.in_band),
        )
    )


def unpacked(data: bytes) -> Record:
    """Return the request that `packed` made bytes of."""
    plain, arrays, outcome, phase, usage, in_band = marshal.loads(data)  # noqa: S302 - our own file, without a name
    record = Record.__new__(Record)
    for name, value in zip(_PLAIN, plain, strict=True):
        setattr(record, name, value)
    for name, value in zip(_ARRAYS, arrays, strict=True):
        setattr(record, name, None if value is None else array("q", value))
    record.outcome = None if outcome is None else Outcome(outcome)
    record.phase = None if phase is None else Phase(phase)
    record.usage = None if usage is None else Usage(*usage)
    record.in_band = None if in_band is None else InBand(*in_band)
    record.reply = None
    return record


def _weight(record: Record) -> int:
    weight = WEIGHT + len(record.text or "")
    for one in _arrays(record):
        if one is not None:
            weight += 8 * len(one)
    return weight


class Spool(Sequence[Record]):
    """The requests of a level in the order of scheduling; each is read back as often as asked for.

    The file has no name: it is gone with the spool, or with the process, however that ends.

    Args:
        folder: where the file is made; `None`: all stay in memory.
        most_bytes: what those in memory may weigh, about.
        on_problem: told why the file cannot be written; from then on all stay in memory.
    """

    def __init__(
        self,
        folder: Path | None = None,
        *,
        most_bytes: int = MOST_BYTES,
        on_problem: Callable[[str], None] = lambda _text: None,
    ) -> None:
        self._folder = folder
        self._most_bytes = most_bytes
        self._on_problem = on_problem
        self._fresh: deque[Record] = deque()
        self._packed: deque[bytes | None] = deque()
        self._weights: deque[int] = deque()
        self._weight = self._weight_filed = 0
        self._file: int | None = None
        self._written = 0
        self._end = 0
        self._places_file: int | None = None
        # Of each in the file its index and its end there, in turn; the oldest are in a file, too.
        self._places = array("q")
        self._sorted: NDArray[np.int64] | None = None

    def append(self, record: Record, data: bytes | None = None) -> None:
        """Take a request that has ended and does not change any more.

        Args:
            record: it.
            data: what `packed` has made of it; `None`: that is still to be done.
        """
        self._sorted = None
        self._fresh.append(record)
        if self._folder is None:
            return
        self._packed.append(data)
        # Weighed once: others who hold it may still take its text away.
        self._weights.append(_weight(record))
        self._weight += self._weights[-1]
        # One comes and about one goes: never many at once.
        while self._weight > self._most_bytes and self._folder is not None:
            self._write(self._folder)

    def _write(self, folder: Path) -> None:
        oldest = self._fresh[0]
        data = self._packed[0] or packed(oldest)
        end = self._end
        try:
            if self._file is None or self._places_file is None:
                self._file, self._places_file = _unnamed(folder), _unnamed(folder)
                weakref.finalize(self, os.close, self._file)
                weakref.finalize(self, os.close, self._places_file)
            if len(self._places) >= MOST_PLACES:
                at = (2 * self._written - len(self._places)) * self._places.itemsize
                _write_at(self._places_file, self._places.tobytes(), at)
                del self._places[:]
            _write_at(self._file, data, end)
        except OSError as error:
            self._folder = None
            self._on_problem(
                f"requests that have ended stay in memory: {error.strerror or error} in {folder}"
            )
            return
        self._written += 1
        self._end = end + len(data)
        self._places.extend((oldest.index, self._end))
        weight = self._weights.popleft()
        self._weight -= weight
        self._weight_filed += weight
        self._fresh.popleft()
        self._packed.popleft()

    @property
    def in_memory(self) -> int:
        """How many are in memory."""
        return len(self._fresh)

    def held(self) -> Sequence[Record]:
        """Return them all: as a list, where none is in the file."""
        return self if self._written else list(self)

    def at_hand(self) -> Sequence[Record]:
        """Return them for a while in which they are gone through many times.

        As a list, where all of them together are not too much for memory; the file stays as it is.
        """
        return list(self) if self._weight + self._weight_filed <= AT_HAND_BYTES else self

    def __len__(self) -> int:
        return self._written + len(self._fresh)

    def _table(self) -> NDArray[np.int64]:
        """Return the index and the end of each that is in the file, a row each."""
        places = np.array(self._places, dtype=np.int64)
        filed = 2 * self._written - len(places)
        if filed:
            assert self._places_file is not None
            begin = os.pread(self._places_file, filed * self._places.itemsize, 0)
            places = np.concatenate([np.frombuffer(begin, dtype=np.int64), places])
        return places.reshape(-1, 2)

    def _order(self) -> NDArray[np.int64]:
        if self._sorted is None:
            fresh = np.array([record.index for record in self._fresh], dtype=np.int64)
            indices = np.concatenate([self._table()[:, 0], fresh])
            self._sorted = np.argsort(indices, kind="stable")
        return self._sorted

    def _at(self, places: Iterable[int]) -> Iterator[Record]:
        written = self._written
        ends = self._table()[:, 1]
        fresh = list(self._fresh)
        begin, chunk = 0, b""
        for place in places:
            if place >= written:
                yield fresh[place - written]
                continue
            assert self._file is not None
            first, end = int(ends[place - 1]) if place else 0, int(ends[place])
            if not begin <= first <= end <= begin + len(chunk):
                begin = first
                chunk = os.pread(self._file, max(CHUNK, end - first), first)
            yield unpacked(chunk[first - begin : end - begin])

    def __iter__(self) -> Iterator[Record]:
        return self._at(map(int, self._order()))

    @overload
    def __getitem__(self, place: int) -> Record: ...
    @overload
    def __getitem__(self, place: slice) -> list[Record]: ...
    def __getitem__(self, place: int | slice) -> Record | list[Record]:
        if isinstance(place, slice):
            return list(self._at(map(int, self._order()[place])))
        return next(self._at([int(self._order()[place])]))


def _write_at(file: int, data: bytes, at: int) -> None:
    done = 0
    while done < len(data):
        done += os.pwrite(file, data[done:], at + done)


def _unnamed(folder: Path) -> int:
    file, name = tempfile.mkstemp(prefix=".requests-", dir=folder)
    Path(name).unlink()
    return file


class _Again(Iterable[Record]):
    """Requests that are gone through anew each time."""

    def __init__(self, begin: Callable[[], Iterator[Record]]) -> None:
        self._begin = begin

    def __iter__(self) -> Iterator[Record]:
        return self._begin()


def chosen(records: Iterable[Record], wanted: Callable[[Record], Any]) -> Iterable[Record]:
    """Return those that are wanted, to be gone through as often as one likes.

    Of what is in memory it is a list; what is read back is not held.
    """
    if isinstance(records, list):
        return [record for record in records if wanted(record)]
    return _Again(lambda: filter(wanted, records))


def joined(first: Iterable[Record], second: Iterable[Record]) -> Iterable[Record]:
    """Return the ones and then the others, likewise."""
    if isinstance(first, list) and isinstance(second, list):
        return [*first, *second]
    return _Again(lambda: chain(first, second))


def is_ok(record: Record) -> bool:
    """Whether it ended well."""
    return record.outcome is Outcome.OK


def is_streamed(record: Record) -> bool:
    """Whether it was streamed."""
    return record.streamed
