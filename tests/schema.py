"""Write the JSON Schemas of what users write in YAML into `docs/schema/`.

Called by `make schema`; a test compares what lies there.
"""

import json
from pathlib import Path

from benchcore.config.cases import CasesFile
from benchcore.config.eval import EvalConfig
from benchcore.config.functional import FunctionalConfig
from benchcore.config.gate import GateFile
from benchcore.config.task_file import TaskFile

FOLDER = Path(__file__).parents[1] / "docs" / "schema"
MODELS = {
    "cases": CasesFile,
    "eval": EvalConfig,
    "functional": FunctionalConfig,
    "gate": GateFile,
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


def written(name):
    """Return the text of a schema."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **(RUN if name == "run" else MODELS[name].model_json_schema()),
    }
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for one in (*MODELS, "run"):
        (FOLDER / f"{one}.schema.json").write_text(written(one))
