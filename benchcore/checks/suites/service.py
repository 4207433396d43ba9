"""Service: keys, errors, and the limits of a server."""

from __future__ import annotations

import asyncio
import re
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final

from benchcore.checks.answers import CheckAnswer, CheckFailedError, shown
from benchcore.checks.attempt import CHAT, Attempt
from benchcore.checks.check import Suite

if TYPE_CHECKING:
    from benchcore.checks.answers import CheckAnswer


AUTH = Suite("auth", "keys, and requests without a good one")

_NEEDS: Final = ("auth",)
_STATUSES: Final = (401, 403)


@AUTH.check("a request without a key is refused with 401", needs=_NEEDS)
async def missing_key(t: Attempt) -> None:
    """OpenAI API, Error codes: 401, invalid authentication."""
    answer = await t.post(CHAT, t.chat_body("Hello", max_tokens=1), {"authorization": None})
    t.refused(answer, "a request without a key", _STATUSES)


@AUTH.check("a wrong key is refused with 401", needs=_NEEDS)
async def wrong_key(t: Attempt) -> None:
    """OpenAI API, Error codes: 401, incorrect API key provided."""
    key = {"authorization": "Bearer benchcore-wrong-key"}
    answer = await t.post(CHAT, t.chat_body("Hello", max_tokens=1), key)
    t.refused(answer, "a wrong key", _STATUSES)


@AUTH.check("a key under another scheme than Bearer is refused", needs=_NEEDS)
async def wrong_scheme(t: Attempt) -> None:
    """RFC 6750, 2.1: the scheme is Bearer."""
    key = {"authorization": "Basic YmVuY2hjb3JlOng="}
    answer = await t.post(CHAT, t.chat_body("Hello", max_tokens=1), key)
    t.refused(answer, "a key under the scheme Basic", _STATUSES)


@AUTH.check("an expired key is refused with 401", needs=_NEEDS, opt_in="expired_key")
async def expired_key(t: Attempt) -> None:
    """OpenAI API, Error codes: 401, invalid authentication."""
    key = {"authorization": f"Bearer {t.subject.expired_key}"}
    answer = await t.post(CHAT, t.chat_body("Hello", max_tokens=1), key)
    t.refused(answer, "an expired key", _STATUSES)


@AUTH.check("a wrong key is refused before a bad body is", needs=_NEEDS)
async def key_comes_first(t: Attempt) -> None:
    """RFC 9110, 15.5.2: who may not ask learns nothing of how to ask."""
    key = {"authorization": "Bearer benchcore-wrong-key"}
    answer = await t.post(CHAT, b"{", key)
    t.require(answer.status in _STATUSES, "401", str(answer.status))


@AUTH.check("the list of models needs the key too", needs=_NEEDS)
async def models_need_key(t: Attempt) -> None:
    """OpenAI API, Authentication: all requests."""
    answer = await t.get("/v1/models", {"authorization": "Bearer benchcore-wrong-key"})
    t.refused(answer, "a wrong key", _STATUSES)


@AUTH.check("a refusal never repeats the key", needs=_NEEDS)
async def key_is_not_shown(t: Attempt) -> None:
    """OWASP, Logging Cheat Sheet: no access tokens in messages."""
    secret = "benchcore-secret-in-an-error"
    answer = await t.post(CHAT, t.chat_body("Hello"), {"authorization": f"Bearer {secret}"})
    t.require(secret.encode() not in answer.body, "a body without the key", shown(answer.problem))


# What errors look like.

ERRORS = Suite("errors", "what errors look like")

_LOOSE: Final = "engines of their own have an envelope of their own"


async def _error(t: Attempt) -> CheckAnswer:
    return await t.post(CHAT, t.chat_body("Hello", temperature="hot"))


@ERRORS.check("an error has an object error with a message")
async def envelope(t: Attempt) -> None:
    """OpenAI API, Error codes."""
    answer = await _error(t)
    t.require(400 <= answer.status < 500, "a status of 4xx", str(answer.status))
    message = answer.at("error", "message")
    t.require(isinstance(message, str) and message, "error.message", shown(message))


