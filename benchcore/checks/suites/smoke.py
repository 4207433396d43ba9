"""Smoke: the few checks that are always made."""

from benchcore.checks.answers import shown
from benchcore.checks.check import Suite
from benchcore.checks.trial import CHAT, Trial

SUITE = Suite("smoke", "the server is up and speaks the API at all")


@SUITE.check("/v1/models lists models, and the one that is asked for", smoke=True)
async def models(t: Trial) -> None:
    """OpenAI API, List models."""
    heard = t.accepted(await t.get("/v1/models"))
    t.require(heard.at("object") == "list", "object to be list", heard.find("object"))
    models = heard.at("data", a=list)
    names = [heard.at("data", index, "id", a=str) for index in range(len(models))]
    t.require(t.subject.model in names, f"{t.subject.model} among the models", names)


@SUITE.check("a chat is answered with a message", smoke=True)
async def chat(t: Trial) -> None:
    """OpenAI API, Create chat completion."""
    heard = await t.chat("Say hello.")
    t.require(len(heard.choices) == 1, "one choice", heard.choices)
    said = heard.text() or any(heard.message().get(key) for key in t.subject.reasoning_keys)
    t.require(said, "a message with content", heard.message())


@SUITE.check("a streamed chat is answered with deltas", smoke=True)
async def streamed_chat(t: Trial) -> None:
    """OpenAI API, Streaming."""
    stream = await t.stream_chat("Say hello.")
    t.require(stream.chunks, "chunks of a stream", stream.body[:300].decode(errors="replace"))
    said = stream.text() or stream.reasoning(keys=t.subject.reasoning_keys)
    t.require(said, "deltas with content", shown(stream.chunks[:5]))


@SUITE.check("a request without messages is refused", smoke=True)
async def no_messages(t: Trial) -> None:
    """OpenAI API, Create chat completion: `messages` is required."""
    body = t.chat_body("Hello")
    del body["messages"]
    t.refused(await t.post(CHAT, body), "a request without messages")
