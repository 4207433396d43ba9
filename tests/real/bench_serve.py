"""Runs vLLM's own `vllm bench serve`, to put its figures beside those of `benchcore climb`.

    python tests/real/bench_serve.py --output FILE.json [--base-url URL] [--concurrency 4] ...

Without `--base-url` the registry's vLLM server is started for it. Its result file is kept as it is
written, and one line of its main figures is printed. `--prompts FILE` sends the prompts of a JSONL
file, each line `{"prompt": "..."}`, in their order; otherwise the prompts are its own random ones.
It always sends one more request before the measured ones, to see whether the server answers.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

from servers import KEY, MODEL, MODELS, OFFLINE, SERVERS, VLLM, RealServerError, started

ENDPOINTS = {
    "chat": ("openai-chat", "/v1/chat/completions"),
    "completions": ("openai", "/v1/completions"),
}


def command(options: argparse.Namespace, base_url: str) -> list[str]:
    """The command line of `vllm bench serve`."""
    backend, path = ENDPOINTS[options.endpoint]
    if options.prompts:
        dataset = [
            *("--dataset-name", "custom"),
            *("--dataset-path", str(options.prompts.resolve())),
            *("--custom-output-len", str(options.output_tokens)),
            # The prompt goes out as it stands; the chat endpoint applies the template.
            *("--skip-chat-template", "--disable-shuffle"),
        ]
    else:
        dataset = [
            *("--dataset-name", "random"),
            *("--random-input-len", str(options.input_tokens)),
            *("--random-output-len", str(options.output_tokens)),
        ]
    return [
        VLLM.program("vllm"),
        *("bench", "serve"),
        *("--backend", backend),
        *("--base-url", base_url),
        *("--endpoint", path),
        *("--model", MODEL),
        *("--tokenizer", str(MODELS / MODEL)),
        *dataset,
        *("--num-prompts", str(options.requests)),
        *("--max-concurrency", str(options.concurrency)),
        *("--num-warmups", str(options.warmup)),
        *("--seed", str(options.seed)),
        *("--percentile-metrics", "ttft,tpot,itl,e2el"),
        *("--metric-percentiles", "50,75,90,95,99"),
        "--ignore-eos",
        "--disable-tqdm",
        "--save-result",
        *(("--save-detailed",) if options.detailed else ()),
        *("--result-dir", str(options.output.resolve().parent)),
        *("--result-filename", options.output.name),
    ]


def bench(options: argparse.Namespace, base_url: str) -> dict[str, object]:
    """Runs it and returns its result file.

    Raises:
        RealServerError: It failed, or wrote no result.
    """
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.unlink(missing_ok=True)
    done = subprocess.run(
        command(options, base_url),
        env={**os.environ, **OFFLINE, "OPENAI_API_KEY": KEY},
        stdout=sys.stderr,
        check=False,
    )
    if done.returncode or not options.output.exists():
        raise RealServerError(f"vllm bench serve ended with {done.returncode}, no {options.output}")
    result: dict[str, object] = json.loads(options.output.read_text())
    return result


def main() -> int:
    parser = argparse.ArgumentParser(description="vllm bench serve against the tiny model")
    parser.add_argument("--output", type=Path, required=True, help="where its JSON goes")
    parser.add_argument("--base-url", help="a running server; default: start the registry's vllm")
    parser.add_argument("--endpoint", choices=ENDPOINTS, default="chat")
    parser.add_argument("--prompts", type=Path, help='JSONL of {"prompt": ...}')
    parser.add_argument("--input-tokens", type=int, default=32, help="of the random prompts")
    parser.add_argument("--output-tokens", type=int, default=32)
    parser.add_argument("--requests", type=int, default=100)
    parser.add_argument("--concurrency", type=int, default=4)
    parser.add_argument("--warmup", type=int, default=4, help="requests before the measured ones")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--detailed", action="store_true", help="keep every request's figures")
    options = parser.parse_args()
    try:
        VLLM.install()
        with contextlib.ExitStack() as stack:
            base_url = options.base_url
            if base_url is None:
                base_url = stack.enter_context(started(SERVERS["vllm"])).base_url
            result = bench(options, base_url.removesuffix("/").removesuffix("/v1"))
    except RealServerError as error:
        print(error, file=sys.stderr)
        return 1
    keys = ("completed", "failed", "duration", "request_throughput", "output_throughput")
    figures = [
        f"{at}_{metric}_ms" for metric in ("ttft", "tpot", "itl") for at in ("median", "p99")
    ]
    print(json.dumps({key: result.get(key) for key in (*keys, *figures)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
