"""Parameters' boundaries: values at the ends of what is allowed, and beyond."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import orjson

from benchcore.checks.answers import shown
from benchcore.checks.attempt import CHAT, COMPLETIONS, OMIT, Attempt
from benchcore.checks.check import Suite

if TYPE_CHECKING:
    from benchcore.checks.answers import CheckAnswer
    from benchcore.checks.check import Body


SUITE = Suite("params_boundary", "values at the ends of what is allowed, and beyond")

_ASK: Final = "Good morning"
_HUGE_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class _Range:
    """A numeric parameter: the ends that are accepted, and what lies one step beyond.

    `tolerance` is for what lies beyond, `unknown` for engines that do not look at it at all.
    """

    name: str
    good: tuple[Any, ...]
    bad: tuple[Any, ...]
    beside: dict[str, Any] = field(default_factory=dict)
    extension: bool = False
    completions: bool = False
    tolerance: str = ""
    unknown: str = ""


_OFF: Final = "engines take any number below 1 for no limit"
_LOOSE: Final = "engines allow a wider range than OpenAI"

_RANGES: Final = (
    _Range("temperature", (0, 2), (-0.1, 2.1), tolerance=_LOOSE),
    _Range("top_p", (0.01, 1), (-0.1, 1.1)),
    _Range("presence_penalty", (-2, 2), (-2.1, 2.1), tolerance=_LOOSE),
    _Range("frequency_penalty", (-2, 2), (-2.1, 2.1), tolerance=_LOOSE),
    _Range("n", (1, 2), (0, -1), {"temperature": 1}),
    _Range("max_tokens", (1, 2), (-1,)),
    _Range("max_completion_tokens", (1, 2), (-1,), {"max_tokens": OMIT}),
    _Range(
        "top_logprobs",
        (0, 5),
        (-1, 21),
        {"logprobs": True},
        tolerance="engines set a limit of their own",
    ),
    _Range("seed", (0, 2**31 - 1), (), {"temperature": 1}),
    _Range("min_p", (0, 1), (-0.1, 1.1), extension=True),
    _Range("top_k", (1, 50), (-2,), extension=True, tolerance=_OFF),
    _Range("repetition_penalty", (0.5, 2), (-1,), extension=True),
    _Range("min_tokens", (0, 2), (-1,), {"max_tokens": 4}, extension=True),
    _Range("logprobs", (0, 5), (-1,), completions=True),
    _Range(
        "best_of",
        (1, 2),
        (0,),
        {"temperature": 1},
        completions=True,
        tolerance="several engines ignore best_of",
        unknown="several engines ignore best_of",
    ),
)


async def _ask(t: Attempt, parameter: _Range, value: Any) -> CheckAnswer:
    fields = {"max_tokens": 4, **parameter.beside, parameter.name: value}
    if parameter.completions:
        return await t.post(COMPLETIONS, t.completion_body(_ASK, **fields))
    return await t.post(CHAT, t.chat_body(_ASK, **fields))


def _accepts(parameter: _Range) -> Body:
    async def body(t: Attempt) -> None:
        for value in parameter.good:
            t.accepted(await _ask(t, parameter, value), parameter.name)

    return body


def _refuses(parameter: _Range) -> Body:
    async def body(t: Attempt) -> None:
        for value in parameter.bad:
            t.refused(await _ask(t, parameter, value), f"{parameter.name} {value}")
        await t.healthy()

    return body


def _refuses_type(parameter: _Range) -> Body:
    async def body(t: Attempt) -> None:
        t.refused(await _ask(t, parameter, "much"), f'{parameter.name} "much"')

    return body


def _listed(values: tuple[Any, ...]) -> str:
    """Return values with their verb: `0 and 2 are`, `-1 is`."""
    return f"{' and '.join(map(str, values))} {'are' if len(values) > 1 else 'is'}"


for _one in _RANGES:
    _options: dict[str, Any] = {
        "needs": ("completions",) if _one.completions else (),
        "extension": _one.name if _one.extension else "",
    }
    SUITE.add(
        f"{_one.name}_ends",
        f"{_one.name} {_listed(_one.good)} accepted",
        _accepts(_one),
        **_options,
    )
    if _one.bad:
        SUITE.add(
            f"{_one.name}_beyond",
            f"{_one.name} {_listed(_one.bad)} refused, never a 5xx",
            _refuses(_one),
            tolerance=_one.tolerance,
            **_options,
        )
    SUITE.add(
        f"{_one.name}_type",
        f"{_one.name} that is text is refused, never a 5xx",
        _refuses_type(_one),
        tolerance=_one.unknown,
        **_options,
    )


# Wrong types and shapes.


def _refused_body(what: str, fields: dict[str, Any]) -> Body:
    async def body(t: Attempt) -> None:
        t.refused(await t.post(CHAT, t.chat_body("Hello", **fields)), what)

    return body


for _name, _what, _fields, _tolerance in (
    ("messages_type", "text for messages", {"messages": "Hello"}, ""),
    ("messages_empty", "an empty list of messages", {"messages": []}, ""),
    ("messages_null", "null for messages", {"messages": None}, ""),
    ("message_without_role", "a message without a role", {"messages": [{"content": "x"}]}, ""),
    (
        "content_type",
        "content that is a number",
        {"messages": [{"role": "user", "content": 7}]},
        "",
    ),
    ("model_type", "a model that is a number", {"model": 7}, ""),
    ("stream_type", "stream that is text", {"stream": "maybe"}, ""),
    ("stop_type", "stop that is an object", {"stop": {"a": 1}}, ""),
    (
        "stop_too_many",
        "a list of five stop strings",
        {"stop": ["a", "b", "c", "d", "e"]},
        "engines allow more than 4",
    ),
    ("logit_bias_type", "logit_bias that is a list", {"logit_bias": [1]}, ""),
    ("logit_bias_range", "a logit_bias of 101", {"logit_bias": {"5": 101}}, "engines clip it"),
    (
        "logit_bias_vocabulary",
        "a logit_bias of a token beyond the vocabulary",
        {"logit_bias": {"99999999": 1}},
        "OpenAI does not say that it is refused",
    ),
    (
        "stream_options_alone",
        "stream_options without stream",
        {"stream_options": {"include_usage": True}},
        "some engines ignore it",
    ),
    (
        "top_logprobs_alone",
        "top_logprobs without logprobs",
        {"top_logprobs": 2},
        "some engines ignore it",
    ),
    (
        "response_format_type",
        "an unknown response_format",
        {"response_format": {"type": "poem"}},
        "",
    ),
    ("tools_type", "text for tools", {"tools": "hammer"}, ""),
    (
        "tool_choice_type",
        "an unknown tool_choice",
        {
            "tool_choice": "perhaps",
            "tools": [
                {
                    "type": "function",
                    "function": {"name": "f", "parameters": {"type": "object", "properties": {}}},
                }
            ],
        },
        "",
    ),
):
    SUITE.add(
        _name,
        f"{_what} is refused, never a 5xx",
        _refused_body(_what, _fields),
        tolerance=_tolerance,
    )


@SUITE.check("null for an optional parameter is as if it were absent")
async def null_is_absent(t: Attempt) -> None:
    """OpenAI API, Create chat completion: optional parameters are nullable."""
    names = ("n", "stop", "seed", "top_p", "logit_bias", "presence_penalty", "stream", "user")
    fields: dict[str, Any] = dict.fromkeys(names)
    await t.chat("Hello", max_tokens=4, **fields)


@SUITE.check("a prompt token beyond the vocabulary is refused", needs=("completions",))
async def prompt_vocabulary(t: Attempt) -> None:
    """OpenAI API, Create completion: prompt is an array of tokens."""
    body = t.completion_body([5, 6, 2_000_000_000], max_tokens=2)
    t.refused(await t.post(COMPLETIONS, body), "a token beyond the vocabulary")
    await t.healthy()


@SUITE.check("a body that is not JSON is refused with a 4xx")
async def bad_json(t: Attempt) -> None:
    """RFC 9110, 15.5.1: a request that the server cannot read is the client's fault."""
    t.refused(await t.post(CHAT, b'{"model": "x", "messages": ['), "a body that is not JSON")


