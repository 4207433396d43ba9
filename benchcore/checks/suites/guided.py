"""Guided: output that must follow a schema, a pattern or a grammar."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import orjson

from benchcore.checks.answers import CheckFailedError, shown
from benchcore.checks.attempt import CHAT, Attempt
from benchcore.checks.check import Suite, schema_fault

if TYPE_CHECKING:
    from benchcore.checks.answers import CheckAnswer


SUITE = Suite("guided", "output that must follow a schema, a pattern or a grammar")

_NEEDS: Final = ("json_schema",)
_AGAINST: Final = "Repeat exactly, and nothing else: this is no JSON at all"
"""A prompt that pushes against the schema, so that a server that ignores it is seen."""
_ROOM: Final = 400

_PERSON: Final = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "age": {"type": "integer", "minimum": 0, "maximum": 99},
    },
    "required": ["name", "age"],
    "additionalProperties": False,
}
_NESTED: Final = {
    "type": "object",
    "properties": {
        "owner": {
            "type": "object",
            "properties": {"tag": {"enum": ["x", "y"]}},
            "required": ["tag"],
            "additionalProperties": False,
        }
    },
    "required": ["owner"],
    "additionalProperties": False,
}
_ENUM: Final = {
    "type": "object",
    "properties": {"color": {"type": "string", "enum": ["red", "green"]}},
    "required": ["color"],
    "additionalProperties": False,
}
_ARRAY: Final = {
    "type": "object",
    "properties": {
        "sizes": {
            "type": "array",
            "items": {"type": "string", "enum": ["s", "m"]},
            "minItems": 2,
            "maxItems": 2,
        }
    },
    "required": ["sizes"],
    "additionalProperties": False,
}


def _format(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "it", "strict": True, "schema": schema}}


def _parse(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise CheckFailedError("content that is JSON", f"{error}: {shown(text)}") from None


def _fits(t: Attempt, answer: CheckAnswer, schema: dict[str, Any]) -> None:
    """Demand an answer that is valid; one that was cut can only be seen to have begun well."""
    text = answer.text()
    if answer.finish() == "length" and text.lstrip().startswith("{"):
        t.skip("the model went on to max_tokens: its JSON is cut")
    fault = schema_fault(_parse(text), schema)
    t.require(not fault, "content that is valid against the schema", f"{fault}: {shown(text)}")


async def _ask(t: Attempt, schema: dict[str, Any], **fields: Any) -> CheckAnswer:
    wanted = {"response_format": _format(schema), "max_tokens": _ROOM, **fields}
    return await t.chat(_AGAINST, "response_format json_schema", **wanted)


@SUITE.check("json_object gives an object of JSON")
async def json_object(t: Attempt) -> None:
    """OpenAI API, response_format: json_object guarantees a message of valid JSON."""
    answer = await t.chat(
        "Answer in JSON: which color has the sky?",
        "response_format json_object",
        response_format={"type": "json_object"},
        max_tokens=_ROOM,
    )
    if answer.finish() == "length":
        t.skip(f"the model went on for {_ROOM} tokens: its JSON is cut")
    value = _parse(answer.text())
    t.require(isinstance(value, dict), "an object", shown(value))


@SUITE.check("a json_schema with additionalProperties false is followed", needs=_NEEDS)
async def json_schema(t: Attempt) -> None:
    """OpenAI API, response_format: json_schema, strict."""
    answer = await _ask(t, _PERSON)
    _fits(t, answer, _PERSON)


@SUITE.check("a nested json_schema is followed", needs=_NEEDS)
async def json_schema_nested(t: Attempt) -> None:
    """OpenAI API, response_format: json_schema, strict."""
    answer = await _ask(t, _NESTED)
    _fits(t, answer, _NESTED)


@SUITE.check("an enum in a json_schema is followed", needs=_NEEDS)
async def json_schema_enum(t: Attempt) -> None:
    """OpenAI API, response_format: json_schema, strict."""
    answer = await _ask(t, _ENUM)
    _fits(t, answer, _ENUM)


@SUITE.check("an array in a json_schema is followed, with its length", needs=_NEEDS)
async def json_schema_array(t: Attempt) -> None:
    """OpenAI API, response_format: json_schema, strict."""
    answer = await _ask(t, _ARRAY)
    _fits(t, answer, _ARRAY)


@SUITE.check("a streamed answer follows its json_schema", needs=_NEEDS)
async def json_schema_streamed(t: Attempt) -> None:
    """OpenAI API, response_format with stream."""
    stream = await t.stream_chat(
        _AGAINST, "response_format json_schema", response_format=_format(_PERSON), max_tokens=_ROOM
    )
    _fits(t, stream, _PERSON)


@SUITE.check("a guided answer that ended by itself says stop", needs=_NEEDS)
async def says_stop(t: Attempt) -> None:
    """OpenAI API, finish_reason: stop at a natural stop point."""
    answer = await _ask(t, _ENUM, n=1)
    if answer.usage("completion_tokens") >= _ROOM:
        t.skip("the model went on to max_tokens: its JSON is cut")
    t.require(answer.finish() == "stop", "stop", answer.finish())


@SUITE.check("after reasoning the content follows the json_schema", needs=(*_NEEDS, "reasoning"))
async def json_schema_with_reasoning(t: Attempt) -> None:
    """OpenAI API, response_format with reasoning_effort: the schema is of the content alone."""
    answer = await _ask(t, _ENUM, reasoning_effort="low", max_tokens=2000)
    _fits(t, answer, _ENUM)


@SUITE.check("a bogus json_schema is refused", needs=_NEEDS)
async def bogus_schema(t: Attempt) -> None:
    """JSON Schema 2020-12, 6.1.1: the types that there are."""
    body = t.chat_body("Hello", response_format=_format({"type": "gibberish"}))
    t.refused(await t.post(CHAT, body), "a schema of an unknown type")


@SUITE.check("a json_schema that is not an object is refused", needs=_NEEDS)
async def schema_is_no_object(t: Attempt) -> None:
    """OpenAI API, response_format: schema is an object."""
    wanted = {"type": "json_schema", "json_schema": {"name": "it", "strict": True, "schema": 7}}
    body = t.chat_body("Hello", response_format=wanted)
    t.refused(await t.post(CHAT, body), "a schema that is a number")


_REGEX: Final = "[0-9]{3}-[a-f]{2}"
_CHOICE: Final = ["north", "south"]
_VLLM_GRAMMAR: Final = 'root ::= "left" | "right"'


async def _matches(t: Attempt, fields: dict[str, Any], pattern: str, optional: str) -> None:
    answer = await t.chat(_AGAINST, optional, max_tokens=40, **fields)
    said = answer.text()
    t.require(re.fullmatch(pattern, said.strip()), f"a text that matches {pattern}", shown(said))


@SUITE.check("structured_outputs regex is followed", extension="structured_outputs")
async def vllm_regex(t: Attempt) -> None:
    """VLLM, Structured Outputs: regex."""
    fields = {"structured_outputs": {"regex": _REGEX}}
    await _matches(t, fields, _REGEX, "structured_outputs")


@SUITE.check("structured_outputs choice is followed", extension="structured_outputs")
async def vllm_choice(t: Attempt) -> None:
    """VLLM, Structured Outputs: choice."""
    fields = {"structured_outputs": {"choice": _CHOICE}}
    await _matches(t, fields, "north|south", "structured_outputs")


@SUITE.check("structured_outputs grammar is followed", extension="structured_outputs")
async def vllm_grammar(t: Attempt) -> None:
    """VLLM, Structured Outputs: grammar, in EBNF."""
    fields = {"structured_outputs": {"grammar": _VLLM_GRAMMAR}}
    await _matches(t, fields, "left|right", "structured_outputs")


@SUITE.check("structured_outputs json is followed", extension="structured_outputs")
async def vllm_json(t: Attempt) -> None:
    """VLLM, Structured Outputs: json."""
    answer = await t.chat(
        _AGAINST, "structured_outputs", structured_outputs={"json": _ENUM}, max_tokens=_ROOM
    )
    _fits(t, answer, _ENUM)


@SUITE.check("a regex that does not compile is refused", extension="structured_outputs")
async def vllm_bogus_regex(t: Attempt) -> None:
    """VLLM, Structured Outputs: a bad pattern is the client's fault."""
    body = t.chat_body("Hello", structured_outputs={"regex": "([a-z"})
    t.refused(await t.post(CHAT, body), "a regex that does not compile")


@SUITE.check("guided_choice is followed", extension="guided_choice")
async def guided_choice(t: Attempt) -> None:
    """VLLM before 0.12: guided_choice."""
    await _matches(t, {"guided_choice": _CHOICE}, "north|south", "guided_choice")


@SUITE.check("regex is followed", extension="regex")
async def sglang_regex(t: Attempt) -> None:
    """SGLang, Structured Outputs: regex."""
    await _matches(t, {"regex": _REGEX}, _REGEX, "regex")


@SUITE.check("ebnf is followed", extension="ebnf")
async def sglang_ebnf(t: Attempt) -> None:
    """SGLang, Structured Outputs: ebnf."""
    await _matches(t, {"ebnf": _VLLM_GRAMMAR}, "left|right", "ebnf")
