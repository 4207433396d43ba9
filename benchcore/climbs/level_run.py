"""Level run: one level whose load comes from this process."""

from __future__ import annotations

import time

from benchcore.base.errors import ConfigError
from benchcore.client.client import Client
from benchcore.climbs.books import Books
from benchcore.climbs.load_run import Listener, LoadRun, Measured
from benchcore.runs.run import LevelResult


class LevelRun:
    """Runs one level and makes its result.

    Args:
        client: open, its target settled.
        books: of the level.
        e2e_seconds: how long one request took, alone; `None`: unknown.
    """

    def __init__(self, client: Client, books: Books, *, e2e_seconds: float | None) -> None:
        self._books = books
        self._measured: Measured | None = None
        self._load = LoadRun(
            client,
            books.step,
            books.plan,
            tally=books.tally,
            sinks=books.sinks,
            so_far=books.so_far,
            listener=Listener(
                stage=lambda stage: books.stage(stage, time.perf_counter_ns()),
                live=self._live,
                say=books.progress.say,
            ),
            e2e_seconds=e2e_seconds,
            block_tokens=books.block_tokens,
        )

    def _live(self, now_ns: int) -> None:
        self._books.live(self._load.standing, now_ns, self._load.house.rows)

    @property
    def gone(self) -> str:
        """How the target, which has gone, refused the last look at it; empty: it is there."""
        return "" if self._measured is None else self._measured.gone

    @property
    def lost(self) -> str:
        """Which workers have died: here there are none."""
        return ""

    @property
    def fault(self) -> ConfigError | None:
        """What ended the load early: a row of the workload's file cannot be used."""
        return None if self._measured is None else self._measured.sent.fault

    def interrupt(self, grace_seconds: float) -> None:
        """Send nothing more; see `Level.interrupt`."""
        self._load.interrupt(grace_seconds)
        if grace_seconds <= 0:
            self._books.tally.give_up()

    async def run(self) -> LevelResult:
        """Run the level to its end and return what it measured."""
        books, load = self._books, self._load
        try:
            await load.prepare()
            async with books.scraper.running():
                try:
                    self._measured = await load.run()
                except BaseException:
                    books.tally.give_up()
                    raise
            load.house.write_all()
            await books.tally.finish()
            load.house.finish(self._measured.records.over_ns)
            return await books.close(self._measured, load.house.rows)
        finally:
            load.close()
