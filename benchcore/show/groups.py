"""Groups: figures by turn and by class, and what the sessions came to, as cells and lines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from benchcore.base.text import number, percent
from benchcore.config.catalogue import GROUPED, columns_of, title
from benchcore.metrics.groups import Group
from benchcore.runs.run import Level

_BRIEF: Final = {column.figure for column in columns_of("brief")}
HEADS: Final = (
    *("level", "of", "requests", "failed"),
    *(f"{title(f'{metric}.{name}')} ms" for metric, name in GROUPED),
    *("cached", "good"),
)
"""Of the table by turn and by class."""
NARROW: Final = (
    *range(4),
    *(place for place, shown in enumerate(GROUPED, 4) if ".".join(shown) in _BRIEF),
    HEADS.index("cached"),
)
"""Its columns in a narrow terminal."""


def rows(levels: Iterable[Level]) -> list[list[str]]:
    """Return the cells of the table by turn and by class; none where no level has them."""
    return [
        [level.name, f"{group.by} {group.value}", *_cells(group)]
        for level in levels
        for group in level.groups or ()
    ]


def _cells(group: Group) -> list[str]:
    def ms(metric: str, name: str) -> str:
        summary = group.metrics.get(metric)
        value = None if summary is None else summary.value(name)
        if summary is None or value is None:
            return "–"
        return ("~" if name in summary.low_confidence else "") + number(value * 1e3)

    judged = group.scheduled if group.good is not None else 0
    return [
        str(group.scheduled),
        percent(group.failed / group.scheduled if group.scheduled else None),
        *(ms(metric, name) for metric, name in GROUPED),
        percent(group.cached_share),
        percent((group.good or 0) / judged) if judged else "–",
    ]


def session_lines(levels: Iterable[Level]) -> list[str]:
    """Return what must be said of sessions, prefix caches and replays, a line each."""
    lines: list[str] = []
    for level in levels:
        lines += _cache_and_replay(level)
        sessions = level.sessions
        if (
            sessions is None
            or level.groups is None
            or all(group.by != "turn" for group in level.groups)
        ):
            continue
        parts = [f"{sessions.ended} ended in the window"]
        if sessions.per_hour is not None:
            parts[0] += f" ({number(sessions.per_hour)} an hour)"
        if sessions.e2e is not None:
            p50, p99 = sessions.e2e.value("p50"), sessions.e2e.value("p99")
            parts.append(f"each took {number(p50)} s (p50), {number(p99)} s (p99)")
        if sessions.failed:
            parts.append(
                f"{sessions.failed} failed, and {sessions.unreached} turn(s) were never asked"
            )
        if sessions.left_open:
            parts.append(f"{sessions.left_open} had not ended when the level was over")
        lines.append(f"{level.name}: sessions: {'; '.join(parts)}")
    return lines


def _cache_and_replay(level: Level) -> Iterator[str]:
    cache = level.prefix_cache
    if cache is not None and cache.ideal is not None and (cache.ideal > 0 or cache.reported):
        more = "or more " if cache.lower_bound else ""
        said = "the server does not say what its own held"
        if cache.reported is not None:
            said = f"the server reports {percent(cache.reported)}"
        yield (
            f"{level.name}: prefix cache: a perfect one would have held {percent(cache.ideal)} "
            f"{more}of the input; {said}"
        )
    answers = level.answers
    if answers is not None:
        worst = sorted(answers.wrong.items(), key=lambda one: -one[1])[:3]
        wrong = "".join(f"; {count} × {what}" for what, count in worst)
        yield (
            f"{level.name}: answers: {percent(answers.good / answers.judged)} of "
            f"{answers.judged} are as they were asked for{wrong}"
        )
    found = level.fidelity
    if found is not None:
        distances = (("input", found.input_tokens), ("output", found.output_tokens))
        parts = [
            f"{name} {'unknown' if one is None else f'{one:.3f}'}"
            for name, one in (*distances, ("gaps", found.gaps))
        ]
        yield f"{level.name}: replay: KS distances to the trace: {', '.join(parts)}"
