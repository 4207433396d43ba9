"""Progress: what a run tells while it goes on."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol, TextIO

from benchcore.base.logs import LOGGER
from benchcore.base.text import WIDEST, WIDTH, columns, number, percent, printable, rows
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
    gpu_utilization: float | None = None
    gpu_watts: float | None = None
    server_waiting: float | None = None


class Progress(Protocol):
    """Whoever wants to know."""

    def begin(self, run: Run, levels: int) -> None:
        """The target answers; so many levels are to come, 0 where that is not known."""
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


def in_time(value: float) -> str:
    """Return seconds as people read them: `1m05s`."""
    minutes, seconds = divmod(round(value), 60)
    return f"{minutes}m{seconds:02d}s" if minutes else f"{seconds}s"


def milliseconds_of(value: float | None) -> str:
    """Return seconds in ms; `–` where they are unknown."""
    return "–" if value is None else number(value * 1e3)


def live_line(live: Live, all_seconds: float | None = None, width: int = WIDTH) -> str:
    """Return how a level stands, in one line that fits.

    Args:
        live: the level.
        all_seconds: until the last level is over; `None`: unknown, or this is the last.
        width: characters; what is least missed is left out.
    """
    share = "" if live.done_share is None else f" {min(live.done_share, 1):4.0%}"
    eta = "" if live.eta_seconds is None else f" eta {in_time(live.eta_seconds)}"
    rest = "" if all_seconds is None else f"all levels {in_time(all_seconds)}"
    p50, p99 = map(milliseconds_of, (live.ttft_p50_seconds, live.ttft_p99_seconds))
    ttft = f"TTFT p50 {p50} p99 {p99} ms"
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


class Drawing(Protocol):
    """What is drawn of a climb that goes on; see `benchcore.show.panel`."""

    def failed(self, text: str) -> None:
        """Take note of the last failure."""
        ...

    def level(self, level: Level) -> None:
        """Take a level that is over."""
        ...

    def take(self, live: Live) -> None:
        """Take how the running level stands."""
        ...

    def lines(self, live: Live, all_seconds: float | None, width: int) -> list[str]:
        """Return what is to be seen, in lines no wider than asked."""
        ...


class TerminalProgress:
    """Tells a terminal, or a log, how a climb goes.

    Lines are written by hand: a display library would draw for milliseconds in the event loop, or
    in a thread beside it.

    Args:
        stream: standard error.
        live: rewrite lines; else write one now and then.
        interval_seconds: how often, where it is no terminal.
        drawing: returns what is drawn, of so many levels; `None`: one line is.
    """

    def __init__(
        self,
        stream: TextIO,
        *,
        live: bool,
        interval_seconds: float,
        drawing: Callable[[int], Drawing] | None = None,
    ) -> None:
        self._stream = stream
        self._live = live
        self._drawing_of = drawing
        self._drawing: Drawing | None = None
        self._interval = interval_seconds
        self._last = time.monotonic()
        self._drawn = 0
        self._levels_left = 0
        self._level_seconds: list[float] = []

    def clear(self) -> None:
        """Take away what is drawn, so that something else can be written."""
        if self._drawn:
            home, self._drawn = self._home(), 0
            with suppress(OSError):
                self._stream.write(f"{home}\x1b[J")
                self._stream.flush()

    def _home(self) -> str:
        """Return what moves the cursor to where the drawing begins."""
        return "\r" if self._drawn < 2 else f"\r\x1b[{self._drawn - 1}A"

    def begin(self, run: Run, levels: int) -> None:
        """The target answers."""
        self._levels_left = levels
        if self._live and self._drawing_of is not None:
            self._drawing = self._drawing_of(levels)
        probe = run.target.probe or {}
        LOGGER.info(
            "%s; tokens counted by %s",
            f"{levels} level(s) to run" if levels else "each level says which comes next",
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
        if self._drawing is not None:
            self._drawing.failed(f"{level}: {record.outcome}: {printable(record.error)}")

    def live(self, live: Live) -> None:
        """A level runs."""
        if self._live:
            lines = self._lines(live)
            drawn = "\n".join(f"{line}\x1b[K" for line in lines)
            with suppress(OSError):  # the terminal may be gone
                self._stream.write(f"{self._home()}{drawn}\x1b[J")
                self._stream.flush()
            self._drawn = len(lines)
        elif time.monotonic() - self._last >= self._interval:
            self._last = time.monotonic()
            LOGGER.info("%s", live_line(live, self._all_seconds(live)))

    def _lines(self, live: Live) -> list[str]:
        """Return what is drawn: one line where more does not fit, or is not wanted."""
        # A line that fills the last column would scroll the terminal.
        width = columns(self._stream, most=WIDEST) - 1
        all_seconds = self._all_seconds(live)
        if self._drawing is not None:
            self._drawing.take(live)
            lines = self._drawing.lines(live, all_seconds, width)
            if len(lines) < rows(self._stream):
                return lines
        return [live_line(live, all_seconds, min(width, WIDTH))]

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
        if self._drawing is not None:
            self._drawing.level(level)
        LOGGER.info("%s", level_line(level))
