"""Choice: which checks are made of a server."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchcore.config.functional import FunctionalConfig
from benchcore.errors import ConfigError
from benchcore.stages.functional.cases import check_ids, read_cases
from benchcore.stages.functional.catalogue import installed_suites, select
from benchcore.stages.functional.check import Check


def chosen_checks(
    config: FunctionalConfig,
    beside: Path,
    source: Path | None = None,
    *,
    suites: Sequence[str] = (),
    cases: Sequence[str] = (),
    files: Sequence[Path] = (),
    smoke: bool = False,
) -> list[Check]:
    """Return the checks to make, in order.

    Args:
        config: which, as a file says.
        beside: the folder that its files of cases are relative to.
        source: that file, for messages.
        suites: only these, whatever the file says.
        cases: only these checks.
        files: of cases, besides.
        smoke: only the few that any server must pass.

    Raises:
        ConfigError: a suite, a check or a file is not known or will not do.
    """
    known = installed_suites()
    for path in (*(beside / name for name in config.files), *files):
        suite = read_cases(path)
        if suite.name in known:
            raise ConfigError(f"{path}: there is a suite {suite.name} already; rename it")
        known[suite.name] = suite
    check_ids(config, known.values(), source)
    only = suites or (config.suite if isinstance(config.suite, tuple) else ())
    checks = select(known.values(), only=only, cases=cases)
    if smoke or (config.suite is False and not (suites or cases)):
        return [one for one in checks if one.smoke]
    return checks
