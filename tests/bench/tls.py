"""TLS: what encryption costs a climb, through a relay that is the same with and without it."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from tests.bench.climb_run import climb, ramp
from tests.bench.fixture import ROOT, server
from tests.bench.row import Row

STREAMS, TOKENS, INTERVAL_MS = 48, 100, 10.0
"""No more than a relay in Python can pass on beside the climb."""


@contextmanager
def relayed(base_url: str, certificate: Path | None) -> Iterator[str]:
    """Run a relay before the server and give its address."""
    port = base_url.rpartition(":")[2]
    command = [sys.executable, "-m", "tests.bench.relay", port]
    if certificate is not None:
        command.append(str(certificate))
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        try:
            scheme = "http" if certificate is None else "https"
            yield f"{scheme}://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.terminate()


def cost(certificate: Path | None, reader: str) -> float:
    """Return what a token costs a climb inside its window, in µs of processor time."""
    os.environ["BENCHCORE_READER"] = reader
    try:
        with (
            server(interval_ms=INTERVAL_MS) as target,
            relayed(target.base_url, certificate) as address,
        ):
            options = ramp(STREAMS, TOKENS, INTERVAL_MS)
            run = climb(address, *options, "--insecure", tokens=TOKENS)
        used = run.level["client"]["process_cpu_seconds"]
        tokens = run.tokens_in_window
        run.remove()
        return used / tokens * 1e6
    finally:
        del os.environ["BENCHCORE_READER"]


def rows(*, rounds: int = 3) -> Iterator[Row]:
    """Measure in turns and yield the row."""
    openssl = shutil.which("openssl")
    if openssl is None:
        yield Row("tls", "openssl, which makes the certificate, is not here", "")
        return
    costs: dict[str, list[float]] = {"native": [], "python": [], "TLS": []}
    with tempfile.TemporaryDirectory() as folder:
        certificate = Path(folder) / "both.pem"
        subprocess.run(
            [
                *(openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
                *("-nodes", "-days", "2", "-subj", "/CN=localhost"),
                *("-keyout", str(certificate), "-out", f"{certificate}.crt"),
            ],
            check=True,
            capture_output=True,
        )
        with certificate.open("ab") as both:
            both.write(Path(f"{certificate}.crt").read_bytes())
        for _ in range(rounds):
            costs["native"].append(cost(None, "native"))
            costs["python"].append(cost(None, "python"))
            costs["TLS"].append(cost(certificate, "auto"))
    found = "/".join(f"{median(values):.1f}" for values in costs.values())
    what = f"{STREAMS} × {1000 / INTERVAL_MS:.0f} tokens/s, µs a token: native, Python, TLS"
    yield Row("tls", what, found, data=costs)
