"""Breaks of the checks in `errors`, `auth`, `limits` and `isolation`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from benchcore.sim.breaks.breakage import Break, Turn, When, failing, ignoring


def _hot(turn: Turn) -> bool:
    return turn.plain_chat and turn.asked("temperature") == "hot"


def _error(edit: Callable[[dict[str, Any]], object]) -> Break:
    return Break(when=_hot, payload=lambda _turn, payload: edit(payload["error"]))


def _no_such_model(turn: Turn) -> bool:
    return turn.chat and turn.asked("model") == "no-such-model"


_WRONG = "Bearer benchcore-wrong-key"
_OPEN = frozenset({"open_door"})


def _key(turn: Turn) -> str:
    return turn.headers.get("authorization", "")


def _open(when: When) -> Break:
    return Break(when=when, flags=_OPEN)


def _tell(turn: Turn, payload: dict[str, Any]) -> None:
    payload["error"]["message"] += f": {_key(turn)}"


def _burst(turn: Turn) -> bool:
    return turn.chat and turn.ask == "Count from 1 to 200."


def _after_a_burst(turn: Turn) -> bool:
    if _burst(turn):
        turn.shared["burst"] = True
    return turn.ask == "Are you well?" and "burst" in turn.shared


def _bare(_turn: Turn, payload: dict[str, Any]) -> None:
    if "error" in payload:
        payload["error"] = "busy"


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


BREAKS: Final[dict[str, Break]] = {
    "errors.envelope": _error(lambda error: error.update(message="")),
    "errors.error_type": _error(lambda error: error.pop("type")),
    "errors.error_param": _error(lambda error: error.pop("param")),
    "errors.error_code": _error(lambda error: error.pop("code")),
    "errors.content_type": Break(
        when=_hot, headers=lambda _turn, headers: headers.update({"Content-Type": "text/html"})
    ),
    "errors.unknown_model": ignoring(
        "model", when=lambda turn: _no_such_model(turn) and not turn.stream
    ),
    "errors.unknown_model_streamed": ignoring(
        "model", when=lambda turn: _no_such_model(turn) and turn.stream
    ),
    "errors.unknown_route": Break(when=lambda turn: turn.path == "/v1/no/such/route", status=200),
    "errors.wrong_method": failing(lambda turn: turn.chat and turn.method == "GET"),
    "errors.over_long": failing(lambda turn: turn.ask.startswith("river river river")),
    "errors.one_model": Break(
        when=lambda turn: turn.path.startswith("/v1/models/"),
        payload=lambda _turn, payload: payload.update(id="another"),
    ),
    "auth.missing_key": _open(lambda turn: turn.chat and not _key(turn)),
    "auth.wrong_key": _open(
        lambda turn: turn.chat and _key(turn) == _WRONG and turn.body is not None
    ),
    "auth.wrong_scheme": _open(lambda turn: turn.chat and _key(turn).startswith("Basic ")),
    "auth.expired_key": _open(
        lambda turn: (
            turn.chat and _key(turn).startswith("Bearer ") and "benchcore-" not in _key(turn)
        )
    ),
    "auth.key_comes_first": _open(
        lambda turn: turn.chat and _key(turn) == _WRONG and turn.body is None
    ),
    "auth.models_need_key": _open(lambda turn: turn.path == "/v1/models" and _key(turn) == _WRONG),
    "auth.key_is_not_shown": Break(when=lambda turn: "secret" in _key(turn), payload=_tell),
    "limits.too_large": failing(
        lambda turn: turn.chat and not turn.raw and turn.headers["content-length"] != "0"
    ),
    "limits.burst_statuses": Break(
        when=_burst, status=lambda status: 500 if status == 429 else status
    ),
    "limits.retry_after": Break(
        when=_burst, headers=lambda _turn, headers: headers.popall("Retry-After", None)
    ),
    "limits.burst_body": Break(when=_burst, payload=_bare),
    "limits.burst_recovers": failing(_after_a_burst),
    "limits.request_id": failing(
        lambda turn: turn.headers.get("x-request-id", "").startswith("0f0e0d0c-")
    ),
    "limits.traceparent": failing(
        lambda turn: turn.headers.get("traceparent", "").startswith("00-")
    ),
    "limits.bad_traceparent": failing(
        lambda turn: turn.headers.get("traceparent", "").startswith("zz-")
    ),
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
