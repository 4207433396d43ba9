"""Levels: what a list of them must be."""

from collections.abc import Sequence
from itertools import pairwise

from benchcore.errors import ConfigError


def check_climbs(levels: Sequence[float]) -> None:
    """Check that each level is above the one before.

    Raises:
        ConfigError: it is not; the message has the list in its right order.
    """
    if any(after <= before for before, after in pairwise(levels)):
        listed = ",".join(f"{level:.12g}" for level in levels)
        ordered = ",".join(f"{level:.12g}" for level in sorted(set(levels)))
        raise ConfigError(f"{listed} does not climb; did you mean {ordered}?")
