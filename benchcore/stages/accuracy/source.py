"""Source: a public file of questions, fetched once into a cache and checked."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp

from benchcore.errors import ConfigError
from benchcore.sinks.folder import replace_file

SECONDS: Final = 300.0
_MOST_BYTES: Final = 512 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Source:
    """A public file.

    Args:
        name: of the file, in the cache and in a folder given as data.
        url: where it is.
        sha256: of its bytes; empty: not known to benchcore, so that the first fetch notes it and
            every later use is checked against that.
        group: what its rows are counted with besides, such as a language.
        columns: names of its columns, where its first line does not say.
    """

    name: str
    url: str
    sha256: str = ""
    group: str = ""
    columns: tuple[str, ...] = ()


def cache_folder() -> Path:
    """Return where fetched files lie: `BENCHCORE_CACHE`, or the user's cache."""
    given = os.environ.get("BENCHCORE_CACHE")
    if given:
        return Path(given) / "eval"
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "benchcore" / "eval"


async def fetch(source: Source, folder: Path) -> Path:
    """Return the file of a source in the cache, fetched where it is not there yet.

    Raises:
        ConfigError: it cannot be fetched or written, or is not the file that it should be.
    """
    path = folder / source.name
    noted = path.with_name(f"{path.name}.sha256")
    if not _is_there(path):
        _keep(source, await _download(source.url), path, noted)
    _check(source, path, noted)
    return path


def _is_there(path: Path) -> bool:
    return path.exists()


def _keep(source: Source, data: bytes, path: Path, noted: Path) -> None:
    found = hashlib.sha256(data).hexdigest()
    if source.sha256 and found != source.sha256:
        raise ConfigError(
            f"{source.url}: is not the file that it should be (SHA-256 {found}, not "
            f"{source.sha256}); fetch it yourself and give it with --data if that is right"
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not source.sha256:
            replace_file(noted, f"{found}\n".encode())
        replace_file(path, data)
    except OSError as error:
        raise ConfigError(
            f"{path.parent}: cannot be written ({error.strerror}); BENCHCORE_CACHE names another "
            "folder"
        ) from None


def _check(source: Source, path: Path, noted: Path) -> None:
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        wanted = source.sha256 or noted.read_text().strip()
    except OSError as error:
        raise ConfigError(
            f"{error.filename}: {error.strerror}; remove {path} and it is fetched again"
        ) from None
    if found != wanted:
        raise ConfigError(
            f"{path}: has changed (SHA-256 {found}, not {wanted}); remove it and it is fetched "
            "again"
        )


async def _download(url: str) -> bytes:
    timeout = aiohttp.ClientTimeout(total=SECONDS, sock_connect=15)
    advice = "get the file where there is a network and give it with --data"
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, trust_env=True) as session,
            session.get(url) as response,
        ):
            if response.status != 200:
                raise ConfigError(f"{url}: answers {response.status}; {advice}")
            data = bytearray()
            async for piece in response.content.iter_chunked(1 << 16):
                data += piece
                if len(data) > _MOST_BYTES:
                    raise ConfigError(f"{url}: is larger than {_MOST_BYTES} bytes; {advice}")
            return bytes(data)
    except TimeoutError:
        raise ConfigError(f"{url}: does not come within {SECONDS:g} s; {advice}") from None
    except aiohttp.ClientError as error:
        raise ConfigError(f"{url}: cannot be fetched ({error}); {advice}") from None
