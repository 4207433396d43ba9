"""The child side of ``SimulatorProcess``: options on stdin, base URL on stdout."""

from __future__ import annotations

import json
import os

from pydantic import ValidationError

from benchcore.base.files import first_line
from benchcore.sim.app import serve
from benchcore.sim.options import SimOptions


def main() -> int:
    """Reads one line of JSON options from stdin and serves until stdin ends or a signal comes."""
    line = first_line(0)
    if not line:
        return 0  # whoever started us has gone before saying anything
    try:
        options = SimOptions.model_validate_json(line)
        ended_by = serve(options, _ready, watch_parent=True)
    except BrokenPipeError:
        return 0  # it has gone since
    except (OSError, ValidationError) as error:
        print(json.dumps({"error": str(error)}), flush=True)
        return 1
    return 0 if ended_by is None else 128 + ended_by


def _ready(base_url: str) -> None:
    print(json.dumps({"base_url": base_url, "pid": os.getpid()}), flush=True)
