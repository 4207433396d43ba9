"""Breaks of the checks in `sse` and `usage`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import orjson

from benchcore.sim.breaks.breakage import Break, Turn, When, asking, choices, counting, setting

_DONE = b"data: [DONE]\n\n"


def _stream(turn: Turn) -> bool:
    return turn.chat_stream


def _story(turn: Turn) -> bool:
    return turn.chat_stream and turn.asked("max_tokens") == 16


def _numbered(name: str, step: Any) -> Break:
    """Makes a field that should be constant another in each chunk."""

    def change(turn: Turn, chunk: dict[str, Any]) -> None:
        if name not in chunk:
            return
        turn.state["seen"] = turn.state.get("seen", 0) + 1
        chunk[name] += step * turn.state["seen"]

    return Break(when=_stream, chunk=change)


def _on_done(instead: Callable[[Turn], bytes]) -> Break:
    def change(turn: Turn, event: bytes) -> bytes:
        return instead(turn) if event == _DONE else event

    return Break(when=_stream, event=change)


def _after_done(turn: Turn, event: bytes) -> bytes:
    if event != _DONE:
        turn.state["last"] = event
        return event
    chunk = orjson.loads(turn.state["last"].removeprefix(b"data: "))
    for choice in choices(chunk):
        choice["finish_reason"] = None
    return event + b"data: " + orjson.dumps(chunk) + b"\n\n"


def _first(edit: Callable[[bytes], bytes]) -> Callable[[Turn, bytes], bytes]:
    """Edits the first event of a stream."""

    def change(turn: Turn, event: bytes) -> bytes:
        if turn.state.get("begun"):
            return event
        turn.state["begun"] = True
        return edit(event)

    return change


def _no_role(_turn: Turn, chunk: dict[str, Any]) -> None:
    for choice in choices(chunk):
        choice["delta"].pop("role", None)


def _another_role(_turn: Turn, chunk: dict[str, Any]) -> None:
    for choice in choices(chunk):
        choice["delta"].setdefault("role", "user")


def _finish_twice(_turn: Turn, chunk: dict[str, Any]) -> object:
    return [chunk, chunk] if any(one["finish_reason"] for one in choices(chunk)) else None


def _more_after_finish(_turn: Turn, chunk: dict[str, Any]) -> object:
    if not any(one["finish_reason"] for one in choices(chunk)):
        return None
    piece = {"index": 0, "delta": {"content": " more"}, "finish_reason": None}
    return [chunk, {**chunk, "choices": [piece]}]


def _lose_a_piece(turn: Turn, chunk: dict[str, Any]) -> object:
    said = any(one["delta"].get("content") for one in choices(chunk))
    if not said or turn.state.get("lost"):
        return None
    turn.state["lost"] = True
    return []


def _other_finish(_turn: Turn, chunk: dict[str, Any]) -> None:
    other = {"stop": "length", "length": "stop"}
    for choice in choices(chunk):
        choice["finish_reason"] = other.get(choice["finish_reason"])


def _empty_first(turn: Turn, chunk: dict[str, Any]) -> object:
    if turn.state.get("begun"):
        return None
    turn.state["begun"] = True
    return [{**chunk, "choices": []}, chunk]


def _no_error(_turn: Turn, chunk: dict[str, Any]) -> object:
    return [] if "error" in chunk else None


def _mountains(**fields: Any) -> When:
    return asking("Name four mountains.", **fields)


def _one_less(usage: dict[str, Any]) -> None:
    usage["completion_tokens"] -= 1


def _too_many_cached(usage: dict[str, Any]) -> None:
    usage["prompt_tokens_details"]["cached_tokens"] = usage["prompt_tokens"] + 1


def _too_much_thought(usage: dict[str, Any]) -> None:
    details = usage["completion_tokens_details"]
    details["reasoning_tokens"] = usage["completion_tokens"] + 1


def _no_usage(_turn: Turn, chunk: dict[str, Any]) -> object:
    return [] if chunk.get("usage") else None


def _cached_are_free(turn: Turn, payload: dict[str, Any]) -> None:
    if turn.shared.setdefault("islands", 0):
        payload["usage"]["prompt_tokens"] -= 8
    turn.shared["islands"] += 1


def _downwards(turn: Turn, chunk: dict[str, Any]) -> None:
    turn.state["seen"] = turn.state.get("seen", 0) + 1
    if chunk.get("usage"):
        chunk["usage"]["completion_tokens"] = 1000 - turn.state["seen"]


BREAKS: Final[dict[str, Break]] = {
    "sse.content_type": Break(
        when=_stream,
        headers=lambda _turn, headers: (
            headers.update({"Content-Type": "text/plain"})
            if "event-stream" in headers.get("Content-Type", "")
            else None
        ),
    ),
    "sse.framing": Break(when=_stream, event=_first(lambda event: b"begin\n" + event)),
    "sse.last_event_ends": _on_done(lambda _turn: _DONE + b": bye"),
    "sse.one_done": _on_done(lambda _turn: b""),
    "sse.done_is_last": Break(when=_story, event=_after_done),
    "sse.id_constant": _numbered("id", "-"),
    "sse.model_constant": _numbered("model", "-"),
    "sse.created_constant": _numbered("created", 1),
    "sse.object_is_chunk": Break(
        when=_stream, chunk=lambda _turn, chunk: chunk.update(object="chat.completion")
    ),
    "sse.role_once": Break(when=_stream, chunk=_no_role),
    "sse.role_never_changes": Break(when=_stream, chunk=_another_role),
    "sse.one_finish": Break(when=_story, chunk=_finish_twice),
    "sse.nothing_after_finish": Break(when=_story, chunk=_more_after_finish),
    "sse.equals_plain": Break(
        when=lambda turn: turn.chat_stream and turn.ask == "Name three rivers.",
        chunk=_lose_a_piece,
    ),
    "sse.finish_equals_plain": Break(
        when=lambda turn: turn.chat_stream and turn.ask == "Name two lakes.", chunk=_other_finish
    ),
    "sse.events_are_json": Break(
        when=_stream, event=_first(lambda event: b"data: ping\n\n" + event)
    ),
    "sse.utf8_whole": Break(
        when=_stream,
        event=lambda _turn, event: event.replace(
            "好".encode(), "\N{REPLACEMENT CHARACTER}".encode()
        ),
    ),
    "sse.empty_choices": Break(
        when=lambda turn: _story(turn) and turn.has("stream_options"), chunk=_empty_first
    ),
    "sse.spread_in_time": Break(
        when=lambda turn: turn.chat_stream and "short story" in turn.ask, hold=True
    ),
    "sse.error_event": Break(
        when=lambda turn: turn.chat_stream and "x-sim-fault" in turn.headers, chunk=_no_error
    ),
    "sse.refusal_is_plain": Break(
        when=lambda turn: turn.chat_stream and turn.asked("temperature") == "hot",
        headers=lambda _turn, headers: headers.update({"Content-Type": "text/event-stream"}),
    ),
    "usage.present": counting(_mountains(max_tokens=8), lambda usage: usage.pop("total_tokens")),
    "usage.total": counting(_mountains(max_tokens=9), lambda usage: usage.update(total_tokens=1)),
    "usage.final_chunk": Break(when=_mountains(max_tokens=11), chunk=_no_usage),
    "usage.not_asked": setting(
        _mountains(max_tokens=6, stream=True), stream_options={"include_usage": True}
    ),
    "usage.stream_equals_plain": counting(_mountains(max_tokens=12, stream=True), _one_less),
    "usage.grows": counting(
        asking("the old harbour…"), lambda usage: usage.update(prompt_tokens=5)
    ),
    "usage.same_prompt": Break(when=asking("Tell me of the island…"), payload=_cached_are_free),
    "usage.cached": counting(asking("Tell me of the valley.…"), _too_many_cached),
    "usage.reasoning": counting(asking("Is 89 a prime number?…"), _too_much_thought),
    "usage.continuous": Break(when=_mountains(max_tokens=10), chunk=_downwards),
}
