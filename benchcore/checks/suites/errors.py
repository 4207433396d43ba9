"""Errors: what errors look like."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from benchcore.checks.answers import shown
from benchcore.checks.attempt import CHAT, Attempt
from benchcore.checks.check import Suite

if TYPE_CHECKING:
    from benchcore.checks.answers import CheckAnswer


SUITE = Suite("errors", "what errors look like")

_LOOSE: Final = "engines of their own have an envelope of their own"


async def _error(t: Attempt) -> CheckAnswer:
    return await t.post(CHAT, t.chat_body("Hello", temperature="hot"))


@SUITE.check("an error has an object error with a message")
async def envelope(t: Attempt) -> None:
    """OpenAI API, Error codes."""
    answer = await _error(t)
    t.require(400 <= answer.status < 500, "a status of 4xx", str(answer.status))
    message = answer.at("error", "message")
    t.require(isinstance(message, str) and message, "error.message", shown(message))


@SUITE.check("an error has a type", tolerance=_LOOSE)
async def error_type(t: Attempt) -> None:
    """OpenAI API, Error codes: type."""
    kind = (await _error(t)).at("error", "type")
    t.require(isinstance(kind, str) and kind, "error.type", shown(kind))


@SUITE.check("an error has the key param", tolerance=_LOOSE)
async def error_param(t: Attempt) -> None:
    """OpenAI API, Error codes: param, which may be null."""
    error = (await _error(t)).at("error", a=dict)
    t.require("param" in error, "error.param", shown(error))


@SUITE.check("an error has the key code", tolerance=_LOOSE)
async def error_code(t: Attempt) -> None:
    """OpenAI API, Error codes: code, which may be null."""
    error = (await _error(t)).at("error", a=dict)
    t.require("code" in error, "error.code", shown(error))


@SUITE.check("an error's content type is application/json")
async def content_type(t: Attempt) -> None:
    """RFC 8259, section 11."""
    value = (await _error(t)).header("content-type") or "none"
    t.require(value.lower().startswith("application/json"), "application/json", value)


@SUITE.check("an unknown model is refused with 404", tolerance="some engines serve any name")
async def unknown_model(t: Attempt) -> None:
    """OpenAI API, Error codes: the model does not exist."""
    answer = await t.post(CHAT, t.chat_body("Hello", model="no-such-model"))
    t.refused(answer, "an unknown model", (404, 400))


@SUITE.check(
    "an unknown model is refused for a stream too", tolerance="some engines serve any name"
)
async def unknown_model_streamed(t: Attempt) -> None:
    """OpenAI API, Error codes: a status, and not a stream."""
    body = t.chat_body("Hello", model="no-such-model", stream=True)
    t.refused(await t.post(CHAT, body), "an unknown model", (404, 400))


@SUITE.check("an unknown route gives 404")
async def unknown_route(t: Attempt) -> None:
    """RFC 9110, 15.5.5."""
    answer = await t.post("/v1/no/such/route", {})
    t.require(answer.status == 404, "404", str(answer.status))


@SUITE.check("a wrong method gives 405")
async def wrong_method(t: Attempt) -> None:
    """RFC 9110, 15.5.6."""
    answer = await t.get(CHAT)
    t.require(
        answer.status == 405, "405", str(answer.status)
    ) if answer.status != 404 else t.prefer(
        holds=False, expected="405", got="404", tolerance="some servers' routers know no 405"
    )


@SUITE.check("a conversation longer than the context is refused with 400, never a 5xx", harsh=True)
async def over_long(t: Attempt) -> None:
    """OpenAI API, Error codes: context_length_exceeded."""
    length = t.subject.max_model_len
    if length is None:
        t.skip("the server does not say how long its context is")
        return
    answer = await t.post(CHAT, t.chat_body("river " * (length + 100), max_tokens=8))
    t.refused(answer, "a prompt beyond the context", (400, 413, 422))
    await t.healthy()


@SUITE.check("a model can be asked for by its id", tolerance="several engines have only the list")
async def one_model(t: Attempt) -> None:
    """OpenAI API, Retrieve model."""
    from urllib.parse import quote

    answer = t.accepted(await t.get(f"/v1/models/{quote(t.subject.model)}"), "one model")
    t.require(answer.at("id") == t.subject.model, t.subject.model, shown(answer.find("id")))
