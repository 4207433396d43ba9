"""Providers: lm-evaluation-harness and simple-evals as they are, run or read."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import orjson

from benchcore.base.errors import ConfigError
from benchcore.base.files import read_json
from benchcore.config.target import PATHS
from benchcore.metrics.accuracy import Sample, SampleOutcome
from benchcore.metrics.scores import CONFIDENCE, Estimate, estimate, student_t
from benchcore.runs.facts import TargetFacts
from benchcore.runs.samples import Eval, EvalOrigin

if TYPE_CHECKING:
    from benchcore.config.evals import EvalConfig
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
        raise ConfigError(
            "--provider lm-eval: lm-eval is not installed; pip install 'lm_eval[api]'"
        )
    kind = _KINDS.get(target.endpoint)
    if kind is None:
        raise ConfigError(f"--provider lm-eval does not ask the endpoint {target.endpoint}")
    if config.rate is not None:
        raise ConfigError(
            "--provider lm-eval asks a fixed number of questions at a time: leave --rate out"
        )
    if (config.n_repeats or 1) > 1:
        raise ConfigError(
            "--provider lm-eval: the task sets its own repeats: leave out --n-repeats"
        )
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


def read_lm_eval(path: Path, task: str | None = None) -> Eval:
    """Return an eval from what lm-eval wrote.

    Args:
        path: its `results_….json`, or a folder that holds one; the newest counts.
        task: which of its tasks; `None`: the only one.

    Raises:
        ConfigError: it is not there, or is not what lm-eval writes.
    """
    if path.is_dir():
        files = sorted(path.rglob("results_*.json"), key=lambda file: file.name)
        if not files:
            raise ConfigError(f"{path}: holds no results of lm-eval")
        path = files[-1]
    results = read_json(path)
    try:
        return _report(results, path, task)
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"{path}: is not what lm-eval writes: {error!r}") from None


def _report(results: dict[str, Any], path: Path, task: str | None) -> Eval:
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
    interval = max(score - half, 0.0), min(score + half, 1.0)
    given = results["config"].get("model_args")
    return Eval.begun(
        task,
        config=dict(results["config"]),
        target=TargetFacts(
            kind="server",
            model=results.get("model_name"),
            base_url=given.get("base_url") if isinstance(given, dict) else None,
        ),
        origin=EvalOrigin(
            provider="lm-eval",
            version=results.get("lm_eval_version"),
            metric=metric,
            file=path.name,
            interval="score ± t · its standard error",
        ),
        samples=_samples(path, task, metric),
        planned=count,
        figures=figures,
        score=Estimate(score=score, stderr=stderr, interval=interval, n=count, questions=count),
        status="complete",
        seconds=float(results.get("total_evaluation_time_seconds") or 0.0),
    )


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
    samples: list[Sample] = []
    for line in beside.read_bytes().splitlines():
        entry = orjson.loads(line)
        if entry.get("filter", rule) != rule or name not in entry:
            continue
        answer = entry["filtered_resps"][0]
        samples.append(
            Sample(
                index=len(samples),
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
    return samples


VARIABLE: Final = "BENCHCORE_SIMPLE_EVALS"
"""Names the folder of a checkout of simple-evals, which is no package that can be installed."""
EVALS: Final = ("gpqa", "mmlu", "mgsm")
"""Its evals that need no grader model."""
_SCORE: Final = re.compile(r"<p>Score: ([0-9.]+)</p>")

# What it runs is its own: this only says which eval and which model. Its package has a dash in its
# name as a checkout, so that it is imported by name.
_DRIVER: Final = """
import importlib, json, sys
from pathlib import Path
package, name, facts, out = sys.argv[1], sys.argv[2], json.loads(sys.argv[3]), Path(sys.argv[4])
sampler = importlib.import_module(package + ".sampler.chat_completion_sampler")
common = importlib.import_module(package + ".common")
module = importlib.import_module(package + "." + name + "_eval")
kind = {"gpqa": "GPQAEval", "mmlu": "MMLUEval", "mgsm": "MGSMEval"}[name]
result = getattr(module, kind)(**facts["eval"])(
    sampler.ChatCompletionSampler(**facts["sampler"])
)
(out / "simple-evals.html").write_text(common.make_report(result), encoding="utf-8")
found = dict(result.metrics or {}, score=result.score)
(out / "simple-evals.json").write_text(json.dumps(found, indent=2))
"""


def simple_evals_command(
    task: str, target: Target, config: EvalConfig, folder: Path
) -> tuple[list[str], dict[str, str]]:
    """Return the command that has simple-evals ask a task, and what its environment needs.

    Args:
        task: `gpqa`, `mmlu` or `mgsm`.
        target: with its model.
        config: how; what simple-evals cannot be told is refused.
        folder: where it writes.

    Raises:
        ConfigError: it is not there, or cannot do what is asked.
    """
    if task not in EVALS:
        raise ConfigError(f"--provider simple-evals has {', '.join(EVALS)}, and not {task!r}")
    if target.endpoint != "chat" or config.rate is not None or config.few_shot:
        raise ConfigError(
            "--provider simple-evals asks by chat, fifty questions at a time and without solved "
            "ones: leave out --endpoint, --rate and --few-shot"
        )
    package, place = _package()
    asked: dict[str, Any] = {}
    if config.limit is not None:
        asked["num_examples_per_lang" if task == "mgsm" else "num_examples"] = config.limit
    if task == "gpqa":
        asked["n_repeats"] = config.n_repeats or (1 if config.limit is not None else 4)
        asked["variant"] = config.variant or "diamond"
    sampler = {
        "model": target.model,
        "system_message": config.system,
        "temperature": config.temperature,
        "max_tokens": config.max_tokens,
    }
    facts = orjson.dumps({"eval": asked, "sampler": sampler}).decode()
    key = "none" if target.api_key is None else target.api_key.get_secret_value()
    environment = {
        "OPENAI_BASE_URL": target.url("/v1/").rstrip("/"),
        "OPENAI_API_KEY": key,
        "PYTHONPATH": os.pathsep.join(filter(None, (place, os.environ.get("PYTHONPATH", "")))),
    }
    return [sys.executable, "-c", _DRIVER, package, task, facts, str(folder)], environment


def _package() -> tuple[str, str]:
    """Return the name of its package, and the folder that it is imported from."""
    given = os.environ.get(VARIABLE)
    if given:
        path = Path(given).resolve()
        if not (path / "common.py").is_file():
            raise ConfigError(f"{VARIABLE}={given}: is not a checkout of simple-evals")
        return path.name, str(path.parent)
    if importlib.util.find_spec("simple_evals") is not None:
        return "simple_evals", ""
    raise ConfigError(
        f"--provider simple-evals: no checkout is known; name its folder in {VARIABLE}"
    )


def read_simple_evals(path: Path, task: str | None = None) -> Eval:
    """Return an eval from what simple-evals wrote.

    Args:
        path: its JSON, its HTML page, or a folder that holds them; where both are there, the page
            tells how many samples there were.
        task: which it was; `None`: what the file is named for.

    Raises:
        ConfigError: it is not there, or is not what simple-evals writes.
    """
    if path.is_dir():
        files = sorted(path.glob("simple-evals.json")) or sorted(path.glob("*.json"))
        if not files:
            raise ConfigError(f"{path}: holds no results of simple-evals")
        path = files[-1]
    scores = _page(path.with_suffix(".html"))
    figures: dict[str, float] = {}
    if path.suffix == ".json":
        figures = _figures(path)
    elif not scores:
        raise ConfigError(f"{path}: is not a page of simple-evals: it holds no scores")
    score = figures.pop("score", None)
    samples = [
        Sample(
            index,
            question=f"row{index}",
            repeat=0,
            group="",
            target="",
            outcome=SampleOutcome.SCORED,
            score=value,
            tries=1,
        )
        for index, value in enumerate(scores)
    ]
    counted = estimate(scores, range(len(scores)))
    report = Eval.begun(
        task or path.name.partition("_")[0],
        target=TargetFacts(kind="server", model=None, base_url=None),
        origin=EvalOrigin(
            provider="simple-evals",
            file=path.name,
            interval="ours, each sample a question of its own",
        ),
        samples=samples,
        planned=len(samples),
        figures=figures,
        score=counted,
        status="complete",
    )
    if counted is None:
        assert score is not None
        report.figures["score"] = score
        report.notes.append(
            "simple-evals' JSON does not say of how many samples its score is: its page does"
        )
        report.count()
    elif score is not None and abs(score - counted.score) > 1e-6:
        raise ConfigError(f"{path}: its score {score} is not the one on the page beside it")
    return report


def _figures(path: Path) -> dict[str, float]:
    content = read_json(path)
    if not isinstance(content, dict) or not isinstance(content.get("score"), (int, float)):
        raise ConfigError(f"{path}: is not what simple-evals writes: it has no score")
    return {
        name: float(value) for name, value in content.items() if isinstance(value, (int, float))
    }


def _page(path: Path) -> list[float]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    return [float(score) for score in _SCORE.findall(text)]
