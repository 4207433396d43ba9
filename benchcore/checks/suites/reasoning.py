"""Reasoning: reasoning, and where it ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from benchcore.checks.answers import shown
from benchcore.checks.attempt import CHAT, Attempt
from benchcore.checks.check import Suite

if TYPE_CHECKING:
    from benchcore.checks.answers import CheckAnswer


SUITE = Suite("reasoning", "reasoning, and where it ends")

_NEEDS: Final = ("reasoning",)
_ASK: Final = "Is 91 a prime number?"
_ROOM: Final = 2000


def _reasoning(t: Attempt, answer: CheckAnswer) -> str:
    texts = [answer.message().get(key) for key in t.subject.reasoning_keys]
    return "".join(text for text in texts[:] if isinstance(text, str) and text)


@SUITE.check("the message has reasoning of its own, not empty", needs=_NEEDS)
async def present(t: Attempt) -> None:
    """VLLM, Reasoning Outputs: reasoning; DeepSeek API: reasoning_content."""
    answer = await t.chat(_ASK, reasoning_effort="low", max_tokens=_ROOM)
    keys = " or ".join(t.subject.reasoning_keys)
    t.require(_reasoning(t, answer), f"{keys}, not empty", shown(answer.message()))


@SUITE.check("streamed reasoning comes before the content", needs=_NEEDS)
async def before_content(t: Attempt) -> None:
    """VLLM, Reasoning Outputs, Streaming."""
    stream = await t.stream_chat(_ASK, reasoning_effort="low", max_tokens=_ROOM)
    kinds = [
        "content" if delta.get("content") else "reasoning"
        for delta in stream.deltas()
        if delta.get("content") or any(delta.get(key) for key in t.subject.reasoning_keys)
    ]
    t.require("reasoning" in kinds, "reasoning in the stream", shown(kinds[:5]))
    t.require(kinds == sorted(kinds, reverse=True), "reasoning, then content", shown(kinds))


@SUITE.check("streamed reasoning is that of the plain answer, at temperature 0", needs=_NEEDS)
async def streamed_equals_plain(t: Attempt) -> None:
    """OpenAI API, stream: the same completion, in pieces."""
    fields: dict[str, Any] = {"reasoning_effort": "medium", "max_tokens": _ROOM}
    plain = _reasoning(t, await t.chat(_ASK, **fields))
    stream = (await t.stream_chat(_ASK, **fields)).reasoning(keys=t.subject.reasoning_keys)
    t.require(stream == plain, shown(plain), shown(stream))


@SUITE.check("no <think> is left in the content", needs=_NEEDS)
async def no_tags_left(t: Attempt) -> None:
    """VLLM, Reasoning Outputs: the parser takes the tags away."""
    answer = await t.chat("Is 97 a prime number?", reasoning_effort="low", max_tokens=_ROOM)
    said = answer.text()
    t.require("<think>" not in said and "</think>" not in said, "no tags", said)


@SUITE.check("no <think> is left in the streamed content", needs=_NEEDS)
async def no_tags_left_streamed(t: Attempt) -> None:
    """VLLM, Reasoning Outputs: the parser takes the tags away."""
    ask = "Is 97 a prime number?"
    stream = await t.stream_chat(ask, reasoning_effort="low", max_tokens=_ROOM)
    said = stream.text()
    t.require("<think>" not in said and "</think>" not in said, "no tags", said)


@SUITE.check("a budget that reasoning has used up says length", needs=_NEEDS)
async def budget_says_length(t: Attempt) -> None:
    """OpenAI API, finish_reason: length, though no content came."""
    answer = await t.chat(_ASK, reasoning_effort="high", max_tokens=4)
    t.require(answer.finish() == "length", "length", answer.finish())


@SUITE.check("every reasoning_effort is accepted", needs=_NEEDS)
async def efforts(t: Attempt) -> None:
    """OpenAI API, Create chat completion: reasoning_effort."""
    for effort in ("low", "medium", "high"):
        await t.chat("Hello", reasoning_effort=effort, max_tokens=3)


@SUITE.check(
    "an unknown reasoning_effort is refused", needs=_NEEDS, tolerance="some engines ignore it"
)
async def unknown_effort(t: Attempt) -> None:
    """OpenAI API, Create chat completion: reasoning_effort."""
    body = t.chat_body("Hello", reasoning_effort="heroic", max_tokens=3)
    t.refused(await t.post(CHAT, body), "reasoning_effort heroic")


@SUITE.check(
    "enable_thinking false gives no reasoning", needs=_NEEDS, extension="chat_template_kwargs"
)
async def thinking_off(t: Attempt) -> None:
    """VLLM and SGLang, Qwen3: chat_template_kwargs.enable_thinking."""
    off = {"enable_thinking": False}
    answer = await t.chat(_ASK, "chat_template_kwargs", chat_template_kwargs=off, max_tokens=32)
    t.require(not _reasoning(t, answer), "no reasoning", shown(answer.message()))
