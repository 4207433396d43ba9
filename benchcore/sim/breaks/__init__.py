"""Every way in which the simulator can be made wrong, by the check that must find it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from benchcore.base.plugins import nearest
from benchcore.sim.breaks import completions, parameters, service, streams, structured

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchcore.sim.breaks.breakage import Break

BREAKS: Final[Mapping[str, Break]] = {
    **completions.BREAKS,
    **streams.BREAKS,
    **parameters.BREAKS,
    **structured.BREAKS,
    **service.BREAKS,
}
"""Id of a check to what makes exactly that check fail."""


def known_break(name: str) -> Break:
    """Return a break.

    Raises:
        ValueError: there is none of that name.
    """
    if name not in BREAKS:
        hint = nearest(name, BREAKS, otherwise="benchcore check --list names all")
        raise ValueError(f"no break is known for {name!r}; {hint}")
    return BREAKS[name]
