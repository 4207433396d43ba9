"""Identify: which engine a server is, by the signs that it gives."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchcore.stages.functional.check import CheckFailedError, UnsettledError
from benchcore.stages.functional.dialect import UNKNOWN, Dialect, Sign, dialects
from benchcore.stages.functional.trial import Trial

if TYPE_CHECKING:
    from benchcore.stages.functional.heard import Heard
    from benchcore.stages.functional.subject import Subject


async def identify(subject: Subject) -> Dialect:
    """Return the dialect of the engine, `UNKNOWN` where no sign fits."""
    trial = Trial(subject)
    answers: dict[str, Heard | None] = {}

    async def get(path: str) -> Heard | None:
        if path not in answers:
            try:
                answers[path] = await trial.get(path)
            except (CheckFailedError, UnsettledError):
                answers[path] = None
        return answers[path]

    async def fits(sign: Sign) -> bool:
        heard = await get(sign.path or "/v1/models")
        if heard is None:
            return False
        if sign.header is not None:
            name, _, part = sign.header.partition(": ")
            return part in (heard.header(name) or "")
        if heard.status != 200:
            return False
        try:
            if sign.path is not None:
                return sign.key is None or heard.find(sign.key) is not None
            return bool(heard.find("data", 0, "owned_by") == sign.owned_by)
        except CheckFailedError:
            return False

    for by_path in (False, True):  # the list of models is asked anyway; other paths only then
        for dialect in dialects().values():
            for sign in dialect.signs:
                if (sign.path is not None) is by_path and await fits(sign):
                    return dialect
    return UNKNOWN
