"""simple-evals: OpenAI's simple-evals as it is, run or read."""

from __future__ import annotations

import importlib.util
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import orjson

from benchcore.config.json_file import read_json
from benchcore.errors import ConfigError
from benchcore.metrics.accuracy import AccuracyReport, Sample, SampleOutcome
from benchcore.metrics.scores import estimate

if TYPE_CHECKING:
    from benchcore.config.eval import EvalConfig
    from benchcore.config.target import Target

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
            "--provider simple-evals asks by chat, fifty at a time and without solved questions: "
            "leave --endpoint, --rate and --few-shot out"
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
            raise ConfigError(f"{VARIABLE}={given}: is no checkout of simple-evals")
        return path.name, str(path.parent)
    if importlib.util.find_spec("simple_evals") is not None:
        return "simple_evals", ""
    raise ConfigError(
        f"--provider simple-evals: there is none; {VARIABLE} names the folder of a checkout"
    )


def read_simple_evals(path: Path, task: str | None = None) -> AccuracyReport:
    """Return an eval from what simple-evals wrote.

    Args:
        path: its JSON, its HTML page, or a folder that holds them; where both are there, the page
            tells how many samples there were.
        task: which it was; `None`: what the file is named for.

    Raises:
        ConfigError: it is not there, or is not what simple-evals writes.
    """
    if path.is_dir():
        found = sorted(path.glob("simple-evals.json")) or sorted(path.glob("*.json"))
        if not found:
            raise ConfigError(f"{path}: holds no results of simple-evals")
        path = found[-1]
    scores = _page(path.with_suffix(".html"))
    figures: dict[str, float] = {}
    if path.suffix == ".json":
        figures = _figures(path)
    elif not scores:
        raise ConfigError(f"{path}: is no page of simple-evals: it holds no scores")
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
    report = AccuracyReport(
        task=task or path.name.partition("_")[0],
        target={"kind": "server", "model": None, "base_url": None},
        origin={
            "provider": "simple-evals",
            "file": path.name,
            "interval": "ours, each sample a question of its own",
        },
        samples=samples,
        planned=len(samples),
        figures=figures,
        given=estimate(scores, range(len(scores))),
        status="complete",
    )
    if report.given is None:
        assert score is not None
        report.figures["score"] = score
        report.notes.append(
            "simple-evals' JSON does not say of how many samples its score is: its page does"
        )
    elif score is not None and abs(score - report.given.score) > 1e-6:
        raise ConfigError(f"{path}: its score {score} is not that of the page beside it")
    return report


def _figures(path: Path) -> dict[str, float]:
    found = read_json(path)
    if not isinstance(found, dict) or not isinstance(found.get("score"), (int, float)):
        raise ConfigError(f"{path}: is not what simple-evals writes: it has no score")
    return {name: float(value) for name, value in found.items() if isinstance(value, (int, float))}


def _page(path: Path) -> list[float]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    return [float(score) for score in _SCORE.findall(text)]
