"""Completions core: /v1/completions and its parameters."""

from __future__ import annotations

from typing import Final

from benchcore.checks.answers import dig, shown
from benchcore.checks.check import Suite
from benchcore.checks.trial import COMPLETIONS, OMIT, Trial

SUITE = Suite("completions_core", "/v1/completions and its parameters")

_NEEDS: Final = ("completions",)
_PROMPT: Final = "The river rises in the mountains and"


@SUITE.check("the answer's object is text_completion", needs=_NEEDS)
async def object_is_text_completion(t: Trial) -> None:
    """OpenAI API, The completion object."""
    heard = await t.complete(_PROMPT, max_tokens=4)
    t.require(heard.at("object") == "text_completion", "text_completion", heard.at("object"))


@SUITE.check("a prompt that is a string is continued", needs=_NEEDS)
async def prompt_string(t: Trial) -> None:
    """OpenAI API, Create completion: prompt."""
    heard = await t.complete(_PROMPT, max_tokens=8)
    t.require(heard.text(), "some text", shown(heard.choices))


@SUITE.check("several prompts give as many choices, with indices in their order", needs=_NEEDS)
async def prompt_list(t: Trial) -> None:
    """OpenAI API, Create completion: prompt is an array of strings."""
    heard = await t.complete(["One and", "two and", "three and"], "several prompts", max_tokens=4)
    indices = [dig(choice, ("index",), int) for choice in heard.choices]
    t.require(indices == [0, 1, 2], "choices 0, 1, 2", indices)


@SUITE.check("each of several prompts gets the answer that it gets alone", needs=_NEEDS)
async def prompts_keep_order(t: Trial) -> None:
    """OpenAI API, Create completion: choices in the order of the prompts, at temperature 0."""
    prompts = ["The first of all the letters is", "Beyond the sea there lives a"]
    alone = [(await t.complete(prompt, max_tokens=6)).text() for prompt in prompts]
    both = await t.complete(prompts, "several prompts", max_tokens=6)
    t.require(len(both.choices) == 2, "2 choices", str(len(both.choices)))
    texts = [both.text(0), both.text(1)]
    t.require(texts == alone, shown(alone), shown(texts))


@SUITE.check("a prompt of token ids is continued", needs=_NEEDS)
async def prompt_token_ids(t: Trial) -> None:
    """OpenAI API, Create completion: prompt is an array of tokens."""
    heard = await t.complete([5, 6, 7, 8], "a prompt of token ids", max_tokens=4)
    t.require(heard.usage("prompt_tokens") in (4, 5), "4 prompt tokens", heard.at("usage"))


@SUITE.check("echo gives the prompt back before the text", needs=_NEEDS)
async def echo(t: Trial) -> None:
    """OpenAI API, Create completion: echo."""
    heard = await t.complete(_PROMPT, "echo", echo=True, max_tokens=4)
    text = heard.text()
    t.require(text.lstrip().startswith(_PROMPT), "text that begins with the prompt", text)


@SUITE.check("echo counts no token of the prompt as generated", needs=_NEEDS)
async def echo_is_not_billed(t: Trial) -> None:
    """OpenAI API, usage.completion_tokens: tokens in the generated completion."""
    heard = await t.complete(_PROMPT, "echo", echo=True, max_tokens=3)
    count = heard.usage("completion_tokens")
    t.require(count <= 3, "at most 3 completion_tokens", count)


@SUITE.check(
    "suffix is honoured or refused",
    needs=_NEEDS,
    tolerance="models that are not trained to fill in ignore it",
)
async def suffix(t: Trial) -> None:
    """OpenAI API, Create completion: suffix comes after the inserted text, not in it."""
    heard = await t.complete("def f(x):", "suffix", suffix="\n    return y", max_tokens=8)
    t.require("return y" not in heard.text(), "a text without the suffix", heard.text())


@SUITE.check("best_of gives n of them", needs=(*_NEEDS, "n"))
async def best_of(t: Trial) -> None:
    """OpenAI API, Create completion: best_of generates server-side and returns the best n."""
    heard = await t.complete(_PROMPT, "best_of", best_of=3, n=2, temperature=0.8, max_tokens=4)
    t.require(len(heard.choices) == 2, "2 choices", str(len(heard.choices)))


