"""Evals of other programs: lm-eval's real output, and a simple-evals that does what it is told."""

import json
import shutil
from pathlib import Path

import pytest

from benchcore import SimOptions, SimProfile, SimulatorProcess, Target
from benchcore.base.errors import ConfigError
from benchcore.config.evals import EvalConfig
from benchcore.evals.providers import (
    lm_eval_command,
    read_lm_eval,
    read_simple_evals,
    simple_evals_command,
)
from benchcore.metrics.accuracy import by_question

pytestmark = pytest.mark.accuracy

WRITTEN = Path(__file__).parent / "lm_eval"
TARGET = Target("http://127.0.0.1:8000", model="m", api_key="k")


def test_what_lm_eval_wrote_is_read_with_its_origin():
    report = read_lm_eval(WRITTEN)
    score = report.score
    assert (report.task, score.score, score.n) == ("sums", 0.7, 100)
    assert score.stderr == pytest.approx(0.0460566, abs=1e-7)
    assert (round(score.low, 4), round(score.high, 4)) == (0.6086, 0.7914)
    assert report.origin.provider == "lm-eval"
    assert (report.origin.version, report.origin.metric) == (
        "0.4.13",
        "exact_match,strict-match",
    )
    assert len(report.samples) == 100
    assert sum(sample.score for sample in report.samples) == 70
    assert len(by_question(report.samples)) == 100
    assert report.to_json()["n"] == 100


def test_without_its_samples_the_score_is_still_read(tmp_path):
    (path,) = WRITTEN.rglob("results_*.json")
    shutil.copy(path, tmp_path)
    report = read_lm_eval(tmp_path / path.name)
    assert (report.score.n, report.samples) == (100, [])


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "No such file"),
        ("{", "is not JSON"),
        ("{}", "is not what lm-eval writes"),
        ('{"results": {"a": {}, "b": {}}}', "name one of its tasks: a, b"),
    ],
)
def test_what_lm_eval_did_not_write_is_refused(tmp_path, content, says):
    path = tmp_path / "results_x.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError, match=says):
        read_lm_eval(path)


def test_an_empty_folder_holds_no_results(tmp_path):
    with pytest.raises(ConfigError, match="holds no results of lm-eval"):
        read_lm_eval(tmp_path)
    with pytest.raises(ConfigError, match="holds no results of simple-evals"):
        read_simple_evals(tmp_path)


@pytest.fixture
def lm_eval(tmp_path, monkeypatch):
    program = tmp_path / "bin" / "lm-eval"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))
    return str(program)


def test_lm_eval_is_told_what_is_asked(lm_eval, tmp_path):
    config = EvalConfig(limit=5, few_shot=3, system="Be brief.", concurrency=9, max_tokens=77)
    command = lm_eval_command("gsm8k", TARGET, config, tmp_path, ("--seed", "3"))
    assert command == [
        *(lm_eval, "run", "--model", "local-chat-completions", "--tasks", "gsm8k"),
        "--model_args",
        (
            "model=m,base_url=http://127.0.0.1:8000/v1/chat/completions,num_concurrent=9,"
            "max_retries=5,tokenized_requests=False"
        ),
        *("--gen_kwargs", "temperature=0,max_gen_toks=77", "--output_path", str(tmp_path)),
        *("--log_samples", "--apply_chat_template", "--system_instruction", "Be brief."),
        *("--limit", "5", "--num_fewshot", "3", "--seed", "3"),
    ]


@pytest.mark.parametrize(
    ("endpoint", "fields", "says"),
    [
        ("responses", {}, "does not ask the endpoint responses"),
        ("chat", {"rate": 2.0}, "leave --rate out"),
        ("chat", {"n_repeats": 2}, "leave out --n-repeats"),
    ],
)
def test_what_lm_eval_cannot_do_is_refused(lm_eval, tmp_path, endpoint, fields, says):
    target = TARGET.model_copy(update={"endpoint": endpoint})
    with pytest.raises(ConfigError, match=says):
        lm_eval_command("x", target, EvalConfig.model_validate(fields), tmp_path, ())


def test_without_lm_eval_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match=r"pip install 'lm_eval\[api\]'"):
        lm_eval_command("x", TARGET, EvalConfig(), tmp_path, ())


