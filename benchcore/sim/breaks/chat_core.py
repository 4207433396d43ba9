"""Breaks of the checks in `chat_core`."""

from collections.abc import Callable
from typing import Any

from benchcore.sim.breaks.breakage import (
    Break,
    choices,
    counting,
    failing,
    finishing,
    saying,
)
from benchcore.sim.breaks.turn import Turn


def _messages(turn: Turn) -> list[Any]:
    messages = turn.asked("messages")
    return messages if isinstance(messages, list) else []


def _field(turn: Turn, name: str) -> list[Any]:
    """The values of one field in all messages."""
    return [one.get(name) for one in _messages(turn) if isinstance(one, dict)]


def _parts(turn: Turn) -> list[Any]:
    contents = [content for content in _field(turn, "content") if isinstance(content, list)]
    return contents[0] if contents else []


def _without_role(role: str) -> Break:
    def drop(_turn: Turn, body: dict[str, Any]) -> None:
        body["messages"] = [one for one in body["messages"] if one["role"] != role]

    return Break(when=lambda turn: turn.chat and role in _field(turn, "role"), body=drop)


def _answer(edit: Callable[[dict[str, Any]], object]) -> Break:
    """Edits each plain answer of a chat that is no error."""

    def change(_turn: Turn, payload: dict[str, Any]) -> None:
        if choices(payload):
            edit(payload)

    return Break(when=lambda turn: turn.plain_chat, payload=change)


def _bot(payload: dict[str, Any]) -> None:
    for choice in choices(payload):
        choice["message"]["role"] = "bot"


def _last_turn_only(_turn: Turn, body: dict[str, Any]) -> None:
    body["messages"] = body["messages"][-1:]


def _first_part_only(_turn: Turn, body: dict[str, Any]) -> None:
    for message in body["messages"]:
        message["content"] = message["content"][:1]


def _no_hologram(_turn: Turn, body: dict[str, Any]) -> None:
    for message in body["messages"]:
        message["content"] = "a hologram"


def _wizards_are_users(_turn: Turn, body: dict[str, Any]) -> None:
    for message in body["messages"]:
        message["role"] = "user"


def _surrogates(turn: Turn, payload: dict[str, Any]) -> None:
    if b"\\ud83d" in turn.raw:
        payload["usage"]["prompt_tokens"] += 5


BREAKS: dict[str, Break] = {
    "chat_core.object_is_chat_completion": _answer(lambda one: one.update(object="completion")),
    "chat_core.own_id": _answer(lambda one: one.update(id="chatcmpl-0")),
    "chat_core.created": _answer(lambda one: one.update(created=one["created"] * 1000)),
    "chat_core.names_model": _answer(lambda one: one.update(model="a-model")),
    "chat_core.role_is_assistant": _answer(_bot),
    "chat_core.finish_reason": finishing(
        lambda turn: turn.plain_chat and turn.ask == "Hello" and turn.asked("max_tokens") == 8,
        "eos",
    ),
    "chat_core.content_type": Break(
        when=lambda turn: turn.plain_chat and not isinstance(turn.asked("temperature"), str),
        headers=lambda _turn, headers: headers.update({"Content-Type": "text/plain"}),
    ),
    "chat_core.system_prompt": _without_role("system"),
    "chat_core.developer_prompt": _without_role("developer"),
    "chat_core.multi_turn": Break(
        when=lambda turn: turn.chat and turn.ask == "What is the code word?", body=_last_turn_only
    ),
    "chat_core.turns_are_counted": counting(
        lambda turn: turn.chat and turn.ask == "And then?",
        lambda usage: usage.update(prompt_tokens=9),
    ),
    "chat_core.content_parts": Break(
        when=lambda turn: turn.chat and len(_parts(turn)) > 1, body=_first_part_only
    ),
    "chat_core.unknown_part": Break(
        when=lambda turn: turn.chat and "hologram" in [one["type"] for one in _parts(turn)],
        body=_no_hologram,
    ),
    "chat_core.null_content_history": failing(
        lambda turn: turn.chat and turn.ask == "Thanks." and None in _field(turn, "content")
    ),
    "chat_core.emoji_round_trip": saying(
        lambda turn: turn.plain_chat, lambda text: text.replace("\N{ROCKET}", "?")
    ),
    "chat_core.cjk_round_trip": saying(
        lambda turn: turn.plain_chat, lambda text: text.replace("你好世界", "????")
    ),
    "chat_core.escapes": Break(
        when=lambda turn: turn.plain_chat and turn.ask.startswith("你"), payload=_surrogates
    ),
    "chat_core.unknown_field": failing(lambda turn: turn.has("x_unknown_field")),
    "chat_core.unknown_role": Break(
        when=lambda turn: turn.chat and "wizard" in _field(turn, "role"), body=_wizards_are_users
    ),
    "chat_core.participant_name": failing(lambda turn: turn.chat and any(_field(turn, "name"))),
    "chat_core.user_field": failing(lambda turn: turn.has("user") and turn.has("metadata")),
}
