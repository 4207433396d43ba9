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


def check_levels(concurrency: Sequence[int], rate: Sequence[float]) -> None:
    """Check levels of which only one kind may be given.

    Raises:
        ValueError: both are given, or those given do not climb.
    """
    if concurrency and rate:
        raise ValueError("levels are of concurrency or of rate: give one of them")
    for name, levels in (("concurrency", concurrency), ("rate", rate)):
        try:
            check_climbs(levels)
        except ConfigError as error:
            raise ValueError(f"{name} {error}") from None
