"""Replay: what the recording proxy adds, how close a replay comes, and what a long trace costs."""

import csv
import json
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchcore.sim.options import SimOptions, SimProfile
from benchcore.sim.process import SimulatorProcess
from benchcore.workload.kinds import SessionKind
from benchcore.workload.named import load_workload
from tests.bench.fixture import BUILD
from tests.bench.row import Row, at_most

MIXTURE = """\
kind: mixture
mix:
  - workload: "conversation,turns=uniform:1:4,input_tokens=lognormal:150:0.6:20:1000,\
follow_up_tokens=uniform:10:80,output_tokens=uniform:4:24,think_time=exponential:0.3,ignore_eos=true"
  - workload: "prefix,groups=6,popularity=zipf:1,prefix_tokens=300,input_tokens=uniform:20:100,\
output_tokens=uniform:4:16,ignore_eos=true"
"""
ROWS = 1_000_000


def rows() -> Iterator[Row]:
    """Record a load, replay it, read a long trace, and yield the rows."""
    folder = BUILD / "replay"
    folder.mkdir(parents=True, exist_ok=True)
    with SimulatorProcess(SimOptions(profile=SimProfile.named("fast"))) as sim:
        trace = folder / "trace.jsonl"
        with _recording(sim.base_url, trace) as url:
            yield from _added(sim.base_url, url, folder)
        trace.unlink()
        mixture = folder / "mixture.yaml"
        mixture.write_text(MIXTURE)
        with _recording(sim.base_url, trace) as url:
            recorded = _climb(url, folder, "--workload", mixture, "--rate", 40, "--requests", 1000)
        replayed = _climb(
            sim.base_url,
            folder,
            *("--workload", f"mooncake,path={trace}", "--reset-prefix-cache"),
        )
    yield from _fidelity(recorded, replayed)
    yield from _long(folder)


@contextmanager
def _recording(url: str, trace: Path) -> Iterator[str]:
    """Record into a trace; yields the address of the proxy."""
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "benchcore",
            "record",
            "--to",
            url,
            "--port",
            "0",
            "--output",
            trace,
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield process.stdout.readline().split(" at ")[1].split(" into ")[0]
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()


