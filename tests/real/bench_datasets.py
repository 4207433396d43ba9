"""Puts the requests that benchcore makes of ShareGPT and BurstGPT beside those of vLLM's benchmark.

    python tests/real/bench_datasets.py

Both read the same two files, which are written here, with the same seeds and the tiny model's
tokenizer: vLLM's by `vllm.benchmarks.datasets` in its own environment, benchcore's by
`sharegpt,filters=vllm` and `burstgpt,model=GPT-4`. ShareGPT's requests must be the same, texts,
lengths and order. Of BurstGPT's the rows must be the same; their order must be that in which pandas
draws them, and a line says how long vLLM's prompts really are. Exits with 1 if anything is not so.
"""

import asyncio
import csv
import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from servers import MODEL, MODELS, OFFLINE, REAL, VLLM, RealServerError

from benchcore.workload.datasets import ShareGPT
from benchcore.workload.token_costs import LocalTokenizer
from benchcore.workload.traces import BurstGPT

FOLDER = REAL / "bench-datasets"
WORDS = (
    "tide",
    "lamp",
    "why",
    "does",
    "the",
    "a",
    "of",
    "Node",
    "import",
    "for",
    "潮",
    "海水",
    "🙂",
)
CASES = (
    # What each is asked: seed, number of requests, output length instead of the recorded one.
    *((seed, count, None) for seed in (0, 1, 42) for count in (1, 20, 5000)),
    *((7, count, 64) for count in (20, 5000)),
)
BURSTS = tuple((seed, count) for seed in (0, 42) for count in (30, None))
"""Seeds and numbers of requests; `None`: as many as there are rows."""
ASKED = """
import json, sys
from transformers import AutoTokenizer
from vllm.benchmarks.datasets import BurstGPTDataset, ShareGPTDataset

share, burst, model, cases, bursts = json.loads(sys.argv[1])
tokenizer = AutoTokenizer.from_pretrained(model)
found = []
for seed, count, output in cases:
    data = ShareGPTDataset(random_seed=seed, dataset_path=share)
    found.append(data.sample(tokenizer=tokenizer, num_requests=count, output_len=output))
for seed, count in bursts:
    data = BurstGPTDataset(random_seed=seed, dataset_path=burst)
    found.append(data.sample(tokenizer=tokenizer, num_requests=count))
rows = [[(one.prompt, one.prompt_len, one.expected_output_len) for one in some] for some in found]
with open(sys.argv[2], "w") as file:
    json.dump(rows, file)
"""
Asked = tuple[str, int, int]
"""A prompt, its length in tokens, and that of the answer."""


def write_share(path: Path) -> None:
    """Write conversations of all lengths, those that the filters leave out among them."""
    draws = random.Random(20)

    def text(words: int) -> str:
        return " ".join(draws.choice(WORDS) for _ in range(words))

    found = []
    for number in range(600):
        # A word is one to three tokens: some prompts are over 1024, some pairs over 2048.
        lengths = [int(draws.lognormvariate(4, 2)) % 1500 for _ in range(draws.randrange(1, 5))]
        said = [
            {"from": ("human", "gpt")[place % 2], "value": text(words)}
            for place, words in enumerate(lengths)
        ]
        if number % 50 == 0:
            said.insert(0, {"from": "gpt", "value": "Welcome back, how can I help?"})
        found.append({"id": f"talk{number}", "conversations": said})
    found.insert(3, {"id": "none", "conversations": []})
    path.write_text(json.dumps(found, ensure_ascii=False))


def write_burst(path: Path) -> int:
    """Write rows of two models, some of which failed; returns how many vLLM takes."""
    draws = random.Random(21)
    taken = 0
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        heads = "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type"
        rows.writerow(heads.split(","))
        for second in range(300):
            model = draws.choice(["GPT-4", "ChatGPT"])
            asked, told = draws.randrange(1, 900), draws.choice([0, draws.randrange(1, 500)])
            rows.writerow([second, model, asked, told, asked + told, "Conversation log"])
            taken += model == "GPT-4" and told > 0
    return taken


