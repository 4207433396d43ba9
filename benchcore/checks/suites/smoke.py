"""Smoke: the few checks that are always made."""

from benchcore.checks.answers import shown
from benchcore.checks.attempt import CHAT, Attempt
from benchcore.checks.check import Suite

SUITE = Suite("smoke", "the server is up and speaks the API at all")


@SUITE.check("/v1/models lists models, and the one that is asked for", smoke=True)
async def models(t: Attempt) -> None:
    """OpenAI API, List models."""
    answer = t.accepted(await t.get("/v1/models"))
    t.require(answer.at("object") == "list", "object to be list", answer.find("object"))
    models = answer.at("data", a=list)
    names = [answer.at("data", index, "id", a=str) for index in range(len(models))]
    t.require(t.subject.model in names, f"{t.subject.model} among the models", names)


@SUITE.check("a chat is answered with a message", smoke=True)
async def chat(t: Attempt) -> None:
    """OpenAI API, Create chat completion."""
    answer = await t.chat("Say hello.")
    t.require(len(answer.choices) == 1, "one choice", answer.choices)
    said = answer.text() or any(answer.message().get(key) for key in t.subject.reasoning_keys)
    t.require(said, "a message with content", answer.message())


@SUITE.check("a streamed chat is answered with deltas", smoke=True)
async def streamed_chat(t: Attempt) -> None:
    """OpenAI API, Streaming."""
    stream = await t.stream_chat("Say hello.")
    t.require(stream.chunks, "chunks of a stream", stream.body[:300].decode(errors="replace"))
    said = stream.text() or stream.reasoning(keys=t.subject.reasoning_keys)
    t.require(said, "deltas with content", shown(stream.chunks[:5]))


@SUITE.check("a request without messages is refused", smoke=True)
async def no_messages(t: Attempt) -> None:
    """OpenAI API, Create chat completion: `messages` is required."""
    body = t.chat_body("Hello")
    del body["messages"]
    t.refused(await t.post(CHAT, body), "a request without messages")
