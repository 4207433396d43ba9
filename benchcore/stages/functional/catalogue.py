"""Catalogue: every suite that is installed, and what of it is wanted."""

from __future__ import annotations

from difflib import get_close_matches
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from benchcore.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from benchcore.stages.functional.check import Check, Suite

ORDER = (
    "smoke",
    "chat_core",
    "sse",
    "completions_core",
    "sampling",
    "params_boundary",
    "function_call",
    "guided",
    "reasoning",
    "usage",
    "errors",
    "auth",
    "limits",
    "isolation",
)
"""The built-in suites as they are listed; others follow by name."""


def installed_suites() -> dict[str, Suite]:
    """Return every suite that is installed, by the entry points' names."""
    found = {entry.name: entry for entry in entry_points(group="benchcore.suites")}
    names = [*(name for name in ORDER if name in found), *sorted(set(found) - set(ORDER))]
    return {name: found[name].load() for name in names}


def select(
    suites: Iterable[Suite], *, only: Sequence[str] = (), cases: Sequence[str] = ()
) -> list[Check]:
    """Return the checks that are wanted, in order.

    Args:
        suites: all there are.
        only: names of suites; none: all.
        cases: ids of checks, `suite.*` for a whole suite; none: all of the suites.

    Raises:
        ConfigError: there is no suite or check of that name.
    """
    known = {suite.name: suite for suite in suites}
    for name in only:
        if name not in known:
            raise ConfigError(f"--suite {name}: is not known{nearest(name, known)}")
    checks = [
        check
        for suite in known.values()
        if not only or suite.name in only
        for check in suite.checks.values()
    ]
    if not cases:
        return checks
    ids = [check.case_id for suite in known.values() for check in suite.checks.values()]
    wanted: set[str] = set()
    for case in cases:
        suite, _, rest = case.partition(".")
        if rest == "*" and suite in known:
            wanted.update(check.case_id for check in known[suite].checks.values())
        elif case in ids:
            wanted.add(case)
        else:
            raise ConfigError(f"--case {case}: is not known{nearest(case, ids)}")
    found = [check for check in checks if check.case_id in wanted]
    if not found:
        raise ConfigError(f"--case {', '.join(cases)}: not in --suite {', '.join(only)}")
    return found


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the end of a message that names the nearest of what is known."""
    close = get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else "; benchcore check --list names all"
