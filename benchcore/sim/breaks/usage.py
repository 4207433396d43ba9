"""Breaks of the checks in `usage`."""

from typing import Any

from benchcore.sim.breaks.breakage import Break, When, asking, counting, setting
from benchcore.sim.breaks.turn import Turn


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


BREAKS: dict[str, Break] = {
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
