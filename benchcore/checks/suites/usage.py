"""Usage: the counts of tokens."""

from __future__ import annotations

from typing import Any, Final

from benchcore.checks.answers import shown
from benchcore.checks.attempt import Attempt
from benchcore.checks.check import Suite

SUITE = Suite("usage", "the counts of tokens")

_ASK: Final = "Name four mountains."
_STREAM: Final[dict[str, Any]] = {"stream_options": {"include_usage": True}, "max_tokens": 12}
_NEEDS: Final = ("usage_in_stream",)


@SUITE.check("a plain answer has usage with three counts")
async def present(t: Attempt) -> None:
    """OpenAI API, The chat completion object: usage."""
    answer = await t.chat(_ASK, max_tokens=8)
    for name in ("prompt_tokens", "completion_tokens", "total_tokens"):
        t.require(answer.usage(name) > 0, f"{name} above 0", answer.usage(name))


@SUITE.check("total_tokens is the sum of prompt and completion")
async def total(t: Attempt) -> None:
    """OpenAI API, usage.total_tokens: prompt + completion."""
    answer = await t.chat(_ASK, max_tokens=9)
    names = ("prompt_tokens", "completion_tokens", "total_tokens")
    prompt, completion, both = (answer.usage(name) for name in names)
    t.require(both == prompt + completion, f"{prompt} + {completion}", both)


@SUITE.check("a stream that was asked for it ends with one chunk of usage")
async def final_chunk(t: Attempt) -> None:
    """OpenAI API, stream_options.include_usage: a chunk before [DONE] with no choices."""
    fields = {**_STREAM, "max_tokens": 11}
    stream = await t.stream_chat(_ASK, "stream_options", **fields)
    chunks = [chunk for chunk in stream.chunks if isinstance(chunk.get("usage"), dict)]
    t.require(chunks, "a chunk with usage", shown(stream.chunks[-2:]))
    t.prefer(
        chunks[-1] is stream.chunks[-1] and chunks[-1].get("choices") == [],
        "usage in a last chunk without choices",
        shown(stream.chunks[-1]),
        "some engines put it in with the last choice",
    )


@SUITE.check(
    "a stream that was not asked for it has no usage", tolerance="llama.cpp and others add it"
)
async def not_asked(t: Attempt) -> None:
    """OpenAI API, stream_options.include_usage: default false."""
    stream = await t.stream_chat(_ASK, max_tokens=6)
    t.require(not stream.usages, "no usage", shown(stream.usages[:1]))


@SUITE.check("a stream counts the tokens that the plain answer counts", needs=_NEEDS)
async def stream_equals_plain(t: Attempt) -> None:
    """OpenAI API, usage: of the same completion, at temperature 0."""
    plain = await t.chat(_ASK, max_tokens=12)
    stream = await t.stream_chat(_ASK, **_STREAM)
    wanted = [plain.usage(name) for name in ("prompt_tokens", "completion_tokens")]
    streamed = [stream.usage(name) for name in ("prompt_tokens", "completion_tokens")]
    t.require(streamed == wanted, shown(wanted), shown(streamed))


@SUITE.check("prompt_tokens grow with the prompt")
async def grows(t: Attempt) -> None:
    """OpenAI API, usage.prompt_tokens: number of tokens in the prompt."""
    short = await t.chat("Hi", max_tokens=1)
    long = await t.chat("the old harbour lies behind the hill " * 20, max_tokens=1)
    counts = [answer.usage("prompt_tokens") for answer in (short, long)]
    t.require(counts[1] >= counts[0] + 60, "at least 60 more", counts)


@SUITE.check("prompt_tokens of the same prompt are the same")
async def same_prompt(t: Attempt) -> None:
    """OpenAI API, usage.prompt_tokens: cached ones count too."""
    ask = "Tell me of the island behind the northern pass, and of the two bridges."
    counts = [(await t.chat(ask, max_tokens=2)).usage("prompt_tokens") for _ in range(2)]
    t.require(counts[0] == counts[1], "the same count twice", counts)


@SUITE.check("cached_tokens are at most prompt_tokens")
async def cached(t: Attempt) -> None:
    """OpenAI API, usage.prompt_tokens_details.cached_tokens."""
    ask = "Tell me of the valley. " * 12
    await t.chat(ask, max_tokens=2)
    answer = await t.chat(ask, max_tokens=2)
    count = answer.find("usage", "prompt_tokens_details", "cached_tokens")
    if count is None:
        t.unsupported("usage does not say cached_tokens")
    prompt = answer.usage("prompt_tokens")
    t.require(isinstance(count, int) and 0 <= count <= prompt, f"0 to {prompt}", shown(count))


@SUITE.check("reasoning_tokens are at most completion_tokens", needs=("reasoning",))
async def reasoning(t: Attempt) -> None:
    """OpenAI API, usage.completion_tokens_details.reasoning_tokens."""
    answer = await t.chat("Is 89 a prime number?", reasoning_effort="low", max_tokens=1500)
    count = answer.find("usage", "completion_tokens_details", "reasoning_tokens")
    if count is None:
        t.unsupported("usage does not say reasoning_tokens")
    most = answer.usage("completion_tokens")
    t.require(isinstance(count, int) and 0 < count <= most, f"1 to {most}", shown(count))


@SUITE.check(
    "continuous_usage_stats counts up to the final usage", extension="continuous_usage_stats"
)
async def continuous(t: Attempt) -> None:
    """VLLM, stream_options.continuous_usage_stats."""
    options = {"include_usage": True, "continuous_usage_stats": True}
    stream = await t.stream_chat(_ASK, "stream_options", stream_options=options, max_tokens=10)
    counts = [usage.get("completion_tokens") for usage in stream.usages]
    known = [count for count in counts if isinstance(count, int)]
    t.require(len(known) >= 3 and known == sorted(known), "counts that grow", shown(counts))
