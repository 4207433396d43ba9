"""Groups: a level's figures by turn and by class, and those of its sessions."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Final, Literal

from benchcore.base.clock import NS
from benchcore.base.stored import Count, Number, Stored
from benchcore.client.records import FAILED, Outcome, Record
from benchcore.config.limits import Slo
from benchcore.metrics.figures import is_good
from benchcore.metrics.level import TokenSums, count_tokens, latencies
from benchcore.metrics.spool import chosen, is_ok
from benchcore.metrics.summary import Summary, summarize

MOST_TURNS: Final = 16
"""Turns with figures of their own; those beyond are one group."""
MOST_CLASSES: Final = 32


class Group(Stored):
    """The figures of some of a level's requests, latencies in seconds."""

    SPARSE = frozenset({"good"})

    by: Literal["turn", "class"]
    value: str
    """The number of the turn, from 1 (`17+`: all from there on), or the name of the class."""
    scheduled: Count
    ok: Count
    failed: Count
    good: Count | None = None
    """Of the `ok` requests, those that met the SLOs; left out where there are none."""
    tokens: TokenSums
    metrics: dict[str, Summary]

    @property
    def cached_share(self) -> float | None:
        """Share of the input tokens that the server took from its prefix cache."""
        cached, given = self.tokens.cached, self.tokens.input
        return None if cached is None or not given else cached / given


class SessionFigures(Stored):
    """How the sessions of a level went.

    Those that ended inside the window count, whenever they had begun; e2e is from a session's
    planned begin to the end of its last turn.
    """

    SPARSE = frozenset({"e2e"})

    begun: Count
    """Sessions that were planned to begin inside the window."""
    ended: Count
    """Sessions that ended inside the window with all their turns."""
    failed: Count
    """Sessions that ended inside the window with a turn that failed."""
    left_open: Count
    """Of those that were begun in the window, those that had not ended when the level was over."""
    turns: Count
    """Turns of the sessions that ended or failed, as far as they ended as they should."""
    unreached: Count
    """Turns of theirs that were never asked, since one that they waited for had failed."""
    per_hour: Number | None
    """Sessions that ended, per hour of window."""
    e2e: Summary | None = None


class Judged(Stored):
    """What the judges of a workload say of the answers to its measured requests."""

    judged: Count
    good: Count
    wrong: dict[str, Count]
    """What was wrong, and how often."""


def judged_answers(
    judged: Iterable[tuple[int, str]], window_start_ns: int, window_end_ns: int
) -> Judged | None:
    """Return what was found of answers; `None`: none was judged.

    Args:
        judged: when each request was scheduled, in ns, and what was wrong with its answer.
        window_start_ns: of the window.
        window_end_ns: of the window.
    """
    found = Counter(wrong for at_ns, wrong in judged if window_start_ns <= at_ns <= window_end_ns)
    if not found:
        return None
    good = found.pop("", 0)
    return Judged.complete(
        judged=good + found.total(), good=good, wrong=dict(sorted(found.items()))
    )


def groups(
    measured: Sequence[Record], *, open_loop: bool, slos: Mapping[str, Sequence[Slo]]
) -> list[Group]:
    """Return the figures by turn and by class, where there are several turns or classes.

    Args:
        measured: the requests scheduled inside the window; gone through once for each group.
        open_loop: whether the level is one.
        slos: by class, the limits of a good request; `""`: of every other.
    """
    turns: Counter[int] = Counter()
    classes: Counter[str] = Counter()
    for record in measured:
        turns[min(record.turn, MOST_TURNS + 1)] += 1
        classes[record.kind] += 1
    found: list[Group] = []
    if len(turns) > 1:
        for turn in sorted(turns):
            some = chosen(measured, partial(_is_turn, turn))
            name = str(turn) if turn <= MOST_TURNS else f"{turn}+"
            found.append(_group("turn", name, some, open_loop, slos.get("", ())))
    if any(classes) and len(classes) <= MOST_CLASSES:
        for name in sorted(classes):
            some = chosen(measured, partial(_is_class, name))
            limits = slos.get(name) or slos.get("", ())
            found.append(_group("class", name or "-", some, open_loop, limits))
    return found


def _is_turn(turn: int, record: Record) -> bool:
    return min(record.turn, MOST_TURNS + 1) == turn


def _is_class(name: str, record: Record) -> bool:
    return record.kind == name


def _group(
    by: Literal["turn", "class"],
    value: str,
    records: Iterable[Record],
    open_loop: bool,
    slos: Sequence[Slo],
) -> Group:
    ended = Counter(record.outcome for record in records)
    bad = sum(ended[outcome] for outcome in FAILED) + ended[Outcome.DROPPED]
    good = sum(is_good(record, slos) for record in records) if slos else None
    return Group.complete(
        by=by,
        value=value,
        scheduled=ended.total(),
        ok=ended[Outcome.OK],
        failed=bad,
        good=good,
        tokens=count_tokens(chosen(records, is_ok)),
        metrics=latencies(records, open_loop=open_loop, failures=None),
    )


def session_figures(*, lasted_ns: array[int], window_ns: int, **counts: int) -> SessionFigures:
    """Return how the sessions of a level went.

    Args:
        lasted_ns: shape (n,), of each session that ended inside the window with all its turns, from
            its planned begin to its end.
        window_ns: length of the window.
        counts: the other fields of `SessionFigures` by their names.
    """
    seconds = window_ns / NS
    return SessionFigures.complete(
        **counts,
        per_hour=len(lasted_ns) / seconds * 3600 if seconds > 0 else None,
        e2e=summarize(lasted_ns),
    )
