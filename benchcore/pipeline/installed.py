"""Installed: the stages that there are, by their entry points."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final

from benchcore.config.stage import StageSettings
from benchcore.errors import ConfigError

GROUP: Final = "benchcore.stages"
_NEEDED: Final = (
    "name",
    "position",
    "settings_model",
    "limit_seconds",
    "wanted",
    "always",
    "essential",
    "warnable",
    "plan",
    "run",
    "interrupt",
)


def installed_stages() -> dict[str, Any]:
    """Return the classes of all stages by name, in the order in which they run.

    Raises:
        ConfigError: one cannot be loaded or is no stage, or two have one name.
    """
    found: dict[str, Any] = {}
    values: dict[str, str] = {}
    for point in entry_points(group=GROUP):
        other = values.setdefault(point.name, point.value)
        if other != point.value:
            raise ConfigError(
                f"stage {point.name}: is both {other} and {point.value}; uninstall one of them"
            )
        found[point.name] = _loaded(point)
    return dict(sorted(found.items(), key=lambda item: (item[1].position, item[0])))


def _loaded(point: EntryPoint) -> Any:
    try:
        stage = point.load()
    except Exception as error:  # noqa: BLE001 - the code is somebody else's and raises anything
        said = " ".join(f"{type(error).__name__}: {error}".split())
        raise ConfigError(
            f"stage {point.name} of {point.value}: cannot be loaded: {said}; mend or uninstall it"
        ) from None
    fault = _fault(stage, point.name)
    if fault:
        raise ConfigError(f"stage {point.name} of {point.value}: {fault}; mend or uninstall it")
    return stage


def _fault(stage: Any, name: str) -> str:
    """Return what keeps a class from being a stage; empty where nothing does."""
    missing = [needed for needed in _NEEDED if not hasattr(stage, needed)]
    if missing:
        return f"has no {missing[0]}"
    if stage.name != name:
        return f"calls itself {stage.name}"
    if type(stage.position) is not int:
        return f"its position is {stage.position!r}, which is no whole number"
    model = stage.settings_model
    if not (isinstance(model, type) and issubclass(model, StageSettings)):
        return f"its settings_model is {model!r}, which is no subclass of StageSettings"
    limit = stage.limit_seconds
    if type(limit) not in (int, float) or not limit > 0:
        return f"its limit_seconds is {limit!r}, which is no number above 0"
    return ""
