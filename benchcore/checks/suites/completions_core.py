"""Completions core: /v1/completions and its parameters."""

from __future__ import annotations

from typing import Final

from benchcore.checks.answers import dig, shown
from benchcore.checks.attempt import COMPLETIONS, OMIT, Attempt
from benchcore.checks.check import Suite

SUITE = Suite("completions_core", "/v1/completions and its parameters")

_NEEDS: Final = ("completions",)
_PROMPT: Final = "The river rises in the mountains and"


@SUITE.check("the answer's object is text_completion", needs=_NEEDS)
async def object_is_text_completion(t: Attempt) -> None:
    """OpenAI API, The completion object."""
    answer = await t.complete(_PROMPT, max_tokens=4)
    t.require(answer.at("object") == "text_completion", "text_completion", answer.at("object"))


@SUITE.check("a prompt that is a string is continued", needs=_NEEDS)
async def prompt_string(t: Attempt) -> None:
    """OpenAI API, Create completion: prompt."""
    answer = await t.complete(_PROMPT, max_tokens=8)
    t.require(answer.text(), "some text", shown(answer.choices))


@SUITE.check("several prompts give as many choices, with indices in their order", needs=_NEEDS)
async def prompt_list(t: Attempt) -> None:
    """OpenAI API, Create completion: prompt is an array of strings."""
    answer = await t.complete(["One and", "two and", "three and"], "several prompts", max_tokens=4)
    indices = [dig(choice, ("index",), int) for choice in answer.choices]
    t.require(indices == [0, 1, 2], "choices 0, 1, 2", indices)


@SUITE.check("each of several prompts gets the answer that it gets alone", needs=_NEEDS)
async def prompts_keep_order(t: Attempt) -> None:
    """OpenAI API, Create completion: choices in the order of the prompts, at temperature 0."""
    prompts = ["The first of all the letters is", "Beyond the sea there lives a"]
    alone = [(await t.complete(prompt, max_tokens=6)).text() for prompt in prompts]
    both = await t.complete(prompts, "several prompts", max_tokens=6)
    t.require(len(both.choices) == 2, "2 choices", str(len(both.choices)))
    texts = [both.text(0), both.text(1)]
    t.require(texts == alone, shown(alone), shown(texts))


@SUITE.check("a prompt of token ids is continued", needs=_NEEDS)
async def prompt_token_ids(t: Attempt) -> None:
    """OpenAI API, Create completion: prompt is an array of tokens."""
    answer = await t.complete([5, 6, 7, 8], "a prompt of token ids", max_tokens=4)
    t.require(answer.usage("prompt_tokens") in (4, 5), "4 prompt tokens", answer.at("usage"))


@SUITE.check("echo gives the prompt back before the text", needs=_NEEDS)
async def echo(t: Attempt) -> None:
    """OpenAI API, Create completion: echo."""
    answer = await t.complete(_PROMPT, "echo", echo=True, max_tokens=4)
    text = answer.text()
    t.require(text.lstrip().startswith(_PROMPT), "text that begins with the prompt", text)


@SUITE.check("echo counts no token of the prompt as generated", needs=_NEEDS)
async def echo_is_not_billed(t: Attempt) -> None:
    """OpenAI API, usage.completion_tokens: tokens in the generated completion."""
    answer = await t.complete(_PROMPT, "echo", echo=True, max_tokens=3)
    count = answer.usage("completion_tokens")
    t.require(count <= 3, "at most 3 completion_tokens", count)


@SUITE.check(
    "suffix is honoured or refused",
    needs=_NEEDS,
    tolerance="models that are not trained to fill in ignore it",
)
async def suffix(t: Attempt) -> None:
    """OpenAI API, Create completion: suffix comes after the inserted text, not in it."""
    answer = await t.complete("def f(x):", "suffix", suffix="\n    return y", max_tokens=8)
    t.require("return y" not in answer.text(), "a text without the suffix", answer.text())


@SUITE.check("best_of gives n of them", needs=(*_NEEDS, "n"))
async def best_of(t: Attempt) -> None:
    """OpenAI API, Create completion: best_of generates server-side and returns the best n."""
    answer = await t.complete(_PROMPT, "best_of", best_of=3, n=2, temperature=0.8, max_tokens=4)
    t.require(len(answer.choices) == 2, "2 choices", str(len(answer.choices)))