@ERRORS.check("an error has a type", tolerance=_LOOSE)
async def error_type(t: Attempt) -> None:
    """OpenAI API, Error codes: type."""
    kind = (await _error(t)).at("error", "type")
    t.require(isinstance(kind, str) and kind, "error.type", shown(kind))


@ERRORS.check("an error has the key param", tolerance=_LOOSE)
async def error_param(t: Attempt) -> None:
    """OpenAI API, Error codes: param, which may be null."""
    error = (await _error(t)).at("error", a=dict)
    t.require("param" in error, "error.param", shown(error))


@ERRORS.check("an error has the key code", tolerance=_LOOSE)
async def error_code(t: Attempt) -> None:
    """OpenAI API, Error codes: code, which may be null."""
    error = (await _error(t)).at("error", a=dict)
    t.require("code" in error, "error.code", shown(error))


@ERRORS.check("an error's content type is application/json")
async def content_type(t: Attempt) -> None:
    """RFC 8259, section 11."""
    value = (await _error(t)).header("content-type") or "none"
    t.require(value.lower().startswith("application/json"), "application/json", value)


@ERRORS.check("an unknown model is refused with 404", tolerance="some engines serve any name")
async def unknown_model(t: Attempt) -> None:
    """OpenAI API, Error codes: the model does not exist."""
    answer = await t.post(CHAT, t.chat_body("Hello", model="no-such-model"))
    t.refused(answer, "an unknown model", (404, 400))


@ERRORS.check(
    "an unknown model is refused for a stream too", tolerance="some engines serve any name"
)
async def unknown_model_streamed(t: Attempt) -> None:
    """OpenAI API, Error codes: a status, and not a stream."""
    body = t.chat_body("Hello", model="no-such-model", stream=True)
    t.refused(await t.post(CHAT, body), "an unknown model", (404, 400))


@ERRORS.check("an unknown route gives 404")
async def unknown_route(t: Attempt) -> None:
    """RFC 9110, 15.5.5."""
    answer = await t.post("/v1/no/such/route", {})
    t.require(answer.status == 404, "404", str(answer.status))


@ERRORS.check("a wrong method gives 405")
async def wrong_method(t: Attempt) -> None:
    """RFC 9110, 15.5.6."""
    answer = await t.get(CHAT)
    t.require(
        answer.status == 405, "405", str(answer.status)
    ) if answer.status != 404 else t.prefer(
        holds=False, expected="405", got="404", tolerance="some servers' routers know no 405"
    )


@ERRORS.check("a conversation longer than the context is refused with 400, never a 5xx", harsh=True)
async def over_long(t: Attempt) -> None:
    """OpenAI API, Error codes: context_length_exceeded."""
    length = t.subject.max_model_len
    if length is None:
        t.skip("the server does not say how long its context is")
        return
    answer = await t.post(CHAT, t.chat_body("river " * (length + 100), max_tokens=8))
    t.refused(answer, "a prompt beyond the context", (400, 413, 422))
    await t.healthy()


@ERRORS.check("a model can be asked for by its id", tolerance="several engines have only the list")
async def one_model(t: Attempt) -> None:
    """OpenAI API, Retrieve model."""
    from urllib.parse import quote

    answer = t.accepted(await t.get(f"/v1/models/{quote(t.subject.model)}"), "one model")
    t.require(answer.at("id") == t.subject.model, t.subject.model, shown(answer.find("id")))


# Sizes, bursts and the ids of requests.

LIMITS = Suite("limits", "sizes, bursts and the ids of requests")


@LIMITS.check(
    "a body that is too large is refused with a 4xx, or answered; never a 5xx", harsh=True
)
async def too_large(t: Attempt) -> None:
    """RFC 9110, 15.5.14: content too large."""
    body = t.chat_body("x", max_tokens=1, x_padding="y" * t.subject.large_body)
    try:
        answer = await t.post(CHAT, body)
    except CheckFailedError as error:
        # A server that is down has not closed the connection of this body.
        await t.healthy()
        t.prefer(
            holds=False,
            expected="a status",
            got=error.got,
            tolerance="a server may close the connection of a body that it will not read",
            broken=True,
        )
        return
    t.require(0 < answer.status < 500, "an answer or a 4xx", str(answer.status))


