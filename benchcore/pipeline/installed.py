"""Installed: the stages that there are, by their entry points."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any, Final

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
        ConfigError: one cannot be loaded, or is no stage.
    """
    found: dict[str, Any] = {}
    for point in entry_points(group=GROUP):
        try:
            stage = point.load()
        except (ImportError, AttributeError) as error:
            raise ConfigError(
                f"stage {point.name} of {point.value}: cannot be loaded: {error}"
            ) from None
        missing = [name for name in _NEEDED if not hasattr(stage, name)]
        if missing:
            raise ConfigError(f"stage {point.name} of {point.value}: has no {missing[0]}")
        if stage.name != point.name:
            raise ConfigError(f"stage {point.name} of {point.value}: calls itself {stage.name}")
        found[point.name] = stage
    return dict(sorted(found.items(), key=lambda item: (item[1].position, item[0])))
