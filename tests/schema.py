"""Write the JSON Schemas of what users write in YAML into `docs/schema/`.

Called by `make schema`; a test compares what lies there.
"""

import json
from pathlib import Path

from benchcore.config.checks import CasesFile, FunctionalConfig
from benchcore.config.evals import EvalConfig, TaskFile
from benchcore.config.gate import GateFile
from benchcore.config.metric_map import MetricMap
from benchcore.config.scenario import RUN_TYPES, STAGES, Matrix, Scenario, StageSettings
from benchcore.config.servers import ProvidersFile

FOLDER = Path(__file__).parents[1] / "docs" / "schema"
MODELS = {
    "cases": CasesFile,
    "eval": EvalConfig,
    "functional": FunctionalConfig,
    "gate": GateFile,
    "metric_map": MetricMap,
    "task": TaskFile,
}


NUMBER = {"type": ["number", "null"]}
SECONDS = {"type": "number"}
TEXT = {"type": ["string", "null"]}
COUNT = {"type": "integer", "minimum": 0}
COUNTS = {"type": "object", "additionalProperties": COUNT}
TEXTS = {"type": "array", "items": {"type": "string"}}
OBJECT = {"type": "object"}


def closed(required, **optional):
    """Return an object that has these keys and no others."""
    return {
        "type": "object",
        "properties": {**required, **optional},
        "required": list(required),
        "additionalProperties": False,
    }


SUMMARY = closed(
    {
        "count": {"type": ["integer", "null"], "minimum": 0},
        **dict.fromkeys(("avg", "min", "max", "std"), NUMBER),
        **dict.fromkeys(("p50", "p75", "p90", "p95", "p99", "p999"), NUMBER),
        "low_confidence": TEXTS,
        "intervals_95": {"type": "object", "additionalProperties": {"type": "array"}},
    },
    out_of_range=COUNT,
    intervals_by={"enum": ["batches", "requests"]},
    interval_batches=COUNT,
    intervals_doubtful=TEXTS,
    with_failures=OBJECT,
    infinite=TEXTS,
)
RATES = (
    "request_throughput",
    "output_token_throughput",
    "input_token_throughput",
    "total_token_throughput",
    "tokens_per_second_per_user",
    "goodput",
    "goodput_ratio",
    "failure_rate",
)
LEVEL = closed(
    {
        "level": {"type": "string"},
        "workload": {"type": "string"},
        "mode": {"enum": ["closed", "open"]},
        "concurrency": {"type": ["integer", "null"]},
        "rate": NUMBER,
        "arrival": TEXT,
        "repeat": {"type": "integer", "minimum": 1},
        "interrupted": {"type": "boolean"},
        **dict.fromkeys(("window_seconds", "warmup_seconds", "drain_seconds"), SECONDS),
        "steady_state": OBJECT,
        **dict.fromkeys(
            ("scheduled", "ok", "failed", "cancelled", "dropped", "retried", "good"), COUNT
        ),
        "outcomes": COUNTS,
        **dict.fromkeys(RATES, NUMBER),
        "itl": {"enum": ["exact", "estimated", None]},
        "tpot_estimated": COUNT,
        "tpot_excluded": COUNT,
        "tokens": OBJECT,
        "validity": {"enum": ["valid", "suspect", "invalid"]},
        "reasons": TEXTS,
        "findings": TEXTS,
        "notes": TEXTS,
        "timestamps": COUNTS,
        "client": OBJECT,
        "server": {"type": "object", "additionalProperties": {"type": "number"}},
        "metrics": {"type": "object", "additionalProperties": SUMMARY},
    },
    accuracy=OBJECT,
    rate_intervals=closed(
        {
            "intervals_95": {"type": "object", "additionalProperties": {"type": "array"}},
            "batches": COUNT,
            "doubtful": TEXTS,
        }
    ),
)
RUN = {
    "title": "run.json",
    "description": "A climb; latencies in seconds, rates per second, shares from 0 to 1.",
    **closed(
        {
            "schema_version": {"const": 1},
            "run_id": {"type": "string"},
            "started_at": {"type": "string"},
            "ended_at": TEXT,
            "status": {"enum": ["running", "complete", "interrupted", "failed"]},
            "stopped": TEXT,
            "error": TEXT,
            "name": {"type": "string"},
            "command": TEXTS,
            "labels": {"type": "object", "additionalProperties": {"type": "string"}},
            **dict.fromkeys(("target", "workload", "load", "seeds", "versions", "host"), OBJECT),
            "timestamps": COUNTS,
            "levels": {"type": "array", "items": LEVEL},
        }
    ),
}


VARIABLE = {"type": "string", "pattern": r"\$\{"}
SCALARS = {"string", "integer", "number", "boolean"}


def with_variables(schema):
    """Return a schema of a file in which every value may be, or hold, a `${VARIABLE}`."""
    if isinstance(schema, list):
        return [with_variables(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    found = {
        key: {name: with_variables(one) for name, one in value.items()}
        if key in ("properties", "$defs")
        else with_variables(value)
        for key, value in schema.items()
        if key not in ("default", "enum", "const")
    }
    found |= {key: schema[key] for key in ("default", "enum", "const") if key in schema}
    bound = {"enum", "const", "pattern", "minLength"} & set(schema)
    kind = schema.get("type")
    if isinstance(kind, str) and kind in SCALARS and (kind != "string" or bound):
        text = {key: found.pop(key) for key in ("title", "description", "default") if key in found}
        return {"anyOf": [found, VARIABLE], **text}
    return found


def scenario():
    """Return the schema of a scenario's file: its own model, and one for each stage.

    Every setting of a stage may stand under a run type too; `false` leaves the stage out.
    """
    found = Scenario.model_json_schema()
    stages = {}
    frame = dict.fromkeys(("launch", "health", "cleanup"), StageSettings)
    for name, model in {**frame, **STAGES}.items():
        schema = model.model_json_schema()
        found.setdefault("$defs", {}).update(schema.pop("$defs", {}))
        below = {"properties": schema["properties"], "additionalProperties": False}
        found["$defs"][f"{model.__name__}OfRunType"] = {
            "type": "object",
            "description": "what differs for this run type",
            **below,
        }
        of_run_type = {
            "anyOf": [
                {"$ref": f"#/$defs/{model.__name__}OfRunType"},
                {"type": ["boolean", "null"]},
            ]
        }
        found["$defs"][model.__name__] = schema | {
            "properties": schema["properties"] | dict.fromkeys(RUN_TYPES, of_run_type)
        }
        stages[name] = {
            "description": model.__doc__.strip(),
            "anyOf": [{"$ref": f"#/$defs/{model.__name__}"}, {"type": ["boolean", "null"]}],
        }
    found["properties"]["stages"] |= {"properties": stages, "additionalProperties": True}
    found["properties"]["extends"] = {
        "type": "string",
        "description": "another scenario, relative to this file, which this one is laid over",
    }
    # What a scenario extends may have its id.
    found["required"] = []
    return with_variables(found)


def written(name):
    """Return the text of a schema."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **SCHEMAS[name](),
    }
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


SCHEMAS = {
    **{name: model.model_json_schema for name, model in MODELS.items()},
    "matrix": lambda: with_variables(Matrix.model_json_schema()),
    "providers": lambda: with_variables(ProvidersFile.model_json_schema()),
    "run": lambda: RUN,
    "scenario": scenario,
}


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for one in SCHEMAS:
        (FOLDER / f"{one}.schema.json").write_text(written(one))
