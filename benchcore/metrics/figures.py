"""Figures: what one record says, in nanoseconds and tokens."""

from collections.abc import Iterable

import numpy as np

from benchcore.client.records import Outcome, Record
from benchcore.config.slo import Slo
from benchcore.metrics.gaps import chunk_gaps, token_gaps
from benchcore.metrics.percentiles import nearest_rank
from benchcore.metrics.tokens import streaming


def ttft_ns(record: Record) -> int | None:
    """Time to first token: `first_token − sent`."""
    return record.first_token_ns - record.sent_ns if record.first_token_ns else None


def ttft_from_schedule_ns(record: Record) -> int | None:
    """Time to first token from the planned instant, safe from coordinated omission."""
    return record.first_token_ns - record.scheduled_ns if record.first_token_ns else None


def ttfo_ns(record: Record) -> int | None:
    """Time to first output that is not reasoning."""
    return record.first_output_ns - record.sent_ns if record.first_output_ns else None


def first_byte_ns(record: Record) -> int | None:
    """Time to the first byte of the answer."""
    return record.first_byte_ns - record.sent_ns if record.first_byte_ns else None


def end_ns(record: Record) -> int:
    """The last token; of a plain answer its end."""
    return record.last_token_ns if record.streamed else record.done_ns


def e2e_ns(record: Record) -> int | None:
    """End-to-end latency: `last_token − sent`; of a plain answer `done − sent`."""
    end = end_ns(record)
    return end - record.sent_ns if end and record.sent_ns else None


def mean_e2e_ns(records: Iterable[Record]) -> float:
    """Return the mean end-to-end latency of those requests that have one; 0 where none has."""
    count = total = 0
    for record in records:
        length = e2e_ns(record)
        if length is not None:
            count += 1
            total += length
    return total / count if count else 0.0


def e2e_from_schedule_ns(record: Record) -> int | None:
    """End-to-end latency from the planned instant."""
    end = end_ns(record)
    return end - record.scheduled_ns if end else None


def dispatch_lag_ns(record: Record) -> int | None:
    """How late the request left: `sent − scheduled`."""
    return record.sent_ns - record.scheduled_ns if record.sent_ns else None


def send_ns(record: Record) -> int | None:
    """Time until the socket had taken the request's last byte."""
    return record.send_end_ns - record.sent_ns if record.send_end_ns else None


def connect_ns(record: Record) -> int | None:
    """Time spent waiting for a new connection; `None` on an open one."""
    return record.connect_ns or None


def tpot_ns(record: Record) -> float | None:
    """Time per output token after the first, of one choice; `None` where there is none to divide.

    Where all tokens came in one read, no time lies between them: that is not 0 but unknown.
    """
    found = streaming(record)
    return None if found is None else found[1] / found[0]


PER_REQUEST = {
    "ttft": ttft_ns,
    "ttft_from_schedule": ttft_from_schedule_ns,
    "ttfo": ttfo_ns,
    "first_byte": first_byte_ns,
    "tpot": tpot_ns,
    "e2e": e2e_ns,
    "e2e_from_schedule": e2e_from_schedule_ns,
    "send": send_ns,
    "connect": connect_ns,
}
"""The latency figures that a request has one of."""

POOLED = ("icl", "itl")
"""The latency figures that a request has many of."""

METRICS = (*PER_REQUEST, *POOLED, "dispatch_lag")
"""Every latency figure."""


def own_p99_ns(record: Record, metric: str) -> int | None:
    """Return the p99 of the request's own gaps, for an SLO on `icl` or `itl`."""
    if metric == "icl":
        gaps, _ = chunk_gaps([record])
        return nearest_rank(np.sort(gaps), 0.99) if len(gaps) else None
    gaps, weights, _ = token_gaps([record])
    if not len(gaps):
        return None
    order = np.argsort(gaps)
    return nearest_rank(np.repeat(gaps[order], weights[order]), 0.99)


def slo_value_ns(record: Record, metric: str) -> float | None:
    """Return the figure that an SLO holds; `None`: the request has none."""
    if metric in POOLED:
        return own_p99_ns(record, metric)
    return PER_REQUEST[metric](record)


def has_figure(record: Record, metric: str) -> bool:
    """Whether a request has the figure that an SLO holds."""
    return slo_value_ns(record, metric) is not None


def is_good(record: Record, slos: Iterable[Slo]) -> bool:
    """Whether a request is `ok` and meets every SLO on a figure that it has."""
    if record.outcome is not Outcome.OK:
        return False
    for slo in slos:
        value = slo_value_ns(record, slo.metric)
        if value is not None and value > slo.limit_ns:
            return False
    return True
