"""Writes docs/reference/scenarios.md: every key of scenarios, matrices and providers.

`python tests/config_reference.py` writes the page from the models; a test holds the page to them.
"""

from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic_core import PydanticUndefined

from benchcore.config.checks import CheckRule, FunctionalConfig
from benchcore.config.climb import ClimbFields
from benchcore.config.evals import EvalConfig
from benchcore.config.limits import Rule
from benchcore.config.scenario import (
    RUN_TYPES,
    STAGES,
    Choice,
    Health,
    Matrix,
    Scenario,
    StageSettings,
)
from benchcore.config.servers import (
    KubernetesLaunch,
    LocalLaunch,
    Provider,
    ScenarioTarget,
    SimulatorLaunch,
)
from benchcore.config.target import Timeouts

PAGE = Path(__file__).parent.parent / "docs" / "reference" / "scenarios.md"

_HEAD = """\
# Scenarios, matrices, providers

This page is written from the models: it has every key, what it may be, and what it is by default.
[The pipeline](../guide/pipeline.md) shows how they are used. Editors complete and check these files
with the JSON Schemas
[`scenario`](https://github.com/benchcore/benchcore/blob/main/docs/schema/scenario.schema.json),
[`matrix`](https://github.com/benchcore/benchcore/blob/main/docs/schema/matrix.schema.json) and
[`providers`](https://github.com/benchcore/benchcore/blob/main/docs/schema/providers.schema.json).
"""

_STAGES = """\
## Stages

Stages are named under `stages`. `false` leaves a stage out, and `pr` and `daily` hold what differs
for that run type. `launch`, `health`, `gate`, `sinks` and `cleanup` run even where they are not
named; the others run only where they are.
"""


_WORDS = {str: "text", bool: "true / false", int: "whole number", float: "number", Any: "anything"}


def kind(annotation):
    """Return a type in the words of someone who writes YAML."""
    if annotation in _WORDS:
        return _WORDS[annotation]
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return kind(inner[0])
    if origin is Literal:
        return " / ".join(f"`{one}`" for one in inner)
    if origin in (Union, UnionType):
        return " or ".join(kind(one) for one in inner if one is not type(None))
    if origin is tuple:
        return f"list of {kind(inner[0])}"
    if origin is dict:
        return f"mapping to {kind(inner[1])}"
    return f"`{annotation.__name__}`, see below"


def default(field):
    """Return what a key is when left out."""
    if field.is_required():
        return "**required**"
    value = field.default
    if value is PydanticUndefined:
        value = field.default_factory()
    if value is None or value in ({}, (), ""):
        return ""
    if hasattr(value, "model_dump") or (isinstance(value, tuple) and hasattr(value[0], "metric")):
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def table(model, without=()):
    """Return a model's fields, a row each."""
    rows = ["| key | what it may be | default | what it is |", "|---|---|---|---|"]
    for name, field in model.model_fields.items():
        if name in without:
            continue
        text = (field.description or "").replace("|", "\\|")
        rows.append(f"| `{name}` | {kind(field.annotation)} | {default(field)} | {text} |")
    return "\n".join(rows)


def section(level, title, model, text="", without=()):
    """Return a heading with a table below it."""
    said = text or model.__doc__.split("Args:")[0].strip()
    return f"{'#' * level} {title}\n\n{said}\n\n{table(model, without)}\n"


def reference():
    """Return the page."""
    common = tuple(StageSettings.model_fields)
    parts = [
        _HEAD,
        section(
            2,
            "A scenario",
            Scenario,
            "Besides these keys, `extends: FILE` lays it over another scenario: mappings are "
            "joined key by key, and everything else is replaced. `${NAME}` and `${NAME:-default}` "
            "are variables of the environment. File names are relative to the scenario's own file.",
        ),
        section(3, "target", ScenarioTarget),
        section(3, "launch.local", LocalLaunch),
        section(3, "launch.kubernetes", KubernetesLaunch),
        section(3, "launch.simulator", SimulatorLaunch),
        section(3, "health", Health),
        _STAGES,
        section(3, "every stage", StageSettings),
    ]
    own = {
        "functional": FunctionalConfig,
        "perf": ClimbFields,
        "accuracy": EvalConfig,
    }
    for name, model in STAGES.items():
        below = "".join(
            f"\n`{run_type.name}`, unless the scenario says otherwise: "
            + ", ".join(f"`{key}: {_shown(value)}`" for key, value in found.items())
            + ".\n"
            for run_type in RUN_TYPES.values()
            if (found := run_type.defaults.get(name))
        )
        parts.append(section(3, f"stages.{name}", model, without=common) + below)
        assert name not in own or set(own[name].model_fields) <= set(model.model_fields)
    parts += [
        section(3, "Timeouts", Timeouts),
        section(3, "CheckRule", CheckRule),
        section(3, "Rule", Rule),
        section(2, "A matrix", Matrix),
        section(3, "run_types.pr.SCENARIO, run_types.daily.SCENARIO", Choice),
        section(
            2,
            "Providers",
            Provider,
            "`providers.yaml` beside the scenarios holds `providers: {NAME: {…}}`, each with these "
            "keys:",
        ),
    ]
    return "\n".join(parts)


def _shown(value):
    if isinstance(value, tuple):
        return f"[{', '.join(map(str, value))}]"
    return str(value).lower() if isinstance(value, bool) else value


if __name__ == "__main__":
    PAGE.write_text(reference(), encoding="utf-8")