@SUITE.check("a body that is not an object is refused with a 4xx")
async def body_is_list(t: Attempt) -> None:
    """OpenAI API, Create chat completion: the body is an object."""
    t.refused(await t.post(CHAT, [1, 2, 3]), "a body that is a list")


@SUITE.check("an empty body is refused with a 4xx")
async def empty_body(t: Attempt) -> None:
    """OpenAI API, Create chat completion: messages is required."""
    t.refused(await t.post(CHAT, b""), "an empty body")


@SUITE.check("NaN in the body is refused with a 4xx")
async def nan(t: Attempt) -> None:
    """RFC 8259, section 6: Infinity and NaN are not permitted."""
    raw = orjson.dumps(t.chat_body("Hello", max_tokens=2, temperature=0))
    answer = await t.post(CHAT, raw.replace(b'"temperature":0', b'"temperature":NaN'))
    t.refused(answer, "NaN")


@SUITE.check("a deeply nested body never gives a 5xx, and the server lives on", harsh=True)
async def deep_body(t: Attempt) -> None:
    """RFC 8259, section 9: a parser may limit the depth of nesting."""
    raw = orjson.dumps(t.chat_body("Hello", max_tokens=1, x_deep="HERE"))
    answer = await t.post(CHAT, raw.replace(b'"HERE"', b"[" * 5000 + b"]" * 5000))
    t.require(
        0 < answer.status < 500, "an answer or a 4xx", f"{answer.status}: {shown(answer.problem)}"
    )
    await t.healthy()


@SUITE.check(
    "a body of 1 MB is answered or refused, never a 5xx, and the server lives on", harsh=True
)
async def huge_body(t: Attempt) -> None:
    """RFC 9110, 15.5.14: content too large is the client's fault."""
    body = t.chat_body("hello world\n" * (_HUGE_BYTES // 12), max_tokens=1)
    answer = await t.post(CHAT, body)
    t.require(0 < answer.status < 500, "an answer or a 4xx", str(answer.status))
    await t.healthy()
