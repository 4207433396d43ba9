"""Every way in which the simulator can be made wrong, by the check that must find it."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Final

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
        close = get_close_matches(name, BREAKS, n=1)
        hint = f"; did you mean {close[0]}?" if close else "; benchcore check --list names all"
        raise ValueError(f"no break is known for {name!r}{hint}")
    return BREAKS[name]
