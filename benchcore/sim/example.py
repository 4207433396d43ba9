"""Example: a value that is valid against a JSON Schema."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from benchcore.sim.ask import ApiError
from benchcore.sim.pattern import matching
from benchcore.sim.text import ENGLISH

if TYPE_CHECKING:
    import random

_TYPES: Final = frozenset({"object", "array", "string", "integer", "number", "boolean", "null"})
_DEEPEST: Final = 32
_WORDS: Final = tuple(word.strip() for word in ENGLISH if word.strip().isalpha())
_BOUND_WORDS: Final = 2


def example(
    schema: Any, draw: random.Random, known: dict[str, Any] | None = None, param: str = "schema"
) -> Any:
    """Returns a value that is valid against a schema.

    The keywords that are understood are those that people write for tools and answers: type,
    properties, required, items, the bounds of arrays, numbers and strings, pattern, enum, const,
    anyOf, oneOf, allOf, and $ref into the schema itself.

    Args:
        schema: a JSON Schema.
        draw: what is drawn at random.
        known: values for string properties of these names.
        param: named where the schema is at fault.

    Raises:
        ApiError: 400, it is no schema, or one that is not understood.
    """
    return _Maker(schema, draw, known or {}, param).value(schema, 0)


class _Maker:
    def __init__(self, root: Any, draw: random.Random, known: dict[str, Any], param: str) -> None:
        self._root = root
        self._draw = draw
        self._known = known
        self._param = param

    def _bad(self, what: str) -> ApiError:
        return ApiError(400, f"the schema is not valid: {what}", param=self._param)

    def value(self, schema: Any, depth: int, name: str = "") -> Any:
        if schema is True:
            schema = {}
        if not isinstance(schema, dict):
            raise self._bad(f"{schema!r} is no object")
        if depth > _DEEPEST:
            raise self._bad("it refers to itself without end")
        if "$ref" in schema:
            return self.value(self._resolve(schema["$ref"]), depth + 1, name)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            allowed = schema["enum"]
            if not isinstance(allowed, list) or not allowed:
                raise self._bad("an enum that is empty")
            return self._draw.choice(allowed)
        for key in ("anyOf", "oneOf"):
            if key in schema:
                return self.value(self._first(schema[key]), depth + 1, name)
        if "allOf" in schema:
            return self.value(self._merged(schema), depth + 1, name)
        return self._typed(schema, depth, name)

    def _typed(self, schema: dict[str, Any], depth: int, name: str) -> Any:
        kind = schema.get("type")
        if isinstance(kind, list):
            kind = self._first(kind)
        if kind is None:
            kind = "object" if "properties" in schema else "string"
        if kind not in _TYPES:
            raise self._bad(f"{kind!r} is no type")
        match kind:
            case "object":
                return self._object(schema, depth)
            case "array":
                low = schema.get("minItems", 1)
                count = min(max(low, 1), schema.get("maxItems", max(low, 1)))
                return [self.value(schema.get("items", {}), depth + 1) for _ in range(count)]
            case "integer":
                return self._integer(schema)
            case "number":
                return float(self._integer(schema))
            case "boolean":
                return self._draw.random() < 0.5
            case "null":
                return None
            case _:
                return self._string(schema, name)

    def _object(self, schema: dict[str, Any], depth: int) -> dict[str, Any]:
        properties = schema.get("properties", {})
        if not isinstance(properties, dict):
            raise self._bad("properties that are no object")
        found = {
            name: self.value(inner, depth + 1, name)
            for name, inner in properties.items()
            if depth < _BOUND_WORDS or name in schema.get("required", ())
        }
        for name in schema.get("required", ()):
            if name not in found:
                found[name] = self._words()
        return found

    def _integer(self, schema: dict[str, Any]) -> int:
        low = schema.get("minimum", schema.get("exclusiveMinimum", -1) + 1)
        high = schema.get("maximum", schema.get("exclusiveMaximum", max(low, 0) + 100) - 1)
        step = schema.get("multipleOf", 1)
        value = self._draw.randint(int(low), max(int(low), int(high)))
        return (
            int(value // step * step)
            if value // step * step >= low
            else int(-(-value // step) * step)
        )

    def _string(self, schema: dict[str, Any], name: str) -> str:
        if name in self._known:
            return str(self._known[name])
        if "pattern" in schema:
            return matching(schema["pattern"], self._draw, self._param)
        text = self._words()
        while len(text) < schema.get("minLength", 0):
            text += " " + self._words()
        return text[: schema["maxLength"]] if "maxLength" in schema else text

    def _words(self) -> str:
        return " ".join(self._draw.choices(_WORDS, k=_BOUND_WORDS))

    def _first(self, several: Any) -> Any:
        if not isinstance(several, list) or not several:
            raise self._bad("a list that is empty")
        return several[0]

    def _merged(self, schema: dict[str, Any]) -> dict[str, Any]:
        """Returns the parts of an allOf as one schema."""
        merged = {key: value for key, value in schema.items() if key != "allOf"}
        for part in schema["allOf"]:
            inner = self._resolve(part["$ref"]) if "$ref" in part else part
            for key, value in inner.items():
                if key == "properties":
                    merged[key] = {**merged.get(key, {}), **value}
                elif key == "required":
                    merged[key] = [*merged.get(key, ()), *value]
                else:
                    merged.setdefault(key, value)
        return merged

    def _resolve(self, reference: Any) -> Any:
        if not isinstance(reference, str) or not reference.startswith("#"):
            raise self._bad(f"{reference!r} leads out of it")
        found = self._root
        for step in reference[1:].split("/")[1:]:
            key = step.replace("~1", "/").replace("~0", "~")
            if not isinstance(found, dict) or key not in found:
                raise self._bad(f"{reference!r} leads nowhere")
            found = found[key]
        return found
