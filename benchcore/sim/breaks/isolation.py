"""Breaks of the checks in `isolation`."""

from typing import Any

from benchcore.sim.breaks.breakage import Break
from benchcore.sim.breaks.turn import Turn

_MOUNTAIN = "Tell me of mountain number "


def _of_the_one_before(turn: Turn, body: dict[str, Any]) -> None:
    """Answers what the request before it asked: a buffer that is shared."""
    message = body["messages"][-1]
    mine = message["content"]
    message["content"] = turn.shared.get("before", mine)
    turn.shared["before"] = mine


def _of_the_next(turn: Turn, body: dict[str, Any]) -> None:
    """Answers another's question once all of them have been asked."""
    seen = turn.shared.setdefault("mountains", [])
    seen.append(turn.ask)
    if len(seen) > 4:
        message = body["messages"][-1]
        message["content"] = seen[(seen.index(turn.ask) + 1) % 4]


def _long(turn: Turn) -> bool:
    return turn.chat and turn.ask == "Tell me a very long story."


BREAKS: dict[str, Break] = {
    "isolation.nonces": Break(
        when=lambda turn: turn.chat and ": nonce" in turn.ask, body=_of_the_one_before
    ),
    "isolation.mixed_nonces": Break(
        when=lambda turn: turn.chat and ": token" in turn.ask, body=_of_the_one_before
    ),
    "isolation.alone_and_among": Break(
        when=lambda turn: turn.chat and turn.ask.startswith(_MOUNTAIN), body=_of_the_next
    ),
    "isolation.disconnect_frees": Break(when=_long, flags=frozenset({"leak"})),
    "isolation.slow_reader_stalls_nobody": Break(when=_long, flags=frozenset({"stall_together"})),
}
