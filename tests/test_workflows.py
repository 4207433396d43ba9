"""The workflows and the examples: their commands exist, and what pages show of them is so."""

import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from benchcore.config.document import read_model
from benchcore.config.limits import GateFile
from benchcore.config.scenario import Choice
from benchcore.scenario.matrix import load_matrix
from benchcore.scenario.scenario_file import load_scenario
from tests.conftest import bare_environment
from tests.test_documentation import Block, blocks, commands, extended, parse

__all__ = ["extended"]  # a fixture

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "docs" / "examples"
GUIDE = ROOT / "docs" / "guide"
FOLDER = ROOT / ".github" / "workflows"
FILES = [FOLDER / "pr.yml", FOLDER / "daily.yml"]


def read(path):
    found = yaml.safe_load(path.read_text(encoding="utf-8"))
    # YAML 1.1 takes the key `on` for a truth.
    found["on"] = found.pop(True)
    return found


def jobs():
    return [
        pytest.param(path, name, job, id=f"{path.stem}-{name}")
        for path in FILES
        for name, job in read(path)["jobs"].items()
    ]


def steps():
    return [
        pytest.param(path, step, id=f"{path.stem}-{name}-{place}")
        for path in FILES
        for name, job in read(path)["jobs"].items()
        for place, step in enumerate(job["steps"])
    ]


def calls(path: Path, text: str) -> Iterator[list[str]]:
    yield from commands(Block(path, 0, "sh", "", text))


def test_all_workflows_are_looked_at():
    assert sorted(FOLDER.iterdir()) == sorted(FILES)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_workflow_may_read_and_nothing_else(path):
    assert read(path)["permissions"] == {"contents": "read"}


@pytest.mark.parametrize(("path", "name", "job"), jobs())
def test_a_job_may_do_what_it_needs(path, name, job):
    needed = {"contents": "read"}
    if any("gh run" in step.get("run", "") for step in job["steps"]):
        needed["actions"] = "read"
    assert job.get("permissions", {"contents": "read"}) == needed
    assert job["timeout-minutes"] <= 60


@pytest.mark.parametrize(("path", "step"), steps())
def test_a_step_is_sound(path, step):
    assert ("uses" in step) != ("run" in step)
    if "uses" in step:
        assert re.fullmatch(r"actions/[\w-]+@v\d+", step["uses"]), "pin the major version"
        return
    # What is put in by the runner may come from a stranger's branch: hand it over as a variable.
    assert "${{" not in step["run"]
    for args in calls(path, step["run"]):
        parse(args)
    for target in re.findall(r"(?m)^make (\w+)", step["run"]):
        assert re.search(rf"(?m)^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"))
    subprocess.run(["bash", "-n"], input=step["run"], text=True, check=True)


@pytest.mark.parametrize(
    ("path", "wanted", "days"),
    [
        (FILES[0], ["run --scenario simulator --run-type pr --allow-simulator", "gate "], 14),
        (FILES[1], ["run-matrix --run-type daily", "gate "], 30),
    ],
    ids=["pr", "daily"],
)
def test_a_workflow_does_its_work(path, wanted, days):
    all_steps = [step for job in read(path)["jobs"].values() for step in job["steps"]]
    said = [" ".join(args) for step in all_steps for args in calls(path, step.get("run", ""))]
    for one in wanted:
        assert any(line.startswith(one) for line in said), one
    kept = [step["with"] for step in all_steps if step.get("uses", "").startswith("actions/upload")]
    assert [one["retention-days"] for one in kept] == [days]
    assert any("GITHUB_STEP_SUMMARY" in step.get("run", "") for step in all_steps)


def test_the_pull_request_runs_on_what_the_night_keeps():
    matrix = read(FILES[1])["jobs"]["matrix"]
    named = re.findall(r"--name daily-(\S+)", FILES[0].read_text(encoding="utf-8"))
    assert set(named) <= set(matrix["strategy"]["matrix"]["python"])
    assert matrix["continue-on-error"] == f"${{{{ matrix.python != '{named[0]}' }}}}"
    assert set(read(FILES[1])["on"]) == {"schedule", "workflow_dispatch"}


