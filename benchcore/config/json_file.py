"""JSON file: what a file of JSON holds, or one line that says why not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

from benchcore.errors import ConfigError
from benchcore.text import harmless_json


def read_json(path: Path) -> Any:
    """Return what a file of JSON holds, with nothing in its texts that a terminal would obey.

    A folder of results may be a stranger's: what is read is made harmless here, once.

    Raises:
        ConfigError: it cannot be read, or was cut short or is no JSON at all.
    """
    try:
        return harmless_json(orjson.loads(path.read_bytes()))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except orjson.JSONDecodeError as error:
        raise ConfigError(
            f"{path}: is not JSON ({error.msg} at byte {error.pos}); it was cut short, or another "
            "program wrote it"
        ) from None
    except RecursionError:
        raise ConfigError(f"{path}: is nested too deep for what benchcore writes") from None
