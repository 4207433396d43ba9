"""Write the JSON Schemas of what users write in YAML, and of results, into `docs/schema/`.

Called by `make schema`; a test compares what lies there.
"""

import json
from pathlib import Path

from benchcore.base.stored import Stored
from benchcore.config.checks import CasesFile, FunctionalConfig
from benchcore.config.evals import EvalConfig, TaskFile
from benchcore.config.limits import GateFile
from benchcore.config.metric_map import MetricMap
from benchcore.config.scenario import RUN_TYPES, STAGES, Matrix, Scenario, StageSettings
from benchcore.config.servers import ProvidersFile
from benchcore.runs import scenarios
from benchcore.runs.certificates import Certificate
from benchcore.runs.checks import Checks
from benchcore.runs.run import Run
from benchcore.runs.samples import Eval

FOLDER = Path(__file__).parents[1] / "docs" / "schema"
MODELS = {
    "cases": CasesFile,
    "eval": EvalConfig,
    "functional": FunctionalConfig,
    "gate": GateFile,
    "metric_map": MetricMap,
    "task": TaskFile,
}


def result(model, file):
    """Return the schema of a file of results, as this version writes it.

    Files of earlier versions, and of other tools, may lack keys: they are read all the same.
    """
    schema = model.model_json_schema()
    kinds = {kind.__name__: kind for kind in stored(Stored)}
    for name, found in [(model.__name__, schema), *schema.get("$defs", {}).items()]:
        sparse = kinds[name].SPARSE if name in kinds else None
        if sparse is not None:
            found["required"] = [one for one in found["properties"] if one not in sparse]
            found["additionalProperties"] = False
    return {**schema, "title": file}


def stored(kind):
    """Return the types of results that there are."""
    return [one for child in kind.__subclasses__() for one in (child, *stored(child))]


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
    "result_accuracy": lambda: result(Eval, "accuracy.json"),
    "result_functional": lambda: result(Checks, "functional.json"),
    "result_matrix": lambda: result(scenarios.MatrixResult, "matrix.json"),
    "result_scenario": lambda: result(scenarios.ScenarioResult, "result.json"),
    "run": lambda: result(Run, "run.json"),
    "certificate": lambda: result(Certificate, "certificate.json"),
    "scenario": scenario,
}


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for one in SCHEMAS:
        (FOLDER / f"{one}.schema.json").write_text(written(one))
