"""Files: run folders, and files that are replaced whole or grow by whole lines."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from benchcore.base.errors import ConfigError
from benchcore.base.secrets import unhidden_bytes
from benchcore.base.text import harmless_json


def make_folder(results: Path, stamp: str, name: str) -> Path:
    """Create the folder of a run and return it.

    Args:
        results: where runs land.
        stamp: UTC as yyyymmddThhmmssZ.
        name: the run's name; what a file name cannot hold becomes `-`.

    Raises:
        ConfigError: it cannot be written.
    """
    clean = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "run"
    for attempt in range(1, 100):
        suffix = "" if attempt == 1 else f"-{attempt}"
        folder = results / f"{stamp}-{clean[:80]}{suffix}"
        try:
            results.mkdir(parents=True, exist_ok=True)
            folder.mkdir()
            # A folder can be made on a full disk that takes no file.
            with tempfile.TemporaryFile(dir=folder) as probe:
                probe.write(b"0" * 4096)
        except FileExistsError:
            if results.is_dir():
                continue
            raise ConfigError(f"--output {results}: {_no_folder(results)}") from None
        except OSError as error:
            with contextlib.suppress(OSError):
                folder.rmdir()
            raise ConfigError(
                f"--output {results}: cannot be written ({error.strerror}); name another folder"
            ) from None
        return folder
    raise ConfigError(f"--output {results}: a hundred runs named {clean} began in the same second")


def _no_folder(results: Path) -> str:
    """Return what stands where a folder should be, at the end of a path or in its middle."""
    place = next(one for one in (results, *results.parents) if os.path.lexists(one))
    name = "" if place == results else f"{place} "
    if place.is_symlink() and not place.exists():
        return f"{name}is a link to {place.readlink()}, which does not exist; name another folder"
    return f"{name}is a file, not a folder; name another one"


def replace_file(path: Path, data: bytes) -> None:
    """Write a file whole: under a temporary name, then in place of the old one.

    What `benchcore.base.secrets` hides is masked in it.

    Raises:
        OSError: it cannot be written; the old file is as it was.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.write(unhidden_bytes(data))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


class FilesError(OSError):
    """Some of the files of a sink could not be written.

    Args:
        faults: what is wrong, by the file's name.
    """

    def __init__(self, faults: dict[str, str]) -> None:
        super().__init__("; ".join(f"{name}: {fault}" for name, fault in faults.items()))
        self.faults = faults


def each_file(writes: Mapping[str, Callable[[], None]]) -> None:
    """Write several files, each for itself: one that fails does not stop the next.

    Args:
        writes: what writes each, by the file's name.

    Raises:
        FilesError: some could not be written.
    """
    faults = {}
    for name, write in writes.items():
        try:
            write()
        except OSError as error:
            faults[name] = error.strerror or str(error)
    if faults:
        raise FilesError(faults)


class GrowingFile:
    """A file that grows by whole lines, so that a killed run keeps what it measured.

    Args:
        path: where it lies.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: BinaryIO | None = path.open("ab", buffering=0)
        self._waiting = bytearray()

    def write(self, lines: bytes) -> None:
        """Take whole lines; nothing is written before `flush`."""
        self._waiting += lines

    def flush(self) -> None:
        """Write what waits, up to its last whole line.

        Raises:
            OSError: not all of it could be written; the rest stays for the next try.
        """
        if self._file is None or not self._waiting:
            return
        data = bytes(self._waiting)
        written = 0
        try:
            while written < len(data):
                written += self._file.write(data[written:]) or 0
        except OSError:
            # A full disk takes part of a line: take that part back, whole lines stay.
            whole = data.rfind(b"\n", 0, written) + 1
            if written > whole:
                self._file.truncate(self._file.tell() - (written - whole))
            del self._waiting[:whole]
            raise
        self._waiting.clear()

    def close(self) -> None:
        """Write what waits and close."""
        if self._file is None:
            return
        try:
            self.flush()
        finally:
            self._file.close()
            self._file = None


def first_line(descriptor: int) -> bytes:
    """Read one line, without its end, and nothing behind it.

    A file object's buffer would swallow what comes next, which the reader's event loop waits for.
    """
    line = bytearray()
    while byte := os.read(descriptor, 1):
        if byte == b"\n":
            break
        line += byte
    return bytes(line)


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
        raise ConfigError(f"{path}: is nested more deeply than what benchcore writes") from None
