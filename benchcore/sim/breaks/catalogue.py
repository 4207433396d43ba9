"""Catalogue: every break, by the check that it must make fail."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Final

from benchcore.sim.breaks import (
    auth,
    chat_core,
    completions_core,
    errors,
    function_call,
    guided,
    isolation,
    limits,
    params_boundary,
    reasoning,
    sampling,
    smoke,
    sse,
    usage,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchcore.sim.breaks.breakage import Break

_TABLES: Final[tuple[Mapping[str, Break], ...]] = (
    smoke.BREAKS,
    chat_core.BREAKS,
    sse.BREAKS,
    completions_core.BREAKS,
    sampling.BREAKS,
    params_boundary.BREAKS,
    function_call.BREAKS,
    guided.BREAKS,
    reasoning.BREAKS,
    usage.BREAKS,
    errors.BREAKS,
    auth.BREAKS,
    limits.BREAKS,
    isolation.BREAKS,
)

BREAKS: Final[Mapping[str, Break]] = {name: one for table in _TABLES for name, one in table.items()}
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
