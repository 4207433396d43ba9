"""Example: a value that is valid against a JSON Schema."""

from __future__ import annotations

import math
import re
from fractions import Fraction
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

import orjson

from benchcore.sim.ask import ApiError
from benchcore.sim.pattern import matching
from benchcore.sim.text import ENGLISH

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

    from jsonschema.protocols import Validator

_WORDS: Final = tuple(word.strip() for word in ENGLISH if word.strip().isalpha())
_WORDS_IN_A_TEXT: Final = 2
_CHOICES: Final = frozenset({"const", "enum", "anyOf", "oneOf"})
_LOWER: Final = frozenset({"minimum", "exclusiveMinimum", "minLength", "minItems"})
_UPPER: Final = frozenset({"maximum", "exclusiveMaximum", "maxLength", "maxItems"})
_TELLING: Final = {
    "properties": "object",
    "required": "object",
    "items": "array",
    "prefixItems": "array",
    "minItems": "array",
    "minimum": "number",
    "maximum": "number",
    "exclusiveMinimum": "number",
    "exclusiveMaximum": "number",
    "multipleOf": "number",
}
"""Keywords that tell the type where it is not said."""
_SPREAD: Final = 100
"""Steps from its one bound within which a number is drawn."""
_FINE: Final = Fraction(1, 1 << 20)
"""Step of numbers between which there is no whole one; exact in binary."""
_LARGEST: Final = 1 << 53
_LONGEST: Final = 100_000
_MOST_VALUES: Final = 5_000
_TRIES: Final = 32


def example(
    schema: Any, draw: random.Random, known: dict[str, str] | None = None, param: str = "schema"
) -> Any:
    """Returns a value that is valid against a schema.

    The keywords that are understood are those that people write for tools and answers: type,
    properties, required, additionalProperties, items, prefixItems, the bounds of arrays, numbers
    and strings, pattern, enum, const, anyOf, oneOf, allOf, and $ref into the schema itself. All
    properties are given, except within a schema that refers to itself.

    Args:
        schema: a JSON Schema, draft 2020-12.
        draw: what is drawn at random.
        known: values for string properties of these names, where they fit.
        param: named where the schema is at fault.

    Raises:
        ApiError: 400, it is no schema, or one that is not understood.
    """
    from jsonschema.exceptions import SchemaError
    from referencing.exceptions import Unresolvable

    if not isinstance(schema, dict):
        raise ApiError(400, f"the schema is not valid: {schema!r} is no object", param=param)
    try:
        validator = _validator(orjson.dumps(schema))
        maker = _Maker(schema, validator, draw, known or {})
        for _ in range(_TRIES):
            value = maker.value(schema)
            if validator.is_valid(value):
                return value
    except SchemaError as error:
        message = f"the schema is not valid: {error.json_path}: {error.message}"
        raise ApiError(400, message, param=param) from None
    except (_NotUnderstoodError, Unresolvable, re.error) as fault:
        raise ApiError(400, f"the schema is not understood: {fault}", param=param) from None
    except (RecursionError, orjson.JSONEncodeError):
        raise ApiError(400, "the schema is nested too deeply", param=param) from None
    raise ApiError(400, "the schema is not understood: no value was found", param=param)


@lru_cache(maxsize=256)
def _validator(schema: bytes) -> Validator:
    from jsonschema import Draft202012Validator
    from referencing import Registry

    root = orjson.loads(schema)
    Draft202012Validator.check_schema(root)
    # An empty registry: a $ref that leads out of the schema must fetch nothing.
    return Draft202012Validator(root, registry=Registry())


class _NotUnderstoodError(Exception):
    """The schema allows nothing, or is beyond what is made here."""


