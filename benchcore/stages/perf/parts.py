"""Parts: the workloads of a climb, each with the load that its file and the user ask for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from benchcore.config.climb import ClimbConfig
from benchcore.config.slo import parse_duration_ns
from benchcore.stages.perf.plan import Part
from benchcore.workload.named import load_workload
from benchcore.workload.synthetic import Synthetic

SHAPE: Final = (
    "input_tokens",
    "output_tokens",
    "language",
    "shared_prefix_tokens",
    "ignore_eos",
)
"""What a user may say of the prompts of any workload."""
_LOAD_OF_FILE: Final = {
    "duration": "duration_seconds",
    "ramp": "ramp_seconds",
    "think_time": "think_time_seconds",
}
_INSTEAD: Final = (
    ("concurrency", "rate"),
    ("requests", "duration_seconds"),
    ("warmup_requests", "warmup_seconds"),
)
"""Of these, what the user says replaces what the file says of the others too."""
_LEVELS: Final = (1, 8, 64)


def climb_parts(
    workload: str | Path | None,
    shape: Mapping[str, Any],
    given: Mapping[str, Any],
    seed: int,
) -> list[Part]:
    """Return the parts of a climb.

    Args:
        workload: a named one, or a file; `None`: synthetic prompts.
        shape: what the user says of the prompts, by the names of `SHAPE`.
        given: what the user says of the climb, as fields of `ClimbConfig`.
        seed: of prompts and arrivals.

    Raises:
        ConfigError: the workload will not do.
        pydantic.ValidationError: the climb will not.
    """
    if workload is None:
        made = Synthetic(seed=seed, **shape)
        return [Part(made.name, made, climb_config(given, {}, seed))]
    spec = load_workload(workload, seed=seed, **shape)
    return [
        Part(part.name, part.workload, climb_config(given, part.load, seed)) for part in spec.parts
    ]


def climb_config(given: Mapping[str, Any], load: Mapping[str, Any], seed: int) -> ClimbConfig:
    """Return a climb: what the user says, laid over what a workload's file asks for.

    Raises:
        pydantic.ValidationError: the two do not make a climb.
    """
    base = _load_fields(load)
    for group in _INSTEAD:
        if any(name in given for name in group):
            for name in group:
                base.pop(name, None)
    if "rate" in given:
        for name in ("ramp_seconds", "think_time_seconds"):
            base.pop(name, None)
    if "concurrency" in given:
        base.pop("max_inflight", None)
    fields = {**base, **given, "seed": seed}
    if "concurrency" not in fields and "rate" not in fields:
        fields["concurrency"] = _LEVELS
    return ClimbConfig(**fields)


def _load_fields(load: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in load.items():
        if key == "duration":
            found["duration_seconds"] = _seconds(value)
        elif key == "warmup":
            # A number of requests, or a time with its unit.
            if str(value).strip().isdigit():
                found["warmup_requests"] = int(value)
            else:
                found["warmup_seconds"] = _seconds(value)
        elif key == "stagger":
            found.update({} if value else {"ramp_seconds": 0.0})
        else:
            found[_LOAD_OF_FILE.get(key, key)] = tuple(value) if isinstance(value, list) else value
    return found


def _seconds(value: Any) -> float:
    return parse_duration_ns(str(value)) * 1e-9
