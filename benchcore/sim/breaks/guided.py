"""Breaks of the checks in `guided`."""

from typing import Any

from benchcore.sim.breaks.breakage import Break, When, finishing, ignoring
from benchcore.sim.breaks.turn import Turn


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


BREAKS: dict[str, Break] = {
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
