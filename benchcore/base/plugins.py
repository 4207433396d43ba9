"""Plug-ins: what installed packages offer by their entry points, and names that are not known."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchcore.base.errors import ConfigError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint, EntryPoints


def closest(name: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """Return the name most like one that is not known; `None` where none is.

    Args:
        name: as it was given.
        known: the names that there are.
        cutoff: how like a name must be, from 0 to 1; see `difflib`.
    """
    from difflib import get_close_matches

    return next(iter(get_close_matches(name, list(known), n=1, cutoff=cutoff)), None)


def nearest(name: str, known: Iterable[str], *, otherwise: str = "", cutoff: float = 0.6) -> str:
    """Return the hint that follows a name that is not known.

    Args:
        name: as it was given.
        known: the names that there are.
        otherwise: what to say where none is near; left out: all that are known.
        cutoff: how like a name must be to be near; see `closest`.
    """
    names = list(known)
    close = closest(name, names, cutoff)
    if close is not None:
        return f"did you mean {close}?"
    return otherwise or f"known are {', '.join(names) or 'none'}"


def entry_points(*, group: str) -> EntryPoints:
    """Return the entry points of a group that are installed."""
    # Not at the top: `benchcore --help` needs none, and it is a third of what it imports.
    from importlib.metadata import entry_points

    return entry_points(group=group)


@dataclass(frozen=True, slots=True)
class Group:
    """The entry points of a group, of which each is loaded when it is asked for.

    Args:
        name: of the group, such as `benchcore.tasks`.
        what: what they are called in messages, such as `task`.
    """

    name: str
    what: str

    def points(self) -> dict[str, EntryPoint]:
        """Return those that are installed, by name, sorted; none is loaded.

        Raises:
            ConfigError: two packages offer different things under one name.
        """
        found: dict[str, EntryPoint] = {}
        for point in sorted(entry_points(group=self.name)):
            other = found.setdefault(point.name, point)
            if other.value != point.value:
                raise ConfigError(
                    f"{self.what} {point.name}: is provided by both {other.value} and "
                    f"{point.value}; uninstall one of them"
                )
        return found

    def load(self, name: str, *, hint: str = "") -> Any:
        """Return what an entry point names.

        Args:
            name: of the entry point.
            hint: what else to say where there is none of that name.

        Raises:
            ConfigError: there is none of that name, or it cannot be loaded.
        """
        points = self.points()
        if name not in points:
            raise ConfigError(f"{self.what} {name!r} is unknown; {nearest(name, points)}{hint}")
        return self.loaded(points[name])

    def load_all(self) -> dict[str, Any]:
        """Return what every entry point names, by its name, sorted.

        Raises:
            ConfigError: one cannot be loaded, or two packages offer different things as one name.
        """
        return {name: self.loaded(point) for name, point in self.points().items()}

    def loaded(self, point: EntryPoint) -> Any:
        """Return what one of the entry points names.

        Raises:
            ConfigError: it cannot be loaded.
        """
        try:
            return point.load()
        except Exception as error:  # the code is somebody else's and raises anything
            said = " ".join(f"{type(error).__name__}: {error}".split())
            raise ConfigError(
                f"{self.what} {point.name} of {point.value}: cannot be loaded: {said}; "
                "repair or uninstall it"
            ) from error
