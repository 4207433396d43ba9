"""Sampling: parameters that steer what is generated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from benchcore.checks.answers import dig, shown
from benchcore.checks.attempt import OMIT, Attempt
from benchcore.checks.check import Suite

if TYPE_CHECKING:
    from benchcore.checks.answers import CheckAnswer


SUITE = Suite("sampling", "parameters that steer what is generated")

_COUNT: Final = "Count from 1 to 9"
_STORY: Final = "Tell me a story about a lighthouse."
_HOT: Final = 1.0
_TEXT: Final = ("instructions",)


# How long.


@SUITE.check("max_tokens is never passed")
async def max_tokens(t: Attempt) -> None:
    """OpenAI API, Create chat completion: max_tokens."""
    answer = await t.chat(_STORY, max_tokens=5)
    count = answer.usage("completion_tokens")
    t.require(count <= 5, "at most 5 completion_tokens", count)


@SUITE.check("an answer that max_tokens cut says length")
async def max_tokens_says_length(t: Attempt) -> None:
    """OpenAI API, finish_reason: length if the maximum number of tokens was reached."""
    answer = await t.chat(_STORY, max_tokens=3)
    count, reason = answer.usage("completion_tokens"), answer.finish()
    t.require(count < 3 or reason == "length", "length", reason)


@SUITE.check("a stream that max_tokens cut says length")
async def max_tokens_says_length_streamed(t: Attempt) -> None:
    """OpenAI API, finish_reason: length if the maximum number of tokens was reached."""
    stream = await t.stream_chat(_STORY, max_tokens=3)
    reason = stream.finish()
    t.require(reason == "length" or len(stream.text().split()) < 3, "length", reason)


@SUITE.check("max_completion_tokens is never passed")
async def max_completion_tokens(t: Attempt) -> None:
    """OpenAI API, Create chat completion: max_completion_tokens, which replaces max_tokens."""
    answer = await t.chat(_STORY, "max_completion_tokens", max_tokens=OMIT, max_completion_tokens=5)
    count = answer.usage("completion_tokens")
    t.require(count <= 5, "at most 5 completion_tokens", count)


@SUITE.check("ignore_eos generates exactly max_tokens", extension="ignore_eos")
async def ignore_eos(t: Attempt) -> None:
    """VLLM and SGLang, extra parameters: ignore_eos."""
    answer = await t.chat("Say hello.", "ignore_eos", ignore_eos=True, max_tokens=90)
    count = answer.usage("completion_tokens")
    t.require(count == 90, "90 completion_tokens", count)


@SUITE.check("min_tokens are generated at least", extension="min_tokens")
async def min_tokens(t: Attempt) -> None:
    """VLLM and SGLang, extra parameters: min_tokens."""
    answer = await t.chat("Say hello.", "min_tokens", min_tokens=80, max_tokens=120)
    count = answer.usage("completion_tokens")
    t.require(count >= 80, "at least 80 completion_tokens", count)


# How many.


@SUITE.check("n gives n choices with indices of their own", needs=("n",))
async def n_choices(t: Attempt) -> None:
    """OpenAI API, Create chat completion: n."""
    answer = await t.chat(_STORY, "n", n=3, temperature=_HOT, max_tokens=4)
    indices = [dig(choice, ("index",), int) for choice in answer.choices]
    t.require(indices == [0, 1, 2], "choices 0, 1, 2", indices)


@SUITE.check("n choices of a stream come with indices of their own", needs=("n",))
async def n_choices_streamed(t: Attempt) -> None:
    """OpenAI API, Create chat completion: n with stream."""
    stream = await t.stream_chat(_STORY, "n", n=3, temperature=_HOT, max_tokens=4)
    indices = sorted(stream.indices())
    t.require(indices == [0, 1, 2], "choices 0, 1, 2", indices)


@SUITE.check("each of n choices of a stream ends once", needs=("n",))
async def n_finishes_streamed(t: Attempt) -> None:
    """OpenAI API, The chat completion chunk object: finish_reason of each choice."""
    stream = await t.stream_chat(_STORY, "n", n=2, temperature=_HOT, max_tokens=5)
    ends = [len(stream.finishes(choice)) for choice in (0, 1)]
    t.require(ends == [1, 1], "one finish_reason for each", ends)


@SUITE.check("the tokens of all n choices are billed", needs=("n",))
async def n_is_billed(t: Attempt) -> None:
    """OpenAI API, Create chat completion: n: charged for all of the choices."""
    answer = await t.chat(_STORY, "n", n=4, temperature=_HOT, max_tokens=6)
    count = answer.usage("completion_tokens")
    t.require(count > 6, "more completion_tokens than one choice has", count)


# Where it stops.


async def _stopped(t: Attempt, stop: object, want: str) -> CheckAnswer:
    answer = await t.chat(_COUNT, stop=stop)
    said = answer.text()
    t.require(said.rstrip().rstrip(",").endswith(want), f"an answer up to {want}", said)
    return answer


@SUITE.check("a stop string ends the answer and is not in it", needs=_TEXT, model_dependent=True)
async def stop_string(t: Attempt) -> None:
    """OpenAI API, Create chat completion: stop; the text will not contain it."""
    await _stopped(t, "5", "4")


@SUITE.check("of several stop strings the first to come ends it", needs=_TEXT, model_dependent=True)
async def stop_array(t: Attempt) -> None:
    """OpenAI API, Create chat completion: up to 4 sequences."""
    await _stopped(t, ["9", "6"], "5")


@SUITE.check("a stop string that spans tokens ends it", needs=_TEXT, model_dependent=True)
async def stop_spans_tokens(t: Attempt) -> None:
    """OpenAI API, Create chat completion: stop is text, whatever the tokens are."""
    await _stopped(t, ["4, 5, 6"], "3")


@SUITE.check("an answer that a stop string ended says stop", needs=_TEXT, model_dependent=True)
async def stop_says_stop(t: Attempt) -> None:
    """OpenAI API, finish_reason: stop if it hit a provided stop sequence."""
    answer = await t.chat(_COUNT, stop=["8"])
    t.require(answer.finish() == "stop", "stop", answer.finish())


@SUITE.check(
    "a stream ends before the stop string and leaks no part of it",
    needs=_TEXT,
    model_dependent=True,
)
async def stop_streamed(t: Attempt) -> None:
    """OpenAI API, Create chat completion: stop with stream."""
    stream = await t.stream_chat(_COUNT, stop=["3, 4, 5"])
    said = stream.text()
    leaked = said.rstrip(" ,")
    t.require(leaked.endswith("2"), "a text that ends before 3, 4, 5", said)


@SUITE.check(
    "a text that only begins like a stop string is not lost", needs=_TEXT, model_dependent=True
)
async def stop_prefix_kept(t: Attempt) -> None:
    """OpenAI API, stop: what was held back while it could have been one is sent after all."""
    stream = await t.stream_chat("Count from 11 to 19", stop=["17, 99"])
    said = stream.text()
    t.require("17, 18" in said, "17, 18 in the text", said)


@SUITE.check(
    "stop_token_ids end the answer",
    needs=(*_TEXT, "tokenize"),
    extension="stop_token_ids",
    model_dependent=True,
)
async def stop_token_ids(t: Attempt) -> None:
    """VLLM and SGLang, extra parameters: stop_token_ids."""
    ids = await _ids(t, " 7") or await _ids(t, "7")
    answer = await t.chat(_COUNT, "stop_token_ids", stop_token_ids=ids[-1:])
    said = answer.text()
    t.require("6" in said and "8" not in said, "an answer up to 7", said)


# What is likely.


async def _ids(t: Attempt, text: str) -> list[int]:
    body = {"model": t.subject.model, "prompt": text, "content": text, "add_special_tokens": False}
    answer = t.accepted(await t.post("/tokenize", body), "/tokenize")
    ids: list[int] = answer.at("tokens", a=list)
    return ids


@SUITE.check("temperature 0 gives the same answer twice")
async def greedy_repeats(t: Attempt) -> None:
    """OpenAI API, temperature: at 0 the most likely token is taken."""
    first, second = [await t.chat(_STORY, max_tokens=12) for _ in range(2)]
    t.require(first.text() == second.text(), shown(first.text()), shown(second.text()))


@SUITE.check("the same seed gives the same answer", tolerance="OpenAI promises only best effort")
async def seed_repeats(t: Attempt) -> None:
    """OpenAI API, Create chat completion: seed."""
    texts = [
        (await t.chat(_STORY, "seed", seed=7, temperature=_HOT, max_tokens=16)).text()
        for _ in range(2)
    ]
    t.require(texts[0] == texts[1], "the same answer", texts)


@SUITE.check("different seeds give different answers", model_dependent=True)
async def seeds_differ(t: Attempt) -> None:
    """OpenAI API, Create chat completion: seed; at temperature 1 answers vary."""
    texts = [
        (await t.chat(_STORY, "seed", seed=seed, temperature=_HOT, max_tokens=24)).text()
        for seed in (101, 202, 303)
    ]
    t.require(len(set(texts)) > 1, "answers that differ", texts)


async def _as_greedy(t: Attempt, name: str, value: object) -> None:
    """Demand that a parameter that leaves only the most likely token gives the greedy answer."""
    fields: dict[str, Any] = {name: value, "temperature": _HOT, "max_tokens": 16}
    greedy = (await t.chat(_STORY, max_tokens=16)).text()
    texts = [(await t.chat(_STORY, name, seed=seed, **fields)).text() for seed in (1, 2)]
    t.require(texts == [greedy, greedy], f"the greedy answer twice: {shown(greedy)}", shown(texts))


@SUITE.check("top_p near 0 leaves only the most likely token")
async def top_p(t: Attempt) -> None:
    """OpenAI API, top_p: only the tokens of the top probability mass."""
    await _as_greedy(t, "top_p", 1e-6)


@SUITE.check("top_k 1 leaves only the most likely token", extension="top_k")
async def top_k(t: Attempt) -> None:
    """VLLM, SGLang and llama.cpp, extra parameters: top_k."""
    await _as_greedy(t, "top_k", 1)


@SUITE.check("min_p 1 leaves only the most likely token", extension="min_p")
async def min_p(t: Attempt) -> None:
    """VLLM, SGLang and llama.cpp, extra parameters: min_p, relative to the most likely."""
    await _as_greedy(t, "min_p", 1.0)


@SUITE.check("logit_bias 100 makes a token certain", needs=("tokenize",))
async def logit_bias_forces(t: Attempt) -> None:
    """OpenAI API, logit_bias: values like 100 result in exclusive selection."""
    ids = await _ids(t, " river")
    bias = {str(ids[-1]): 100}
    answer = await t.chat(_STORY, "logit_bias", logit_bias=bias, max_tokens=6)
    said = answer.text()
    t.require(len(set(said.split())) == 1 or _periodic(said), "one token over and over", said)


def _periodic(text: str) -> bool:
    """Return whether a text is one piece, over and over."""
    return len(text) > 1 and text in (text + text)[1:-1]


@SUITE.check("logit_bias -100 bans a token", needs=("tokenize",))
async def logit_bias_bans(t: Attempt) -> None:
    """OpenAI API, logit_bias: values like -100 result in a ban."""
    free = (await t.chat(_STORY, max_tokens=8)).text()
    word = " " + free.split()[1] if len(free.split()) > 1 else free
    ids = await _ids(t, word)
    bias = {str(token): -100 for token in ids}
    answer = await t.chat(_STORY, "logit_bias", logit_bias=bias, max_tokens=8)
    t.require(answer.text() != free, "another answer than without the ban", answer.text())


@SUITE.check("presence_penalty and frequency_penalty are accepted")
async def penalties(t: Attempt) -> None:
    """OpenAI API, Create chat completion: presence_penalty, frequency_penalty."""
    await t.chat("Hello", presence_penalty=0.5, frequency_penalty=0.5, max_tokens=4)


@SUITE.check("repetition_penalty is accepted", extension="repetition_penalty")
async def repetition_penalty(t: Attempt) -> None:
    """VLLM and SGLang, extra parameters: repetition_penalty."""
    await t.chat("Hello", repetition_penalty=1.1, max_tokens=4)


@SUITE.check("beam search gives as many beams as asked for", extension="use_beam_search")
async def beam_search(t: Attempt) -> None:
    """TensorRT-LLM and older vLLM: use_beam_search, n, best_of."""
    answer = await t.chat(_STORY, "use_beam_search", use_beam_search=True, n=2, max_tokens=6)
    texts = [answer.text(choice) for choice in range(len(answer.choices))]
    t.require(len(set(texts)) == 2, "2 beams that differ", texts)


@SUITE.check("length_penalty is accepted with beam search", extension="length_penalty")
async def length_penalty(t: Attempt) -> None:
    """TensorRT-LLM and older vLLM: length_penalty."""
    await t.chat(
        "Hello", "length_penalty", use_beam_search=True, n=2, length_penalty=1.2, max_tokens=4
    )


@SUITE.check("early_stopping is accepted with beam search", extension="early_stopping")
async def early_stopping(t: Attempt) -> None:
    """TensorRT-LLM and older vLLM: early_stopping."""
    await t.chat(
        "Hello", "early_stopping", use_beam_search=True, n=2, early_stopping=True, max_tokens=4
    )


# How likely.

_LOGPROBS: Final[dict[str, Any]] = {"logprobs": True, "top_logprobs": 3, "max_tokens": 5}


@SUITE.check("logprobs name each token, its logprob and its bytes", needs=("logprobs",))
async def logprobs_shape(t: Attempt) -> None:
    """OpenAI API, The chat completion object: logprobs.content."""
    answer = await t.chat(_STORY, "logprobs", **_LOGPROBS)
    entries = answer.at("choices", 0, "logprobs", "content", a=list)
    t.require(entries, "an entry for each token", shown(entries))
    for entry in entries:
        token = dig(entry, ("token",), str)
        value = dig(entry, ("logprob",), (float, int))
        t.require(value <= 0, "a logprob of at most 0", value)
        data = dig(entry, ("bytes",), (list, type(None)))
        same = data is None or data == list(token.encode())
        t.prefer(same, f"the bytes of {token!r}", data, "some engines give bytes of pieces")


@SUITE.check("there is a logprob for each generated token", needs=("logprobs",))
async def logprobs_count(t: Attempt) -> None:
    """OpenAI API, The chat completion object: logprobs.content is a list of tokens."""
    answer = await t.chat(_STORY, "logprobs", **{**_LOGPROBS, "top_logprobs": 1})
    entries = answer.at("choices", 0, "logprobs", "content", a=list)
    count = answer.usage("completion_tokens")
    # An end-of-text token may be billed and not shown.
    t.require(count - 1 <= len(entries) <= count, f"{count} entries", str(len(entries)))


@SUITE.check("top_logprobs are as many as asked for, most likely first", needs=("logprobs",))
async def top_logprobs(t: Attempt) -> None:
    """OpenAI API, Create chat completion: top_logprobs."""
    answer = await t.chat(_STORY, "top_logprobs", **{**_LOGPROBS, "top_logprobs": 4})
    for entry in answer.at("choices", 0, "logprobs", "content", a=list):
        tops = [dig(top, ("logprob",), (float, int)) for top in dig(entry, ("top_logprobs",), list)]
        t.require(len(tops) == 4, "4 alternatives", tops)
        t.require(tops == sorted(tops, reverse=True), "most likely first", tops)


@SUITE.check("streamed logprobs are those of the plain answer", needs=("logprobs",))
async def logprobs_streamed(t: Attempt) -> None:
    """OpenAI API, The chat completion chunk object: logprobs, at temperature 0."""
    fields = {**_LOGPROBS, "top_logprobs": 2}
    plain = await t.chat(_STORY, "logprobs", **fields)
    stream = await t.stream_chat(_STORY, "logprobs", **fields)
    wanted = [
        dig(token, ("token",), str) for token in plain.at("choices", 0, "logprobs", "content")
    ]
    streamed = [
        dig(token, ("token",), str)
        for piece in stream.of(0)
        if piece.get("logprobs")
        for token in dig(piece, ("logprobs", "content"), (list, type(None))) or []
    ]
    t.require(streamed == wanted, shown(wanted), shown(streamed))


@SUITE.check("without logprobs none come")
async def logprobs_absent(t: Attempt) -> None:
    """OpenAI API, The chat completion object: logprobs is null unless asked for."""
    answer = await t.chat("Hello", max_tokens=4)
    logprobs = answer.find("choices", 0, "logprobs")
    t.require(not logprobs, "null", shown(logprobs))
