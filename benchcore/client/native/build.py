"""Build hook: compiles the native reader into the wheel, where there is a C compiler for Linux.

Hatchling runs it. Without a compiler the wheel is pure and the reader in Python runs. What it goes
by in the environment: `BENCHCORE_NATIVE` (`auto`, `require` or `no`), `CC` and `CFLAGS`, and
`BENCHCORE_PLATFORM`, the platform tag of the wheel where another machine's compiler is named.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

HERE = Path("benchcore", "client", "native")
FLAGS = ("-std=c11", "-O2", "-shared", "-fPIC", "-fvisibility=hidden", "-Wall", "-Wextra")


class NativeReaderHook(BuildHookInterface[Any]):
    """Compiles `reader.c` beside itself; there it is found by an editable install too."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and give the wheel the tag of its platform.

        Args:
            version: `standard`, or `editable`.
            build_data: of the wheel; changed in place.

        Raises:
            RuntimeError: it is required and cannot be compiled.
        """
        wanted = os.environ.get("BENCHCORE_NATIVE", "auto")
        library = Path(self.root, HERE, "_reader.so")
        library.unlink(missing_ok=True)
        why = "" if wanted != "no" else "it is not wanted"
        if not why:
            why = compiled(Path(self.root, HERE, "reader.c"), library)
        if why:
            if wanted == "require":
                raise RuntimeError(f"the native reader cannot be built: {why}")
            self.app.display_info(f"without the native reader: {why}")
            return
        if version == "editable":
            return  # it lies where it is looked for
        build_data["pure_python"] = False
        platform = os.environ.get("BENCHCORE_PLATFORM") or sysconfig.get_platform()
        build_data["tag"] = f"py3-none-{platform.replace('-', '_').replace('.', '_')}"
        build_data["artifacts"].append(str(HERE / library.name))


def compiled(source: Path, library: Path) -> str:
    """Compile the reader; returns why it could not be, empty if it could.

    Args:
        source: the C file.
        library: what to make of it.
    """
    if sys.platform != "linux":
        return f"it reads by epoll, which {sys.platform} has not"
    compiler = shlex.split(os.environ.get("CC", "")) or [shutil.which("cc") or "gcc"]
    if shutil.which(compiler[0]) is None:
        return f"there is no C compiler ({compiler[0]})"
    flags = shlex.split(os.environ.get("CFLAGS", ""))
    # Under another name first: a process that has the old one open keeps it.
    made = library.with_suffix(".new")
    command = [*compiler, *FLAGS, *flags, "-o", str(made), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  ours
    if done.returncode:
        return f"{shlex.join(command)}: {done.stderr.strip() or done.returncode}"
    made.replace(library)
    return ""