def script(path, name):
    return next(
        step["run"]
        for job in read(path)["jobs"].values()
        for step in job["steps"]
        if step.get("name") == name
    )


def program(folder, name, text):
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


@pytest.fixture
def runner(tmp_path):
    """Runs a script as a runner does, with benchcore and a gh that finds nothing."""
    program(tmp_path / "bin", "benchcore", f'exec {sys.executable} -m benchcore "$@"')
    program(tmp_path / "bin", "gh", "echo 'could not find any workflows' >&2; exit 1")
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    environment = bare_environment(
        PATH=f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        PYTHONPATH=str(ROOT),
        GITHUB_STEP_SUMMARY=str(tmp_path / "summary"),
        BRANCH="main",
        NIGHT="daily-3.11",
    )

    def run(text):
        return subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", text],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )

    return run


def valid_run(runner, tmp_path):
    """Run the scenario until this machine was calm enough for its figures to count."""
    for _ in range(10):
        done = runner(script(FILES[0], "Run the simulator's scenario"))
        if done.returncode != 4:
            break
        for run in (tmp_path / "runs").glob("*-simulator"):
            shutil.rmtree(run)
    assert done.returncode == 0, done.stderr


@pytest.mark.integration
@pytest.mark.slow
def test_the_first_pull_request_says_that_there_is_no_night_and_a_later_one_is_judged(
    runner, tmp_path
):
    pr = FILES[0]
    valid_run(runner, tmp_path)
    assert runner(script(pr, "Fetch the last good night")).returncode == 0
    first = runner(script(pr, "Hold it against that night"))
    assert first.returncode == 0, first.stderr
    assert "There is no nightly run" in (tmp_path / "summary").read_text(encoding="utf-8")

    (run,) = (tmp_path / "runs").glob("*-simulator")
    night = tmp_path / "nightly" / f"20000101T000000Z-{run.name.partition('-')[2]}"
    night.parent.mkdir(exist_ok=True)
    run.rename(night)
    valid_run(runner, tmp_path)
    judged = runner(script(pr, "Hold it against that night"))
    assert judged.returncode in (0, 5), judged.stderr
    assert "request_throughput" in judged.stdout
    assert runner(script(pr, "Show the run")).returncode == 0

    same = runner(script(FILES[1], "Hold it against the night before"))
    assert same.returncode == judged.returncode, same.stderr
    assert same.stdout.splitlines()[0].endswith(judged.stdout.splitlines()[0][-6:])


@pytest.mark.integration
def test_a_night_that_is_worse_fails_and_the_others_are_judged_all_the_same(runner, tmp_path):
    for name, code in (("a", 5), ("b", 0)):
        folder = tmp_path / "runs" / f"20260101T000000Z-{name}"
        folder.mkdir(parents=True)
        (folder / "run.json").write_text("{}", encoding="utf-8")
        (tmp_path / "nightly" / f"20251231T000000Z-{name}").mkdir(parents=True)
        (folder / "code").write_text(str(code), encoding="utf-8")
    program(tmp_path / "bin", "benchcore", 'echo "judged $2"; exit "$(cat "$2/code")"')
    ended = runner(script(FILES[1], "Hold it against the night before"))
    assert ended.returncode == 5
    assert ended.stdout.count("judged") == 2


# Examples.


@pytest.mark.parametrize(
    ("file", "page_title"),
    [
        ("benchcore-nightly.service", "benchcore-nightly.service"),
        ("benchcore-nightly.timer", "benchcore-nightly.timer"),
        ("crontab", "/etc/cron.d/benchcore"),
        ("logrotate", "/etc/logrotate.d/benchcore"),
    ],
)
def test_the_guide_shows_an_example_as_it_is(file, page_title):
    head, text = (EXAMPLES / file).read_text(encoding="utf-8").split("\n", 1)
    assert head.startswith("# /etc/")
    (shown,) = [one for one in blocks(GUIDE / "nightly.md") if one.title == page_title]
    assert shown.text == text