def _climb(url: str, folder: Path, *options: Any) -> dict[str, Any]:
    """Run a climb of one level; returns it, with its folder."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "benchcore", "climb", "--base-url", url, "--seed", "5"),
            *("--json", "--quiet", "--output", str(folder / "results"), *map(str, options)),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    run: dict[str, Any] = json.loads(done.stdout)
    level: dict[str, Any] = run["levels"][0]
    level["folder"] = folder / "results" / run["run_id"]
    return level


def _added(direct: str, url: str, folder: Path) -> Iterator[Row]:
    load = ("--rate", 100, "--arrival", "constant", "--requests", 1000)
    sizes = ("--input-tokens", 256, "--output-tokens", 16)
    found: dict[str, list[np.ndarray]] = {direct: [], url: []}
    for _ in range(2):
        for one in (direct, url):
            level = _climb(one, folder, *load, *sizes)
            found[one].append(_ttfts_ms(level["folder"]))
    for share in (50, 99):
        without, through = (
            float(np.mean([np.percentile(some, share) for some in found[one]]))
            for one in (direct, url)
        )
        what = f"record: TTFT p{share} through the proxy − without it (100 requests/s)"
        yield at_most("replay", what, through - without, 1.0, " ms", 2, without=without)


def _ttfts_ms(folder: Path) -> np.ndarray:
    with (folder / "requests.csv").open() as file:
        sent = [row for row in csv.DictReader(file) if row["stage"] == "window"]
    times = [(float(row["sent_seconds"]), float(row["first_token_seconds"])) for row in sent]
    return np.array([first - at for at, first in times]) * 1e3


def _fidelity(recorded: dict[str, Any], replayed: dict[str, Any]) -> Iterator[Row]:
    for name, distance in replayed["fidelity"].items():
        what = f"replay of {replayed['scheduled']} recorded requests: KS distance of {name}"
        yield at_most("replay", what, distance, 0.05, digits=3)
    shares = [level["prefix_cache"]["reported"] for level in (recorded, replayed)]
    what = "  prefix cache's hit rate, recorded and replayed"
    told = f"{shares[0]:.1%}, {shares[1]:.1%}"
    yield Row("replay", what, told, data={"recorded": shares[0], "replayed": shares[1]})


def _long(folder: Path) -> Iterator[Row]:
    """Measure traces of a million rows as they are read, each in a process of its own."""
    traces = {
        "mooncake": "",
        "bailian": ", rows linked",
        "mooncake,start=1": ", rows linked",
        "mooncake,sort=true": ", rows linked",
        "otel": ", rows linked",
    }
    path = folder / "million.jsonl"
    for kind, linked in traces.items():
        name = kind.partition(",")[0]
        _write(path, name, linked=bool(linked))
        program = "from tests.bench.replay import read_long; read_long()"
        done = subprocess.run(
            [sys.executable, "-c", program, kind.replace(name, f"{name},path={path}", 1)],
            capture_output=True,
            text=True,
            check=True,
        )
        path.unlink()
        found = json.loads(done.stdout)
        what = f"{kind}, {ROWS:,} rows{linked}"
        to_first = f"{what}: to its first prompt"
        if linked:  # all of it is read before: so far there is no other way
            yield Row(
                "replay", to_first, f"{found['first']:.1f} s", data={"seconds": found["first"]}
            )
        else:
            yield at_most("replay", to_first, found["first"], 2.0, " s")
        yield at_most("replay", "  to read a row and make its text", found["each"], 40, " µs", 1)
        yield at_most("replay", "  memory above an empty run", found["memory"], 150, " MB", 1)


def _write(path: Path, kind: str, *, linked: bool) -> None:
    """Write a trace; in one that is linked, three fifths of the rows go on with another."""
    draws = random.Random(1)
    at = 0.0
    going: list[tuple[int, int]] = []
    with path.open("w") as file:
        for number in range(ROWS):
            at += draws.expovariate(50 if linked else 0.5)
            parent, session = -1, number
            if linked and going and draws.random() < 0.6:
                place = draws.randrange(len(going))
                parent, session = going[place]
                going[place] = (number, session)
            elif linked:
                going.append((number, session))
                del going[:-3000]
            tokens = draws.randrange(20, 200)
            row: dict[str, Any] = {"input_length": tokens, "output_length": 4}
            row |= {"hash_ids": [number % 5000]}
            if kind == "bailian":
                row |= {"chat_id": number, "parent_chat_id": parent, "timestamp": round(at, 3)}
                row |= {"type": "text", "turn": 1}
            elif kind == "mooncake":
                row |= {"timestamp": round(at * 1e3)}
                row |= {"session_id": f"s{session}"} if linked else {}
            else:
                row = _export(number, session, at, tokens)
            file.write(json.dumps(row) + "\n")


def _export(number: int, session: int, at: float, tokens: int) -> dict[str, Any]:
    """Return an export of one span."""
    begin_ns = 1_767_225_600 * 10**9 + round(at * 1e9)
    span = {
        "traceId": f"{session:032x}",
        "spanId": f"{number:016x}",
        "name": "chat m",
        "startTimeUnixNano": str(begin_ns),
        "endTimeUnixNano": str(begin_ns + 10**7),
        "attributes": [
            {"key": "gen_ai.operation.name", "value": {"stringValue": "chat"}},
            {"key": "gen_ai.usage.input_tokens", "value": {"intValue": str(tokens)}},
            {"key": "gen_ai.usage.output_tokens", "value": {"intValue": "4"}},
        ],
    }
    return {"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}


def read_long() -> None:
    """Read the workload that the command line names to its end, and print what that took."""
    short = BUILD / "replay" / "short.jsonl"
    short.write_text('{"timestamp": 0, "input_length": 9, "output_length": 1, "session_id": 1}\n')
    for extra in ("", ",start=0,sort=true"):  # an empty run: everything is imported
        workload = load_workload(f"mooncake,path={short}{extra}").parts[0].workload
        assert isinstance(workload, SessionKind)
        workload.made(next(workload.sessions("s1", 1)).turns[0].ask)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begun = time.perf_counter()
    workload = load_workload(sys.argv[1]).parts[0].workload
    assert isinstance(workload, SessionKind)
    sessions = workload.sessions("s1", 1)
    first = next(sessions)
    workload.made(first.turns[0].ask)
    took = time.perf_counter() - begun
    begun = time.process_time()
    count = 1
    for session in sessions:
        for turn in session.turns:
            workload.made(turn.ask)
            count += 1
    each = (time.process_time() - begun) / count
    more = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(json.dumps({"first": took, "each": each * 1e6, "memory": more}))
