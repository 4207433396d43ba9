"""Breaks of the checks in `smoke`, `chat_core` and `completions_core`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from benchcore.sim.breaks.breakage import (
    Break,
    Turn,
    When,
    choices,
    counting,
    failing,
    finishing,
    ignoring,
    saying,
    setting,
)


def _hello(turn: Turn) -> bool:
    return turn.chat and turn.ask == "Say hello."


def _silence(_turn: Turn, chunk: dict[str, object]) -> object:
    return [] if any(one["delta"].get("content") for one in choices(chunk)) else None


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


def _asks(**fields: Any) -> When:
    """Whether a completion has these fields, `None`: has them not."""
    return lambda turn: (
        turn.completion and all(turn.asked(name) == value for name, value in fields.items())
    )


def _same_index(_turn: Turn, payload: dict[str, Any]) -> None:
    for choice in choices(payload):
        choice["index"] = 0


def _swapped(_turn: Turn, payload: dict[str, Any]) -> None:
    texts = [choice["text"] for choice in choices(payload)]
    for choice, text in zip(choices(payload), reversed(texts), strict=True):
        choice["text"] = text


def _one_more(_turn: Turn, payload: dict[str, Any]) -> None:
    found = choices(payload)
    found.append({**found[0], "index": len(found)})


def _one_less(_turn: Turn, payload: dict[str, Any]) -> None:
    choices(payload).pop()


def _without_offsets(_turn: Turn, payload: dict[str, Any]) -> None:
    for choice in choices(payload):
        del choice["logprobs"]["text_offset"]


def _one_alternative(_turn: Turn, payload: dict[str, Any]) -> None:
    for choice in choices(payload):
        tops = choice["logprobs"]["top_logprobs"]
        tops[:] = [dict(list(top.items())[:1]) for top in tops]


def _offsets_of_bytes(_turn: Turn, payload: dict[str, Any]) -> None:
    for choice in choices(payload):
        offsets = choice["logprobs"]["text_offset"]
        offsets[:] = [0 for _ in offsets]


def _lose_a_piece(turn: Turn, chunk: dict[str, Any]) -> object:
    if turn.state.get("lost") or not any(one["text"] for one in choices(chunk)):
        return None
    turn.state["lost"] = True
    return []


def _bill_the_echo(usage: dict[str, Any]) -> None:
    usage["completion_tokens"] += usage["prompt_tokens"]


BREAKS: Final[dict[str, Break]] = {
    "smoke.models": Break(
        when=lambda turn: turn.method == "GET" and turn.path == "/v1/models",
        payload=lambda _turn, payload: payload.update(object="models"),
    ),
    "smoke.chat": saying(lambda turn: _hello(turn) and not turn.stream, lambda _text: ""),
    "smoke.streamed_chat": Break(when=lambda turn: _hello(turn) and turn.stream, chunk=_silence),
    "smoke.no_messages": setting(
        lambda turn: turn.chat and turn.body is not None and not turn.has("messages"),
        messages=[{"role": "user", "content": "Hello"}],
    ),
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
    "families.search_qa": saying(
        lambda turn: turn.plain_chat and "cite its source" in turn.ask,
        lambda text: text.replace("[2]", "[7]"),
    ),
    "families.lesson_pack": saying(
        lambda turn: turn.plain_chat and turn.ask.startswith("Write a lesson"),
        lambda text: text.replace("## Part 2", "### Part 2"),
    ),
    "families.memory_chat": Break(
        when=lambda turn: turn.chat and turn.ask.startswith("What is the code word? Answer"),
        body=_last_turn_only,
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
    "completions_core.object_is_text_completion": Break(
        when=lambda turn: turn.completion and not turn.stream,
        payload=lambda _turn, payload: payload.update(object="text"),
    ),
    "completions_core.prompt_string": saying(
        _asks(max_tokens=8, suffix=None, stream=None), lambda _text: ""
    ),
    "completions_core.prompt_list": Break(
        when=lambda turn: turn.completion and len(turn.asked("prompt") or "") == 3,
        payload=_same_index,
    ),
    "completions_core.prompts_keep_order": Break(
        when=lambda turn: (
            turn.completion
            and isinstance(turn.asked("prompt"), list)
            and turn.asked("max_tokens") == 6
        ),
        payload=_swapped,
    ),
    "completions_core.prompt_token_ids": counting(
        _asks(prompt=[5, 6, 7, 8]), lambda usage: usage.update(prompt_tokens=40)
    ),
    "completions_core.echo": ignoring("echo", when=_asks(echo=True, max_tokens=4)),
    "completions_core.echo_is_not_billed": counting(_asks(echo=True, max_tokens=3), _bill_the_echo),
    "completions_core.suffix": saying(
        lambda turn: turn.completion and turn.has("suffix"), lambda text: f"{text}\n    return y"
    ),
    "completions_core.best_of": Break(when=_asks(best_of=3, n=2), payload=_one_more),
    "completions_core.best_of_below_n": failing(_asks(best_of=1, n=2)),
    "completions_core.logprobs_shape": Break(when=_asks(logprobs=2), payload=_without_offsets),
    "completions_core.logprobs_count": Break(when=_asks(logprobs=3), payload=_one_alternative),
    "completions_core.text_offsets": Break(
        when=_asks(logprobs=1, max_tokens=4), payload=_offsets_of_bytes
    ),
    "completions_core.prompts_times_n": Break(
        when=_asks(prompt=["a", "b"], n=2), payload=_one_less
    ),
    "completions_core.stream_equals_plain": Break(
        when=_asks(stream=True, max_tokens=10), chunk=_lose_a_piece
    ),
    "completions_core.stream_chunks": Break(
        when=_asks(stream=True), chunk=lambda _turn, chunk: chunk.update(object="text")
    ),
    "completions_core.default_max_tokens": setting(
        lambda turn: turn.completion and turn.body is not None and not turn.has("max_tokens"),
        max_tokens=40,
        ignore_eos=True,
    ),
}
