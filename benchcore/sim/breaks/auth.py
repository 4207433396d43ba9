"""Breaks of the checks in `auth`."""

from typing import Any

from benchcore.sim.breaks.breakage import Break, When
from benchcore.sim.breaks.turn import Turn

_WRONG = "Bearer benchcore-wrong-key"
_OPEN = frozenset({"open_door"})


def _key(turn: Turn) -> str:
    return turn.headers.get("authorization", "")


def _open(when: When) -> Break:
    return Break(when=when, flags=_OPEN)


def _tell(turn: Turn, payload: dict[str, Any]) -> None:
    payload["error"]["message"] += f": {_key(turn)}"


BREAKS: dict[str, Break] = {
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
}
