"""Grader: says what the answers of a level were worth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from benchcore.client.records import Record
from benchcore.metrics.accuracy import LevelAccuracy


class Grader(Protocol):
    """Takes the requests of a level once it is over; their texts are kept until then."""

    async def grade(
        self, level: str, repeat: int, asked: Sequence[tuple[int, Record]]
    ) -> LevelAccuracy:
        """Return what the answers of a level were worth.

        Args:
            level: its name.
            repeat: of the climb.
            asked: its measured requests, each with the number of its prompt.
        """
        ...
