"""Clocks: how far the monotonic clock of another host is from ours, by round trips alone.

A host's CLOCK_MONOTONIC counts from its own start, so that instants of two hosts have nothing to do
with one another. What is measured on a host is moved to our timeline by one number of nanoseconds
for a whole level: latencies are differences of instants of one host, and never change.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np

from benchcore.client.records import Record
from benchcore.fleet.shard_log import Begun, Ended, Entry
from benchcore.metrics.spool import packed

DRIFT: Final = 1e-4
"""How fast two clocks may drift apart that nobody sets: each is off by 50 ppm at most."""
INSTANTS: Final = (
    *("scheduled_ns", "sent_ns", "send_end_ns", "first_byte_ns", "first_token_ns"),
    *("first_output_ns", "last_token_ns", "done_ns", "released_ns"),
)
"""The instants of a record, beside its stamps; its other times are lengths."""


@dataclass(frozen=True, slots=True)
class RoundTrip:
    """A message to a host and its answer, in ns of each one's own clock."""

    sent_ns: int
    received_there_ns: int
    sent_there_ns: int
    received_ns: int

    @property
    def offset_ns(self) -> int:
        """How much their clock is ahead of ours, if both ways took equally long."""
        return (self.received_there_ns - self.sent_ns + self.sent_there_ns - self.received_ns) // 2

    @property
    def delay_ns(self) -> int:
        """How long both ways took together."""
        there = self.sent_there_ns - self.received_there_ns
        return max(self.received_ns - self.sent_ns - there, 0)


@dataclass(frozen=True, slots=True)
class Offset:
    """How much a host's clock is ahead of ours, and how far that may be off."""

    ns: int
    uncertainty_ns: int


@dataclass(slots=True)
class HostClock:
    """A host's clock, as round trips show it.

    The offset cannot be off by more than half of what both ways took, however that is shared out
    between them; so the shortest trip says most (RFC 5905, section 10). With every second that has
    passed since, the clocks may have drifted further apart. Of two trips the better one stays the
    better one, however late it is, so that no more than one has to be kept.
    """

    _best: RoundTrip | None = field(default=None)

    def add(self, trip: RoundTrip) -> None:
        """Take a round trip."""
        best = self._best
        if best is None or _doubt_ns(trip, trip.received_ns) <= _doubt_ns(best, trip.received_ns):
            self._best = trip

    def offset(self, now_ns: int) -> Offset:
        """Return what is known now.

        Args:
            now_ns: our clock.
        """
        assert self._best is not None, "a host is asked for its time as soon as it is there"
        return Offset(self._best.offset_ns, round(_doubt_ns(self._best, now_ns)) + 1)


def _doubt_ns(trip: RoundTrip, now_ns: int) -> float:
    """Return how far the offset of a trip may be off by now."""
    return trip.delay_ns / 2 + DRIFT * max(now_ns - trip.received_ns, 0)


def moved(entry: Entry, by_ns: int) -> Entry:
    """Return an entry of a log with its instants on another timeline; a record is changed itself.

    Args:
        entry: of a worker's log.
        by_ns: what is added to each instant.
    """
    if isinstance(entry, Begun):
        return Begun(entry.index, entry.scheduled_ns + by_ns, entry.stage)
    if isinstance(entry, Ended):
        move(entry.record, by_ns)
        return Ended(entry.record, entry.stage, packed(entry.record))
    return entry


def move(record: Record, by_ns: int) -> None:
    """Add to each instant of a record; one that did not come stays 0."""
    for name in INSTANTS:
        instant = getattr(record, name)
        if instant:
            setattr(record, name, instant + by_ns)
    if record.stamps:
        stamps = np.frombuffer(record.stamps, dtype=np.int64)
        stamps += by_ns
