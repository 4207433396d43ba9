"""Isolation: requests that do not disturb each other."""

from __future__ import annotations

import asyncio
import re
import time
from typing import TYPE_CHECKING, Any, Final

from benchcore.checks.answers import CheckFailedError, shown
from benchcore.checks.attempt import CHAT, Attempt
from benchcore.checks.check import Suite
from benchcore.checks.probing import ECHO

if TYPE_CHECKING:
    from benchcore.checks.answers import CheckAnswer


SUITE = Suite("isolation", "requests that do not disturb each other")

_AT_ONCE: Final = 12
_LONG: Final = 8000
_PROMPT_ROOM: Final = 150
_FREED_SECONDS: Final = 3.0
_LEAST_PATIENCE: Final = 0.25
_REST_SECONDS: Final = 1.0
_PACE_SECONDS: Final = 0.2
_LOOK_SECONDS: Final = 0.05
_STALLED_SECONDS: Final = 10.0
"""A request that is answered in milliseconds waits for less, on the busiest of machines."""
_RUNNING: Final = re.compile(
    rb"^(?:vllm:num_requests_running|sglang:num_running_reqs|llamacpp:requests_processing)"
    rb"(?:\{[^}]*\})? ([0-9.eE+-]+)\s*$",
    re.MULTILINE,
)


@SUITE.check(
    "prompts with a word of their own, all at once, each get their own word back",
    needs=("instructions",),
    alone=True,
    model_dependent=True,
)
async def nonces(t: Attempt) -> None:
    """What one user asked must never be answered to another."""
    words = [f"nonce{number * 7919 % 10007:05d}" for number in range(_AT_ONCE)]
    answers = await asyncio.gather(*(t.chat(ECHO + word) for word in words))
    _own(t, words, [answer.text() for answer in answers])


def _own(t: Attempt, words: list[str], texts: list[str]) -> None:
    for word, text in zip(words, texts, strict=True):
        others = [other for other in words if other != word and other in text]
        t.require(word in text and not others, f"{word} and no other", shown(text))


@SUITE.check(
    "streams and plain answers, all at once, each get their own word back",
    needs=("instructions",),
    alone=True,
    model_dependent=True,
)
async def mixed_nonces(t: Attempt) -> None:
    """What one user asked must never be answered to another, streamed or not."""
    words = [f"token{number * 6101 % 10007:05d}" for number in range(_AT_ONCE)]
    asked = [
        t.chat(ECHO + word) if number % 2 else t.stream_chat(ECHO + word)
        for number, word in enumerate(words)
    ]
    answers: list[CheckAnswer] = await asyncio.gather(*asked)
    _own(t, words, [answer.text() for answer in answers])


@SUITE.check("an answer is the same alone and among others, at temperature 0", alone=True)
async def alone_and_among(t: Attempt) -> None:
    """At temperature 0 a batch changes an answer only by rounding, and a mix-up changes it all."""
    asks = [f"Tell me of mountain number {number}." for number in range(4)]
    alone = [(await t.chat(ask, max_tokens=4)).text() for ask in asks]
    among = await asyncio.gather(*(t.chat(ask, max_tokens=4) for ask in asks))
    texts = [answer.text() for answer in among]
    same = sum(1 for text, other in zip(alone, texts, strict=True) if text == other)
    t.prefer(
        same == len(asks),
        f"the same answers: {shown(alone)}",
        shown(texts),
        "kernels round otherwise in a batch",
    )
    t.require(same > 0 or set(texts) != set(alone), "answers to their own requests", shown(texts))


def _long(t: Attempt) -> dict[str, Any]:
    """Return a request whose answer takes long to make and to send."""
    most = min(_LONG, (t.subject.max_model_len or _LONG) - _PROMPT_ROOM)
    ask = "Tell me a very long story."
    return t.chat_body(ask, stream=True, max_tokens=most, ignore_eos=True)


async def _running(t: Attempt) -> float:
    answer = t.accepted(await t.get("/metrics"))
    counts = _RUNNING.findall(answer.body)
    if not counts:
        t.skip("/metrics does not say how many requests are running")
    return sum(float(value) for value in counts)


async def _at_rest(t: Attempt) -> float:
    """Return how many run when we ask nothing: requests that checks before left are going yet."""
    least = await _running(t)
    until = time.monotonic() + _REST_SECONDS
    while least and time.monotonic() < until:
        await asyncio.sleep(_LOOK_SECONDS)
        least = min(least, await _running(t))
    return least


@SUITE.check(
    "a client that disconnects in mid-stream frees its place", needs=("metrics",), alone=True
)
async def disconnect_frees(t: Attempt) -> None:
    """Seen in the gauge of running requests: an answer nobody reads costs everybody."""
    before = await _at_rest(t)
    body = _long(t)
    sent = t.begin(CHAT, body)
    try:
        await sent.first_piece()
        begun = time.monotonic()
        await asyncio.sleep(_PACE_SECONDS)
        events = sent.events()
        each = (time.monotonic() - begun) / max(events, 1)
    finally:
        sent.leave()
    # An answer that ends by itself frees its place too, and would hide that nobody heard us go.
    left = (body["max_tokens"] - events) * each
    patience = min(_FREED_SECONDS, left / 2)
    if patience < _LEAST_PATIENCE:
        t.skip(f"its longest answer is over {left:.1f} s later: too soon to tell")
    deadline = time.monotonic() + patience
    while (now := await _running(t)) > before:
        if time.monotonic() > deadline:
            raise CheckFailedError(
                f"{before:g} requests running within {patience:.1f} s", f"{now:g}"
            )
        await asyncio.sleep(_LOOK_SECONDS)


@SUITE.check("a client that stops reading does not stall the others", alone=True)
async def slow_reader_stalls_nobody(t: Attempt) -> None:
    """Seen in the latency of other requests while one stream is not read."""
    begun = time.monotonic()
    await t.chat("Say hello.", max_tokens=8)
    usual = time.monotonic() - begun
    body = _long(t)
    logprobs = t.subject.capabilities.get("logprobs")
    if logprobs is not None and logprobs.available:
        # Large events fill the buffers between us and the server sooner.
        body |= {"logprobs": True, "top_logprobs": 20}
    sent = t.begin(CHAT, body)
    limit = max(_STALLED_SECONDS, 20 * usual)
    try:
        await sent.first_piece()
        try:
            async with asyncio.timeout(limit):
                await t.chat("Say hello.", max_tokens=8)
        except TimeoutError:
            t.skip("the server answers one request at a time")
        sent.stop_reading()
        enough = time.monotonic() + t.subject.stall_seconds
        while True:
            async with asyncio.timeout(limit):
                await t.chat("Say hello.", max_tokens=8)
            if time.monotonic() > enough:
                return
            await asyncio.sleep(_LOOK_SECONDS)
    except TimeoutError:
        got = f"none in {limit:.1f} s; alone it takes {usual:.2f} s"
        raise CheckFailedError("an answer beside a stream that is not read", got) from None
    finally:
        sent.leave()
