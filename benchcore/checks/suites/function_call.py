"""Function call: tools and the calls that are made to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson

from benchcore.checks.answers import CheckFailedError, dig, shown
from benchcore.checks.attempt import CHAT, Attempt
from benchcore.checks.check import Suite, schema_fault
from benchcore.checks.probing import TOOL

if TYPE_CHECKING:
    from benchcore.checks.answers import CheckAnswer


SUITE = Suite("function_call", "tools and the calls that are made to them")

_NEEDS: Final = ("tools",)
_MEANS: Final = ("tools", "instructions")
_ASK: Final = "What is the weather in Paris?"
_ROOM: Final = 200
"""Tokens: enough for the calls of these checks."""
_CUT: Final = "the model went on to max_tokens: its call is cut"


def _tool(name: str, description: str, parameters: dict[str, Any]) -> dict[str, Any]:
    """Return a tool whose schema binds: without `strict` OpenAI promises nothing of arguments."""
    parameters = {**parameters, "additionalProperties": False}
    function = {
        "name": name,
        "description": description,
        "parameters": parameters,
        "strict": True,
    }
    return {"type": "function", "function": function}


_TIME: Final = _tool(
    "get_time", "The time of day. 查询时间。", {"type": "object", "properties": {}}
)
_REF: Final = _tool(
    "send_parcel",
    "Sends a parcel.",
    {
        "type": "object",
        "properties": {"to": {"$ref": "#/$defs/address"}, "weight": {"enum": [1, 2, 3]}},
        "required": ["to", "weight"],
        "$defs": {
            "address": {
                "type": "object",
                "properties": {"country": {"enum": ["JP", "DE"]}, "floor": {"enum": [1, 2]}},
                "required": ["country", "floor"],
                "additionalProperties": False,
            }
        },
    },
)
_ENUM: Final = _tool(
    "set_lamp",
    "Sets a lamp.",
    {
        "type": "object",
        "properties": {
            "color": {"type": "string", "enum": ["amber", "teal"]},
            "level": {"type": "integer", "enum": [1, 2, 3]},
        },
        "required": ["color", "level"],
    },
)


def _choose(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name}}


def _arguments(call: dict[str, Any]) -> Any:
    text = dig(call, ("function", "arguments"), str)
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise CheckFailedError("arguments that are JSON", f"{error}: {shown(text)}") from None


def _whole(t: Attempt, answer: CheckAnswer) -> dict[str, Any]:
    """Return the first call of an answer that max_tokens has not cut."""
    call = _one(t, answer)
    if answer.finish() == "length" or answer.usage("completion_tokens") >= _ROOM:
        t.skip(_CUT)
    return call


def _name(call: dict[str, Any]) -> str:
    name: str = dig(call, ("function", "name"), str)
    return name


def _one(t: Attempt, answer: CheckAnswer) -> dict[str, Any]:
    """Return the first call of an answer; one that was cut before it cannot be judged."""
    calls = answer.calls()
    # What reads as prose is no call that was cut: the model was let do something else.
    if not calls and answer.finish() == "length" and not _is_prose(answer.text()):
        t.skip(_CUT)
    if not calls:
        raise CheckFailedError("a tool call", shown(answer.message()))
    return calls[0]


def _is_prose(text: str) -> bool:
    """Return whether a text begins as no form of a call does: JSON, a tag, a code block."""
    text = text.strip()
    return bool(text) and text[0] not in "{[<`"


async def _call(t: Attempt, tool: dict[str, Any], ask: str = _ASK, **fields: Any) -> CheckAnswer:
    """Demand a call of a tool by its name, which even a weak model can make."""
    choice = _choose(tool["function"]["name"])
    options = {"tools": [tool], "tool_choice": choice, "max_tokens": _ROOM, **fields}
    return await t.chat(ask, "tool_choice by name", **options)


@SUITE.check("tool_choice none never calls a tool", needs=_NEEDS)
async def choice_none(t: Attempt) -> None:
    """OpenAI API, tool_choice: none means the model will not call any tool."""
    answer = await t.chat(_ASK, "tools", tools=[TOOL], tool_choice="none")
    t.require(not answer.calls(), "no tool call", answer.message())


@SUITE.check("tool_choice auto calls the tool that fits", needs=_MEANS, model_dependent=True)
async def choice_auto(t: Attempt) -> None:
    """OpenAI API, tool_choice: auto lets the model pick."""
    answer = await t.chat(_ASK, "tools", tools=[TOOL], tool_choice="auto", max_tokens=_ROOM)
    t.require(
        [_name(call) for call in answer.calls()] == ["get_weather"], "a call", answer.message()
    )


@SUITE.check(
    "tool_choice auto answers in words where no tool fits", needs=_MEANS, model_dependent=True
)
async def choice_auto_without_need(t: Attempt) -> None:
    """OpenAI API, tool_choice: auto lets the model pick between a message and calls."""
    ask = "Repeat exactly, and nothing else: violet"
    answer = await t.chat(ask, "tools", tools=[TOOL], tool_choice="auto")
    t.require(not answer.calls() and answer.text(), "a message", answer.message())


@SUITE.check("tool_choice required calls a tool, whatever is asked", needs=_NEEDS)
async def choice_required(t: Attempt) -> None:
    """OpenAI API, tool_choice: required means the model must call one or more tools."""
    answer = await t.chat(
        "Hello", "tool_choice required", tools=[TOOL], tool_choice="required", max_tokens=_ROOM
    )
    _one(t, answer)


@SUITE.check("tool_choice by name calls that tool", needs=_NEEDS)
async def choice_named(t: Attempt) -> None:
    """OpenAI API, tool_choice: a named function forces the model to call it."""
    answer = await t.chat(
        _ASK,
        "tool_choice by name",
        tools=[TOOL, _ENUM],
        tool_choice=_choose("set_lamp"),
        max_tokens=_ROOM,
    )
    _one(t, answer)
    names = [_name(call) for call in answer.calls()]
    t.require(set(names) == {"set_lamp"}, "a call of set_lamp", names)


@SUITE.check("a tool_choice that names no tool of the request is refused", needs=_NEEDS)
async def unknown_named(t: Attempt) -> None:
    """OpenAI API, tool_choice: must be one of tools."""
    body = t.chat_body(_ASK, tools=[TOOL], tool_choice=_choose("no_such_tool"))
    t.refused(await t.post(CHAT, body), "a tool_choice that names no tool")


@SUITE.check("a tool_choice without tools is refused", tolerance="some engines ignore it")
async def choice_without_tools(t: Attempt) -> None:
    """OpenAI API, tool_choice: only allowed when tools are specified."""
    body = t.chat_body(_ASK, tool_choice="required")
    t.refused(await t.post(CHAT, body), "a tool_choice without tools")


@SUITE.check("an answer with calls says tool_calls", needs=_MEANS, model_dependent=True)
async def says_tool_calls(t: Attempt) -> None:
    """OpenAI API, finish_reason: tool_calls if the model called a tool."""
    ask = "What is the weather in Berlin?"
    answer = await t.chat(ask, "tools", tools=[TOOL], max_tokens=_ROOM)
    if not answer.calls():
        t.require(holds=False, expected="a tool call", got=answer.message())
    t.require(answer.finish() == "tool_calls", "tool_calls", answer.finish())


@SUITE.check("a stream with calls says tool_calls", needs=_MEANS, model_dependent=True)
async def says_tool_calls_streamed(t: Attempt) -> None:
    """OpenAI API, finish_reason: tool_calls, streamed too."""
    ask = "What is the weather in Berlin?"
    stream = await t.stream_chat(ask, "tools", tools=[TOOL], max_tokens=_ROOM)
    t.require(stream.tool_calls(), "a tool call", stream.text())
    t.require(stream.finish() == "tool_calls", "tool_calls", stream.finish())


@SUITE.check("a call has an id, the type function and a name", needs=_NEEDS)
async def call_shape(t: Attempt) -> None:
    """OpenAI API, The chat completion object: tool_calls."""
    call = _one(t, await _call(t, TOOL))
    t.require(dig(call, ("id",), str), "an id", call)
    t.require(call.get("type") == "function", "type function", call)
    t.require(_name(call), "a name", call)


@SUITE.check("arguments are a string of JSON, not an object", needs=_NEEDS)
async def arguments_are_string(t: Attempt) -> None:
    """OpenAI API, The chat completion object: arguments, in JSON format, a string."""
    call = _one(t, await _call(t, TOOL, "What is the weather in London?"))
    arguments = dig(call, ("function", "arguments"), None)
    t.require(isinstance(arguments, str), "a string", shown(arguments))


@SUITE.check("arguments are valid against the tool's schema", needs=_NEEDS)
async def arguments_fit_schema(t: Attempt) -> None:
    """OpenAI API, tools: parameters is a JSON Schema."""
    call = _whole(t, await _call(t, _ENUM, "Make the lamp teal at level 3."))
    fault = schema_fault(_arguments(call), _ENUM["function"]["parameters"])
    t.require(not fault, "arguments that are valid against the schema", fault)


@SUITE.check("a schema with $ref is followed", needs=_NEEDS)
async def ref_schema(t: Attempt) -> None:
    """JSON Schema 2020-12, 8.2.3.1: $ref into $defs."""
    call = _whole(t, await _call(t, _REF, "Send 2 kg to Japan, first floor."))
    fault = schema_fault(_arguments(call), _REF["function"]["parameters"])
    t.require(not fault, "arguments that are valid against the schema", fault)


@SUITE.check("a tool without arguments is called with an empty object", needs=_NEEDS)
async def no_arguments(t: Attempt) -> None:
    """OpenAI API, tools: omitting parameters defines an empty parameter list."""
    call = _whole(t, await _call(t, _TIME, "What time is it?"))
    t.require(_arguments(call) == {}, "{}", _arguments(call))


@SUITE.check("two things asked at once give two calls", needs=_MEANS, model_dependent=True)
async def parallel(t: Attempt) -> None:
    """OpenAI API, parallel_tool_calls: on by default."""
    ask = "What is the weather in Paris and in Tokyo?"
    answer = await t.chat(ask, "tools", tools=[TOOL], max_tokens=_ROOM)
    cities = sorted(str(dig(_arguments(call), ("city",), str)) for call in answer.calls())
    t.require(cities == ["Paris", "Tokyo"], "calls for Paris and Tokyo", cities)


@SUITE.check("each of several calls has an id of its own", needs=_MEANS, model_dependent=True)
async def parallel_ids(t: Attempt) -> None:
    """OpenAI API, tool messages answer a call by its tool_call_id."""
    ask = "What is the weather in London and in Berlin?"
    answer = await t.chat(ask, "tools", tools=[TOOL], max_tokens=_ROOM)
    ids = [dig(call, ("id",), str) for call in answer.calls()]
    t.require(len(ids) >= 2 and len(set(ids)) == len(ids), "ids that differ", ids)


@SUITE.check(
    "parallel_tool_calls false gives one call at most",
    needs=_MEANS,
    model_dependent=True,
    tolerance="several engines leave it to the model",
)
async def parallel_off(t: Attempt) -> None:
    """OpenAI API, parallel_tool_calls."""
    answer = await t.chat(
        "What is the weather in Paris and in Berlin?",
        "parallel_tool_calls",
        tools=[TOOL],
        parallel_tool_calls=False,
        max_tokens=_ROOM,
    )
    t.require(len(answer.calls()) == 1, "one call", str(len(answer.calls())))


@SUITE.check("streamed: id and name come once for each call", needs=_NEEDS)
async def streamed_once(t: Attempt) -> None:
    """OpenAI API, The chat completion chunk object: delta.tool_calls."""
    stream = await _stream(t, "Make the lamp amber at level 1.")
    for call in stream.tool_calls():
        got = f"ids {call.ids}, names {call.names}"
        t.require(len(call.names) == 1 and len(set(call.ids)) == 1, "one id and one name", got)
        t.prefer(len(call.ids) == 1, "the id once", got, "some engines repeat the id")
    if not stream.tool_calls() and stream.finish() == "length":
        t.skip(_CUT)
    t.require(stream.tool_calls(), "a tool call", stream.text())


async def _stream(t: Attempt, ask: str, **fields: Any) -> Any:
    options = {
        "tools": [_ENUM],
        "tool_choice": _choose("set_lamp"),
        "max_tokens": _ROOM,
        **fields,
    }
    return await t.stream_chat(ask, "tool_choice by name", **options)


@SUITE.check("streamed: arguments put together are JSON", needs=_NEEDS)
async def streamed_arguments(t: Attempt) -> None:
    """OpenAI API, The chat completion chunk object: arguments come in pieces."""
    stream = await _stream(t, "Make the lamp teal at level 2.")
    calls = stream.tool_calls()
    if stream.finish() == "length":
        t.skip(_CUT)
    t.require(calls, "a tool call", stream.text())
    for call in calls:
        try:
            value = orjson.loads(call.arguments)
        except orjson.JSONDecodeError as error:
            got = f"{error}: {shown(call.arguments)}"
            raise CheckFailedError("arguments that are JSON", got) from None
        t.require(isinstance(value, dict), "an object", shown(value))


@SUITE.check(
    "streamed: several calls have indices of their own", needs=_MEANS, model_dependent=True
)
async def streamed_indices(t: Attempt) -> None:
    """OpenAI API, The chat completion chunk object: tool_calls[].index."""
    ask = "What is the weather in Tokyo and in Berlin?"
    stream = await t.stream_chat(ask, "tools", tools=[TOOL], max_tokens=_ROOM)
    indices = [call.index for call in stream.tool_calls()]
    t.require(indices == [0, 1], "indices 0 and 1", indices)


@SUITE.check("streamed calls are those of the plain answer, at temperature 0", needs=_NEEDS)
async def streamed_equals_plain(t: Attempt) -> None:
    """OpenAI API, stream: the same completion, in pieces."""
    ask = "Make the lamp amber at level 2."
    plain = await _call(t, _ENUM, ask)
    if plain.finish() == "length":
        t.skip(_CUT)
    stream = await _stream(t, ask)
    wanted = [(_name(call), call["function"].get("arguments")) for call in plain.calls()]
    streamed = [("".join(call.names[:1]), call.arguments) for call in stream.tool_calls()]
    t.require(streamed == wanted, shown(wanted), shown(streamed))


def _result_turns(content: str) -> list[dict[str, Any]]:
    function = {"name": "get_weather", "arguments": '{"city":"Paris"}'}
    call = {"id": "call_1", "type": "function", "function": function}
    return [
        {"role": "user", "content": _ASK},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": content},
    ]


@SUITE.check("a tool's result is used in the answer", needs=_MEANS, model_dependent=True)
async def result_turn(t: Attempt) -> None:
    """OpenAI API, messages: tool."""
    answer = await t.chat(_result_turns("sunny, 31 degrees"), "a tool's result", tools=[TOOL])
    t.require("31" in answer.text(), "31 in the answer", answer.text())


@SUITE.check("after a tool's result the answer is a message that says stop", needs=_MEANS)
async def result_says_stop(t: Attempt) -> None:
    """OpenAI API, finish_reason: stop."""
    answer = await t.chat(
        _result_turns("rain"), "a tool's result", tools=[TOOL], tool_choice="none", max_tokens=256
    )
    t.require(answer.finish() in ("stop", "length"), "stop", answer.finish())


@SUITE.check("a call that max_tokens cut says length", needs=_NEEDS)
async def cut_says_length(t: Attempt) -> None:
    """OpenAI API, finish_reason: length if the maximum number of tokens was reached."""
    answer = await _call(t, _REF, "Send 3 kg to Germany, second floor.", max_tokens=4)
    t.require(answer.finish() == "length", "length", answer.finish())


async def _in_language(t: Attempt, ask: str, cities: set[str]) -> None:
    answer = await t.chat(ask, "tools", tools=[TOOL], max_tokens=_ROOM)
    city = dig(_arguments(_one(t, answer)), ("city",), str)
    t.require(city in cities, " or ".join(sorted(cities)), city)


@SUITE.check("asked in Chinese, the tool is called", needs=_MEANS, model_dependent=True)
async def in_chinese(t: Attempt) -> None:
    """Engines' tool parsers cut characters in two more often than not."""
    await _in_language(t, "北京的天气怎么样？", {"北京", "Beijing"})  # noqa: RUF001  it is Chinese


@SUITE.check(
    "asked in two languages at once, the tool is called", needs=_MEANS, model_dependent=True
)
async def in_both_languages(t: Attempt) -> None:
    """Engines' tool parsers cut characters in two more often than not."""
    await _in_language(t, "Please tell me: 上海 weather 怎么样", {"上海", "Shanghai"})