@SUITE.check("best_of below n is refused", needs=_NEEDS)
async def best_of_below_n(t: Trial) -> None:
    """OpenAI API, Create completion: best_of must be greater than n."""
    body = t.completion_body(_PROMPT, best_of=1, n=2, temperature=0.8, max_tokens=4)
    heard = await t.post(COMPLETIONS, body)
    if heard.status == 200:
        t.prefer(
            holds=False,
            expected="best_of below n to be refused",
            got="it was accepted",
            tolerance="best_of is gone from several engines, which ignore it",
        )
        return
    t.refused(heard, "best_of below n")


@SUITE.check("logprobs come in four lists of one length", needs=_NEEDS)
async def logprobs_shape(t: Trial) -> None:
    """OpenAI API, The completion object: tokens, token_logprobs, top_logprobs, text_offset."""
    heard = await t.complete(_PROMPT, "logprobs", logprobs=2, max_tokens=5)
    names = ("tokens", "token_logprobs", "top_logprobs", "text_offset")
    lengths = [len(heard.at("choices", 0, "logprobs", name, a=list)) for name in names]
    t.require(lengths[0] > 0 and len(set(lengths)) == 1, "lists of one length", lengths)


@SUITE.check("logprobs gives as many alternatives as it says", needs=_NEEDS)
async def logprobs_count(t: Trial) -> None:
    """OpenAI API, Create completion: logprobs most likely tokens, plus the chosen one."""
    heard = await t.complete(_PROMPT, "logprobs", logprobs=3, max_tokens=3)
    tops = heard.at("choices", 0, "logprobs", "top_logprobs", a=list)
    sizes = [len(top) if isinstance(top, dict) else 0 for top in tops]
    t.require(all(size in (3, 4) for size in sizes), "3 alternatives, or 4", sizes)


@SUITE.check("text_offset tells where each token begins", needs=_NEEDS)
async def text_offsets(t: Trial) -> None:
    """OpenAI API, The completion object: text_offset counts characters."""
    heard = await t.complete(_PROMPT, "logprobs", logprobs=1, max_tokens=4)
    tokens = heard.at("choices", 0, "logprobs", "tokens", a=list)
    offsets = heard.at("choices", 0, "logprobs", "text_offset", a=list)
    t.require(all(type(one) is int for one in offsets), "integers", offsets)
    begin, wanted = (offsets or [0])[0], []
    for token in tokens:
        wanted.append(begin)
        begin += len(str(token))
    t.require(offsets == wanted, shown(wanted), shown(offsets))


@SUITE.check("several prompts × n give prompts × n choices", needs=(*_NEEDS, "n"))
async def prompts_times_n(t: Trial) -> None:
    """OpenAI API, Create completion: n completions for each prompt."""
    heard = await t.complete(["a", "b"], "several prompts", n=2, temperature=0.8, max_tokens=3)
    indices = [dig(choice, ("index",), int) for choice in heard.choices]
    t.require(indices == [0, 1, 2, 3], "choices 0 to 3", indices)


@SUITE.check("streamed text joined is the plain text, at temperature 0", needs=_NEEDS)
async def stream_equals_plain(t: Trial) -> None:
    """OpenAI API, Create completion: stream."""
    plain = await t.complete(_PROMPT, max_tokens=10)
    stream = await t.stream_complete(_PROMPT, max_tokens=10)
    t.require(stream.text() == plain.text(), shown(plain.text()), shown(stream.text()))


@SUITE.check("streamed chunks are text_completion objects and end with [DONE]", needs=_NEEDS)
async def stream_chunks(t: Trial) -> None:
    """OpenAI API, The completion object: chunks have the same shape."""
    stream = await t.stream_complete(_PROMPT, max_tokens=4)
    names = {shown(chunk.get("object")) for chunk in stream.chunks}
    t.require(names == {'"text_completion"'}, "text_completion", ", ".join(names))
    t.require(stream.done == 1, "one [DONE]", str(stream.done))


@SUITE.check("without max_tokens an answer has 16 tokens at most", needs=_NEEDS)
async def default_max_tokens(t: Trial) -> None:
    """OpenAI API, Create completion: max_tokens defaults to 16."""
    body = t.completion_body(_PROMPT, max_tokens=OMIT)
    body.pop("max_completion_tokens", None)
    heard = t.accepted(await t.post(COMPLETIONS, body))
    count = heard.usage("completion_tokens")
    t.prefer(
        count <= 16, "at most 16 tokens", count, "several engines generate up to the context's end"
    )
