"""Output: the result of a command, on stdout."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any


def show(found: Any, render: Callable[..., str], *, as_json: bool) -> None:
    """Write a report to stdout: as JSON, or as text with colours where a terminal shows them.

    Args:
        found: has `to_json`.
        render: takes it and `color`.
        as_json: write JSON.
    """
    if as_json:
        from benchcore.sinks.run_json import dump

        sys.stdout.write(dump(found.to_json()).decode())
    else:
        sys.stdout.write(render(found, color=colored()))
    sys.stdout.flush()


def colored() -> bool:
    """Return whether stdout shows colours, and nobody has asked it not to."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")
