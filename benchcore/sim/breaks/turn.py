"""Turn: one request, as a break sees it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(slots=True)
class Turn:
    """One request, as a break sees it.

    Args:
        method: of HTTP.
        path: of the request.
        headers: of the request.
        raw: its body; empty where that is too large.
        body: its JSON as it was sent; `None` where it is no object.
        shared: what breaks remember from request to request.
        state: what they remember within one.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    raw: bytes
    body: dict[str, Any] | None
    shared: dict[str, Any]
    state: dict[str, Any] = field(default_factory=dict)

    def asked(self, *path: str) -> Any:
        """Return a field of the body, `None` where it is not there."""
        found: Any = self.body
        for name in path:
            found = found.get(name) if isinstance(found, dict) else None
        return found

    def has(self, name: str) -> bool:
        """Return whether a field is there, be it null."""
        return self.body is not None and name in self.body

    @property
    def stream(self) -> bool:
        """Whether a stream is asked for."""
        return self.asked("stream") is True

    @property
    def chat(self) -> bool:
        """Whether it is a chat."""
        return self.path == "/v1/chat/completions"

    @property
    def plain_chat(self) -> bool:
        """Whether it is a chat that is not streamed."""
        return self.chat and self.method == "POST" and not self.stream

    @property
    def chat_stream(self) -> bool:
        """Whether it is a chat that is streamed."""
        return self.chat and self.stream

    @property
    def completion(self) -> bool:
        """Whether it is a completion."""
        return self.path == "/v1/completions"

    @property
    def ask(self) -> str:
        """The text of the last message, or of the prompt; empty where it is no text."""
        if isinstance(prompt := self.asked("prompt"), str):
            return prompt
        messages = self.asked("messages")
        if not isinstance(messages, list) or not messages or not isinstance(messages[-1], dict):
            return ""
        content = messages[-1].get("content")
        return content if isinstance(content, str) else ""
