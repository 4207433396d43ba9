"""Progress: what a run tells while it goes on."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol, TextIO

from benchcore.base.logs import LOGGER
from benchcore.base.text import WIDTH, columns, number, percent, printable
from benchcore.client.records import Record
from benchcore.runs.run import Level, Run
from benchcore.show.table import milliseconds


@dataclass(frozen=True, slots=True)
class Live:
    """How a running level stands; latencies in seconds, `None`: nothing yet."""

    level: str
    stage: str
    elapsed_seconds: float
    done_share: float | None
    eta_seconds: float | None
    in_flight: int
    tokens_per_second: float | None
    ttft_p50_seconds: float | None
    ttft_p99_seconds: float | None
    ok: int
    failed: int


class Progress(Protocol):
    """Whoever wants to know."""

    def begin(self, run: Run, levels: int) -> None:
        """The target answers; so many levels are to come."""
        ...

    def say(self, text: str) -> None:
        """Something worth a line has happened."""
        ...

    def failure(self, level: str, record: Record) -> None:
        """A request failed; of each kind the first few."""
        ...

    def live(self, live: Live) -> None:
        """A level runs; about twice a second."""
        ...

    def level(self, level: Level) -> None:
        """A level is over."""
        ...


class Silent:
    """Tells nobody."""

    def begin(self, run: Run, levels: int) -> None:
        """Ignore it."""

    def say(self, text: str) -> None:
        """Ignore it."""

    def failure(self, level: str, record: Record) -> None:
        """Ignore it."""

    def live(self, live: Live) -> None:
        """Ignore it."""

    def level(self, level: Level) -> None:
        """Ignore it."""


def _seconds(value: float) -> str:
    minutes, seconds = divmod(round(value), 60)
    return f"{minutes}m{seconds:02d}s" if minutes else f"{seconds}s"


def _ms(value: float | None) -> str:
    return "–" if value is None else number(value * 1e3)


def live_line(live: Live, all_seconds: float | None = None, width: int = WIDTH) -> str:
    """Return how a level stands, in one line that fits.

    Args:
        live: the level.
        all_seconds: until the last level is over; `None`: unknown, or this is the last.
        width: characters; what is least missed is left out.
    """
    share = "" if live.done_share is None else f" {min(live.done_share, 1):4.0%}"
    eta = "" if live.eta_seconds is None else f" eta {_seconds(live.eta_seconds)}"
    rest = "" if all_seconds is None else f"all levels {_seconds(all_seconds)}"
    ttft = f"TTFT p50 {_ms(live.ttft_p50_seconds)} p99 {_ms(live.ttft_p99_seconds)} ms"
    parts = {
        "head": f"{live.level} {live.stage}{share}{eta}",
        "rest": rest,
        "in flight": f"in flight {live.in_flight}",
        "tokens": f"{number(live.tokens_per_second)} tok/s",
        "ttft": ttft,
        "ended": f"{live.ok} ok {live.failed} failed",
    }
    for missed_least in ("in flight", "ttft", "tokens", "rest"):
        if len(_joined(parts)) <= width:
            break
        del parts[missed_least]
    return _joined(parts)[:width]


def _joined(parts: dict[str, str]) -> str:
    return " | ".join(filter(None, parts.values()))


def level_line(level: Level) -> str:
    """Return a finished level in one line."""
    return (
        f"{level.name}: {number(level.request_throughput)} req/s, "
        f"{number(level.output_token_throughput)} tok/s, "
        f"TTFT p50 {milliseconds(level, 'ttft', 'p50')} "
        f"p99 {milliseconds(level, 'ttft', 'p99')} ms, "
        f"failed {percent(level.failure_rate)}, {level.verdict}"
    )


class TerminalProgress:
    """Tells a terminal, or a log, how a climb goes.

    A line is written by hand: a display library would draw for milliseconds in the event loop, or
    in a thread beside it.

    Args:
        stream: standard error.
        live: rewrite one line; else write one now and then.
        interval_seconds: how often, where it is no terminal.
    """

    def __init__(self, stream: TextIO, *, live: bool, interval_seconds: float) -> None:
        self._stream = stream
        self._live = live
        self._interval = interval_seconds
        self._last = time.monotonic()
        self._drawn = False
        self._levels_left = 0
        self._level_seconds: list[float] = []

    def clear(self) -> None:
        """Take the live line away, so that something else can be written."""
        if self._drawn:
            self._drawn = False
            with suppress(OSError):
                self._stream.write("\r\x1b[K")
                self._stream.flush()

    def begin(self, run: Run, levels: int) -> None:
        """The target answers."""
        self._levels_left = levels
        probe = run.target.probe or {}
        LOGGER.info(
            "%d level(s) to run; tokens counted by %s",
            levels,
            probe.get("tokens_counted_by") or "nobody: prompt lengths are a guess",
        )
        if run.folder is not None:
            LOGGER.info("writing to %s", run.folder)

    def say(self, text: str) -> None:
        """Something worth a line has happened."""
        LOGGER.info("%s", printable(text))

    def failure(self, level: str, record: Record) -> None:
        """A request failed."""
        LOGGER.warning(
            "%s: request %s: %s: %s",
            level,
            record.request_id,
            record.outcome,
            printable(record.error),
        )

    def live(self, live: Live) -> None:
        """A level runs."""
        if self._live:
            with suppress(OSError):  # the terminal may be gone
                # A line that fills the last column would scroll the terminal.
                line = live_line(live, self._all_seconds(live), columns(self._stream) - 1)
                self._stream.write(f"\r\x1b[K{line}")
                self._stream.flush()
            self._drawn = True
        elif time.monotonic() - self._last >= self._interval:
            self._last = time.monotonic()
            LOGGER.info("%s", live_line(live, self._all_seconds(live)))

    def _all_seconds(self, live: Live) -> float | None:
        """Return how long all levels may still take, if each takes as long as those so far."""
        if live.eta_seconds is None or self._levels_left < 2:
            return None
        known = [*self._level_seconds, live.elapsed_seconds + live.eta_seconds]
        return live.eta_seconds + (self._levels_left - 1) * sum(known) / len(known)

    def level(self, level: Level) -> None:
        """A level is over."""
        self._levels_left -= 1
        self._level_seconds.append(level.seconds)
        self._last = time.monotonic()
        LOGGER.info("%s", level_line(level))
