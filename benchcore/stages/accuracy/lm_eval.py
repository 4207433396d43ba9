"""lm-eval: EleutherAI's lm-evaluation-harness as it is, run or read."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import orjson

from benchcore.config.json_file import read_json
from benchcore.config.target import PATHS
from benchcore.errors import ConfigError
from benchcore.metrics.accuracy import AccuracyReport, Sample, SampleOutcome
from benchcore.metrics.scores import CONFIDENCE, Estimate, student_t

if TYPE_CHECKING:
    from benchcore.config.eval import EvalConfig
    from benchcore.config.target import Target

_NAMES: Final = ("lm-eval", "lm_eval")
_KINDS: Final = {"chat": "local-chat-completions", "completions": "local-completions"}


def lm_eval_command(
    task: str, target: Target, config: EvalConfig, folder: Path, beside: tuple[str, ...]
) -> list[str]:
    """Return the command that has lm-eval ask a task.

    Args:
        task: by its name there.
        target: with its model.
        config: how; what lm-eval cannot be told is refused.
        folder: where it writes.
        beside: its own options, passed on.

    Raises:
        ConfigError: it is not installed, or cannot do what is asked.
    """
    program = next(filter(None, map(shutil.which, _NAMES)), None)
    if program is None:
        raise ConfigError("--provider lm-eval: there is no lm-eval; pip install 'lm_eval[api]'")
    kind = _KINDS.get(target.endpoint)
    if kind is None:
        raise ConfigError(f"--provider lm-eval does not ask the endpoint {target.endpoint}")
    if config.rate is not None:
        raise ConfigError("--provider lm-eval asks so many at a time: leave --rate out")
    if (config.n_repeats or 1) > 1:
        raise ConfigError("--provider lm-eval: repeats are the task's own: leave --n-repeats out")
    facts = {
        "model": target.model,
        "base_url": target.url(PATHS[target.endpoint]),
        "num_concurrent": config.concurrency,
        "max_retries": config.retries + 1,
        "tokenized_requests": False,
    }
    sampling = f"temperature={config.temperature:g},max_gen_toks={config.max_tokens}"
    command = [
        *(program, "run", "--model", kind, "--tasks", task),
        *("--model_args", ",".join(f"{name}={value}" for name, value in facts.items())),
        *("--gen_kwargs", sampling, "--output_path", str(folder), "--log_samples"),
    ]
    if target.endpoint == "chat":
        command.append("--apply_chat_template")
    if config.system is not None:
        command += ["--system_instruction", config.system]
    if config.limit is not None:
        command += ["--limit", str(config.limit)]
    if config.few_shot:
        command += ["--num_fewshot", str(config.few_shot)]
    return [*command, *beside]


def read_lm_eval(path: Path, task: str | None = None) -> AccuracyReport:
    """Return an eval from what lm-eval wrote.

    Args:
        path: its `results_….json`, or a folder that holds one; the newest counts.
        task: which of its tasks; `None`: the only one.

    Raises:
        ConfigError: it is not there, or is not what lm-eval writes.
    """
    if path.is_dir():
        found = sorted(path.rglob("results_*.json"), key=lambda one: one.name)
        if not found:
            raise ConfigError(f"{path}: holds no results of lm-eval")
        path = found[-1]
    results = read_json(path)
    try:
        return _report(results, path, task)
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"{path}: is not what lm-eval writes: {error!r}") from None


def _report(results: dict[str, Any], path: Path, task: str | None) -> AccuracyReport:
    tasks = list(results["results"])
    if task is None and len(tasks) == 1:
        task = tasks[0]
    if task is None or task not in tasks:
        raise ConfigError(f"{path}: name one of its tasks: {', '.join(tasks)}")
    figures = {
        name: float(value)
        for name, value in results["results"][task].items()
        if "," in name and isinstance(value, (int, float))
    }
    # The first figure with a standard error is the one that the task's authors put first.
    metric = next(name for name in figures if _stderr(name) in figures)
    count = int(results["n-samples"][task]["effective"])
    score, stderr = figures[metric], figures[_stderr(metric)]
    half = student_t((1 + CONFIDENCE) / 2, max(count - 1, 1)) * stderr
    estimate = Estimate(score, stderr, max(score - half, 0.0), min(score + half, 1.0), count, count)
    report = AccuracyReport(
        task=task,
        config=dict(results["config"]),
        target={"kind": "server", "model": results.get("model_name"), "base_url": None},
        origin={
            "provider": "lm-eval",
            "version": results.get("lm_eval_version"),
            "metric": metric,
            "file": path.name,
            "interval": "score ± t · its standard error",
        },
        samples=_samples(path, task, metric),
        planned=count,
        figures=figures,
        given=estimate,
        status="complete",
        seconds=float(results.get("total_evaluation_time_seconds") or 0.0),
    )
    given = results["config"].get("model_args")
    if isinstance(given, dict):
        report.target["base_url"] = given.get("base_url")
    return report


def _stderr(metric: str) -> str:
    name, _, rule = metric.partition(",")
    return f"{name}_stderr,{rule}"


def _samples(path: Path, task: str, metric: str) -> list[Sample]:
    """Return the samples that lie beside the results, where they were logged."""
    beside = path.with_name(path.name.replace("results_", f"samples_{task}_", 1)).with_suffix(
        ".jsonl"
    )
    if not beside.is_file():
        return []
    name, _, rule = metric.partition(",")
    found: list[Sample] = []
    for line in beside.read_bytes().splitlines():
        entry = orjson.loads(line)
        if entry.get("filter", rule) != rule or name not in entry:
            continue
        answer = entry["filtered_resps"][0]
        found.append(
            Sample(
                index=len(found),
                question=str(entry["doc_hash"])[:16],
                repeat=0,
                group="",
                target=str(entry["target"])[:80],
                facts={"id": entry["doc_id"]},
                outcome=SampleOutcome.SCORED,
                extracted=str(answer)[:80],
                score=float(entry[name]),
                tries=1,
                prompt_sha256=str(entry["prompt_hash"]),
            )
        )
    return found
