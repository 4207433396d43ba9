"""Breaks of the checks in `errors`."""

from collections.abc import Callable
from typing import Any

from benchcore.sim.breaks.breakage import Break, failing, ignoring
from benchcore.sim.breaks.turn import Turn


def _hot(turn: Turn) -> bool:
    return turn.plain_chat and turn.asked("temperature") == "hot"


def _error(edit: Callable[[dict[str, Any]], object]) -> Break:
    return Break(when=_hot, payload=lambda _turn, payload: edit(payload["error"]))


def _no_such_model(turn: Turn) -> bool:
    return turn.chat and turn.asked("model") == "no-such-model"


BREAKS: dict[str, Break] = {
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
}
