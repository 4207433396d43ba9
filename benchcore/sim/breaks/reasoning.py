"""Breaks of the checks in `reasoning`."""

from typing import Any

from benchcore.sim.breaks.breakage import (
    Break,
    When,
    asking,
    choices,
    failing,
    finishing,
    ignoring,
    saying,
    setting,
)
from benchcore.sim.breaks.turn import Turn

_KEY = "reasoning_content"


def _asks(number: int, **fields: Any) -> When:
    """Whether a chat asks whether a number is prime, and has these fields."""
    return asking(f"Is {number} a prime number?", **fields)


def _thoughtless(_turn: Turn, payload: dict[str, Any]) -> None:
    for choice in choices(payload):
        choice["message"].pop(_KEY, None)


def _afterthought(_turn: Turn, chunk: dict[str, Any]) -> object:
    if not any(one["finish_reason"] for one in choices(chunk)):
        return None
    piece = {"index": 0, "delta": {_KEY: " so"}, "finish_reason": None}
    return [{**chunk, "choices": [piece]}, chunk]


def _lose_a_thought(turn: Turn, chunk: dict[str, Any]) -> object:
    if turn.state.get("lost") or not any(one["delta"].get(_KEY) for one in choices(chunk)):
        return None
    turn.state["lost"] = True
    return []


def _leave_the_tag(turn: Turn, chunk: dict[str, Any]) -> None:
    for choice in choices(chunk):
        if choice["delta"].get("content") and not turn.state.get("left"):
            turn.state["left"] = True
            choice["delta"]["content"] = "</think>" + choice["delta"]["content"]


BREAKS: dict[str, Break] = {
    "reasoning.present": Break(
        when=_asks(91, stream=None, reasoning_effort="low", max_tokens=2000),
        payload=_thoughtless,
    ),
    "reasoning.before_content": Break(
        when=_asks(91, stream=True, reasoning_effort="low"), chunk=_afterthought
    ),
    "reasoning.streamed_equals_plain": Break(
        when=_asks(91, stream=True, reasoning_effort="medium"), chunk=_lose_a_thought
    ),
    "reasoning.no_tags_left": saying(_asks(97, stream=None), lambda text: f"</think>{text}"),
    "reasoning.no_tags_left_streamed": Break(when=_asks(97, stream=True), chunk=_leave_the_tag),
    "reasoning.budget_says_length": finishing(_asks(91, reasoning_effort="high"), "stop"),
    "reasoning.efforts": failing(
        lambda turn: turn.ask == "Hello" and turn.asked("reasoning_effort") == "medium"
    ),
    "reasoning.unknown_effort": ignoring(
        "reasoning_effort", when=lambda turn: turn.asked("reasoning_effort") == "heroic"
    ),
    "reasoning.thinking_off": setting(
        lambda turn: turn.asked("chat_template_kwargs", "enable_thinking") is False,
        chat_template_kwargs={"enable_thinking": True},
    ),
}
