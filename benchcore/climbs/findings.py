"""Remarks: what else is to be said of a level, beside its figures."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchcore.base.clock import NS
from benchcore.client.openai import GOOD_ENDS
from benchcore.client.records import FAILED, Outcome, Phase, Record
from benchcore.client.watchdog import LATE_NS
from benchcore.climbs.requests import Sent
from benchcore.config.catalogue import title
from benchcore.config.climb import Arrival, ClimbConfig
from benchcore.config.limits import Slo
from benchcore.load.level_plan import LevelPlan, LevelRecords, Stage
from benchcore.load.steady import Flow, SteadyState, closed_steady, open_steady
from benchcore.metrics.fidelity import PrefixCache
from benchcore.metrics.figures import has_figure, ttft_ns
from benchcore.metrics.groups import groups, session_figures
from benchcore.metrics.level import TokenSums, fragments
from benchcore.metrics.percentiles import minimum_count, nearest_rank
from benchcore.metrics.pieces import Buffering, buffering
from benchcore.metrics.spool import chosen, is_ok, is_streamed
from benchcore.metrics.summary import summarize
from benchcore.metrics.throughput import throughput
from benchcore.runs.run import REPLAYED
from benchcore.show.progress import Progress
from benchcore.workload.kinds import SessionKind, Workload

CAUSES_TOLD = 3
FAILURES_TOLD = 3
"""Of each kind and run."""
_LASTED = frozenset({Outcome.OK, Outcome.TIMEOUT, Outcome.CANCELLED})
"""How requests end that took what the server took; a refusal is no service."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How a running level stands; instants in ns.

    Args:
        stage: where it is.
        start_ns: when it began.
        window_start_ns: when its window did.
        scheduled: requests that have been planned in the window.
        in_flight: requests that are on their way.
    """

    stage: Stage
    start_ns: int
    window_start_ns: int
    scheduled: int
    in_flight: int


def how_far(plan: LevelPlan, stands: Standing, now_ns: int) -> tuple[float | None, float | None]:
    """Return the share of its window that a level has done, and the seconds that are left of it.

    `None` before and after the window, and while it is too early to tell.
    """
    if stands.stage is not Stage.WINDOW:
        return None, None
    elapsed_ns = now_ns - stands.window_start_ns
    shares = []
    if plan.requests:
        shares.append(stands.scheduled / plan.requests)
    if plan.window_ns:
        shares.append(elapsed_ns / plan.window_ns)
    share = max(shares, default=None)
    if share is None or share <= 0.02:
        return share, None
    return share, elapsed_ns / NS * (1 - share) / share


class Failures:
    """Tells of the first failures of each kind in a run, and counts the others.

    Args:
        progress: is told.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._told: Counter[str] = Counter()
        self._untold: Counter[str] = Counter()

    def note(self, level: str, record: Record) -> None:
        """Take a request that failed."""
        kind = str(record.outcome)
        if record.outcome is Outcome.HTTP_ERROR:
            kind = f"{kind} {record.status}"
        elif record.phase is not None:
            kind = f"{kind} ({record.phase.value})"
        if self._told[kind] < FAILURES_TOLD:
            self._told[kind] += 1
            self._progress.failure(level, record)
        else:
            self._untold[kind] += 1

    def say_rest(self, level: str) -> None:
        """Tell how many more there were in a level."""
        for kind, count in self._untold.items():
            self._progress.say(f"{level}: {count} more request(s) ended as {kind}")
        self._untold.clear()


