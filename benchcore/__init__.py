"""benchcore: load generation for LLM inference servers.

The names in `__all__` are the public surface; each is imported when it is first used, so that
`import benchcore` costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from benchcore.version import __version__

if TYPE_CHECKING:
    from benchcore.base.errors import (
        BenchcoreError,
        CapacityError,
        ConfigError,
        InvalidRunError,
        LockError,
        ResultsError,
        TargetError,
        UsageError,
        VerdictError,
    )
    from benchcore.client.client import Client
    from benchcore.client.records import Outcome, Phase, Record, Usage
    from benchcore.client.request import Prompt
    from benchcore.climbs.library import climb
    from benchcore.config.climb import ClimbConfig
    from benchcore.config.evals import EvalConfig
    from benchcore.config.target import Target, Timeouts
    from benchcore.config.values import Length
    from benchcore.evals.run import evaluate
    from benchcore.evals.task import Judgement, Task
    from benchcore.metrics.summary import Summary
    from benchcore.metrics.validity import Validity
    from benchcore.runs.run import LevelResult
    from benchcore.runs.samples import AccuracyReport
    from benchcore.runs.sinks import ClimbRun
    from benchcore.sim.options import SimOptions, SimProfile
    from benchcore.sim.process import SimulatorProcess
    from benchcore.workload.jsonl import PromptFile
    from benchcore.workload.kinds import SessionKind
    from benchcore.workload.named import load_workload
    from benchcore.workload.sessions import Recipe, Session, Turn
    from benchcore.workload.synthetic import Synthetic

_HOMES = {
    "AccuracyReport": "runs.samples",
    "BenchcoreError": "base.errors",
    "CapacityError": "base.errors",
    "Client": "client.client",
    "ClimbConfig": "config.climb",
    "ClimbRun": "runs.sinks",
    "ConfigError": "base.errors",
    "EvalConfig": "config.evals",
    "InvalidRunError": "base.errors",
    "Judgement": "evals.task",
    "Length": "config.values",
    "LevelResult": "runs.run",
    "LockError": "base.errors",
    "Outcome": "client.records",
    "Phase": "client.records",
    "Prompt": "client.request",
    "PromptFile": "workload.jsonl",
    "Recipe": "workload.sessions",
    "Record": "client.records",
    "ResultsError": "base.errors",
    "Session": "workload.sessions",
    "SessionKind": "workload.kinds",
    "SimOptions": "sim.options",
    "SimProfile": "sim.options",
    "SimulatorProcess": "sim.process",
    "Summary": "metrics.summary",
    "Synthetic": "workload.synthetic",
    "Target": "config.target",
    "TargetError": "base.errors",
    "Task": "evals.task",
    "Timeouts": "config.target",
    "Turn": "workload.sessions",
    "Usage": "client.records",
    "UsageError": "base.errors",
    "Validity": "metrics.validity",
    "VerdictError": "base.errors",
    "climb": "climbs.library",
    "evaluate": "evals.run",
    "load_workload": "workload.named",
}

__all__ = [
    "AccuracyReport",
    "BenchcoreError",
    "CapacityError",
    "Client",
    "ClimbConfig",
    "ClimbRun",
    "ConfigError",
    "EvalConfig",
    "InvalidRunError",
    "Judgement",
    "Length",
    "LevelResult",
    "LockError",
    "Outcome",
    "Phase",
    "Prompt",
    "PromptFile",
    "Recipe",
    "Record",
    "ResultsError",
    "Session",
    "SessionKind",
    "SimOptions",
    "SimProfile",
    "SimulatorProcess",
    "Summary",
    "Synthetic",
    "Target",
    "TargetError",
    "Task",
    "Timeouts",
    "Turn",
    "Usage",
    "UsageError",
    "Validity",
    "VerdictError",
    "__version__",
    "climb",
    "evaluate",
    "load_workload",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module 'benchcore' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"benchcore.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Return the public names."""
    return sorted(__all__)