class _Maker:
    """Makes values, part by part; the whole is checked in the end."""

    def __init__(
        self, root: dict[str, Any], validator: Validator, draw: random.Random, known: dict[str, str]
    ) -> None:
        self._root = root
        self._validator = validator
        self._draw = draw
        self._known = known
        self._made = 0
        self._within: list[str] = []
        self._sparse = False

    def value(self, schema: Any, name: str = "") -> Any:
        """Returns a value for a part of the schema, that of the property ``name``."""
        self._made += 1
        if self._made > _MOST_VALUES:
            raise _NotUnderstoodError("its values are too large")
        flat, references = self._flattened(schema)
        before = (len(self._within), self._sparse)
        # In a part within itself only what must be there is made: so it ends.
        self._sparse |= any(reference in self._within for reference in references)
        self._within += references
        try:
            return self._flat_value(flat, name)
        finally:
            del self._within[before[0] :]
            self._sparse = before[1]

    def _flat_value(self, schema: dict[str, Any], name: str) -> Any:
        if not _CHOICES & schema.keys():
            return self._typed(schema, name)
        fits = self._validator.evolve(schema=schema).is_valid
        for candidate in self._candidates(schema, name):
            if fits(candidate):
                return candidate
        raise _NotUnderstoodError("of its alternatives none was found to be valid")

    def _candidates(self, schema: dict[str, Any], name: str) -> Iterator[Any]:
        if "const" in schema:
            yield schema["const"]
            return
        if "enum" in schema:
            yield from self._draw.sample(schema["enum"], len(schema["enum"]))
            return
        key = "anyOf" if "anyOf" in schema else "oneOf"
        siblings = {other: value for other, value in schema.items() if other != key}
        for option in sorted(schema[key], key=_refers) if self._sparse else schema[key]:
            try:
                yield self.value({"allOf": [option, siblings]}, name)
            except _NotUnderstoodError:
                continue

    def _flattened(self, schema: Any) -> tuple[dict[str, Any], list[str]]:
        """Returns a schema with its $ref and allOf put in, and the references followed."""
        flat: dict[str, Any] = {}
        references: list[str] = []
        parts = [schema]
        while parts:
            part = parts.pop(0)
            if part is False:
                raise _NotUnderstoodError("a part of it allows nothing")
            if part is True:
                continue
            parts[:0] = part.get("allOf", ())
            reference = part.get("$ref")
            if reference is not None and reference not in references:
                references.append(reference)
                parts.insert(0, self._resolved(reference))
            _merge(flat, part)
        return flat, references

    def _resolved(self, reference: str) -> Any:
        if reference != "#" and not reference.startswith("#/"):
            raise _NotUnderstoodError(f"{reference!r} leads out of it")
        found: Any = self._root
        for step in unquote(reference).split("/")[1:]:
            key = step.replace("~1", "/").replace("~0", "~")
            if isinstance(found, list) and key.isdecimal() and int(key) < len(found):
                found = found[int(key)]
            elif isinstance(found, dict) and key in found:
                found = found[key]
            else:
                raise _NotUnderstoodError(f"{reference!r} leads nowhere")
        if not isinstance(found, dict | bool):
            raise _NotUnderstoodError(f"{reference!r} leads to no schema")
        return found

    def _typed(self, schema: dict[str, Any], name: str) -> Any:
        match self._type(schema):
            case "object":
                return self._object(schema)
            case "array":
                return self._array(schema)
            case "integer":
                return _integer(schema, self._draw)
            case "number":
                return _number(schema, self._draw)
            case "boolean":
                return self._draw.random() < 0.5
            case "null":
                return None
            case _:
                return self._string(schema, name)

    def _type(self, schema: dict[str, Any]) -> str:
        kind = schema.get("type")
        if isinstance(kind, list):
            kind = "null" if self._sparse and "null" in kind else kind[0]
        if kind is not None:
            return str(kind)
        return next((kind for key, kind in _TELLING.items() if key in schema), "string")

    def _object(self, schema: dict[str, Any]) -> dict[str, Any]:
        required = schema.get("required", ())
        properties = schema.get("properties", {})
        found = {}
        for name, inner in properties.items():
            if self._sparse and name not in required:
                continue
            try:
                found[name] = self.value(inner, name)
            except _NotUnderstoodError:
                if name in required:
                    raise
        for name in required:
            if name not in properties:
                found[name] = self.value(schema.get("additionalProperties", True), name)
        return found

    def _array(self, schema: dict[str, Any]) -> list[Any]:
        prefix = schema.get("prefixItems", ())
        items = schema.get("items", True)
        wanted = 0 if self._sparse else max(len(prefix), int(items is not False))
        count = min(max(schema.get("minItems", 0), wanted), schema.get("maxItems", math.inf))
        found: list[Any] = []
        for place in range(int(count)):
            inner = prefix[place] if place < len(prefix) else items
            for _ in range(_TRIES):
                value = self.value(inner)
                if not schema.get("uniqueItems") or value not in found:
                    break
            found.append(value)
        return found

    def _string(self, schema: dict[str, Any], name: str) -> str:
        least, most = int(schema.get("minLength", 0)), schema.get("maxLength")
        known = self._known.get(name)
        if known is not None and self._validator.evolve(schema=schema).is_valid(known):
            return known
        if "pattern" in schema:
            try:
                return matching(schema["pattern"], self._draw, "pattern", least, most)
            except ApiError as error:
                raise _NotUnderstoodError(error.message) from None
        if least > _LONGEST:
            raise _NotUnderstoodError(f"a text of {least} characters")
        text = self._words()
        while len(text) < least:
            text += " " + self._words()
        return text if most is None else text[: int(most)]

    def _words(self) -> str:
        return " ".join(self._draw.choices(_WORDS, k=_WORDS_IN_A_TEXT))


