"""Prompt: what one request asks, before an endpoint gives it a shape."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Prompt:
    """What one request asks.

    Args:
        text: the text of a single user turn; ignored where `messages` is given.
        messages: a whole conversation in the chat form.
        input_tokens: the length the workload meant it to have in tokens; `None`: it does not know.
        output_tokens: the most tokens the answer may have; `None`: the server decides.
        extra: fields of the request body, over everything else.
    """

    text: str = ""
    messages: Sequence[Mapping[str, Any]] | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
