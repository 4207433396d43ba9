"""Library: the reader in C, compiled beside this file where the package was built with a compiler.

`BENCHCORE_READER` says which reader is to be used: `native`, `python`, or `auto` (the default), the
native one where there is one.
"""

from __future__ import annotations

import ctypes
import os
import sys
import sysconfig
from functools import cache
from pathlib import Path
from typing import Final

from benchcore.base.errors import ConfigError

ABI: Final = 2
"""What `bc_abi` of a library answers that this module can drive."""
CHOICE: Final = "BENCHCORE_READER"
"""The environment variable that chooses the reader."""
CHOICES: Final = ("auto", "native", "python")

_POINTER, _NUMBER, _SIZE = ctypes.c_void_p, ctypes.c_int64, ctypes.c_size_t
_FUNCTIONS: Final[dict[str, tuple[object, list[object]]]] = {
    "bc_abi": (ctypes.c_int, []),
    "bc_open": (_POINTER, [_POINTER, _POINTER, _POINTER, _SIZE, ctypes.c_int]),
    "bc_close": (None, [_POINTER]),
    "bc_epoll": (ctypes.c_int, [_POINTER]),
    "bc_timer": (ctypes.c_int, [_POINTER]),
    "bc_pace": (ctypes.c_int, [_POINTER, _NUMBER]),
    "bc_poll": (None, [_POINTER]),
    "bc_read": (ctypes.c_int, [_POINTER, _NUMBER]),
    "bc_feed": (None, [_POINTER, _NUMBER, ctypes.c_char_p, _SIZE, _NUMBER]),
    "bc_take": (_NUMBER, [_POINTER, _NUMBER, _POINTER, _NUMBER]),
    "bc_take_lags": (None, [_POINTER, _POINTER]),
    "bc_stamp": (_NUMBER, [_POINTER, _NUMBER]),
    "bc_ended": (None, [_POINTER, _NUMBER]),
    "bc_add": (_NUMBER, [_POINTER, ctypes.c_int]),
    "bc_deafen": (None, [_POINTER, _NUMBER]),
    "bc_remove": (None, [_POINTER, _NUMBER]),
    "bc_learn": (
        ctypes.c_int,
        [_POINTER, _NUMBER, ctypes.c_int, ctypes.c_char_p, _POINTER, ctypes.c_char_p],
    ),
    "bc_arm": (None, [_POINTER, _NUMBER]),
}


def path() -> Path:
    """Return where the library lies, if it was built."""
    suffix = sysconfig.get_config_var("SHLIB_SUFFIX") or ".so"
    return Path(__file__).with_name(f"_reader{suffix}")


class UnavailableError(Exception):
    """There is no native reader here; the text says why."""


@cache
def load(file: Path) -> ctypes.PyDLL:
    """Return the library with its functions declared.

    The global lock is kept in its calls: each takes microseconds, and there is one thread.

    Raises:
        UnavailableError: it was not built, or not for this machine or version.
    """
    if sys.platform != "linux":
        raise UnavailableError(f"it reads by epoll, which {sys.platform} has not")
    if not file.exists():
        raise UnavailableError("it was not compiled when benchcore was installed")
    try:
        library = ctypes.PyDLL(str(file), use_errno=True)
        for name, (result, arguments) in _FUNCTIONS.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
    except (OSError, AttributeError) as error:
        raise UnavailableError(f"{file.name} cannot be loaded: {error}") from None
    if library.bc_abi() != ABI:
        raise UnavailableError(f"{file.name} is of another version; install benchcore again")
    return library


def wanted() -> str:
    """Return the choice of the environment.

    Raises:
        ConfigError: it is none.
    """
    choice = os.environ.get(CHOICE, "").strip() or "auto"
    if choice not in CHOICES:
        raise ConfigError(f"{CHOICE}={choice}: it is one of {', '.join(CHOICES)}")
    return choice


def chosen(*, tls: bool = False) -> tuple[ctypes.PyDLL | None, str]:
    """Return the library to read with, `None` for the reader in Python, and what to say of it.

    Args:
        tls: the target speaks TLS, whose bytes go through OpenSSL.

    Raises:
        ConfigError: the native reader is asked for by name and cannot be had.
    """
    choice = wanted()
    if choice == "python":
        return None, f"python ({CHOICE}=python)"
    why = "TLS is read in Python" if tls else ""
    if not why:
        try:
            return load(path()), "native"
        except UnavailableError as error:
            why = str(error)
    if choice == "native":
        raise ConfigError(f"{CHOICE}=native: there is no native reader: {why}")
    return None, f"python ({why})"
