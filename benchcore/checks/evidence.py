"""Evidence: what was sent and what came, to be shown and to be repeated by hand."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from benchcore.base.text import visible

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchcore.checks.answers import CheckAnswer
    from benchcore.config.target import Target


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


KEEP_CHARACTERS = 20_000
"""Of each body; a longer one is cut, and says so."""

_ARGUMENT_CHARACTERS = 8_000


def exchange(answer: CheckAnswer, target: Target, keys: Mapping[str, str]) -> dict[str, Any]:
    """Return one exchange with every secret masked.

    Args:
        answer: the exchange.
        target: whom it was with; its key and the values of its headers are secrets.
        keys: each secret key to the variable that holds it, which the `curl` line names. A key that
            a check made up, such as a wrong one, is no secret: it stands there as it was sent.
    """
    headers = {"content-type": "application/json", **dict.fromkeys(target.headers, "***")}
    repeated = dict(headers)
    if target.api_key is not None:
        headers["authorization"] = "Bearer ***"
        repeated["authorization"] = f"Bearer {target.api_key.get_secret_value()}"
    for name, value in answer.sent_headers.items():
        if value is None:
            headers.pop(name, None)
            repeated.pop(name, None)
        else:
            headers[name] = repeated[name] = value
            for key in keys:
                headers[name] = headers[name].replace(key, "***")
    record = answer.record
    response: dict[str, Any] = {"outcome": str(record.outcome), "error": record.error or None}
    if record.reply is not None and record.reply.status:
        response |= {
            "status": record.reply.status,
            "headers": {name: visible(value) for name, value in record.reply.headers},
            "body": visible(_cut(record.reply.body.decode(errors="backslashreplace"))),
        }
    return {
        "request": {
            "method": answer.method,
            "url": target.url(answer.path),
            "headers": headers,
            "body": visible(_cut(answer.sent.decode(errors="backslashreplace"))),
        },
        "response": response,
        "curl": curl(answer, target, repeated, keys),
    }


def curl(
    answer: CheckAnswer, target: Target, headers: dict[str, str], keys: Mapping[str, str]
) -> str:
    """Return a line that repeats the request; secret keys come from their variables."""
    words = ["curl", "-sS", "-i", "-N"]
    if target.uds is not None:
        words += ["--unix-socket", target.uds]
    if target.tls and not target.verify:
        words.append("-k")
    if target.ca_file is not None:
        words += ["--cacert", target.ca_file]
    if answer.method != "GET":
        words += ["-X", answer.method]
    line = shlex.join([*words, target.url(answer.path)])
    for name, value in headers.items():
        secret = next((key for key in keys if key in value), None)
        if secret is not None:
            before, _, after = value.partition(secret)
            line += f' -H "{name}: {before}${keys[secret]}{after}"'
        else:
            line += " -H " + shlex.quote(f"{name}: {value}")
    if answer.sent:
        text = visible(answer.sent.decode(errors="backslashreplace"))
        if len(text) > _ARGUMENT_CHARACTERS:
            text = f"({len(answer.sent)} bytes, too long for a line)"
        line += " --data-raw " + shlex.quote(text)
    return line


def _cut(text: str) -> str:
    if len(text) <= KEEP_CHARACTERS:
        return text
    return f"{text[:KEEP_CHARACTERS]}… ({len(text)} characters)"
