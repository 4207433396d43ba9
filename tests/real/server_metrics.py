"""Puts what vLLM's counters and histograms say of a run beside what benchcore counted by request.

    python tests/real/server_metrics.py [--benchcore PROGRAM]

A vLLM answers a climb of one user: with several, some requests would be broken off behind the
window. Over all that was read of its page, its counters of requests, prompt tokens and generated
tokens must have grown by exactly what the rows of `requests.csv` come to. Our median
time to the first token must not lie below the bounds that its histogram has for that, and our
fastest not more than 10 ms above: requests travel, and wait for a processor on either side. And
each answer must say what its request spent in queue, prefill and decode, which is less than what
it took. Exits with 1 if anything of this is not so.
"""

import argparse
import csv
import gzip
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from servers import KEY, SERVERS, RealServerError, interrupt_on_term, started

COUNTERS = {
    "vllm:request_success_total": "requests",
    "vllm:prompt_tokens_total": "prompt_tokens",
    "vllm:generation_tokens_total": "output_tokens",
}
BEYOND_SECONDS = 0.010


def climb(program: str, base_url: str, results: Path) -> Path:
    """Climb, and return the folder of the run.

    Raises:
        RealServerError: benchcore failed.
    """
    done = subprocess.run(
        [
            *(program, "climb", "--base-url", base_url, "--concurrency", "1"),
            *("--requests", "60", "--warmup", "4", "--input-tokens", "64"),
            *("--output-tokens", "16", "--quiet", "--output", str(results)),
        ],
        env={**os.environ, "BENCHCORE_API_KEY": KEY},
        check=False,
    )
    if done.returncode:
        raise RealServerError(f"benchcore climb ended with {done.returncode}")
    (folder,) = results.iterdir()
    return folder


def grown(folder: Path) -> dict[str, float]:
    """Return what each counter has grown by, from the first page to the last."""
    first: dict[tuple[str, str], float] = {}
    last: dict[tuple[str, str], float] = {}
    with gzip.open(folder / "server_metrics.csv.gz", "rt", newline="") as file:
        for row in csv.DictReader(file):
            if row["name"] in COUNTERS:
                series = row["name"], row["labels"]
                first.setdefault(series, float(row["value"]))
                last[series] = float(row["value"])
    sums = dict.fromkeys(COUNTERS.values(), 0.0)
    for (name, labels), value in last.items():
        sums[COUNTERS[name]] += value - first[name, labels]
    return sums


def faults(folder: Path) -> Iterator[str]:
    """Yield what does not agree."""
    with (folder / "requests.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["outcome"] == "ok"]
    counted = {
        "requests": float(len(rows)),
        "prompt_tokens": sum(float(row["prompt_tokens"]) for row in rows),
        "output_tokens": sum(float(row["output_tokens"]) for row in rows),
    }
    said = grown(folder)
    print(f"by request {counted}, by vLLM's counters {said}", flush=True)
    if said != counted:
        yield f"counters: vLLM says {said}, the rows come to {counted}"
    level = json.loads((folder / "run.json").read_bytes())["levels"][-1]
    (figures,) = level["server_metrics"]
    lower, upper = figures["histograms"]["ttft"]["p50"]
    ours, fastest = (level["metrics"]["ttft"][name] for name in ("p50", "min"))
    told = f"ttft p50 {ours:.4f} s (min {fastest:.4f} s), by vLLM's histogram {lower} to {upper} s"
    print(told, flush=True)
    if not lower <= ours or fastest > upper + BEYOND_SECONDS:
        yield told
    for row in rows:
        queue, prefill, decode = (
            float(row[f"server_{part}_seconds"] or "nan") for part in ("queue", "prefill", "decode")
        )
        took = float(row["last_token_seconds"]) - float(row["sent_seconds"])
        if row["server_source"] != "vllm" or not 0 < queue + prefill + decode < took:
            yield f"{row['request_id']}: {queue} + {prefill} + {decode} s of {took} s"
            return


def main() -> int:
    parser = argparse.ArgumentParser(description="a server's own metrics beside ours")
    beside = Path(sys.executable).with_name("benchcore")
    parser.add_argument("--benchcore", default=str(beside), help="the program to run")
    program = parser.parse_args().benchcore
    interrupt_on_term()
    server = SERVERS["vllm"]
    try:
        server.environment.install()
        with started(server) as running, tempfile.TemporaryDirectory() as results:
            wrong = list(faults(climb(program, running.base_url, Path(results))))
    except RealServerError as error:
        wrong = [str(error)]
    for fault in wrong:
        print(f"WRONG: {fault}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