def steady_state(plan: LevelPlan, result: LevelRecords, in_flight: Sequence[float]) -> SteadyState:
    """Return where a level that is over was in its steady state, in seconds of the level.

    Args:
        plan: of the level.
        result: of it.
        in_flight: of each of its seconds, the mean number of requests on their way.
    """
    if plan.replay or plan.changes:
        return SteadyState(None, why="the load changes over time: no steady state is looked for")
    means = in_flight[: (result.window_end_ns - result.start_ns) // NS]
    first = -((result.start_ns - result.window_start_ns) // NS)
    if plan.concurrency is not None:
        return closed_steady(means[first:], plan.concurrency, first)
    return open_steady(means[first:], first, flow_of(result))


def buffered_streams(result: LevelRecords, lag_seconds: float | None) -> Buffering | None:
    """Return how the streams of a level arrive, where something buffers them on the way.

    Args:
        result: of the level.
        lag_seconds: median time from an arrival to its read; `None`: unknown.
    """
    ok = chosen(result.measured, is_ok)
    return buffering(ok, None if lag_seconds is None else lag_seconds * NS)


def flow_of(result: LevelRecords) -> Flow:
    """Return what came and what went in the window of an open loop."""
    zero_ns = result.start_ns
    went = array("d", (one.done_ns for one in result.others if one.outcome in _LASTED))
    arrived, done = array("d"), array("d")
    for one in result.measured:
        if one.outcome in _LASTED:
            arrived.append(one.scheduled_ns - zero_ns)
            done.append(one.done_ns - zero_ns)
            went.append(one.done_ns)
    arrived_ns, done_ns = np.asarray(arrived), np.asarray(done)
    return Flow(
        begin=(result.window_start_ns - zero_ns) / NS,
        end=(result.window_end_ns - zero_ns) / NS,
        arrived=arrived_ns / NS,
        lasted=(done_ns - arrived_ns) / NS,
        ended=(np.asarray(went) - zero_ns) / NS,
    )


def steady_figures(
    steady: SteadyState, result: LevelRecords, everyone: Iterable[Record]
) -> dict[str, object]:
    """Return `steady_state` of a level: where it lies and what was measured there.

    Args:
        steady: where it lies, in seconds of the level.
        result: of the level.
        everyone: all requests on their way inside the window.
    """
    found: dict[str, object] = {"found": steady.found, "why": steady.why}
    if not steady.found:
        return found
    zero_ns = result.start_ns
    begin_ns = max(zero_ns + steady.first_second * NS, result.window_start_ns)
    end_ns = min(zero_ns + (steady.last_second + 1) * NS, result.window_end_ns)
    inside = 0
    ttfts_ns = array("d")
    for record in result.measured:
        if begin_ns <= record.scheduled_ns < end_ns and record.outcome is Outcome.OK:
            inside += 1
            value = ttft_ns(record)
            if value is not None:
                ttfts_ns.append(value)
    ttft = summarize(ttfts_ns)
    rate = throughput(everyone, begin_ns, end_ns)
    return found | {
        "start_seconds": (begin_ns - zero_ns) / NS,
        "end_seconds": (end_ns - zero_ns) / NS,
        "request_throughput": rate.requests,
        "output_token_throughput": rate.output_tokens,
        "ttft_p50_seconds": None if ttft is None else ttft.p50,
        "ttft_p99_seconds": None if ttft is None else ttft.p99,
        "requests": inside,
    }


def findings(
    steady: SteadyState,
    result: LevelRecords,
    buffered: Buffering | None = None,
    *,
    gone: str = "",
) -> Iterator[str]:
    """Yield what the level shows of the server, a line each.

    Args:
        steady: where it lies.
        result: of the level.
        buffered: how its streams arrive, where something buffers them.
        gone: how it was found that the server is there no more.
    """
    if gone:
        yield f"target_gone: {gone}"
    if buffered is not None:
        yield str(buffered)
    contradicted = chosen(result.measured, lambda one: one.usage_contradicted)
    first = next(iter(contradicted), None)
    if first is not None:
        yield _contradicted(first, sum(1 for _ in contradicted), len(result.measured))
    if steady.grows:
        yield f"server_saturated: {steady.why}: the server does not keep up with the rate"
    causes: dict[str, int] = {}
    statuses = set()
    unexplained = 0
    for record in result.measured:
        if record.outcome in FAILED:
            causes[record.cause] = causes.get(record.cause, 0) + 1
            statuses.add(record.status)
        elif record.outcome is Outcome.OK and record.streamed and not record.finish_reason:
            unexplained += 1
    for what, count in sorted(causes.items(), key=lambda cause: -cause[1])[:CAUSES_TOLD]:
        yield f"{count} × {what}"
    if unexplained:
        yield (
            f"{unexplained} stream(s) ended with [DONE] and no finish_reason: the server may have "
            "cut them short"
        )
    yield from _ends(result)
    advice = overload_advice(" ".join(causes), *statuses)
    if advice:
        yield advice


def _ends(result: LevelRecords) -> Iterator[str]:
    """Yield what is to be said of how the answers ended."""
    reasons: dict[str, int] = {}
    tails = []
    streams = 0
    for record in result.measured:
        if record.outcome is not Outcome.OK:
            continue
        if record.finish_reason and record.finish_reason.lower() not in GOOD_ENDS:
            reasons[record.finish_reason] = reasons.get(record.finish_reason, 0) + 1
        streams += record.streamed
        if record.tail_ns > LATE_NS:
            tails.append(record.tail_ns)
    for reason, count in sorted(reasons.items(), key=lambda one: -one[1])[:CAUSES_TOLD]:
        what = "the server's filter cut them" if reason == "content_filter" else "no known reason"
        yield f"finish_reason: {count} answer(s) ended as {reason[:80]!r}: {what}"
    if tails:
        median = nearest_rank(sorted(tails), 0.5) / NS
        yield (
            f"late_end: {len(tails)} of {streams} streams went on for over "
            f"{LATE_NS // 1_000_000} ms after their finish_reason or [DONE] (median "
            f"{median * 1e3:.0f} ms, as far as it was waited for): something behind the last token "
            "keeps them open"
        )
    cut = sum(record.phase is Phase.DRAIN for record in result.measured)
    if cut:
        yield (
            f"drain: {cut} request(s) were cancelled by our own limit, still running when the "
            "drain was over; a longer --drain lets them end"
        )


def _contradicted(one: Record, count: int, measured: int) -> str:
    assert one.usage is not None
    return (
        f"usage_contradicted: in {count} of {measured} requests usage says less than came "
        f"(such as {one.usage.completion_tokens} output tokens beside {one.token_events} events "
        "with output): the events count"
    )


def notes(result: LevelRecords, slos: Sequence[Slo] = ()) -> Iterator[str]:
    """Yield what is to be known of the figures, a line each."""
    ok = result.ended[Outcome.OK]
    good = chosen(result.measured, is_ok)
    yield from fragments(chosen(good, is_streamed))
    for slo in slos:
        without = sum(not has_figure(record, slo.metric) for record in good)
        if without:
            yield (
                f"goodput: {without} of {ok} ok requests have no {title(slo.metric)}, and its SLO "
                "counts as met for them"
            )
    if ok and ok < minimum_count(0.99):
        yield f"{ok} ok requests: p99 rests on fewer than {minimum_count(0.99)}"
    if not result.scheduled:
        yield "nothing was scheduled inside the window"
    elif result.window_end_ns <= result.window_start_ns:
        yield "all requests were scheduled at once: a window without length has no throughput"
    if result.exhausted:
        yield "the drawn schedule ended before the window did: ask for a shorter warm-up"
    retries = sum(record.retried for record in result.measured)
    if retries:
        yield f"{retries} request(s) were sent again: the server had closed the connection"


def overload_advice(text: str, *statuses: int) -> str | None:
    """Return what to do about a server that says it is out of memory or overloaded.

    Args:
        text: its words.
        *statuses: with which it refused.
    """
    low = text.lower()
    if "out of memory" in low or "oom" in low.split() or "cuda error" in low:
        return (
            "advice: the server ran out of memory; give it less to hold: a shorter context "
            "(--max-model-len), fewer sequences (--max-num-seqs), or less of the GPU's memory"
        )
    if 429 in statuses:
        return (
            "advice: the server sheds load (429: it limits how many requests it takes); a lower "
            "--concurrency or --rate shows what it holds"
        )
    if 503 in statuses:
        return (
            "advice: the server sheds load (503: overloaded, or not ready yet); a lower "
            "--concurrency or --rate shows what it holds, and its log says which"
        )
    if any(word in low for word in ("overload", "queue is full", "too many requests", "capacity")):
        return "advice: the server sheds load; a lower --concurrency or --rate shows what it holds"
    return None


def of_sessions(
    result: LevelRecords, workload: Workload, slos: Sequence[Slo], *, open_loop: bool
) -> dict[str, Any]:
    """Return how the sessions of a level went, and its figures by turn and by class.

    They are fields of `Level`; `None` where a workload has prompts alone, and no groups where there
    is one turn and no class.
    """
    if not isinstance(workload, SessionKind):
        return {"sessions": None, "groups": None}
    tally = result.sessions
    limits = {"": slos, **workload.class_slos()}
    return {
        "sessions": session_figures(
            begun=result.begun,
            left_open=result.left_open,
            ended=tally.ended,
            failed=tally.failed,
            turns=tally.turns,
            unreached=tally.unreached,
            lasted_ns=tally.lasted_ns,
            window_ns=result.window_end_ns - result.window_start_ns,
        ),
        "groups": groups(result.measured, open_loop=open_loop, slos=limits) or None,
    }


def again(sent: Sent) -> Iterator[str]:
    """Yield that a workload came to its end and began again, which a prefix cache notices."""
    if sent.rounds:
        yield (
            f"the workload came to its end and began again ({sent.rounds} time(s)): a server "
            "with a prefix cache answers repeated prompts faster than new ones"
        )


def prefix_cache(sent: Sent, tokens: TokenSums) -> PrefixCache | None:
    """Return what the server's prefix cache held, against a perfect one; `None`: prompts alone."""
    if not sent.tokens:
        return None
    cached, given = tokens.cached, tokens.input
    return PrefixCache.complete(
        ideal=sent.hits / sent.tokens,
        block_tokens=sent.block_tokens,
        reported=None if cached is None or not given else cached / given,
        lower_bound=sent.reuse_is_cut or None,
    )


def arrival(config: ClimbConfig, level: float) -> str:
    """Return how the arrivals of an open loop were spaced, in a few words."""
    if config.speed:
        return f"{REPLAYED}{level:g}"
    spaced = str(Arrival.parse(config.arrival))
    return spaced if config.shape is None else f"{spaced} {config.shape}"
