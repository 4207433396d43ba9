"""Auth: keys, and requests without a good one."""

from __future__ import annotations

from typing import Final

from benchcore.checks.answers import shown
from benchcore.checks.attempt import CHAT, Attempt
from benchcore.checks.check import Suite

SUITE = Suite("auth", "keys, and requests without a good one")

_NEEDS: Final = ("auth",)
_STATUSES: Final = (401, 403)


@SUITE.check("a request without a key is refused with 401", needs=_NEEDS)
async def missing_key(t: Attempt) -> None:
    """OpenAI API, Error codes: 401, invalid authentication."""
    answer = await t.post(CHAT, t.chat_body("Hello", max_tokens=1), {"authorization": None})
    t.refused(answer, "a request without a key", _STATUSES)


@SUITE.check("a wrong key is refused with 401", needs=_NEEDS)
async def wrong_key(t: Attempt) -> None:
    """OpenAI API, Error codes: 401, incorrect API key provided."""
    key = {"authorization": "Bearer benchcore-wrong-key"}
    answer = await t.post(CHAT, t.chat_body("Hello", max_tokens=1), key)
    t.refused(answer, "a wrong key", _STATUSES)


@SUITE.check("a key under another scheme than Bearer is refused", needs=_NEEDS)
async def wrong_scheme(t: Attempt) -> None:
    """RFC 6750, 2.1: the scheme is Bearer."""
    key = {"authorization": "Basic YmVuY2hjb3JlOng="}
    answer = await t.post(CHAT, t.chat_body("Hello", max_tokens=1), key)
    t.refused(answer, "a key under the scheme Basic", _STATUSES)


@SUITE.check("an expired key is refused with 401", needs=_NEEDS, opt_in="expired_key")
async def expired_key(t: Attempt) -> None:
    """OpenAI API, Error codes: 401, invalid authentication."""
    key = {"authorization": f"Bearer {t.subject.expired_key}"}
    answer = await t.post(CHAT, t.chat_body("Hello", max_tokens=1), key)
    t.refused(answer, "an expired key", _STATUSES)


@SUITE.check("a wrong key is refused before a bad body is", needs=_NEEDS)
async def key_comes_first(t: Attempt) -> None:
    """RFC 9110, 15.5.2: who may not ask learns nothing of how to ask."""
    key = {"authorization": "Bearer benchcore-wrong-key"}
    answer = await t.post(CHAT, b"{", key)
    t.require(answer.status in _STATUSES, "401", str(answer.status))


@SUITE.check("the list of models needs the key too", needs=_NEEDS)
async def models_need_key(t: Attempt) -> None:
    """OpenAI API, Authentication: all requests."""
    answer = await t.get("/v1/models", {"authorization": "Bearer benchcore-wrong-key"})
    t.refused(answer, "a wrong key", _STATUSES)


@SUITE.check("a refusal never repeats the key", needs=_NEEDS)
async def key_is_not_shown(t: Attempt) -> None:
    """OWASP, Logging Cheat Sheet: no access tokens in messages."""
    secret = "benchcore-secret-in-an-error"
    answer = await t.post(CHAT, t.chat_body("Hello"), {"authorization": f"Bearer {secret}"})
    t.require(secret.encode() not in answer.body, "a body without the key", shown(answer.problem))