@pytest.mark.parametrize(
    ("file", "wanted"),
    [("benchcore-nightly.service", ["run-matrix", "prune"]), ("crontab", ["run-matrix", "prune"])],
)
def test_the_commands_of_an_example_parse(file, wanted):
    text = (EXAMPLES / file).read_text(encoding="utf-8")
    lines = re.findall(r"(?m)\S*\.venv/bin/benchcore [^>\n]*", text)
    found = [args for line in lines for args in calls(EXAMPLES / file, line)]
    for args in found:
        parse(args)
    assert [args[0] for args in found] == wanted


def test_the_rules_for_shared_machines_are_rules():
    rules = read_model(EXAMPLES / "gate-shared-runner.yaml", GateFile).rules
    assert {rule.metric for rule in rules} >= {"functional.pass_ratio", "request_throughput"}


def titled(page, prefix):
    return [one for one in blocks(GUIDE / page) if one.title.startswith(prefix)]


@pytest.mark.parametrize("run_type", ["pr", "daily"])
@pytest.mark.parametrize("page", ["pipeline.md", "kubernetes.md"])
def test_the_scenarios_of_a_guide_load(page, run_type, tmp_path):
    found = titled(page, "scenarios/")
    for block in found:
        path = tmp_path / block.title
        path.parent.mkdir(exist_ok=True)
        path.write_text(block.text, encoding="utf-8")
    names = [
        block.title
        for block in found
        if Path(block.title).name not in ("matrix.yaml", "providers.yaml")
    ]
    assert names
    for name in names:
        loaded = load_scenario(tmp_path / name, run_type, environ={}, choice=Choice())
        assert loaded.scenario.id == Path(name).stem


def test_the_matrix_of_the_guide_loads(tmp_path):
    for block in titled("pipeline.md", "scenarios/"):
        path = tmp_path / block.title
        path.parent.mkdir(exist_ok=True)
        path.write_text(block.text, encoding="utf-8")
    path = tmp_path / "scenarios" / "matrix.yaml"
    loaded = {run_type: load_matrix(path, run_type, environ={}) for run_type in ("pr", "daily")}
    ids = {
        run_type: [one.loaded.scenario.id for one in matrix.entries]
        for run_type, matrix in loaded.items()
    }
    assert ids == {"pr": ["chat", "staging"], "daily": ["chat-long", "chat", "staging"]}


def test_the_role_of_the_guide_covers_the_manifests_that_ship():
    (block,) = titled("kubernetes.md", "role.yaml")
    role = next(one for one in yaml.safe_load_all(block.text) if one["kind"] == "Role")
    applied = {
        (group, resource)
        for rule in role["rules"]
        if {"create", "patch", "delete", "get", "list"} <= set(rule["verbs"])
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }
    # The cluster of a fleet is for people to apply: benchcore asks it, and starts none.
    deployed = {path.name: path for path in (ROOT / "scenarios" / "deploy").glob("*.yaml")}
    assert deployed.pop("fleet.yaml").is_file()
    for path in deployed.values():
        for body in yaml.safe_load_all(path.read_text(encoding="utf-8")):
            group = body["apiVersion"].rpartition("/")[0]
            assert (group, f"{body['kind'].lower()}s") in applied


@pytest.mark.integration
def test_the_stage_of_the_extension_guide_runs(extended):
    ended = subprocess.run(
        [sys.executable, "-m", "benchcore", "run", "--scenario", "cost.yaml"],
        cwd=extended,
        env=bare_environment(PYTHONPATH=f"{extended}:{ROOT}"),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert ended.returncode == 5, ended.stderr
    assert re.search(
        r"benchcore: cost: cost: a million tokens cost [\d.]+, over 0\.01", ended.stderr
    )
