"""Tokens: how many of a request's output tokens came over the wire, and how many came first."""

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
    ):
        return 0
    return usage.reasoning_tokens


def first_event_tokens(record: Record) -> tuple[int, bool]:
    """Return the tokens of the first token event, and whether that is an estimate.

    The running usage of the first event counts the reasoning that was thought before it, too.
    """
    if record.tokens:
        return max(record.tokens[0] - hidden_tokens(record), 1), False
    return 1, True


def streamed_tokens(record: Record) -> int | None:
    """Output tokens that came over the wire: reasoning that was only billed is taken off."""
    tokens = record.output_tokens
    return None if tokens is None else tokens - hidden_tokens(record)
