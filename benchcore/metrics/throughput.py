"""Throughput: what happened inside a window, divided by its length."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from benchcore.client.records import Outcome, Record
from benchcore.clock import NS


@dataclass(frozen=True, slots=True)
class Throughput:
    """Rates per second of window; `None` where the window has no length or nothing tells."""

    requests: float | None
    output_tokens: float | None
    input_tokens: float | None
    total_tokens: float | None


def tokens_inside(record: Record, start_ns: int, end_ns: int) -> float | None:
    """Return the output tokens stamped inside a window: events, scaled to the request's usage.

    `None` for a plain answer, whose tokens have no stamps.
    """
    if not record.streamed:
        return None
    stamps = np.frombuffer(record.stamps, dtype=np.int64)
    inside = (stamps > start_ns) & (stamps <= end_ns)
    if not inside.any():
        return 0.0
    if record.tokens is not None:
        return float(np.frombuffer(record.tokens, dtype=np.int64)[inside].sum())
    if record.events is None:
        events = float(inside.sum())
    else:
        events = float(np.frombuffer(record.events, dtype=np.int64)[inside].sum())
    tokens = record.output_tokens
    return events if tokens is None else events * tokens / record.token_events


def throughput(records: Iterable[Record], start_ns: int, end_ns: int) -> Throughput:
    """Return the rates of a window.

    Requests count where they ended `ok` inside it: failing fast must not look like being fast.
    Prompt tokens count at the first token of the answer. The window's end belongs to it and its
    begin does not: where the N-th request is scheduled at the end of the one before, that one is
    the N-th to have ended.

    Args:
        records: every request that was on its way inside the window, measured or not.
        start_ns: where the window begins.
        end_ns: where it ends.
    """
    seconds = (end_ns - start_ns) / NS
    if seconds <= 0:
        return Throughput(None, None, None, None)
    ended = 0
    output = 0.0
    prompt = 0
    streamed = False
    prompt_known = True
    for record in records:
        if record.outcome is Outcome.OK and start_ns < record.done_ns <= end_ns:
            ended += 1
        tokens = tokens_inside(record, start_ns, end_ns)
        if tokens is None:
            continue
        streamed = True
        output += tokens
        if start_ns < record.first_token_ns <= end_ns:
            if record.usage is None or record.usage.prompt_tokens is None:
                # Cut off before its usage came: the length that was sent is not the server's word.
                prompt_known = prompt_known and record.outcome is not Outcome.OK
            else:
                prompt += record.usage.prompt_tokens
    input_rate = prompt / seconds if streamed and prompt_known else None
    output_rate = output / seconds if streamed else None
    return Throughput(
        requests=ended / seconds,
        output_tokens=output_rate,
        input_tokens=input_rate,
        total_tokens=None
        if input_rate is None or output_rate is None
        else input_rate + output_rate,
    )


def overlap_ns(records: Iterable[Record], start_ns: int, end_ns: int) -> int:
    """Return the time that requests spent on their way inside a window, summed, in ns.

    The right side of Little's law for a path (Stidham, 1974): mean in-flight times the window.
    A request is on its way from when its connection is asked for; one that never left, such as
    where nothing answered, from when it was planned; one that was dropped, never.
    """
    total = 0
    for record in records:
        if record.outcome is Outcome.DROPPED:
            continue
        if not record.sent_ns:
            begin = record.scheduled_ns
        elif record.retried:
            begin = record.sent_ns  # it connected after that
        else:
            begin = record.sent_ns - record.connect_ns
        # A request may have ended before it was let go: its slot is taken until then.
        gone_ns = record.released_ns or record.done_ns
        total += max(0, min(gone_ns, end_ns) - max(begin, start_ns))
    return total
