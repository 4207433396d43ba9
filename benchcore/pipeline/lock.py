"""Lock: one run at a time in a folder of results."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from benchcore.errors import ConfigError, LockError

FILE = ".lock"


@contextmanager
def lock(results: Path, what: str) -> Iterator[None]:
    """Hold the lock of a folder of results; the kernel lets go of it when this process ends.

    Args:
        results: the folder.
        what: what runs, for whoever comes second.

    Raises:
        LockError: another run holds it; says which.
        ConfigError: the folder cannot be written, or its disk is full.
    """
    path = results / FILE
    try:
        results.mkdir(parents=True, exist_ok=True)
        # Unbuffered: what a full disk has refused would else be tried again at the close.
        file = path.open("a+b", buffering=0)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written ({error.strerror})") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read(500).decode(errors="replace").strip() or "another run"
            raise LockError(
                f"{path}: held by {holder}; wait for it, or name another folder with --output"
            ) from None
        try:
            file.truncate(0)
            file.write(f"{what}, process {os.getpid()}\n".encode())
        except OSError as error:
            raise ConfigError(
                f"{path}: cannot be written ({error.strerror}); make room, or name another folder "
                "with --output"
            ) from None
        try:
            yield
        finally:
            # The file stays: if it went, two that came after could each lock one of their own.
            with suppress(OSError):  # whoever locks it next writes it anew
                file.truncate(0)
