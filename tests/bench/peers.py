"""Peers: whole processes of `benchcore climb`, of vLLM's Rust client and of a bare reader in C.

`make bench-peers` fetches the client, the file `vllm/vllm-rs` of the vllm wheel, and makes a
tokenizer for it. CPU is user and system time of the whole process; tokens are those that the server
wrote.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from tests.bench.fixture import BUILD, build, server
from tests.bench.row import Row, at_most

PEERS = BUILD / "peers"
RUST = PEERS / "vllm-rs"
VERSION = "0.33.0"
TOKENS = 100


@dataclass(frozen=True, slots=True)
class Shape:
    """One load: users, the time between tokens, and the targets of the whole process."""

    name: str
    users: int
    interval_ms: float
    tokens: int
    whole: float
    after_start: float | None = None
    after_start_bare: float | None = None


SHAPES = (
    Shape("256 × 100 tokens/s", 256, 10, 100, 0.9, 0.75, 1.4),
    Shape("64 × 100 tokens/s", 64, 10, 100, 1.2),
    Shape("1,000 × 50 tokens/s", 1000, 20, 50, 0.8),
)


def fetch() -> None:
    """Take the client out of its wheel, and make a tokenizer."""
    from tokenizers import Tokenizer, models, pre_tokenizers  # of the extra alone

    PEERS.mkdir(parents=True, exist_ok=True)
    if not RUST.exists():
        with tempfile.TemporaryDirectory(dir=PEERS) as folder:
            pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
            subprocess.run([*pip, "--dest", folder, f"vllm=={VERSION}"], check=True)
            (wheel,) = Path(folder).iterdir()
            with (
                zipfile.ZipFile(wheel) as archive,
                archive.open("vllm/vllm-rs") as source,
                RUST.open("wb") as file,
            ):
                shutil.copyfileobj(source, file)
        RUST.chmod(0o755)
    words = {f"w{number}": number for number in range(2000)}
    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 2000, **words}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    (PEERS / "tokenizer").mkdir(exist_ok=True)
    tokenizer.save(str(PEERS / "tokenizer" / "tokenizer.json"))


def cpu_seconds(command: Sequence[str], **environ: str) -> float:
    """Run a command and return the processor time it took, with its children."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, **environ}
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode not in (0, 4):
        raise SystemExit(f"{' '.join(command)}\nexit {done.returncode}\n{done.stderr[-2000:]}")
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def rust(url: str, shape: Shape, requests: int) -> float:
    """Run vLLM's Rust client."""
    return cpu_seconds(
        [
            *(str(RUST), "bench", "serve", "--backend", "openai-chat", "--base-url", url),
            *("--model", "bench", "--tokenizer", str(PEERS / "tokenizer")),
            *("--dataset-name", "random", "--random-input-len", "16"),
            *("--random-output-len", str(shape.tokens), "--num-prompts", str(requests)),
            *("--max-concurrency", str(shape.users), "--seed", "1"),
        ]
    )


def climb(url: str, shape: Shape, requests: int, reader: str = "auto", *options: str) -> float:
    """Run `benchcore climb`."""
    results = tempfile.mkdtemp(prefix="peers-", dir=BUILD)
    try:
        return cpu_seconds(
            [
                *(str(Path(sys.executable).with_name("benchcore")), "climb", "--base-url", url),
                *("--concurrency", str(shape.users), "--requests", str(requests)),
                *("--input-tokens", "16", "--output-tokens", str(shape.tokens), "--seed", "1"),
                *("--warmup", "0s", "--idle", "0s", "--output", results),
                *("--quiet", "--no-progress", *options),
            ],
            BENCHCORE_READER=reader,
        )
    finally:
        shutil.rmtree(results)


def bare(url: str, shape: Shape, requests: int) -> float:
    """Run the reader in C that stamps and parses nothing."""
    port = url.rpartition(":")[2]
    sizes = map(str, (shape.users, requests, shape.tokens))
    return cpu_seconds([str(build("reader")), port, *sizes])


def measured(
    run: Callable[[str, Shape, int], float], shape: Shape, requests: int
) -> tuple[float, int]:
    """Run a program against a fresh server; return its CPU seconds and the tokens it was sent."""
    with server(interval_ms=shape.interval_ms) as target:
        cpu = run(target.base_url, shape, requests)
        time.sleep(0.2)  # of what was cut off the server notices the end at its next token
    return cpu, target.counts["tokens"]


def rows(*, rounds: int = 3) -> Iterator[Row]:
    """Measure in turns and yield the medians of the ratios within a round."""
    if not RUST.exists():
        yield Row("peers", "vLLM's Rust client is not here: make bench-peers fetches it", "")
        return
    programs: dict[str, Callable[[str, Shape, int], float]] = {
        "rust": rust,
        "climb": climb,
        "bare": bare,
        "python": lambda url, shape, requests: climb(url, shape, requests, "python"),
    }
    for shape in SHAPES:
        whole: dict[str, list[float]] = {name: [] for name in programs}
        slope: dict[str, list[float]] = {name: [] for name in programs}
        for _ in range(rounds):
            for name, program in programs.items():
                few, few_tokens = measured(program, shape, shape.users)
                many, many_tokens = measured(program, shape, 10 * shape.users)
                whole[name].append(many / many_tokens * 1e6)
                slope[name].append((many - few) / (many_tokens - few_tokens) * 1e6)

        def ratio(costs: dict[str, list[float]], name: str = "climb", below: str = "rust") -> float:
            return median(a / b for a, b in zip(costs[name], costs[below], strict=True))

        yield Row("peers", f"{shape.name}, {10 * shape.users:,} requests:", "")
        data = {"whole": whole, "after_start": slope}
        yield at_most("peers", "  CPU, climb ÷ Rust, whole", ratio(whole), shape.whole, **data)
        after = ratio(slope)
        if shape.after_start is None:
            yield Row("peers", "  CPU, climb ÷ Rust, after start-up", f"{after:.2f}")
        else:
            yield at_most("peers", "  CPU, climb ÷ Rust, after start-up", after, shape.after_start)
        lean = ratio(slope, below="bare")
        if shape.after_start_bare is None:
            yield Row("peers", "  CPU, climb ÷ bare reader in C, after start-up", f"{lean:.2f}")
        else:
            what = "  CPU, climb ÷ bare reader in C, after start-up"
            yield at_most("peers", what, lean, shape.after_start_bare)
        both = f"{ratio(whole, 'python'):.2f} / {ratio(slope, 'python'):.2f}"
        yield Row("peers", "  the same with the reader in Python", both)
        each = "/".join(f"{median(whole[name]):.1f}" for name in programs)
        yield Row("peers", "  µs a token, whole: Rust, climb, bare C, with Python", each)
        each = "/".join(f"{median(slope[name]):.1f}" for name in programs)
        yield Row("peers", "  µs a token, after start-up, likewise", each)


if __name__ == "__main__":
    fetch()
