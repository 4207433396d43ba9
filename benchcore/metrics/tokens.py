"""Tokens: how many of a request's output tokens came over the wire, and how many came first."""

from collections.abc import Callable

from benchcore.client.openai import answer_texts
from benchcore.client.records import Record


def count_output(record: Record, count: Callable[[str], int]) -> None:
    """Count the output tokens of a request by a tokenizer, where the server billed none.

    The texts of each choice and kind are counted apart and added up. What leaves no text is not
    in it: the end of the sequence, the marks around reasoning and tool calls.

    Args:
        record: its texts are kept, or the JSON of its plain answer; else nothing happens.
        count: returns the number of tokens of a text.
    """
    if record.usage is not None and record.usage.completion_tokens is not None:
        return
    texts = record.texts
    if not record.streamed:
        texts = None if record.answer is None else answer_texts(record.answer)
    if texts is not None:
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
