"""Tokens: how many of a request's output tokens came over the wire, and how many came first."""

from __future__ import annotations

from array import array
from collections.abc import Callable

from benchcore.client.openai import answer_texts
from benchcore.client.records import Outcome, Record


def unbilled_texts(record: Record) -> list[str] | None:
    """Return the texts of a request whose output tokens the server did not bill.

    `None` where it did, where its texts were not kept, and of a plain answer that is none.
    """
    if record.usage is not None and record.usage.completion_tokens is not None:
        return None
    if record.streamed:
        return record.texts
    if record.outcome is not Outcome.OK or record.answer is None:
        return None
    try:
        return answer_texts(record.answer)
    except ValueError:
        return None


def count_output(record: Record, texts: list[str], count: Callable[[str], int]) -> None:
    """Count the output tokens of a request by a tokenizer.

    The texts of each choice and kind are counted apart and added up. What leaves no text is not
    in it: the end of the sequence, the marks around reasoning and tool calls.

    Args:
        record: is told.
        texts: what it generated.
        count: returns the number of tokens of a text.
    """
    record.counted_tokens = sum(map(count, texts))


def hidden_tokens(record: Record) -> int:
    """Return the reasoning tokens that were billed and did not come over the wire."""
    usage = record.usage
    if (
        usage is None
        or usage.completion_tokens is None
        or not usage.reasoning_tokens
        or record.reasoning_events
        or record.usage_contradicted
    ):
        return 0
    return usage.reasoning_tokens


def running_tokens(record: Record) -> array[int] | None:
    """Return the output tokens of each arrival, where a running usage says so credibly."""
    return None if record.usage_contradicted else record.tokens


def first_event_tokens(record: Record) -> tuple[int, bool]:
    """Return the tokens of the first token event, and whether that is an estimate.

    The running usage of the first event counts the reasoning that was thought before it, too.
    """
    tokens = running_tokens(record)
    if tokens:
        return max(tokens[0] - hidden_tokens(record), 1), False
    return 1, True


def streamed_tokens(record: Record) -> int | None:
    """Output tokens that came over the wire: reasoning that was only billed is taken off."""
    tokens = record.output_tokens
    return None if tokens is None else tokens - hidden_tokens(record)


def streaming(record: Record) -> tuple[int, int] | None:
    """Return the tokens after the first of each choice, and the time that they took, in ns.

    Of several choices both are sums over them, so that their ratio is that of one choice.

    Returns:
        `None` where there is nothing to divide, or no time between the first and the last.
    """
    tokens = streamed_tokens(record)
    if tokens is None or not record.first_token_ns:
        return None
    if record.lanes is None:
        after = tokens - first_event_tokens(record)[0]
        took_ns = record.last_token_ns - record.first_token_ns
    else:
        ends: dict[int, tuple[int, int]] = {}
        first = 0
        running = running_tokens(record)
        for place, lane in enumerate(record.lanes):
            if lane not in ends:
                first += max(running[place], 1) if running is not None else 1
            begin = ends[lane][0] if lane in ends else record.stamps[place]
            ends[lane] = (begin, record.stamps[place])
        after = tokens - first
        took_ns = sum(end - begin for begin, end in ends.values())
    return (after, took_ns) if after > 0 and took_ns > 0 else None
