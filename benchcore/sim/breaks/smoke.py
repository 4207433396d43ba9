"""Breaks of the checks in `smoke`."""

from benchcore.sim.breaks.breakage import Break, choices, saying, setting
from benchcore.sim.breaks.turn import Turn


def _hello(turn: Turn) -> bool:
    return turn.chat and turn.ask == "Say hello."


def _silence(_turn: Turn, chunk: dict[str, object]) -> object:
    return [] if any(one["delta"].get("content") for one in choices(chunk)) else None


BREAKS: dict[str, Break] = {
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
}
