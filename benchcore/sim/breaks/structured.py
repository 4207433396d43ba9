"""Breaks of the checks in `function_call` and `guided`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import orjson

from benchcore.sim.breaks.breakage import (
    Break,
    Turn,
    When,
    asking,
    choices,
    finishing,
    ignoring,
    setting,
)

Call = dict[str, Any]


def _weather(place: str, **fields: Any) -> When:
    return asking(f"What is the weather in {place}?", **fields)


def _each(edit: Callable[[Call], object]) -> Callable[[Turn, dict[str, Any]], None]:
    """Edits each call of a plain answer."""

    def change(_turn: Turn, payload: dict[str, Any]) -> None:
        for choice in choices(payload):
            for call in choice["message"].get("tool_calls", []):
                edit(call)

    return change


def _pieces(edit: Callable[[Turn, Call], object]) -> Callable[[Turn, dict[str, Any]], None]:
    """Edits each piece of a call in a stream."""

    def change(turn: Turn, chunk: dict[str, Any]) -> None:
        for choice in choices(chunk):
            for call in choice["delta"].get("tool_calls", []):
                edit(turn, call)

    return change


def _arguments(text: str) -> Callable[[Turn, dict[str, Any]], None]:
    return _each(lambda call: call["function"].update(arguments=text))


def _parsed(call: Call) -> None:
    call["function"]["arguments"] = orjson.loads(call["function"]["arguments"])


def _one_call(_turn: Turn, payload: dict[str, Any]) -> None:
    for choice in choices(payload):
        del choice["message"]["tool_calls"][1:]


def _lose_the_brace(_turn: Turn, call: Call) -> None:
    function = call["function"]
    function["arguments"] = function["arguments"].replace("}", "")


def _elsewhere(_turn: Turn, call: Call) -> None:
    function = call["function"]
    function["arguments"] = function["arguments"].replace("level", "lever")


def _deaf(_turn: Turn, body: dict[str, Any]) -> None:
    for message in body["messages"]:
        if message["role"] == "tool":
            message["content"] = "nothing"


_LAMP = "Make the lamp teal at level 3."


def _schema(turn: Turn) -> Any:
    return turn.asked("response_format", "json_schema", "schema")


def _has(name: str, **fields: Any) -> When:
    """Whether the schema has a property, and the request these fields."""

    def fits(turn: Turn) -> bool:
        schema = _schema(turn)
        properties = schema.get("properties", {}) if isinstance(schema, dict) else {}
        return name in properties and all(turn.asked(key) == value for key, value in fields.items())

    return fits


def _form(name: str, key: str, *, bogus: bool = False) -> When:
    def fits(turn: Turn) -> bool:
        form = turn.asked(name, key)
        return form is not None and (form == "([a-z") is bogus

    return fits


def _freely(when: When) -> Break:
    return ignoring("response_format", when=when)


BREAKS: Final[dict[str, Break]] = {
    "function_call.choice_none": setting(
        _weather("Paris", tool_choice="none"), tool_choice="required"
    ),
    "function_call.choice_auto": setting(
        _weather("Paris", tool_choice="auto", max_tokens=200), tool_choice="none"
    ),
    "function_call.choice_auto_without_need": setting(
        lambda turn: turn.ask.endswith("violet"), tool_choice="required"
    ),
    "function_call.choice_required": setting(
        asking("Hello", tool_choice="required", max_tokens=200), tool_choice="auto"
    ),
    "function_call.choice_named": setting(
        lambda turn: (
            turn.chat
            and len(turn.asked("tools") or ()) == 2
            and isinstance(turn.asked("tool_choice"), dict)
        ),
        tool_choice="required",
    ),
    "function_call.unknown_named": setting(
        lambda turn: turn.asked("tool_choice", "function", "name") == "no_such_tool",
        tool_choice="auto",
    ),
    "function_call.choice_without_tools": ignoring(
        "tool_choice", when=_weather("Paris", tools=None)
    ),
    "function_call.says_tool_calls": finishing(_weather("Berlin", stream=None), "stop"),
    "function_call.says_tool_calls_streamed": finishing(_weather("Berlin", stream=True), "stop"),
    "function_call.call_shape": Break(
        when=_weather("Paris"), payload=_each(lambda call: call.pop("type"))
    ),
    "function_call.arguments_are_string": Break(when=_weather("London"), payload=_each(_parsed)),
    "function_call.arguments_fit_schema": Break(
        when=asking(_LAMP), payload=_arguments('{"color":"teal"}')
    ),
    "function_call.ref_schema": Break(
        when=asking("Send 2 kg to Japan, first floor."),
        payload=_arguments('{"to":"Japan","weight":2}'),
    ),
    "function_call.no_arguments": Break(when=asking("What time is it?"), payload=_arguments("")),
    "function_call.parallel": Break(when=_weather("Paris and in Tokyo"), payload=_one_call),
    "function_call.parallel_ids": Break(
        when=_weather("London and in Berlin"), payload=_each(lambda call: call.update(id="call_0"))
    ),
    "function_call.parallel_off": ignoring(
        "parallel_tool_calls", when=_weather("Paris and in Berlin")
    ),
    "function_call.streamed_once": Break(
        when=asking("Make the lamp amber at level 1."),
        chunk=_pieces(lambda _turn, call: call["function"].update(name="set_lamp")),
    ),
    "function_call.streamed_arguments": Break(
        when=asking("Make the lamp teal at level 2."), chunk=_pieces(_lose_the_brace)
    ),
    "function_call.streamed_indices": Break(
        when=_weather("Tokyo and in Berlin"),
        chunk=_pieces(lambda _turn, call: call.update(index=0)),
    ),
    "function_call.streamed_equals_plain": Break(
        when=asking("Make the lamp amber at level 2."), chunk=_pieces(_elsewhere)
    ),
    "function_call.result_turn": Break(when=asking("sunny, 31 degrees"), body=_deaf),
    "function_call.result_says_stop": finishing(asking("rain"), "tool_calls"),
    "function_call.cut_says_length": finishing(
        asking("Send 3 kg to Germany, second floor."), "tool_calls"
    ),
    "function_call.in_chinese": Break(
        when=lambda turn: turn.chat and "北京" in turn.ask, payload=_arguments('{"city":"??"}')
    ),
    "function_call.in_both_languages": Break(
        when=lambda turn: turn.chat and "上海" in turn.ask, payload=_arguments('{"city":"??"}')
    ),
    "guided.json_object": _freely(
        lambda turn: turn.asked("response_format", "type") == "json_object"
    ),
    "guided.json_schema": _freely(_has("age", stream=None)),
    "guided.json_schema_nested": _freely(_has("owner")),
    "guided.json_schema_enum": _freely(_has("color", n=None, reasoning_effort=None)),
    "guided.json_schema_array": _freely(_has("sizes")),
    "guided.json_schema_streamed": _freely(_has("age", stream=True)),
    "guided.says_stop": finishing(_has("color", n=1), "length"),
    "guided.json_schema_with_reasoning": _freely(_has("color", reasoning_effort="low")),
    "guided.bogus_schema": _freely(lambda turn: _schema(turn) == {"type": "gibberish"}),
    "guided.schema_is_no_object": _freely(lambda turn: _schema(turn) == 7),
    "guided.vllm_regex": ignoring("structured_outputs", when=_form("structured_outputs", "regex")),
    "guided.vllm_choice": ignoring(
        "structured_outputs", when=_form("structured_outputs", "choice")
    ),
    "guided.vllm_grammar": ignoring(
        "structured_outputs", when=_form("structured_outputs", "grammar")
    ),
    "guided.vllm_json": ignoring("structured_outputs", when=_form("structured_outputs", "json")),
    "guided.vllm_bogus_regex": ignoring(
        "structured_outputs", when=_form("structured_outputs", "regex", bogus=True)
    ),
    "guided.guided_choice": ignoring("guided_choice"),
    "guided.sglang_regex": ignoring("regex"),
    "guided.sglang_ebnf": ignoring("ebnf"),
}
