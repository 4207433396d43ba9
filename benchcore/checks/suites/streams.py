"""Streams: their framing and content, and the counts of tokens that come with them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import orjson

from benchcore.checks.answers import DONE, CheckFailedError, dig, shown
from benchcore.checks.attempt import CHAT, Attempt
from benchcore.checks.check import Suite

if TYPE_CHECKING:
    from benchcore.checks.answers import StreamedAnswer


SSE = Suite("sse", "the framing and the content of streams")

_FIELDS: Final = frozenset({b"data", b"event", b"id", b"retry"})
_SPREAD_TOKENS: Final = 200
_FEWEST_EVENTS: Final = 10
_LONG_TEXT: Final = 200
_PARTS: Final = 10
_MOST_STREAMS: Final = 10
_ENOUGH_NS: Final = 500_000_000
"""Of answers that came in lumps: what a busy machine does to a stream is shorter."""
_CUT: Final = "\N{REPLACEMENT CHARACTER}"
_FAULT: Final = "x-sim-fault"
"""Header by which our simulator fails on demand; any other server ignores it."""


async def _stream(t: Attempt, **fields: Any) -> StreamedAnswer:
    fields = {"max_tokens": 16, **fields}
    return await t.stream_chat("Tell me a short story.", **fields)


@SSE.check("the content type is text/event-stream")
async def content_type(t: Attempt) -> None:
    """HTML standard, 9.2.5: the MIME type of a stream."""
    stream = await _stream(t)
    value = stream.header("content-type") or "none"
    t.require(value.lower().startswith("text/event-stream"), "text/event-stream", value)


@SSE.check("every line is legal: a known field, a comment or empty")
async def framing(t: Attempt) -> None:
    """HTML standard, 9.2.6: a line of another form is ignored by clients, so it is lost."""
    stream = await _stream(t)
    body = stream.body.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    for line in body.removeprefix(b"\xef\xbb\xbf").split(b"\n"):
        name = line.partition(b":")[0]
        t.require(not line or line.startswith(b":") or name in _FIELDS, "a legal line", repr(line))


@SSE.check("the stream ends with an empty line, so that its last event counts")
async def last_event_ends(t: Attempt) -> None:
    """HTML standard, 9.2.6: an incomplete event at the end of the stream is discarded."""
    stream = await _stream(t)
    tail = stream.body.replace(b"\r\n", b"\n").replace(b"\r", b"\n")[-40:]
    t.require(tail.endswith(b"\n\n"), "an empty line at the end", repr(tail))


@SSE.check("there is exactly one [DONE]")
async def one_done(t: Attempt) -> None:
    """OpenAI API, stream: terminated by a data: [DONE] message."""
    stream = await _stream(t)
    t.require(stream.done == 1, "one [DONE]", f"{stream.done}")


@SSE.check("nothing follows [DONE]")
async def done_is_last(t: Attempt) -> None:
    """OpenAI API, stream: terminated by a data: [DONE] message."""
    stream = await _stream(t)
    events = [event.data.strip() for event in stream.events]
    after = events[events.index(DONE) + 1 :] if DONE in events else []
    t.require(not after, "nothing behind [DONE]", repr(after[:3]))


async def _constant(t: Attempt, key: str) -> None:
    stream = await _stream(t)
    values = {orjson.dumps(chunk[key]) for chunk in stream.chunks if key in chunk}
    missing = sum(1 for chunk in stream.chunks if key not in chunk and not chunk.get("error"))
    got = f"{len(values)} values, {missing} chunks without"
    t.require(len(values) == 1 and not missing, f"one {key}, in every chunk", got)


@SSE.check("id is the same in every chunk")
async def id_constant(t: Attempt) -> None:
    """OpenAI API, The chat completion chunk object: each chunk has the same ID."""
    await _constant(t, "id")


@SSE.check("model is the same in every chunk")
async def model_constant(t: Attempt) -> None:
    """OpenAI API, The chat completion chunk object."""
    await _constant(t, "model")


@SSE.check("created is the same in every chunk")
async def created_constant(t: Attempt) -> None:
    """OpenAI API, The chat completion chunk object: each chunk has the same timestamp."""
    await _constant(t, "created")


@SSE.check("each chunk's object is chat.completion.chunk")
async def object_is_chunk(t: Attempt) -> None:
    """OpenAI API, The chat completion chunk object."""
    stream = await _stream(t)
    wrong = [chunk.get("object") for chunk in stream.chunks]
    wrong = [kind for kind in wrong if kind != "chat.completion.chunk"]
    t.require(not wrong, "chat.completion.chunk", wrong[:3])


@SSE.check("the role comes once, in the first delta")
async def role_once(t: Attempt) -> None:
    """OpenAI API, Streaming: the first delta has the role."""
    stream = await _stream(t)
    roles = [delta.get("role") for delta in stream.deltas()]
    t.require(roles[:1] == ["assistant"], "role assistant in the first delta", roles[:3])
    again = roles[1:].count("assistant")
    t.prefer(not again, "the role once", f"{again + 1} times", "some engines repeat it")


@SSE.check("the role never changes in a stream")
async def role_never_changes(t: Attempt) -> None:
    """OpenAI API, The chat completion chunk object: delta.role is the author of the message."""
    stream = await _stream(t)
    roles = {delta.get("role") for delta in stream.deltas()} - {None, "", "assistant"}
    t.require(not roles, "no role but assistant", repr(roles))


@SSE.check("each choice has exactly one finish_reason")
async def one_finish(t: Attempt) -> None:
    """OpenAI API, The chat completion chunk object: null until the choice has ended."""
    stream = await _stream(t)
    finishes = stream.finishes()
    t.require(len(finishes) == 1, "one finish_reason", finishes)


@SSE.check("no output follows the finish_reason")
async def nothing_after_finish(t: Attempt) -> None:
    """OpenAI API, The chat completion chunk object: finish_reason comes with the end."""
    stream = await _stream(t)
    ended = False
    for piece in stream.of(0):
        said = (dig(piece, ("delta",), (dict, type(None))) or {}).get("content")
        t.require(not (ended and said), "no content behind the finish_reason", shown(piece))
        ended = ended or bool(piece.get("finish_reason"))


@SSE.check("chunks joined are the plain answer, at temperature 0")
async def equals_plain(t: Attempt) -> None:
    """OpenAI API, stream: the same completion, in pieces."""
    plain = await t.chat("Name three rivers.", max_tokens=24)
    stream = await t.stream_chat("Name three rivers.", max_tokens=24)
    t.require(stream.text() == plain.text(), shown(plain.text()), shown(stream.text()))


@SSE.check("the stream ends for the same reason as the plain answer, at temperature 0")
async def finish_equals_plain(t: Attempt) -> None:
    """OpenAI API, stream: the same completion, in pieces."""
    plain = await t.chat("Name two lakes.", max_tokens=24)
    stream = await t.stream_chat("Name two lakes.", max_tokens=24)
    t.require(stream.finish() == plain.finish(), plain.finish(), stream.finish())


@SSE.check("each event is JSON")
async def events_are_json(t: Attempt) -> None:
    """OpenAI API, stream: data-only events of chunk objects."""
    stream = await _stream(t)
    for event in stream.events:
        if event.data.strip() == DONE:
            continue
        try:
            # What is not UTF-8 is another check's.
            orjson.loads(event.data.decode(errors="replace").encode())
        except orjson.JSONDecodeError as error:
            raise CheckFailedError("an event of JSON", f"{error}: {event.data[:200]!r}") from None


@SSE.check("each event is UTF-8, and no character is cut in two")
async def utf8_whole(t: Attempt) -> None:
    """HTML standard, 9.2.5: a stream is UTF-8; U+FFFD shows a character that was cut."""
    ask = (
        "请原样重复，不要说别的：你好，世界\N{ROCKET}"  # noqa: RUF001  it is Chinese
        "\N{PARTY POPPER}"
    )
    stream = await t.stream_chat(ask, max_tokens=32)
    for event in stream.events:
        try:
            event.data.decode()
        except UnicodeDecodeError as error:
            raise CheckFailedError("an event of UTF-8", f"{error}: {event.data!r}") from None
    said = stream.text()
    if any(finish == "length" for finish in stream.finishes()):
        # What max_tokens cut in mid-character no server can make whole.
        said = said.rstrip(_CUT)
    if _CUT not in said:
        return
    # A small model itself says bytes that are no character: then the plain answer has them too.
    try:
        plain = (await t.chat(ask, max_tokens=32)).text().count(_CUT)
    except CheckFailedError:
        plain = 0  # there is no plain answer to hold it against
    cut = next((event.data for event in stream.events if _CUT.encode() in event.data), b"")
    expected = f"no more U+FFFD in a stream than in the plain answer, {plain}"
    t.require(
        said.count(_CUT) <= plain,
        expected if plain else "no U+FFFD in a stream",
        cut.decode()[:300] or shown(said),
    )


@SSE.check("choices is empty only in the chunk that carries usage")
async def empty_choices(t: Attempt) -> None:
    """OpenAI API, stream_options.include_usage: choices is empty in that chunk."""
    stream = await _stream(t, stream_options={"include_usage": True})
    for chunk in stream.chunks:
        empty = chunk.get("choices") == [] and not isinstance(chunk.get("usage"), dict)
        t.require(not empty, "choices, or usage", shown(chunk))


@SSE.check(
    "events are spread in time: the answer is streamed as it is made",
    alone=True,
    model_dependent=True,  # and on what else the machine does
)
async def spread_in_time(t: Attempt) -> None:
    """OpenAI API, stream: sent as it becomes available.

    A short answer of a fast server may come in lumps because this machine, or the server's, was
    busy with other things for some milliseconds. What buffers holds back every answer: so a short
    one is asked for again, and one that is spread in time settles it.
    """
    spent_ns = 0
    for left in reversed(range(_MOST_STREAMS)):
        stream = await _stream(t, max_tokens=_SPREAD_TOKENS)
        t.require(stream.events, "events", stream.body[:200].decode(errors="replace"))
        stamps = stream.generated(t.subject.reasoning_keys)
        came = [stamp - stream.record.sent_ns for stamp in stamps]
        if len(came) < _FEWEST_EVENTS:
            long = len(stream.text()) >= _LONG_TEXT
            t.require(not long, "an event for each few tokens", f"{len(came)} for the whole answer")
            t.skip(f"{len(came)} events that say something are too few to tell")
        try:
            _judge_spread(t, came)
        except CheckFailedError:
            spent_ns += came[-1]
            if not left or spent_ns > _ENOUGH_NS:
                raise
        else:
            return


def _judge_spread(t: Attempt, came: list[int]) -> None:
    """Fail unless text came all the time.

    Args:
        t: the try.
        came: when each piece of text came, in ns after the request was sent.

    Raises:
        CheckFailedError: it came at the end, or in lumps.
    """
    first, last = came[0], came[-1]
    got = f"the first piece of text after {first / 1e6:.1f} ms of {last / 1e6:.1f} ms"
    t.require(first < 0.8 * last, "the first piece of text well before the last", got)
    # A buffer between lets go of what it holds in lumps, with long silence before each.
    lumps = Counter((stamp - first) * _PARTS // (last - first + 1) for stamp in came)
    got = (
        f"{len(came)} pieces of text in {len(set(came))} reads: {max(lumps.values())} of them in "
        f"one tenth of the time, none in {_PARTS - len(lumps)} tenths"
    )
    t.require(
        len(lumps) >= _PARTS / 2 and max(lumps.values()) <= 0.8 * len(came),
        "text that comes all the time and not in lumps",
        got,
    )


@SSE.check("an error in mid-stream is an event with an error object")
async def error_event(t: Attempt) -> None:
    """OpenAI and vLLM: an error object as data, since the status has been sent."""
    body = t.chat_body("Tell me a short story.", stream=True, max_tokens=16)
    stream = await t.post_stream(CHAT, body, {_FAULT: "error_event:3"})
    if stream.status == 200 and not stream.errors and stream.finishes():
        t.skip("no way is known to make this server fail in mid-stream")
    t.require(stream.errors, "an event with error", shown(stream.chunks[-2:]))
    message = dig(stream.errors[0], ("error", "message"), None)
    t.require(isinstance(message, str) and message, "error.message", shown(stream.errors[0]))


@SSE.check("a refused stream is a plain error with its status, not a stream")
async def refusal_is_plain(t: Attempt) -> None:
    """OpenAI API, Error codes: a status and a JSON body, also where stream is true."""
    body = t.chat_body("Hello", stream=True, temperature="hot")
    answer = await t.post(CHAT, body)
    t.refused(answer, "a bad parameter of a stream")
    kind = answer.header("content-type") or "none"
    t.require("application/json" in kind, "content type application/json", kind)


# The counts of tokens, in streams and plain answers.

USAGE = Suite("usage", "the counts of tokens")

_ASK: Final = "Name four mountains."
_STREAM: Final[dict[str, Any]] = {"stream_options": {"include_usage": True}, "max_tokens": 12}
_NEEDS: Final = ("usage_in_stream",)


@USAGE.check("a plain answer has usage with three counts")
async def present(t: Attempt) -> None:
    """OpenAI API, The chat completion object: usage."""
    answer = await t.chat(_ASK, max_tokens=8)
    for name in ("prompt_tokens", "completion_tokens", "total_tokens"):
        t.require(answer.usage(name) > 0, f"{name} above 0", answer.usage(name))


@USAGE.check("total_tokens is the sum of prompt and completion")
async def total(t: Attempt) -> None:
    """OpenAI API, usage.total_tokens: prompt + completion."""
    answer = await t.chat(_ASK, max_tokens=9)
    names = ("prompt_tokens", "completion_tokens", "total_tokens")
    prompt, completion, both = (answer.usage(name) for name in names)
    t.require(both == prompt + completion, f"{prompt} + {completion}", both)


@USAGE.check("a stream that was asked for it ends with one chunk of usage")
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


@USAGE.check(
    "a stream that was not asked for it has no usage", tolerance="llama.cpp and others add it"
)
async def not_asked(t: Attempt) -> None:
    """OpenAI API, stream_options.include_usage: default false."""
    stream = await t.stream_chat(_ASK, max_tokens=6)
    t.require(not stream.usages, "no usage", shown(stream.usages[:1]))


@USAGE.check("a stream counts the tokens that the plain answer counts", needs=_NEEDS)
async def stream_equals_plain(t: Attempt) -> None:
    """OpenAI API, usage: of the same completion, at temperature 0."""
    plain = await t.chat(_ASK, max_tokens=12)
    stream = await t.stream_chat(_ASK, **_STREAM)
    wanted = [plain.usage(name) for name in ("prompt_tokens", "completion_tokens")]
    streamed = [stream.usage(name) for name in ("prompt_tokens", "completion_tokens")]
    t.require(streamed == wanted, shown(wanted), shown(streamed))


@USAGE.check("prompt_tokens grow with the prompt")
async def grows(t: Attempt) -> None:
    """OpenAI API, usage.prompt_tokens: number of tokens in the prompt."""
    short = await t.chat("Hi", max_tokens=1)
    long = await t.chat("the old harbour lies behind the hill " * 20, max_tokens=1)
    counts = [answer.usage("prompt_tokens") for answer in (short, long)]
    t.require(counts[1] >= counts[0] + 60, "at least 60 more", counts)


@USAGE.check("prompt_tokens of the same prompt are the same")
async def same_prompt(t: Attempt) -> None:
    """OpenAI API, usage.prompt_tokens: cached ones count too."""
    ask = "Tell me of the island behind the northern pass, and of the two bridges."
    counts = [(await t.chat(ask, max_tokens=2)).usage("prompt_tokens") for _ in range(2)]
    t.require(counts[0] == counts[1], "the same count twice", counts)


@USAGE.check("cached_tokens are at most prompt_tokens")
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


@USAGE.check("reasoning_tokens are at most completion_tokens", needs=("reasoning",))
async def reasoning(t: Attempt) -> None:
    """OpenAI API, usage.completion_tokens_details.reasoning_tokens."""
    answer = await t.chat("Is 89 a prime number?", reasoning_effort="low", max_tokens=1500)
    count = answer.find("usage", "completion_tokens_details", "reasoning_tokens")
    if count is None:
        t.unsupported("usage does not say reasoning_tokens")
    most = answer.usage("completion_tokens")
    t.require(isinstance(count, int) and 0 < count <= most, f"1 to {most}", shown(count))


@USAGE.check(
    "continuous_usage_stats counts up to the final usage", extension="continuous_usage_stats"
)
async def continuous(t: Attempt) -> None:
    """VLLM, stream_options.continuous_usage_stats."""
    options = {"include_usage": True, "continuous_usage_stats": True}
    stream = await t.stream_chat(_ASK, "stream_options", stream_options=options, max_tokens=10)
    counts = [usage.get("completion_tokens") for usage in stream.usages]
    known = [count for count in counts if isinstance(count, int)]
    t.require(len(known) >= 3 and known == sorted(known), "counts that grow", shown(counts))
