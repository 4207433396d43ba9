"""Fixture: the C server, built and started; what it wrote down of each request."""

import json
import shutil
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
"""Where `tests.bench` is found."""
BUILD = ROOT / "build" / "bench"
_HEAD = struct.Struct("=IIq")
Ints = NDArray[np.int64]


@dataclass(slots=True)
class Server:
    """A running server.

    Args:
        base_url: where it listens.
        counts: what it said at its end; empty until then.
    """

    base_url: str
    counts: dict[str, Any] = field(default_factory=dict)


def build(name: str = "server") -> Path:
    """Compile a program beside this file where it is not up to date; returns the program.

    Args:
        name: of its source, without `.c`.

    Raises:
        SystemExit: there is no C compiler.
    """
    source, program = HERE / f"{name}.c", BUILD / name
    if program.exists() and program.stat().st_mtime > source.stat().st_mtime:
        return program
    compiler = shutil.which("cc")
    if compiler is None:
        raise SystemExit("make bench needs a C compiler (apt install gcc libc6-dev)")
    BUILD.mkdir(parents=True, exist_ok=True)
    subprocess.run([compiler, "-O2", "-Wall", "-o", program, source], check=True)
    return program


@contextmanager
def server(
    *,
    ttft_ms: str = "50:60",
    interval_ms: float = 10,
    tick_ms: float = 0,
    stamps: Path | None = None,
) -> Iterator[Server]:
    """Run the server.

    Args:
        ttft_ms: time to first token, fixed or as `LOW:HIGH`, uniform.
        interval_ms: between the tokens of a stream.
        tick_ms: tokens leave at multiples of this, as those of an engine's step do; 0: each stream
            has a phase of its own.
        stamps: where to write when each token was sent; see `read_stamps`.
    """
    command = [
        str(build()),
        *("--ttft-ms", ttft_ms, "--interval-ms", str(interval_ms), "--tick-ms", str(tick_ms)),
    ]
    if stamps is not None:
        command += ["--stamps", str(stamps)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            port = json.loads(process.stdout.readline())["port"]
            running = Server(f"http://127.0.0.1:{port}")
            yield running
        finally:
            process.terminate()
            lines = process.stdout.read().split("\n")
    running.counts.update(json.loads(lines[0]))


def _read(path: Path) -> Iterator[tuple[str, int, Ints]]:
    """Yield of each request its id, when it was received and when each of its tokens was sent."""
    data = path.read_bytes()
    at = 0
    while at < len(data):
        length, count, received_ns = _HEAD.unpack_from(data, at)
        at += _HEAD.size
        name = data[at : at + length].decode()
        at += length
        yield name, received_ns, np.frombuffer(data, np.int64, count, at)
        at += 8 * count


def read_stamps(path: Path) -> dict[str, Ints]:
    """Return by request id when each of its tokens was sent, in ns of CLOCK_MONOTONIC."""
    return {name: sent for name, _, sent in _read(path)}


def read_received(path: Path) -> dict[str, int]:
    """Return by request id when the server had read it, likewise."""
    return {name: received_ns for name, received_ns, _ in _read(path)}
