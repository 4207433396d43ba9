"""Level figures: everything that is said of one level, from its records."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from pydantic import Field

from benchcore.base.clock import NS
from benchcore.base.stored import Count, Stored
from benchcore.client.records import Outcome, Record, Usage
from benchcore.config.catalogue import LATENCIES
from benchcore.config.limits import Slo
from benchcore.metrics.figures import (
    PER_REQUEST,
    dispatch_lag_ns,
    is_estimated,
    is_good,
    mean_e2e_ns,
    streaming,
    timed_chunk_gaps,
    timed_token_gaps,
)
from benchcore.metrics.spool import chosen, is_ok, is_streamed, joined
from benchcore.metrics.summary import (
    Summary,
    infinite_throughout,
    summarize,
    summarize_pool,
)
from benchcore.metrics.throughput import rate_intervals, throughput

FAILURES_COUNT_IN = tuple(name for name in PER_REQUEST if LATENCIES[name].gate)
"""The figures in which a failure may count as infinite: not what sending and connecting took."""
FRAGMENT = 0.5
"""Share of the streams below which a figure that they divide by is not shown."""
OF_PLAIN_ANSWERS = tuple(name for name in FAILURES_COUNT_IN if LATENCIES[name].plain)
"""Those of them that an answer has which is not streamed."""


class TokenSums(Stored):
    """Sums of tokens over the `ok` requests of a level; `None` where one of them does not know."""

    SPARSE = frozenset({"asked_input", "input", "asked_output", "output", "cached", "reasoning"})

    asked_input: Count | None = None
    """Of the lengths that the workload meant."""
    input: Count | None = None
    asked_output: Count | None = None
    """Of the limits that were asked for."""
    output: Count | None = None
    cached: Count | None = None
    reasoning: Count | None = None
    token_count_source: dict[str, Count] = Field(default_factory=dict)
    """How many requests have their count of output tokens from where."""


class _Total:
    """A sum that is unknown as soon as one part of it is."""

    def __init__(self) -> None:
        self.parts = self.known = self.sum = 0

    def add(self, value: int | None) -> None:
        self.parts += 1
        if value is not None:
            self.known += 1
            self.sum += value

    def found(self) -> int | None:
        return self.sum if self.known and self.known == self.parts else None


def count_tokens(records: Iterable[Record]) -> TokenSums:
    """Add up the token counts of requests; a sum that any of them does not know is unknown."""
    names = ("asked_input", "asked_output", "input", "output", "cached", "reasoning")
    totals = {name: _Total() for name in names}
    sources: Counter[str] = Counter()
    for record in records:
        usage = record.usage or Usage()
        totals["asked_input"].add(record.asked_input_tokens)
        totals["asked_output"].add(record.asked_output_tokens)
        totals["input"].add(usage.prompt_tokens)
        totals["output"].add(record.output_tokens)
        totals["cached"].add(usage.cached_tokens)
        totals["reasoning"].add(usage.reasoning_tokens)
        source = record.token_count_source
        if source is not None:
            sources[source.value] += 1
    return TokenSums.complete(
        **{name: total.found() for name, total in totals.items()}, token_count_source=dict(sources)
    )


def latencies(
    measured: Iterable[Record], *, open_loop: bool, failures: int | None
) -> dict[str, Summary]:
    """Summarize every figure of the `ok` requests.

    Args:
        measured: the requests scheduled inside the window; gone through several times.
        open_loop: `dispatch_lag` is of an open loop only.
        failures: how many failed or were dropped, to count them as infinite too; else `None`.
    """
    # All figures in one go: each record may have to be read from a file.
    columns = {name: (array("d"), array("q")) for name in (*PER_REQUEST, "dispatch_lag")}
    streams = pieces = several = 0
    for record in measured:
        at_ns = record.scheduled_ns
        if open_loop and (lag_ns := dispatch_lag_ns(record)) is not None:
            columns["dispatch_lag"][0].append(lag_ns)
            columns["dispatch_lag"][1].append(at_ns)
        if record.outcome is not Outcome.OK:
            continue
        for name, figure in PER_REQUEST.items():
            value = figure(record)
            if value is not None:
                columns[name][0].append(value)
                columns[name][1].append(at_ns)
        if record.streamed:
            streams += 1
            pieces += len(record.stamps) > 1
            several += streaming(record) is not None
    ok = chosen(measured, is_ok)
    request_ns = mean_e2e_ns(ok)
    found: dict[str, Summary | None] = {}
    for name, (values, at) in columns.items():
        late = failures if name in FAILURES_COUNT_IN else None
        found[name] = summarize(values, late, at_ns=at, request_ns=request_ns)
    lag = found.pop("dispatch_lag")
    # A figure that only a fragment of the streams has is that of the fragment.
    if is_fragment(several, streams):
        found["tpot"] = None
    if not is_fragment(pieces, streams):
        found["icl"] = summarize_pool(ok, timed_chunk_gaps)
        found["itl"] = summarize_pool(ok, timed_token_gaps)
    found["dispatch_lag"] = lag
    return {name: summary for name, summary in found.items() if summary is not None}


def is_fragment(having: int, streams: int) -> bool:
    """Whether a figure is not shown, since under half of the streams have what it divides by."""
    return having < FRAGMENT * streams


def tokens_per_second_per_user(streamed: Iterable[Record]) -> float | None:
    """Return how fast one choice streams: tokens after the first ÷ the time they took, both summed.

    A ratio of sums: the mean of each request's own would be ruled by those with hardly any time in
    it. `None` where under half of the streams have such a time.
    """
    streams = having = tokens = took_ns = 0
    for record in streamed:
        streams += 1
        found = streaming(record)
        if found is not None:
            having += 1
            tokens += found[0]
            took_ns += found[1]
    return tokens / took_ns * NS if having and not is_fragment(having, streams) else None


def fragments(streamed: Iterable[Record]) -> Iterator[str]:
    """Yield which figures are not shown since only a fragment of the streams has them, and why.

    Args:
        streamed: `ok` requests that were streamed; those without output say nothing of it.
    """
    streams = several = gaps = 0
    for record in streamed:
        if record.token_events:
            streams += 1
            several += streaming(record) is not None
            gaps += len(record.stamps) > 1
    if not streams:
        return
    if is_fragment(several, streams):
        yield (
            f"TPOT and tok/s per user are not shown: {several} of {streams} streams have "
            "time between their first and their last token"
        )
    if is_fragment(gaps, streams):
        yield f"ITL and ICL are not shown: {gaps} of {streams} streams came in more than one piece"


def infinite_figures(
    measured: Iterable[Record], failures: int | None, *, stream: bool
) -> dict[str, Summary]:
    """Return the figures of which failures leave nothing: not one request was `ok`.

    Args:
        measured: the requests scheduled inside the window.
        failures: how many failed or were dropped; `None` where they do not count as infinite.
        stream: streams were asked for.
    """
    if not failures or any(record.outcome is Outcome.OK for record in measured):
        return {}
    names = FAILURES_COUNT_IN if stream else OF_PLAIN_ANSWERS
    return {name: infinite_throughout() for name in names}


def rates(
    measured: Iterable[Record],
    others: Iterable[Record],
    start_ns: int,
    end_ns: int,
    slos: Sequence[Slo],
) -> dict[str, Any]:
    """Return the rates, shares and counts of a level, as fields of `Level`.

    Args:
        measured: the requests scheduled inside the window; gone through several times.
        others: the unmeasured ones that were on their way inside it.
        start_ns: where the window begins.
        end_ns: where it ends.
        slos: what a good request meets.
    """
    everyone = joined(others, measured)
    seconds = (end_ns - start_ns) / NS
    counted = ok = good = streams = estimated = excluded = retried = 0
    ended_good = sum(start_ns < one.done_ns <= end_ns and is_good(one, slos) for one in others)
    for record in measured:
        counted += record.outcome is not Outcome.CANCELLED
        retried += record.retried
        if record.outcome is not Outcome.OK:
            continue
        ok += 1
        if is_good(record, slos):
            good += 1
            ended_good += start_ns < record.done_ns <= end_ns
        if record.streamed:
            streams += 1
            estimated += is_estimated(record)
            excluded += PER_REQUEST["tpot"](record) is None
    rate = throughput(everyone, start_ns, end_ns)
    itl_kind = "estimated" if estimated else "exact"
    return {
        "request_throughput": rate.requests,
        "output_token_throughput": rate.output_tokens,
        "input_token_throughput": rate.input_tokens,
        "total_token_throughput": rate.total_tokens,
        "rate_intervals": rate_intervals(everyone, start_ns, end_ns),
        "tokens_per_second_per_user": tokens_per_second_per_user(
            chosen(measured, lambda one: is_ok(one) and is_streamed(one))
        ),
        "good": good,
        "goodput": ended_good / seconds if seconds > 0 else None,
        "goodput_ratio": good / counted if counted else None,
        "failure_rate": (counted - ok) / counted if counted else None,
        "itl": itl_kind if streams else None,
        "tpot_estimated": estimated,
        "tpot_excluded": excluded,
        "retried": retried,
    }


IN_BAND: Final = ("queue", "prefill", "ttft", "decode", "e2e", "upstream")
"""The spans that servers say of a request in its answer; see `InBand`."""


def in_band_figures(records: Iterable[Record]) -> dict[str, Summary]:
    """Summarize what the server says of the `ok` requests in their answers, in seconds.

    Args:
        records: the measured ones.
    """
    spans = {name: (array("d"), array("q")) for name in IN_BAND}
    for record in records:
        if record.in_band is None or record.outcome is not Outcome.OK:
            continue
        for name, (values_ns, at_ns) in spans.items():
            seconds = getattr(record.in_band, f"{name}_seconds")
            if seconds is not None:
                values_ns.append(seconds * NS)
                at_ns.append(record.scheduled_ns)
    return {
        name: summary
        for name, (values_ns, at_ns) in spans.items()
        if (summary := summarize(values_ns, at_ns=at_ns)) is not None
    }
