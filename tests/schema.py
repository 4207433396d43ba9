"""Write the JSON Schemas of what users write in YAML into `docs/schema/`.

Called by `make schema`; a test compares what lies there.
"""

import json
from pathlib import Path

from benchcore.config.cases import CasesFile
from benchcore.config.eval import EvalConfig
from benchcore.config.functional import FunctionalConfig
from benchcore.config.task_file import TaskFile

FOLDER = Path(__file__).parents[1] / "docs" / "schema"
MODELS = {
    "cases": CasesFile,
    "eval": EvalConfig,
    "functional": FunctionalConfig,
    "task": TaskFile,
}


def written(name):
    """Return the text of a schema."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **MODELS[name].model_json_schema(),
    }
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for one in MODELS:
        (FOLDER / f"{one}.schema.json").write_text(written(one))
