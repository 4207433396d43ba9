"""Remarks: what else is to be said of a level, beside its figures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from benchcore.client.records import FAILED, Outcome, Record
from benchcore.clock import NS
from benchcore.load.level import Level, LevelRecords, Stage
from benchcore.load.steady import SteadyState
from benchcore.metrics.figures import ttft_ns
from benchcore.metrics.percentiles import minimum_count
from benchcore.metrics.summary import summarize
from benchcore.metrics.throughput import throughput

CAUSES_TOLD = 3


def how_far(level: Level, now_ns: int) -> tuple[float | None, float | None]:
    """Return the share of its window that a level has done, and the seconds that are left of it.

    `None` before and after the window, and while it is too early to tell.
    """
    if level.stage is not Stage.WINDOW:
        return None, None
    elapsed_ns = now_ns - level.result.window_start_ns
    shares = []
    if level.plan.requests:
        shares.append(level.result.scheduled / level.plan.requests)
    if level.plan.window_ns:
        shares.append(elapsed_ns / level.plan.window_ns)
    share = max(shares, default=None)
    if share is None or share <= 0.02:
        return share, None
    return share, elapsed_ns / NS * (1 - share) / share


def steady_figures(
    steady: SteadyState, result: LevelRecords, everyone: Sequence[Record]
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
    inside = [
        record
        for record in result.measured
        if begin_ns <= record.scheduled_ns < end_ns and record.outcome is Outcome.OK
    ]
    ttft = summarize([value for record in inside if (value := ttft_ns(record)) is not None])
    rate = throughput(everyone, begin_ns, end_ns)
    return found | {
        "start_seconds": (begin_ns - zero_ns) / NS,
        "end_seconds": (end_ns - zero_ns) / NS,
        "request_throughput": rate.requests,
        "output_token_throughput": rate.output_tokens,
        "ttft_p50_seconds": None if ttft is None else ttft.p50,
        "ttft_p99_seconds": None if ttft is None else ttft.p99,
        "requests": len(inside),
    }


def findings(steady: SteadyState, result: LevelRecords) -> Iterator[str]:
    """Yield what the level shows of the server, a line each."""
    if steady.grows:
        yield f"server_saturated: {steady.why}: the server does not keep up with the rate"
    causes: dict[str, int] = {}
    unexplained = 0
    for record in result.measured:
        if record.outcome in FAILED:
            what = f"{record.outcome}: {record.error}"
            causes[what] = causes.get(what, 0) + 1
        elif record.outcome is Outcome.OK and record.streamed and not record.finish_reason:
            unexplained += 1
    for what, count in sorted(causes.items(), key=lambda cause: -cause[1])[:CAUSES_TOLD]:
        yield f"{count} × {what}"
    if unexplained:
        yield (
            f"{unexplained} stream(s) ended with [DONE] and no finish_reason: the server may have "
            "cut them short"
        )
    advice = overload_advice(" ".join(causes))
    if advice:
        yield advice


def notes(result: LevelRecords) -> Iterator[str]:
    """Yield what is to be known of the figures, a line each."""
    ok = result.ended[Outcome.OK]
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


def overload_advice(text: str) -> str | None:
    """Return what to do about a server that says it is out of memory or overloaded."""
    low = text.lower()
    if "out of memory" in low or "oom" in low.split() or "cuda error" in low:
        return (
            "advice: the server ran out of memory; give it less to hold: a shorter context "
            "(--max-model-len), fewer sequences (--max-num-seqs), or less of the GPU's memory"
        )
    if any(word in low for word in ("overload", "queue is full", "too many requests", "capacity")):
        return "advice: the server sheds load; a lower --concurrency or --rate shows what it holds"
    return None