@SUITE.check("best_of below n is refused", needs=_NEEDS)
async def best_of_below_n(t: Attempt) -> None:
    """OpenAI API, Create completion: best_of must be greater than n."""
    body = t.completion_body(_PROMPT, best_of=1, n=2, temperature=0.8, max_tokens=4)
    answer = await t.post(COMPLETIONS, body)
    if answer.status == 200:
        t.prefer(
            holds=False,
            expected="best_of below n to be refused",
            got="it was accepted",
            tolerance="best_of is gone from several engines, which ignore it",
        )
        return
    t.refused(answer, "best_of below n")


@SUITE.check("logprobs come in four lists of one length", needs=_NEEDS)
async def logprobs_shape(t: Attempt) -> None:
    """OpenAI API, The completion object: tokens, token_logprobs, top_logprobs, text_offset."""
    answer = await t.complete(_PROMPT, "logprobs", logprobs=2, max_tokens=5)
    names = ("tokens", "token_logprobs", "top_logprobs", "text_offset")
    lengths = [len(answer.at("choices", 0, "logprobs", name, a=list)) for name in names]
    t.require(lengths[0] > 0 and len(set(lengths)) == 1, "lists of one length", lengths)


@SUITE.check("logprobs gives as many alternatives as it says", needs=_NEEDS)
async def logprobs_count(t: Attempt) -> None:
    """OpenAI API, Create completion: logprobs most likely tokens, plus the chosen one."""
    answer = await t.complete(_PROMPT, "logprobs", logprobs=3, max_tokens=3)
    tops = answer.at("choices", 0, "logprobs", "top_logprobs", a=list)
    sizes = [len(top) if isinstance(top, dict) else 0 for top in tops]
    t.require(all(size in (3, 4) for size in sizes), "3 alternatives, or 4", sizes)


@SUITE.check("text_offset tells where each token begins", needs=_NEEDS)
async def text_offsets(t: Attempt) -> None:
    """OpenAI API, The completion object: text_offset counts characters."""
    answer = await t.complete(_PROMPT, "logprobs", logprobs=1, max_tokens=4)
    tokens = answer.at("choices", 0, "logprobs", "tokens", a=list)
    offsets = answer.at("choices", 0, "logprobs", "text_offset", a=list)
    t.require(all(type(offset) is int for offset in offsets), "integers", offsets)
    begin, wanted = (offsets or [0])[0], []
    for token in tokens:
        wanted.append(begin)
        begin += len(str(token))
    t.require(offsets == wanted, shown(wanted), shown(offsets))


@SUITE.check("several prompts × n give prompts × n choices", needs=(*_NEEDS, "n"))
async def prompts_times_n(t: Attempt) -> None:
    """OpenAI API, Create completion: n completions for each prompt."""
    answer = await t.complete(["a", "b"], "several prompts", n=2, temperature=0.8, max_tokens=3)
    indices = [dig(choice, ("index",), int) for choice in answer.choices]
    t.require(indices == [0, 1, 2, 3], "choices 0 to 3", indices)


@SUITE.check("streamed text joined is the plain text, at temperature 0", needs=_NEEDS)
async def stream_equals_plain(t: Attempt) -> None:
    """OpenAI API, Create completion: stream."""
    plain = await t.complete(_PROMPT, max_tokens=10)
    stream = await t.stream_complete(_PROMPT, max_tokens=10)
    t.require(stream.text() == plain.text(), shown(plain.text()), shown(stream.text()))


@SUITE.check("streamed chunks are text_completion objects and end with [DONE]", needs=_NEEDS)
async def stream_chunks(t: Attempt) -> None:
    """OpenAI API, The completion object: chunks have the same shape."""
    stream = await t.stream_complete(_PROMPT, max_tokens=4)
    names = {shown(chunk.get("object")) for chunk in stream.chunks}
    t.require(names == {'"text_completion"'}, "text_completion", ", ".join(names))
    t.require(stream.done == 1, "one [DONE]", str(stream.done))


@SUITE.check("without max_tokens an answer has 16 tokens at most", needs=_NEEDS)
async def default_max_tokens(t: Attempt) -> None:
    """OpenAI API, Create completion: max_tokens defaults to 16."""
    body = t.completion_body(_PROMPT, max_tokens=OMIT)
    body.pop("max_completion_tokens", None)
    answer = t.accepted(await t.post(COMPLETIONS, body))
    count = answer.usage("completion_tokens")
    t.prefer(
        count <= 16, "at most 16 tokens", count, "several engines generate up to the context's end"
    )
