"""OpenAPI: the description of the HTTP API, made from the options that the commands have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import click

from benchcore.serve.jobs import options_of
from benchcore.version import __version__

_TEXT: Final = {"type": "string"}
_NUMBER: Final[dict[type, dict[str, Any]]] = {
    click.types.IntParamType: {"type": "integer"},
    click.types.FloatParamType: {"type": "number"},
}
_ID: Final = {"name": "id", "in": "path", "required": True, "schema": _TEXT}
_NAME: Final = {"name": "name", "in": "path", "required": True, "schema": _TEXT}


def document(commands: Mapping[str, click.Command]) -> dict[str, Any]:
    """Return the OpenAPI document.

    Args:
        commands: that can be asked for, by their names.
    """
    schemas: dict[str, Any] = {
        "Error": _object({"error": _TEXT}),
        "Job": _object(
            {
                "id": _TEXT,
                "command": {"type": "string", "enum": list(commands)},
                "options": {"type": "object"},
                "state": {"type": "string", "enum": ["running", "ended", "stopped"]},
                "started_at": _TEXT,
                **{name: _or_null(_TEXT) for name in ("ended_at", "error", "run")},
                "exit_code": _or_null({"type": "integer"}),
            }
        ),
        "Jobs": _object({"jobs": {"type": "array", "items": _ref("Job")}}),
        "Runs": _object(
            {
                "runs": {
                    "type": "array",
                    "items": _object(
                        {
                            "run": _TEXT,
                            "name": _or_null(_TEXT),
                            "started_at": _or_null(_TEXT),
                            "status": _TEXT,
                            "model": _or_null(_TEXT),
                            "files": {"type": "array", "items": _TEXT},
                        }
                    ),
                }
            }
        ),
    }
    asked = []
    for name, command in commands.items():
        properties: dict[str, Any] = {
            "command": {"type": "string", "enum": [name]},
            "options": {
                "type": "object",
                "additionalProperties": False,
                "properties": {key: _option(option) for key, option in options_of(command).items()},
            },
        }
        required = ["command"]
        if name == "run":
            del properties["options"]["properties"]["scenario"]
            properties["scenario"] = {
                "type": "object",
                "description": "the document of a scenario, as its YAML has it",
            }
            required.append("scenario")
        schemas[f"Start-{name}"] = {
            **_object(properties, required),
            "description": command.get_short_help_str(200),
        }
        asked.append(_ref(f"Start-{name}"))
    schemas["Start"] = {"oneOf": asked}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "benchcore",
            "version": __version__,
            "description": "Start load tests, follow them, stop them, and fetch their results.",
        },
        "security": [{"token": []}],
        "paths": _paths(),
        "components": {
            "schemas": schemas,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _object(properties: dict[str, Any], required: list[str] | None = None) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties) if required is None else required,
    }


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "null"}]}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _option(option: click.Option) -> dict[str, Any]:
    """Return the schema of an option."""
    schema: dict[str, Any]
    if option.is_flag:
        schema = {"type": "boolean"}
    elif isinstance(option.type, click.Choice):
        schema = {"type": "string", "enum": list(option.type.choices)}
    else:
        number = next(
            (schema for kind, schema in _NUMBER.items() if isinstance(option.type, kind)),
            None,
        )
        # What the command line takes as a list of numbers or with a unit may be either here.
        schema = number or {"type": ["string", "number", "array"]}
    if option.multiple:
        schema = {"anyOf": [schema, {"type": "array", "items": schema}]}
    return {**schema, "description": option.help or ""}


def _answer(text: str, schema: dict[str, Any], kind: str = "application/json") -> dict[str, Any]:
    return {"description": text, "content": {kind: {"schema": schema}}}


def _paths() -> dict[str, Any]:
    unauthorized = _answer("The token is missing or wrong.", _ref("Error"))
    missing = _answer("There is no such thing.", _ref("Error"))

    def operation(name: str, text: str, answers: dict[str, Any], *parameters: Any) -> Any:
        described = {"operationId": name, "summary": text, "responses": answers}
        described["responses"] = {**answers, "401": unauthorized}
        return {**described, "parameters": list(parameters)} if parameters else described

    def get(name: str, text: str, schema: Any, *parameters: Any, kind: str = "") -> Any:
        answers = {"200": _answer(text, schema, kind or "application/json")}
        if parameters:
            answers["404"] = missing
        return {"get": operation(name, text, answers, *parameters)}

    start = operation(
        "startJob",
        "Start a run.",
        {
            "201": _answer("It has been started.", _ref("Job")),
            "400": _answer("It cannot be asked so.", _ref("Error")),
            "409": _answer("A run goes on already.", _ref("Error")),
        },
    )
    start["requestBody"] = {
        "required": True,
        "content": {"application/json": {"schema": _ref("Start")}},
    }
    last = {
        "name": "Last-Event-ID",
        "in": "header",
        "required": False,
        "schema": _TEXT,
        "description": "the number of the last event that is known already",
    }
    stop = operation(
        "stopJob",
        "Let a run end soon; a second time, at once.",
        {"202": _answer("It ends.", _ref("Job")), "404": missing},
        _ID,
    )
    binary = {"type": "string", "format": "binary"}
    return {
        "/api/jobs": {**get("listJobs", "Runs that were asked for.", _ref("Jobs")), "post": start},
        "/api/jobs/{id}": get("getJob", "How a run stands.", _ref("Job"), _ID),
        "/api/jobs/{id}/events": get(
            "followJob",
            "What happens, as server-sent events: begin, live, level, note, failure, log, end.",
            _TEXT,
            _ID,
            last,
            kind="text/event-stream",
        ),
        "/api/jobs/{id}/stop": {"post": stop},
        "/api/runs": get("listRuns", "Runs whose results are kept.", _ref("Runs")),
        "/api/runs/{id}": get("getRun", "The run.json of a run.", {"type": "object"}, _ID),
        "/api/runs/{id}/files/{name}": get(
            "getFile", "A file of a run.", binary, _ID, _NAME, kind="application/octet-stream"
        ),
        "/runs/{id}": get("getPage", "The page of a run.", _TEXT, _ID, kind="text/html"),
        "/metrics": get(
            "getMetrics", "How the running load stands, for Prometheus.", _TEXT, kind="text/plain"
        ),
    }
