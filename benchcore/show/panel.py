"""Panel: how a climb goes, as a block of lines for a terminal that is drawn over again.

Lines of plain text, made by hand twice a second: a display library would draw for milliseconds in
the event loop that reads tokens, or in a thread beside it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final

from benchcore.base.text import WIDEST, number, percent
from benchcore.runs.run import Level
from benchcore.show.progress import Live, in_time, milliseconds_of
from benchcore.show.table import milliseconds

_BLOCKS: Final = "▁▂▃▄▅▆▇█"
_DONE, _LEFT = "━", "╌"
CHARACTERS: Final = f"{_BLOCKS}{_DONE}{_LEFT}●┤└─"
"""That a terminal must have beside those of ASCII."""
_NARROWEST: Final = 20
"""Characters across, without which a chart shows nothing."""
_KEPT: Final = 600
_MOST_LEVELS: Final = 8
_NAME: Final = 10
_HEAD: Final = ("level", "req/s", "tok/s", "TTFT p50", "TTFT p99", "ITL p99", "failed", "validity")
_WIDTHS: Final = (12, 8, 9, 9, 9, 9, 8, 9)


def sparkline(values: Iterable[float | None], width: int) -> str:
    """Return the newest values as a row of blocks, from 0 to the largest; a gap where unknown.

    Args:
        values: the newest last.
        width: blocks, at most.
    """
    shown = list(values)[-width:]
    most = max((value for value in shown if value is not None), default=0.0)
    blocks = []
    for value in shown:
        if value is None:
            blocks.append(" ")
        else:
            share = value / most if most > 0 else 0.0
            blocks.append(_BLOCKS[min(int(share * len(_BLOCKS)), len(_BLOCKS) - 1)])
    return "".join(blocks)


def bar(share: float, width: int) -> str:
    """Return how much is done as a bar."""
    done = round(min(max(share, 0.0), 1.0) * width)
    return _DONE * done + _LEFT * (width - done)


class ClimbPanel:
    """What the panel shows.

    Args:
        levels: how many are to come.
    """

    def __init__(self, levels: int) -> None:
        self._levels = levels
        self._over: list[Level] = []
        self._series: dict[str, deque[float | None]] = {
            name: deque(maxlen=_KEPT) for name in ("tok/s", "TTFT p99", "in flight", "GPU", "queue")
        }
        self._failure = ""

    def failed(self, text: str) -> None:
        """Take note of the last failure."""
        self._failure = text

    def level(self, level: Level) -> None:
        """Take a level that is over."""
        self._over.append(level)

    def take(self, live: Live) -> None:
        """Take how the running level stands."""
        for name, value in (
            ("tok/s", live.tokens_per_second),
            ("TTFT p99", live.ttft_p99_seconds),
            ("in flight", float(live.in_flight)),
            ("GPU", live.gpu_utilization),
            ("queue", live.server_waiting),
        ):
            self._series[name].append(value)

    def lines(self, live: Live, all_seconds: float | None, width: int) -> list[str]:
        """Return the panel, each line no wider than asked.

        Args:
            live: how the running level stands.
            all_seconds: until the last level is over; `None`: unknown, or this is the last.
            width: characters, 40 at least.
        """
        width = min(width, WIDEST)
        shown = [self._progress(live, all_seconds, width), *self._table(live, width)]
        shown += self._sparklines(live, width)
        if self._failure:
            shown.append(f"last failure: {self._failure}")
        return [line[:width].rstrip() for line in shown]

    def _progress(self, live: Live, all_seconds: float | None, width: int) -> str:
        where = f"{live.level} {live.stage}"
        place = f"level {len(self._over) + 1} of {self._levels}" if self._levels > 1 else ""
        share = live.done_share
        told = [
            "" if share is None else f"{min(share, 1.0):4.0%}",
            "" if live.eta_seconds is None else f"eta {in_time(live.eta_seconds)}",
            place,
            "" if all_seconds is None else f"all {in_time(all_seconds)}",
        ]
        said = "  ".join(filter(None, told))
        room = width - len(where) - len(said) - 4
        middle = bar(share, min(room, 40)) if share is not None and room >= 8 else ""
        return "  ".join(filter(None, (where, middle, said)))

    def _table(self, live: Live, width: int) -> list[str]:
        rows = [_row(_HEAD, width)]
        hidden = len(self._over) - _MOST_LEVELS
        if hidden > 0:
            rows.append(f"({hidden} more)")
        rows += [_row(_cells(level), width) for level in self._over[-_MOST_LEVELS:]]
        ended = live.ok + live.failed
        so_far = (
            live.level,
            "…",
            number(live.tokens_per_second),
            milliseconds_of(live.ttft_p50_seconds),
            milliseconds_of(live.ttft_p99_seconds),
            "…",
            percent(live.failed / ended) if ended else "–",
            "…",
        )
        return [*rows, _row(so_far, width)]

    def _sparklines(self, live: Live, width: int) -> list[str]:
        gpu = None
        if live.gpu_utilization is not None:
            watts = "" if live.gpu_watts is None else f", {number(live.gpu_watts)} W"
            gpu = f"{percent(live.gpu_utilization)}{watts}"
        waiting = None if live.server_waiting is None else f"{live.server_waiting:g} waiting"
        told = {
            "tok/s": number(live.tokens_per_second),
            "TTFT p99": f"{milliseconds_of(live.ttft_p99_seconds)} ms",
            "in flight": str(live.in_flight),
            "GPU": gpu,
            "queue": waiting,
        }
        room = max(width - _NAME - 18, 8)
        return [
            f"{name:<{_NAME}}{sparkline(self._series[name], room):<{room}} {text}"
            for name, text in told.items()
            if text is not None
        ]


def _cells(level: Level) -> Sequence[str]:
    return (
        level.name,
        number(level.request_throughput),
        number(level.output_token_throughput),
        *(milliseconds(level, *figure) for figure in (("ttft", "p50"), ("ttft", "p99"))),
        milliseconds(level, "itl", "p99"),
        percent(level.failure_rate),
        level.verdict or "not judged",
    )


def _row(cells: Sequence[str], width: int) -> str:
    """Return a row of the table; what does not fit is left out from the right, but for the last."""
    parts = [f"{cells[0]:<{_WIDTHS[0]}}"]
    parts += [f"{cell:>{size}}" for cell, size in zip(cells[1:-1], _WIDTHS[1:-1], strict=True)]
    last = f"  {cells[-1]}"
    while len(parts) > 3 and sum(map(len, parts)) + _WIDTHS[-1] + 2 > width:
        parts.pop()
    return "".join(parts) + last


def chart(levels: Sequence[Level], width: int, height: int = 13) -> list[str]:
    """Return throughput against latency as characters: each level where its two figures are.

    Args:
        levels: of one climb; those without both figures are left out.
        width: characters.
        height: lines of the field.

    Returns:
        No line where fewer than two levels have both figures, or the terminal is too narrow.
    """
    points = [
        (level.ttft.p99, level.output_token_throughput, level.name)
        for level in levels
        if level.ttft is not None and level.ttft.p99 and level.output_token_throughput
    ]
    if len(points) < 2:
        return []
    margin = 9
    across = min(width, WIDEST) - margin - 2
    if across < _NARROWEST:
        return []
    most_x, most_y = max(x for x, _, _ in points), max(y for _, y, _ in points)
    field = [[" "] * across for _ in range(height)]
    for x, y, name in points:
        column = min(round(x / most_x * (across - 1)), across - 1)
        row = height - 1 - min(round(y / most_y * (height - 1)), height - 1)
        label = f"● {name}"
        begin = column if column + len(label) <= across else max(column - len(label) + 1, 0)
        text = label if begin == column else f"{name} ●"
        for place, char in enumerate(text[:across]):
            field[row][begin + place] = char
    lines = ["output tokens/s against TTFT p99"]
    for place, row_of in enumerate(field):
        value = most_y * (height - 1 - place) / (height - 1)
        head = number(value) if place in (0, height // 2, height - 1) else ""
        lines.append(f"{head:>{margin - 1}} ┤{''.join(row_of)}".rstrip())
    lines.append(" " * margin + "└" + "─" * across)
    end = f"{number(most_x * 1e3)} ms"
    lines.append(" " * (margin + 1) + "0" + end.rjust(across - 1))
    return lines
