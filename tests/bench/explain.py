"""Whether `benchcore explain` names what was made slow, and nothing else, in real climbs.

python -m tests.bench.explain [--runs N] [--out FILE] [CASE ...]

Each run is a climb of the simulator, with what it says of each request in its answers. A case is a
part of a request's time, or two with a `+` between: some requests spend `SECONDS` more in it. The
server's parts are the simulator's faults, the network is a wire between two namespaces whose
packets come late (root alone), and what is the client's own is done to a client that is otherwise
the real one. A case is right where exactly its parts are named, each with its size within a tenth.
"""

import argparse
import asyncio
import json
import os
import random
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.bench.row import Row

SECONDS = 0.1
SHARE = 0.03
FAULTS = {
    "queue": f"slow_queue:{SECONDS}@{SHARE}",
    "prefill": f"slow_prefill:{SECONDS}@{SHARE}",
    "decode": f"stall:5:{SECONDS}@{SHARE}",
    "residual": f"slow_headers:{SECONDS}@{SHARE}",
}
OWN = ("late", "connect", "reader")
CASES = ("clean", *OWN, "network", *FAULTS)
USERS = 8
FOLLOWS = {"reader": {"late"}}
"""In a closed loop the next request of a user leaves when the answer before it was read."""


def spoil(parts):
    """Make a client late, slow to connect, or slow to read, for some requests."""
    from benchcore.client.client import Client
    from benchcore.client.connection import Connection
    from benchcore.client.connector import Connector

    dice = random.Random(os.getpid())
    start, take, connect = Client.start, Connection._take, Connector.connect
    slowly = {}

    def late_start(self, request, scheduled_ns, on_done):
        if dice.random() >= SHARE:
            return start(self, request, scheduled_ns, on_done)
        exchange = self._made.pop(request.request_id, None) or self._new(request)
        exchange.record.scheduled_ns = scheduled_ns
        exchange.on_done = on_done
        self.in_flight[exchange] = None

        def leave():
            if self._idle:
                self._idle.pop().send(exchange)
            else:
                self._open_for(exchange)

        self._loop.call_later(SECONDS, leave)
        return exchange

    def late_take(self, data):
        exchange = self.exchange
        slow = slowly.setdefault(exchange, dice.random() < SHARE) if exchange is not None else False
        if not slow:
            take(self, data)
            return
        stamp_ns = self.stamp_ns

        def later():
            self.stamp_ns = stamp_ns
            if self.exchange is exchange:
                take(self, data)

        asyncio.get_running_loop().call_later(SECONDS, later)

    async def slow_connect(self, target):
        if dice.random() < 0.5:
            await asyncio.sleep(SECONDS)
        return await connect(self, target)

    if "late" in parts:
        Client.start = late_start
    if "reader" in parts:
        Connection._take = late_take
    if "connect" in parts:
        Connector.connect = slow_connect


def run(parts, folder, seed):
    """Run one climb; returns the parts that are named, with their sizes in seconds."""
    from benchcore.judge.explain import explain
    from benchcore.runs.reading import RunFolder
    from tests.wire import THERE, Wire

    faults = [FAULTS[part] for part in parts if part in FAULTS]
    if "connect" in parts:
        faults.append(f"close_after@{2 * SHARE}")
    sim = [sys.executable, "-m", "benchcore", "sim", "--seed", str(seed)]
    sim += ["--set", "request_metrics=true"]
    for fault in faults:
        sim += ["--fault", fault]
    own = ",".join(part for part in parts if part in OWN)
    climb = [sys.executable, "-m", "tests.bench.explain", "--climb", own or "none"]
    climb += ["climb", "--concurrency", str(USERS), "--requests", "300", "--seed", str(seed)]
    climb += ["--output-tokens", "32", "--input-tokens", "64", "--idle", "0s", "--quiet"]
    climb += ["--output", str(folder)]
    if "network" not in parts:
        server = subprocess.Popen([*sim, "--port", "0"], stdout=subprocess.PIPE, text=True)
        try:
            url = server.stdout.readline().split()[-1]
            done = subprocess.run([*climb, "--base-url", url], capture_output=True, check=False)
        finally:
            server.terminate()
            server.wait()
    else:
        seen = {}

        def slow(packet, there):
            # Every eighth connection, in the order in which they are opened.
            port = packet.ports[0] if there else packet.ports[1]
            if packet.opens:
                seen.setdefault(port, len(seen))
            return SECONDS / 2 if seen.get(port, 0) % USERS == 3 else 0.0

        with Wire(slow) as wire:
            command = wire.inside(*sim, "--host", THERE, "--port", "0")
            server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            try:
                url = server.stdout.readline().split()[-1]
                done = subprocess.run([*climb, "--base-url", url], capture_output=True, check=False)
            finally:
                server.terminate()
                server.wait()
    if done.returncode not in (0, 4):
        raise SystemExit(done.stderr.decode())
    (path,) = folder.iterdir()
    found = RunFolder(path)
    explanation = explain(found.requests(f"c{USERS}", 1))
    sizes = {stands.part.key: stands.size for stands in explanation.named}
    return sizes, explanation.residual


def is_right(parts, sizes):
    """Return whether exactly what was made slow is named, with its size."""
    wanted = set(parts) - {"clean"}
    wanted |= set().union(*(FOLLOWS.get(part, set()) for part in parts))
    return sizes.keys() == wanted and all(
        abs(size - SECONDS) <= 0.1 * SECONDS for size in sizes.values()
    )


def rows(runs=3):
    """Run every case and yield the rows; what others do on the machine shows here, too."""
    for case in CASES:
        parts = case.split("+")
        right, residuals = 0, []
        for seed in range(runs):
            with tempfile.TemporaryDirectory() as folder:
                sizes, residual = run(parts, Path(folder), seed)
            right += is_right(parts, sizes)
            residuals.append(residual)
        what = f"explain: {case}: named alone, its size within a tenth"
        data = {"residual": sorted(residuals)[runs // 2]}
        yield Row("explain", what, f"{right} of {runs}", f"{runs}", right == runs, data)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--out", type=Path)
    parser.add_argument("cases", nargs="*", default=CASES)
    asked = parser.parse_args()
    rows = []
    for case in asked.cases:
        parts = case.split("+")
        right, residuals, wrong = 0, [], Counter()
        for seed in range(asked.runs):
            with tempfile.TemporaryDirectory() as folder:
                sizes, residual = run(parts, Path(folder), seed)
            residuals.append(residual)
            if is_right(parts, sizes):
                right += 1
            else:
                wrong[", ".join(f"{key} {size * 1e3:.0f} ms" for key, size in sizes.items())] += 1
        residuals.sort()
        row = {
            "case": case,
            "right": right,
            "runs": asked.runs,
            "residual": residuals[len(residuals) // 2],
            "wrong": dict(wrong),
        }
        rows.append(row)
        told = f"{case:20} {right:3} of {asked.runs}  residual {row['residual']:.2%}"
        print(
            told, *(f"[{what or 'nothing'}] ×{count}" for what, count in wrong.items()), flush=True
        )
    if asked.out is not None:
        asked.out.write_text(json.dumps(rows, indent=1))
    return 0 if all(row["right"] == row["runs"] for row in rows) else 1


if __name__ == "__main__":
    if sys.argv[1:2] == ["--climb"]:
        from benchcore.cli.main import main as command

        spoil(sys.argv[2].split(","))
        command(sys.argv[3:])
    sys.exit(main())