async def _burst(t: Attempt) -> list[CheckAnswer]:
    count = t.subject.burst
    body = t.chat_body("Count from 1 to 200.", max_tokens=64)
    await t.subject.pace.turn()
    answers = await asyncio.gather(*(t.at_once(CHAT, body) for _ in range(count)))
    # What comes next waits for as long as the server asked: the burst was ours.
    t.subject.pace.after_burst(answer.record for answer in _refused(answers))
    return answers


def _refused(answers: list[CheckAnswer]) -> list[CheckAnswer]:
    return [answer for answer in answers if answer.status in (429, 503)]


@LIMITS.check(
    "under a burst every request is answered, or refused with 429 or 503",
    alone=True,
    opt_in="burst",
)
async def burst_statuses(t: Attempt) -> None:
    """RFC 6585, section 4; RFC 9110, 15.6.4."""
    statuses = sorted({answer.status for answer in await _burst(t)})
    wrong = [status for status in statuses if status not in (200, 429, 503)]
    t.require(not wrong, "200, 429 or 503", shown(statuses))


async def _refusals(t: Attempt) -> list[CheckAnswer]:
    answers = await _burst(t)
    refused = _refused(answers)
    if not refused:
        t.skip(f"{len(answers)} requests at once were all answered")
    return refused


@LIMITS.check("a refusal for load says when to try again", alone=True, opt_in="burst")
async def retry_after(t: Attempt) -> None:
    """RFC 9110, 10.2.3: seconds, or a date."""
    for answer in await _refusals(t):
        value = answer.header("retry-after")
        t.require(value is not None and _valid(value), "a valid Retry-After", shown(value))


def _valid(value: str) -> bool:
    if re.fullmatch("[0-9]+", value):
        return True
    try:
        parsedate_to_datetime(value)
    except ValueError:
        return False
    return True


@LIMITS.check("a refusal for load has an error's body", alone=True, opt_in="burst")
async def burst_body(t: Attempt) -> None:
    """OpenAI API, Error codes: 429."""
    for answer in await _refusals(t):
        t.require(isinstance(answer.find("error"), dict), "an object error", answer.problem)


@LIMITS.check("after a burst the server is healthy", alone=True, opt_in="burst")
async def burst_recovers(t: Attempt) -> None:
    """RFC 6585, section 4: too many requests in a given time; later ones are welcome.

    The next request waits for as long as the refusals said, and is sent again where it is put off.
    """
    await _burst(t)
    answer = await t.post(CHAT, t.chat_body("Are you well?", max_tokens=2))
    t.require(answer.status == 200, "the next request answered", str(answer.status))


@LIMITS.check("an answer has an x-request-id, the given one or the server's own")
async def request_id(t: Attempt) -> None:
    """OpenAI API, Debugging requests: x-request-id."""
    given = "0f0e0d0c-0b0a-4908-8706-050403020100"
    answer = await t.post(CHAT, t.chat_body("Hello", max_tokens=1), {"x-request-id": given})
    t.accepted(answer)
    t.prefer(
        answer.header("x-request-id"),
        "an x-request-id",
        "none",
        "engines leave ids to the gateway before them",
    )


@LIMITS.check("traceparent does no harm")
async def traceparent(t: Attempt) -> None:
    """W3C Trace Context, 3.2."""
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    answer = await t.post(CHAT, t.chat_body("Hello", max_tokens=1), {"traceparent": trace})
    t.accepted(answer)


@LIMITS.check("a malformed traceparent does no harm")
async def bad_traceparent(t: Attempt) -> None:
    """W3C Trace Context, 3.2.2: a vendor that fails to parse it ignores it."""
    answer = await t.post(CHAT, t.chat_body("Hello", max_tokens=1), {"traceparent": "zz-bad"})
    t.accepted(answer)