# A checkout with the modules, classes and call that simple-evals has; it asks by urllib.
FILES = {
    "__init__.py": "",
    "sampler/__init__.py": "",
    "sampler/chat_completion_sampler.py": """
import json, os, urllib.request

class ChatCompletionSampler:
    def __init__(self, model, system_message=None, temperature=0.5, max_tokens=1024):
        self.body = {"model": model, "temperature": temperature, "max_tokens": max_tokens}

    def __call__(self, messages):
        request = urllib.request.Request(
            os.environ["OPENAI_BASE_URL"] + "/chat/completions",
            json.dumps({**self.body, "messages": messages}).encode(),
            {"Content-Type": "application/json"},
        )
        answer = json.load(urllib.request.urlopen(request))
        return answer["choices"][0]["message"]["content"]
""",
    "common.py": """
def make_report(result):
    return "".join(f"<p>Score: {one}</p>" for one in result.scores)
""",
    "gpqa_eval.py": """
class Result:
    def __init__(self, scores):
        self.scores, self.metrics = scores, {"chars": 12.5}
        self.score = sum(scores) / len(scores)

class GPQAEval:
    def __init__(self, n_repeats=4, variant="diamond", num_examples=None):
        self.count = (num_examples or 20) * n_repeats

    def __call__(self, sampler):
        asked = [f"{n} + 1 = ?" for n in range(self.count)]
        said = [sampler([{"role": "user", "content": text}]) for text in asked]
        return Result([float(f"Answer: {n + 1}" in text) for n, text in enumerate(said)])
""",
}


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    folder = tmp_path / "simple-evals"
    for name, content in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    monkeypatch.setenv("BENCHCORE_SIMPLE_EVALS", str(folder))
    return folder


@pytest.mark.integration
def test_simple_evals_asks_and_scores_and_its_page_is_read(benchcore, checkout, tmp_path):
    profile = SimProfile.named("fast", ability=0.6)
    with SimulatorProcess(SimOptions(profile=profile)) as server:
        done = benchcore.run(
            *("eval", "gpqa", "--provider", "simple-evals", "--base-url", server.base_url),
            *("--n-repeats", "2", "--save-text"),
            env={"BENCHCORE_SIMPLE_EVALS": str(checkout)},
        )
    assert done.returncode == 0, done.stderr
    assert "sampled and scored by simple-evals" in done.stdout
    (folder,) = (tmp_path / "results").iterdir()
    found = json.loads((folder / "accuracy.json").read_bytes())
    assert (found["n"], found["origin"]["provider"]) == (40, "simple-evals")
    page = (folder / "simple-evals" / "simple-evals.html").read_text()
    assert found["score"] == pytest.approx(page.count("Score: 1.0") / 40)
    assert found["figures"] == {"chars": 12.5}


def test_a_score_without_a_page_has_no_count_and_is_no_score_of_ours(tmp_path):
    path = tmp_path / "gpqa_m.json"
    path.write_text('{"score": 0.25, "score:std": 0.43}')
    report = read_simple_evals(path)
    assert (report.task, report.score, report.figures["score"]) == ("gpqa", None, 0.25)
    assert "does not say of how many samples" in report.notes[0]


def test_a_page_alone_tells_scores_and_count(tmp_path):
    path = tmp_path / "gpqa_m.html"
    path.write_text("<p>Score: 1.0</p><p>Score: 0.0</p><p>Score: 1.0</p><p>Score: 1.0</p>")
    assert read_simple_evals(path).score.score == 0.75
    path.with_suffix(".json").write_text('{"score": 0.5}')
    with pytest.raises(ConfigError, match="is not the one on the page beside it"):
        read_simple_evals(path.with_suffix(".json"))


@pytest.mark.parametrize(
    ("task", "fields", "says"),
    [
        ("math", {}, "has gpqa, mmlu, mgsm, and not 'math'"),
        ("gpqa", {"rate": 1.0}, "leave out --endpoint, --rate and --few-shot"),
        ("gpqa", {"few_shot": 2}, "leave out --endpoint, --rate and --few-shot"),
    ],
)
def test_what_simple_evals_cannot_do_is_refused(checkout, tmp_path, task, fields, says):
    with pytest.raises(ConfigError, match=says):
        simple_evals_command(task, TARGET, EvalConfig.model_validate(fields), tmp_path)


def test_without_simple_evals_it_says_where_it_is_looked_for(tmp_path, monkeypatch):
    monkeypatch.delenv("BENCHCORE_SIMPLE_EVALS", raising=False)
    with pytest.raises(ConfigError, match="name its folder in BENCHCORE_SIMPLE_EVALS"):
        simple_evals_command("gpqa", TARGET, EvalConfig(), tmp_path)
    monkeypatch.setenv("BENCHCORE_SIMPLE_EVALS", str(tmp_path))
    with pytest.raises(ConfigError, match="is not a checkout of simple-evals"):
        simple_evals_command("gpqa", TARGET, EvalConfig(), tmp_path)


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--provider-arg", "x"], "need a --provider other than native"),
        (["--provider", "lm-eval", "--data", "x"], "leave out --data and --resume"),
        (["--provider", "lm-eval"], "give --base-url, or --result"),
        (
            ["--provider", "lm-eval", "--base-url", "http://127.0.0.1:1"],
            "http://127.0.0.1:1 does not answer",
        ),
    ],
)
def test_options_that_do_not_go_together(benchcore, args, says):
    done = benchcore.run("eval", *args)
    assert done.returncode in (2, 3)
    assert says in done.stderr.splitlines()[-1]
