"""Breaks of the checks in `limits`."""

from typing import Any

from benchcore.sim.breaks.breakage import Break, failing
from benchcore.sim.breaks.turn import Turn


def _burst(turn: Turn) -> bool:
    return turn.chat and turn.ask == "Count from 1 to 200."


def _after_a_burst(turn: Turn) -> bool:
    if _burst(turn):
        turn.shared["burst"] = True
    return turn.ask == "Are you well?" and "burst" in turn.shared


def _bare(_turn: Turn, payload: dict[str, Any]) -> None:
    if "error" in payload:
        payload["error"] = "busy"


BREAKS: dict[str, Break] = {
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
}