def _refers(schema: Any) -> bool:
    return isinstance(schema, dict) and ("$ref" in schema or "allOf" in schema)


def _merge(flat: dict[str, Any], part: dict[str, Any]) -> None:
    """Adds a part of an allOf to the others."""
    for key, value in part.items():
        if key in ("$ref", "allOf"):
            continue
        if key not in flat:
            flat[key] = value
        elif key == "properties":
            flat[key] = {
                **flat[key],
                **{
                    name: {"allOf": [flat[key][name], inner]} if name in flat[key] else inner
                    for name, inner in value.items()
                },
            }
        elif key == "required":
            flat[key] = [*flat[key], *(name for name in value if name not in flat[key])]
        elif key in _LOWER:
            flat[key] = max(flat[key], value)
        elif key in _UPPER:
            flat[key] = min(flat[key], value)


def _bounds(schema: dict[str, Any], step: Fraction, spread: Fraction) -> tuple[int, int]:
    """Returns the least and the greatest number of steps from 0 that the bounds allow."""
    lows = [math.ceil(Fraction(schema["minimum"]) / step)] if "minimum" in schema else []
    if "exclusiveMinimum" in schema:
        lows.append(math.floor(Fraction(schema["exclusiveMinimum"]) / step) + 1)
    highs = [math.floor(Fraction(schema["maximum"]) / step)] if "maximum" in schema else []
    if "exclusiveMaximum" in schema:
        highs.append(math.ceil(Fraction(schema["exclusiveMaximum"]) / step) - 1)
    far = math.ceil(spread / step)
    low = max(lows, default=min(0, min(highs) - far) if highs else 0)
    return low, min(highs, default=max(low, 0) + far)


def _integer(schema: dict[str, Any], draw: random.Random) -> int:
    # The whole multiples of a reduced p/q are the multiples of p.
    step = Fraction(Fraction(str(schema.get("multipleOf", 1))).numerator)
    low, high = _bounds(schema, step, _SPREAD * step)
    if low > high:
        raise _NotUnderstoodError("no integer is within its bounds")
    value = draw.randint(low, high) * int(step)
    if abs(value) > _LARGEST:
        raise _NotUnderstoodError("its numbers are too large")
    return value


def _number(schema: dict[str, Any], draw: random.Random) -> float:
    """Returns a whole number where one fits: of such, binary fractions make no multiple wrong."""
    try:
        return float(_integer(schema, draw))
    except _NotUnderstoodError:
        step = Fraction(str(schema["multipleOf"])) if "multipleOf" in schema else _FINE
        low, high = _bounds(schema, step, _SPREAD * step)
        if low > high:
            raise
        return float(draw.randint(low, high) * step)
