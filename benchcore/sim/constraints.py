"""Constraints: the form that a request demands of its answer, and a text of that form.

Before a form goes to llguidance it is narrowed to texts that have all the properties it names and
cannot go on for ever. Where the narrowed form allows nothing, the form itself is tried.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import orjson

from benchcore.sim.guidance import NotUnderstoodError, texts
from benchcore.sim.validation import ApiError

if TYPE_CHECKING:
    import random

    from jsonschema.protocols import Validator
    from llguidance import GrammarFormat

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

_EBNF: Final = re.compile(r"^\s*[\w-]+\s*::=", re.MULTILINE)
_REPEATED: Final = (
    r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]"  # an escape, a class: nothing in them repeats
    r"|(?P<times>[*+]|\{\d{1,6},\})"
)
_IN_A_REGEX: Final = re.compile(_REPEATED, re.DOTALL)
_IN_A_GRAMMAR: Final = re.compile(
    r"\"(?:\\.|[^\"\\\n])*\"|(?://|#)[^\n]*|(?P<regex>/(?:\\.|[^/\\\n])+/)|" + _REPEATED
)
_MOST_TIMES: Final = 12
"""Repetitions, beyond the least number, of what may be repeated without end."""

_MOST_RULES: Final = 500
"""Rules or references that a grammar or schema may have; llguidance follows them recursively."""


def constrained_text(body: dict[str, Any], draw: random.Random) -> str | None:
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
        return json_text(_OBJECT, draw, "response_format")
    inner = wanted.get("json_schema")
    if not isinstance(inner, dict) or not isinstance(inner.get("schema"), dict):
        raise ApiError(400, "json_schema must be an object with a schema", param="response_format")
    return json_text(inner["schema"], draw, "response_format")


def _structured(given: Any, draw: random.Random) -> str:
    """Reads `structured_outputs` of vLLM: exactly one form."""
    given = given if isinstance(given, dict) else {}
    kinds = [kind for kind in _KINDS if given.get(kind) not in (None, False)]
    if len(kinds) != 1:
        message = f"structured_outputs must be an object of one of {', '.join(_KINDS)}"
        raise ApiError(400, message, param="structured_outputs")
    kind = kinds[0]
    if kind == "json_object":
        return json_text(_OBJECT, draw, "structured_outputs")
    return _text(kind, given[kind], draw, "structured_outputs")


def _text(kind: str, form: Any, draw: random.Random, param: str) -> str:
    match kind:
        case "json":
            if isinstance(form, str):
                try:
                    form = orjson.loads(form)
                except orjson.JSONDecodeError as error:
                    raise ApiError(400, f"the schema is not JSON: {error}", param=param) from None
            return json_text(form, draw, param)
        case "regex":
            return regex_text(form, draw, param)
        case "choice":
            if not isinstance(form, list) or not form or not all(isinstance(x, str) for x in form):
                raise ApiError(400, "a choice must be a list of texts, not empty", param=param)
            return str(form[0])
        case _:
            return grammar_text(form, draw, param)


def regex_text(pattern: object, draw: random.Random, param: str) -> str:
    """Returns a text that a regular expression matches whole.

    Args:
        pattern: the expression, which Python and Rust read alike: no look-around, no references.
        draw: what is drawn at random.
        param: named where the expression is at fault.

    Raises:
        ApiError: 400, it does not compile, or no text was found.
    """
    from llguidance import LLMatcher

    if not isinstance(pattern, str):
        raise ApiError(400, "a regular expression must be a string", param=param)
    try:
        compiled = re.compile(pattern)
    except (re.error, ValueError, OverflowError, RecursionError) as error:
        message = f"the regular expression does not compile: {error}"
        raise ApiError(400, message, param=param) from None
    forms = map(LLMatcher.grammar_from_regex, (_narrowed_regex(pattern), pattern))
    try:
        found = (text for text in texts(forms, draw) if compiled.fullmatch(text) is not None)
        if (text := next(found, None)) is not None:
            return text
        fault = "no text was found that Python, too, reads as a match"
    except NotUnderstoodError as error:
        fault = str(error)
    message = f"the regular expression {pattern[:100]!r} is not understood: {fault}"
    raise ApiError(400, message, param=param)


def grammar_text(grammar: object, draw: random.Random, param: str) -> str:
    """Returns a text of a grammar.

    Args:
        grammar: in EBNF as llama.cpp has it, rules `name ::= …` and one of them `root`; or in
            Lark's notation, rules `name: …` and one of them `start`.
        draw: what is drawn at random.
        param: named where the grammar is at fault.

    Raises:
        ApiError: 400, it is no grammar, uses what is not understood, or no text was found.
    """
    from llguidance import grammar_from

    if not isinstance(grammar, str):
        raise ApiError(400, "a grammar must be a string", param=param)
    if grammar.count(":") > _MOST_RULES:
        raise ApiError(400, "the grammar is not understood: it has too many rules", param=param)
    kind: GrammarFormat = "ebnf" if _EBNF.search(grammar) else "lark"
    try:
        forms = [grammar_from(kind, form) for form in (_narrowed_grammar(grammar), grammar)]
        return next(texts(forms, draw))
    except (NotUnderstoodError, ValueError) as fault:
        reason = str(fault).removeprefix("Failed to convert the grammar from GBNF to Lark: ")
        message = f"the grammar is not understood: {reason}"
        raise ApiError(400, message, param=param) from None


def json_text(
    schema: Any, draw: random.Random, param: str, known: dict[str, str] | None = None
) -> str:
    """Returns JSON that is valid against a schema.

    All properties are given, except optional ones whose schemas lead to a `$ref`. What is returned
    has been validated against the whole schema; values for keywords that llguidance does not know,
    such as `not` and `uniqueItems`, are found by trying.

    Args:
        schema: a JSON Schema, draft 2020-12.
        draw: what is drawn at random.
        param: named where the schema is at fault.
        known: values for properties of the object of these names, where they fit.

    Raises:
        ApiError: 400, it is no schema, or no value was found.
    """
    from jsonschema.exceptions import SchemaError
    from referencing.exceptions import Unresolvable

    if not isinstance(schema, dict):
        raise ApiError(400, f"the schema is not valid: {schema!r} is no object", param=param)
    try:
        validator = _validator(orjson.dumps(schema))
        fixed = _with_known(schema, known or {}, validator)
        narrowed = (_narrowed(fixed, closed=closed) for closed in (True, False))
        forms = map(_json_grammar, (*narrowed, fixed))
        return next(text for text in texts(forms, draw, json=True) if _is_valid(text, validator))
    except SchemaError as error:
        message = f"the schema is not valid: {error.json_path}: {error.message}"
        raise ApiError(400, message, param=param) from None
    except (NotUnderstoodError, Unresolvable) as error:
        fault = str(error)
    except StopIteration:
        fault = "no value was found"
    except (RecursionError, orjson.JSONEncodeError):
        fault = "it is nested too deeply"
    raise ApiError(400, f"the schema is not understood: {fault}", param=param)


@lru_cache(maxsize=256)
def _validator(schema: bytes) -> Validator:
    from jsonschema import Draft202012Validator
    from referencing import Registry

    if schema.count(b'"$ref"') > _MOST_RULES:
        raise NotUnderstoodError("it has too many references")
    root = orjson.loads(schema)
    Draft202012Validator.check_schema(root)
    # An empty registry: a $ref that leads out of the schema must fetch nothing.
    return Draft202012Validator(root, registry=Registry())


def _is_valid(text: str, validator: Validator) -> bool:
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:  # of a number beyond what a double can hold
        return False
    return validator.is_valid(value)


def _with_known(
    schema: dict[str, Any], known: dict[str, str], validator: Validator
) -> dict[str, Any]:
    """Fixes the properties whose values are known and fit."""
    properties = schema.get("properties", {})
    fixed = {
        name: {"const": value}
        for name, value in known.items()
        if name in properties and validator.evolve(schema=properties[name]).is_valid(value)
    }
    return {**schema, "properties": {**properties, **fixed}} if fixed else schema


def _json_grammar(schema: dict[str, Any]) -> str:
    from llguidance import LLMatcher

    # What is not understood of a schema is passed over: the values are validated anyway.
    return LLMatcher.grammar_from_json_schema(
        schema, overrides={"whitespace_flexible": False, "coerce_one_of": True, "lenient": True}
    )


_SCHEMAS_BY_NAME: Final = frozenset(
    {"properties", "patternProperties", "dependentSchemas", "$defs", "definitions"}
)
_NO_SCHEMAS: Final = frozenset({"const", "enum", "default", "examples", "required"})


def _narrowed(schema: Any, *, closed: bool) -> Any:
    """Returns a schema of those values that have all properties, and end soon.

    A property that leads on to a reference stays as it is: it may lead back to itself.

    Args:
        schema: the whole, or a part.
        closed: the values have no other properties either; where parts of an allOf name some each,
            there are no such values.
    """
    if isinstance(schema, list):
        return [_narrowed(part, closed=closed) for part in schema]
    if not isinstance(schema, dict):
        return schema
    found: dict[str, Any] = {}
    for key, value in schema.items():
        if key in _SCHEMAS_BY_NAME:
            found[key] = {name: _narrowed(inner, closed=closed) for name, inner in value.items()}
        else:
            found[key] = value if key in _NO_SCHEMAS else _narrowed(value, closed=closed)
    if "pattern" in found:
        # It may match anywhere, and nothing says when to stop writing what is before it.
        whole = found["pattern"].removeprefix("^")
        whole = whole.removesuffix("$") if not whole.endswith("\\$") else whole
        found["pattern"] = f"^(?:{_narrowed_regex(whole)})$"
    properties, required = found.get("properties", {}), found.get("required", [])
    if properties or required:
        more = [name for name in properties if name not in required]
        found["required"] = [
            *required,
            *(name for name in more if not _refers(properties[name])),
        ]
        if closed and "patternProperties" not in found:
            others = found.get("additionalProperties", True)
            unnamed = [name for name in required if name not in properties]
            found["properties"] = {**properties, **dict.fromkeys(unnamed, others)}
            found["additionalProperties"] = False
    return found


def _refers(schema: Any) -> bool:
    return b'"$ref"' in orjson.dumps(schema)


def _narrowed_regex(pattern: str) -> str:
    """Returns an expression without repetitions that need never end."""
    return _IN_A_REGEX.sub(_bounded, pattern)


def _narrowed_grammar(grammar: str) -> str:
    """Returns a grammar without repetitions that need never end, but for its rules' own."""
    return _IN_A_GRAMMAR.sub(
        lambda found: _narrowed_regex(found[0]) if found["regex"] else _bounded(found), grammar
    )


def _bounded(found: re.Match[str]) -> str:
    match found["times"]:
        case None:
            return found[0]
        case "*":
            return f"{{0,{_MOST_TIMES}}}"
        case "+":
            return f"{{1,{_MOST_TIMES}}}"
        case times:
            least = int(times[1:-2])
            return f"{{{least},{least + _MOST_TIMES}}}"
