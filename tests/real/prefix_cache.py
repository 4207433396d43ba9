"""Puts the share of the input that benchcore says a prefix cache can hold beside what vLLM held.

    python tests/real/prefix_cache.py [--benchcore PROGRAM]

A vLLM with prefix caching answers a workload of conversations and one of shared prefixes. For
each, three shares are printed: `ideal`, which benchcore computes from the workload alone, in blocks
of the size that vLLM gives on `/metrics`; `reported`, from `cached_tokens` of the usage; and that
of vLLM's own counters. They must lie within two points of one another.

What a random model says is not encoded again as the tokens that it was, so that a history parts
from what is cached at its first answer. Here a bias makes the model say one word only. The last
line, which is for information, is without that bias. Exits with 1 if shares lie further apart.
"""

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path

from servers import KEY, MODEL, MODELS, REAL, SERVERS, RealServerError, interrupt_on_term, started

BLOCK = 32
"""Tokens of a block: the smallest that vLLM's attention on the CPU takes; its default is 128."""
SERVER = dataclasses.replace(
    SERVERS["vllm"],
    name="vllm-prefix-cache",
    command=(
        *SERVERS["vllm"].command,
        *("--enable-prefix-caching", "--enable-prompt-tokens-details"),
        *("--block-size", str(BLOCK)),
    ),
)
CONVERSATION = (
    "conversation,turns=uniform:2:6,input_tokens=uniform:100:300,follow_up_tokens=uniform:20:80,"
    "output_tokens=uniform:10:60,system_tokens=100,ignore_eos=true"
)
PREFIX = (
    "prefix,groups=6,popularity=zipf:1,prefix_tokens=uniform:100:400,input_tokens=uniform:20:80,"
    "output_tokens=8,ignore_eos=true"
)
CASES = (("conversation", CONVERSATION, True), ("prefix", PREFIX, True))
UNBIASED = ("conversation, random answers", CONVERSATION, False)
POINTS = 0.02


def word() -> int:
    """Return the token of a word that any text may have again and again."""
    vocabulary = json.loads((MODELS / MODEL / "tokenizer.json").read_text())["model"]["vocab"]
    found: int = vocabulary["\u0120the"]  # a space before it, as this form of BPE writes it
    return found


def counters(base_url: str) -> tuple[float, float]:
    """Return the tokens that vLLM has looked up in its prefix cache, and those that were there."""
    with urllib.request.urlopen(f"{base_url}/metrics", timeout=60) as response:
        lines = response.read().decode().splitlines()
    found = {line.partition("{")[0]: float(line.split()[-1]) for line in lines if line[0] != "#"}
    return found["vllm:prefix_cache_queries_total"], found["vllm:prefix_cache_hits_total"]


def climb(program: str, base_url: str, case: tuple[str, str, bool]) -> dict[str, float | None]:
    """Run one level and return its shares.

    Raises:
        RealServerError: benchcore failed, or not every request was answered.
    """
    name, workload, biased = case
    bias = {"logit_bias": {str(word()): 100}} if biased else {}
    done = subprocess.run(
        [
            *(program, "climb", "--base-url", base_url, "--workload", workload),
            *("--concurrency", "1", "--requests", "120", "--warmup", "0"),
            # Each with texts of its own: nothing is in the cache before.
            *("--seed", str(len(name))),
            *("--extra-body", json.dumps({**bias, "temperature": 1.0})),
            *("--json", "--quiet"),
            *("--output", str(REAL / "results"), "--name", "prefix-cache"),
        ],
        env={**os.environ, "BENCHCORE_API_KEY": KEY},
        stdout=subprocess.PIPE,
        check=False,
    )
    if done.returncode:
        raise RealServerError(f"benchcore climb ended with {done.returncode}")
    (level,) = json.loads(done.stdout)["levels"]
    if level["ok"] != level["scheduled"]:
        raise RealServerError(f"outcomes {level['outcomes']}")
    cache: dict[str, float | None] = level["prefix_cache"]
    return cache


def show(program: str, base_url: str, case: tuple[str, str, bool]) -> bool:
    """Climb one case and print its line; returns whether its shares lie close together."""
    before = counters(base_url)
    cache = climb(program, base_url, case)
    queries, hits = (now - then for now, then in zip(counters(base_url), before, strict=True))
    shares = (cache["ideal"], cache["reported"], hits / queries)
    known = [share for share in shares if share is not None]
    close = len(known) == len(shares) and max(known) - min(known) <= POINTS
    close = close and cache["block_tokens"] == BLOCK
    said = ["unknown" if share is None else f"{share:.1%}" for share in shares]
    print(
        f"{case[0]}: ideal {said[0]} in blocks of {cache.get('block_tokens')} tokens, "
        f"reported {said[1]}, vLLM's counters {said[2]}",
        flush=True,
    )
    return close


def main() -> int:
    parser = argparse.ArgumentParser(description="prefix cache: foreseen and reported")
    beside = Path(sys.executable).with_name("benchcore")
    parser.add_argument("--benchcore", default=str(beside), help="the program to run")
    program = parser.parse_args().benchcore
    interrupt_on_term()
    try:
        SERVER.environment.install()
        with started(SERVER) as running:
            wrong = [case[0] for case in CASES if not show(program, running.base_url, case)]
            show(program, running.base_url, UNBIASED)
    except RealServerError as error:
        wrong = [str(error)]
    for fault in wrong:
        print(f"WRONG: {fault}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
