"""Tokens: how many of a request's output tokens came over the wire, and how many came first."""

from benchcore.client.records import Record


def first_event_tokens(record: Record) -> tuple[int, bool]:
    """Return the tokens of the first token event, and whether that is an estimate."""
    if record.tokens:
        return record.tokens[0], False
    return 1, True


def streamed_tokens(record: Record) -> int | None:
    """Output tokens that came over the wire: reasoning that was only billed is taken off."""
    tokens = record.output_tokens
    if tokens is None:
        return None
    usage = record.usage
    if (
        usage is not None
        and usage.completion_tokens is not None
        and usage.reasoning_tokens
        and not record.reasoning_events
    ):
        tokens -= usage.reasoning_tokens
    return tokens