def vllm_requests(share: Path, burst: Path, bursts: list[tuple[int, int]]) -> list[list[Asked]]:
    """Return what vLLM would send, of each case of ShareGPT's and then of BurstGPT's.

    Raises:
        RealServerError: its program failed.
    """
    target = FOLDER / "vllm.json"
    arguments = json.dumps([str(share), str(burst), str(MODELS / MODEL), CASES, bursts])
    done = subprocess.run(
        [VLLM.program("python"), "-c", ASKED, arguments, str(target)],
        env={**os.environ, **OFFLINE},
        stdout=sys.stderr,
        check=False,
    )
    if done.returncode:
        raise RealServerError(f"vllm.benchmarks.datasets ended with {done.returncode}")
    return [[(one[0], one[1], one[2]) for one in some] for some in json.loads(target.read_text())]


def sharegpt(
    path: Path, tokenizer: LocalTokenizer, seed: int, count: int, output: int | None
) -> list[Asked]:
    """Return what benchcore sends of ShareGPT, lengths counted as a completions endpoint would."""
    kind = ShareGPT(
        path=str(path), filters="vllm", seed=seed, sample=count, output_tokens=output or None
    )
    asyncio.run(kind.prepare(tokenizer))
    found = []
    for session in kind.sessions("c1", 1):
        (turn,) = session.turns
        prompt = kind.made(turn.ask)
        (message,) = prompt.chat()
        text = message["content"]
        found.append((text, tokenizer.tokens(text), prompt.output_tokens or 0))
    return found


def burstgpt(path: Path) -> list[tuple[int, int]]:
    """Return the lengths of what benchcore sends of BurstGPT, in its order."""
    kind = BurstGPT(path=str(path), model="GPT-4")
    asks = [session.turns[0].ask for session in kind.sessions("replay", 1)]
    return [(ask.input_tokens or 0, ask.output_tokens or 0) for ask in asks]


def drawn(rows: list[tuple[int, int]], seed: int, count: int) -> list[tuple[int, int]]:
    """Return rows as `DataFrame.sample` draws them: by the generator that NumPy had before 1.17."""
    places = np.random.RandomState(seed).choice(len(rows), size=count, replace=False)
    return [rows[place] for place in places]


def faults() -> Iterator[str]:
    """Compare, print a line for each file, and yield what differs."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    share, burst = FOLDER / "share.json", FOLDER / "burst.csv"
    write_share(share)
    taken = write_burst(burst)
    bursts = [(seed, count or taken) for seed, count in BURSTS]
    theirs = vllm_requests(share, burst, bursts)
    tokenizer = LocalTokenizer(MODELS / MODEL)
    same = 0
    for case, asked in zip(CASES, theirs, strict=False):
        ours = sharegpt(share, tokenizer, *case)
        if ours == asked:
            same += len(ours)
        else:
            yield f"sharegpt {case}: {difference(ours, asked)}"
    print(f"sharegpt: {same} requests in {len(CASES)} cases are the same")
    rows = burstgpt(burst)
    lengths: list[Any] = []
    for (seed, count), asked in zip(bursts, theirs[len(CASES) :], strict=True):
        ours = drawn(rows, seed, count)
        if ours != [one[1:] for one in asked]:
            yield f"burstgpt seed {seed}: {difference(ours, [one[1:] for one in asked])}"
        lengths += [(tokenizer.tokens(text), said) for text, said, _ in asked]
    ratio = sum(real for real, _ in lengths) / sum(said for _, said in lengths)
    off = sum(real != said for real, said in lengths) / len(lengths)
    print(
        f"burstgpt: {len(rows)} rows are the same, and pandas' order is as foreseen; of vLLM's "
        f"prompts {off:.0%} have another length than it says, on the whole {ratio:.2f} times it"
    )


def difference(ours: list[Any], theirs: list[Any]) -> str:
    """Return where two lists part."""
    pairs = enumerate(zip(ours, theirs, strict=False))
    place = next((n for n, (one, other) in pairs if one != other), min(len(ours), len(theirs)))
    shown = [str(some[place : place + 1])[:200] for some in (ours, theirs)]
    return f"{len(ours)} and {len(theirs)} requests, from {place} on {shown[0]} and {shown[1]}"


def main() -> int:
    try:
        VLLM.install()
        wrong = list(faults())
    except RealServerError as error:
        wrong = [str(error)]
    for fault in wrong:
        print(f"WRONG: {fault}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
