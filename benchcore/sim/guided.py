"""Guided: what an answer must be where the request says its form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson

from benchcore.sim.ask import ApiError
from benchcore.sim.example import example
from benchcore.sim.grammar import derived
from benchcore.sim.pattern import matching

if TYPE_CHECKING:
    import random

_OBJECT: Final = {
    "type": "object",
    "properties": {"answer": {"type": "string"}},
    "required": ["answer"],
}
_KINDS: Final = ("json", "regex", "choice", "grammar", "json_object")
_AT_TOP: Final = {
    "guided_json": "json",
    "guided_regex": "regex",
    "guided_choice": "choice",
    "guided_grammar": "grammar",
    "json_schema": "json",
    "regex": "regex",
    "ebnf": "grammar",
}
"""Fields of vLLM before 0.12 and of SGLang, and what they hold."""


def guided_text(body: dict[str, Any], draw: random.Random) -> str | None:
    """Returns a text of the form that a request demands; `None` where it demands none.

    Args:
        body: the request's.
        draw: what is drawn at random.

    Raises:
        ApiError: 400, the form is not valid.
    """
    for name, kind in _AT_TOP.items():
        if body.get(name) is not None:
            return _text(kind, body[name], draw, name)
    structured = body.get("structured_outputs")
    if structured is not None:
        return _structured(structured, draw)
    wanted = body.get("response_format")
    if not isinstance(wanted, dict) or wanted.get("type") == "text":
        return None
    if wanted["type"] == "json_object":
        return _text("json", _OBJECT, draw, "response_format")
    inner = wanted.get("json_schema")
    if not isinstance(inner, dict) or not isinstance(inner.get("schema"), dict):
        raise ApiError(400, "json_schema must be an object with a schema", param="response_format")
    return _text("json", inner["schema"], draw, "response_format")


def _structured(given: Any, draw: random.Random) -> str:
    """Reads `structured_outputs` of vLLM: exactly one form."""
    given = given if isinstance(given, dict) else {}
    kinds = [kind for kind in _KINDS if given.get(kind) not in (None, False)]
    if len(kinds) != 1:
        message = f"structured_outputs must be an object of one of {', '.join(_KINDS)}"
        raise ApiError(400, message, param="structured_outputs")
    kind = kinds[0]
    if kind == "json_object":
        return _text("json", _OBJECT, draw, "structured_outputs")
    return _text(kind, given[kind], draw, "structured_outputs")


def _text(kind: str, form: Any, draw: random.Random, param: str) -> str:
    match kind:
        case "json":
            if isinstance(form, str):
                try:
                    form = orjson.loads(form)
                except orjson.JSONDecodeError as error:
                    raise ApiError(400, f"the schema is not JSON: {error}", param=param) from None
            return orjson.dumps(example(form, draw, param=param)).decode()
        case "regex":
            return matching(form, draw, param)
        case "choice":
            if not isinstance(form, list) or not form or not all(isinstance(x, str) for x in form):
                raise ApiError(400, "a choice must be a list of texts, not empty", param=param)
            return str(form[0])
        case _:
            return derived(form, draw, param)
