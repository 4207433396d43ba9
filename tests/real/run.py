"""Runs `benchcore climb` and `benchcore check` against real servers and looks at what they find.

    python tests/real/run.py [NAME ...] [--output DIR] [--benchcore PROGRAM]

Each server is installed if it has to be, started, climbed, checked and stopped. The checks that
fail must be those of `findings.yaml`, which says of each why that is the server's fault. One line
per server goes to stdout; what benchcore prints goes to stderr. Exits with 1 if any server or run
folder is not as it should be.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from servers import HERE, KEY, REAL, SERVERS, RealServerError, Server, interrupt_on_term, started

FINDINGS = yaml.safe_load((HERE / "findings.yaml").read_text())
LEVELS = {"c1": 1, "c4": 4}
REQUESTS = 20
FILES = ("run.json", "summary.csv", "requests.csv", "timeline.csv", "histograms.hlog")
FAILURES = (
    "http_error",
    "stream_error",
    "truncated",
    "empty",
    "protocol_error",
    "connect_error",
    "timeout",
)


def run(program: str, arguments: list[str], output: Path, codes: tuple[int, ...]) -> Path:
    """Runs benchcore and returns its run folder.

    Raises:
        RealServerError: It failed, or left not exactly one new run folder.
    """
    output.mkdir(parents=True, exist_ok=True)
    before = set(output.iterdir())
    done = subprocess.run(
        [program, *arguments],
        stdout=sys.stderr,
        check=False,
        env={**os.environ, "BENCHCORE_API_KEY": KEY},
    )
    if done.returncode not in codes:
        raise RealServerError(f"benchcore {arguments[0]} ended with {done.returncode}")
    new = [path for path in output.iterdir() if path not in before and path.is_dir()]
    if len(new) != 1:
        raise RealServerError(f"expected one new run folder in {output}, not {new}")
    return new[0]


def findings(server: Server, folder: Path) -> list[str]:
    """In what the failed checks differ from those that are known."""
    report = json.loads((folder / "functional.json").read_text())
    # An error is a server that had gone by then.
    wrong = ("fail", "error")
    failed = {one["case_id"] for one in report["results"] if one["verdict"] in wrong}
    known = FINDINGS[server.name]
    always = {case for group in known["always"] for case in group["checks"]}
    sometimes = {case for group in known.get("sometimes", ()) for case in group["checks"]}
    return [
        *(f"{case} failed" for case in sorted(failed - always - sometimes)),
        *(f"{case} did not fail" for case in sorted(always - failed)),
    ]


def faults(server: Server, folder: Path, run: dict[str, Any]) -> list[str]:
    """What is wrong with a run folder, by section 7 of the contract; nothing if it is right."""
    found = [f"no {name}" for name in FILES if not (folder / name).is_file()]
    if run["status"] != "complete":
        found.append(f"status {run['status']}")
    if run["target"].get("kind") == "simulator":
        found.append("the target is the simulator")
    levels = {level["level"]: level for level in run["levels"]}
    if list(levels) != list(LEVELS):
        found.append(f"levels {list(levels)}")
    for name, level in levels.items():
        found += [f"{name}: {fault}" for fault in level_faults(server, level)]
    return found


def level_faults(server: Server, level: dict[str, Any]) -> list[str]:
    """What is wrong with one level."""
    found = []
    if level["concurrency"] != LEVELS.get(level["level"]):
        found.append(f"concurrency {level['concurrency']}")
    ended = [level[key] for key in ("ok", "failed", "cancelled", "dropped")]
    if level["scheduled"] != sum(ended) or level["scheduled"] != REQUESTS:
        found.append(f"scheduled {level['scheduled']}, ok/failed/cancelled/dropped {ended}")
    outcomes = {name: count for name, count in level["outcomes"].items() if count}
    if not set(outcomes) <= server.outcomes:
        found.append(f"outcomes {outcomes}")
    if sum(outcomes.get(name, 0) for name in FAILURES) != level["failed"]:
        found.append(f"failed {level['failed']} but outcomes {outcomes}")
    sources = level["tokens"]["token_count_source"]
    if set(sources) != {server.token_count_source}:
        found.append(f"token_count_source {sources}, not {server.token_count_source}")
    if level["validity"] not in {"valid", "suspect"}:
        found.append(f"{level['validity']}: {'; '.join(map(str, level['reasons']))}")
    for metric in ("ttft", "tpot", "itl", "e2e"):
        summary = level["metrics"].get(metric)
        if level["ok"] and (summary is None or not 0 < summary["p50"] <= summary["max"]):
            found.append(f"{metric} {summary}")
    return found


def line(server: Server, ready_seconds: float, run: dict[str, Any], wrong: list[str]) -> str:
    """The line for people."""
    levels = []
    for level in run["levels"]:
        ttft = level["metrics"].get("ttft") or {}
        at = f"{ttft['p50'] * 1e3:.1f} ms" if ttft.get("p50") is not None else "-"
        levels.append(
            f"{level['level']} {level['ok']} ok {level['failed']} failed, "
            f"{level['output_token_throughput']:.0f} tok/s, TTFT {at}, {level['validity']}"
        )
    verdict = f"WRONG: {'; '.join(wrong)}" if wrong else "right"
    return f"{server.name}: up in {ready_seconds:.1f} s | {' | '.join(levels)} | {verdict}"


def main() -> int:
    beside = Path(sys.executable).with_name("benchcore")
    parser = argparse.ArgumentParser(description="benchcore climb and check against real servers")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(SERVERS))
    parser.add_argument("--output", type=Path, default=REAL / "results")
    parser.add_argument("--benchcore", default=str(beside), help="the program to run")
    options = parser.parse_args()
    unknown = [name for name in options.names if name not in SERVERS]
    if unknown:
        parser.error(f"no server {', '.join(unknown)}; there are {', '.join(SERVERS)}")
    interrupt_on_term()
    wrong_servers = 0
    for name in options.names or SERVERS:
        server = SERVERS[name]
        try:
            server.environment.install()
            with started(server) as running:
                climb = server.climb(running.base_url, options.output)
                folder = run(options.benchcore, climb, options.output, (0,))
                check = server.check(running.base_url, options.output)
                checked = None
                if name in FINDINGS:
                    checked = run(options.benchcore, check, options.output, (0, 3, 5))
            result = json.loads((folder / "run.json").read_text())
            wrong = faults(server, folder, result)
            if checked is not None:
                wrong += findings(server, checked)
            print(line(server, running.ready_seconds, result, wrong), flush=True)
        except RealServerError as error:
            wrong = [str(error)]
            print(f"{name}: WRONG: {error}", flush=True)
        wrong_servers += bool(wrong)
    right = len(options.names or SERVERS) - wrong_servers
    print(f"{right} right, {wrong_servers} wrong")
    return 1 if wrong_servers else 0


if __name__ == "__main__":
    sys.exit(main())
