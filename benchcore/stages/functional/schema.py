"""Schema: whether a value is valid against a JSON Schema."""

from __future__ import annotations

from typing import Any


def schema_fault(value: Any, schema: dict[str, Any]) -> str:
    """Return the first thing that is wrong with a value; empty where nothing is.

    Args:
        value: any JSON.
        schema: JSON Schema, draft 2020-12 unless it names another.
    """
    from jsonschema import Draft202012Validator, validators
    from jsonschema.exceptions import best_match

    validator = validators.validator_for(schema, default=Draft202012Validator)(schema)
    fault = best_match(validator.iter_errors(value))
    return "" if fault is None else f"{fault.json_path}: {fault.message}"
