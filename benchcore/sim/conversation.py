"""Conversation: what a request says, turn by turn."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Conversation:
    """What a request says.

    Args:
        user: text of the last user turn, or of the prompt.
        system: texts of the system and developer turns.
        everything: texts of all turns, in order.
        results: texts of the tool turns at the end.
    """

    user: str = ""
    system: list[str] = field(default_factory=list)
    everything: list[str] = field(default_factory=list)
    results: list[str] = field(default_factory=list)


def read_conversation(body: dict[str, Any], prompt: str) -> Conversation:
    """Returns what a request says.

    Args:
        body: the request's, of any endpoint, its messages known to be good.
        prompt: the text where there are no messages.
    """
    messages = body.get("messages", body.get("input"))
    if not isinstance(messages, list):
        text = messages if isinstance(messages, str) else prompt
        return Conversation(user=text, everything=[text])
    found = Conversation()
    for message in messages:
        role, text = message.get("role"), content_text(message.get("content"))
        found.everything.append(text)
        if role == "user":
            found.user = text
        elif role in ("system", "developer"):
            found.system.append(text)
        if role == "tool":
            found.results.append(text)
        else:
            found.results.clear()
    return found


def content_text(content: Any) -> str:
    """Returns the text of a message's content: a string, parts, or null."""
    if isinstance(content, list):
        return "".join(part["text"] for part in content if isinstance(part.get("text"), str))
    return content if isinstance(content, str) else ""
