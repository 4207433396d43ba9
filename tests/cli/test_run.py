"""`plan`, `run`, `run-matrix` and what goes with them, as a user types them."""

import json
import os
import re
import shutil
import signal
import sys
import urllib.request
from xml.etree import ElementTree as ET

import pytest

from tests.conftest import is_there
from tests.publish.test_push import gateway  # noqa: F401  a real one

pytestmark = pytest.mark.integration

# So few that even a starved machine is done with them before anything can make them invalid.
PERF = "perf: {requests: 4, concurrency: [2], input_tokens: 16, output_tokens: 4}"
SIM = "benchcore sim --port {port} --profile fast"
GOOD = f"""
id: good
launch: {{simulator: {{profile: fast}}}}
stages:
  functional: {{suite: false}}
  {PERF}
  accuracy: {{task: mmlu, data: builtin, limit: 5}}
"""
QUICK = """
id: good
launch: {simulator: {profile: fast}}
stages: {functional: {suite: false}}
"""
GONE = f"""
id: gone
priority: 5
launch: {{local: {{command: "sh -c 'echo loading weights; echo CUDA out of memory >&2; exit 7'"}}}}
stages: {{functional: {{suite: false}}, {PERF}}}
"""
WRONG = f"""
id: wrong
launch: {{local: {{command: "{SIM} --break smoke.chat"}}}}
stages: {{functional: {{suite: false}}, {PERF}}}
"""
SLOW = f"""
id: slow
launch: {{local: {{command: "{SIM}"}}}}
slos: ["ttft:1us"]
stages: {{functional: {{suite: false}}, {PERF}}}
"""
LONG = f"""
id: long
priority: 9
launch: {{local: {{command: "{SIM}"}}}}
stages: {{perf: {{concurrency: [2], duration_seconds: 600, output_tokens: 4, grace_seconds: 0.2}}}}
"""
MATRIX = "name: m\ninclude: ['s-*.yaml']\n"


@pytest.fixture
def scenarios(benchcore, tmp_path):
    """Writes scenarios and a matrix of them; commands find `benchcore` itself."""
    bin_folder = os.path.dirname(shutil.which("benchcore") or sys.executable)
    benchcore.environment["PATH"] = f"{bin_folder}:{benchcore.environment['PATH']}"

    def write(*texts):
        for text in texts:
            name = text.split("id: ")[1].split("\n")[0]
            (tmp_path / f"s-{name}.yaml").write_text(text)
        (tmp_path / "matrix.yaml").write_text(MATRIX)
        return tmp_path / "results"

    return write


def matrix_of(results):
    (path,) = results.glob("*-matrix-m/matrix.json")
    return json.loads(path.read_bytes())


def result_of(results, name):
    """Return the newest folder of a scenario; a second one within a second has a number."""
    named = re.compile(rf"(\d{{8}}T\d{{6}}Z)-{re.escape(name)}(?:-(\d+))?")
    found = [(named.fullmatch(path.parent.name), path) for path in results.glob("*/result.json")]
    *_, path = max((match[1], int(match[2] or 1), path) for match, path in found if match)
    return path.parent, json.loads(path.read_bytes())


def statuses(result):
    return {stage["name"]: stage["status"] for stage in result["stages"]}


def pid_of(result):
    return result["stages"][0]["facts"]["pid"]


def test_one_bad_scenario_never_stops_the_others(benchcore, scenarios):
    results = scenarios(GOOD, GONE, WRONG, SLOW)
    done = benchcore.run("run-matrix", "--matrix", "matrix.yaml")
    assert done.returncode == 3, done.stderr  # the first of 1, 3, 4, 5 that any of them had
    found = matrix_of(results)
    verdicts = {one["scenario"]: (one["verdict"], one["exit_code"]) for one in found["scenarios"]}
    assert list(verdicts) == ["gone", "good", "slow", "wrong"]
    assert verdicts == {
        "gone": ("failed", 3),
        "good": ("passed", 0),
        "slow": ("failed", 5),
        "wrong": ("failed", 5),
    }
    assert (found["status"], found["verdict"], found["exit_code"]) == ("complete", "failed", 3)

    folder, gone = result_of(results, "gone")
    assert statuses(gone) == {
        "launch": "passed",
        "health": "failed",
        "functional": "skipped",
        "perf": "skipped",
        "gate": "skipped",
        "sinks": "skipped",
        "cleanup": "passed",
    }
    health = gone["stages"][1]
    assert health["message"].endswith("the server is gone: it ended with status 7")
    assert health["facts"]["last_lines"] == ["loading weights", "CUDA out of memory"]
    log = (folder / "logs" / "service_local.log").read_text()
    assert log == "loading weights\nCUDA out of memory\n"

    folder, wrong = result_of(results, "wrong")
    assert wrong["stages"][2]["facts"]["failed"] == ["smoke.chat"]
    assert statuses(wrong)["perf"] == "skipped"
    folder, slow = result_of(results, "slow")
    assert statuses(slow)["perf"] == "failed"
    assert "c2, the lowest level: SLO ttft:0.001ms broken" in slow["stages"][3]["message"]
    assert (folder / "summary.csv").is_file()
    assert "started process" in (folder / "logs" / "benchcore.log").read_text()
    launch = json.loads((folder / "launch" / "launch.json").read_text())
    assert launch["command"][:2] == ["benchcore", "sim"]
    assert "\nPATH=" in (folder / "launch" / "environment.txt").read_text()
    for result in (gone, wrong, slow):
        assert not is_there(pid_of(result))

    folder, good = result_of(results, "good")
    assert statuses(good) == {
        "launch": "passed",
        "health": "passed",
        "functional": "passed",
        "perf": "passed",
        "accuracy": "passed",
        "gate": "skipped",
        "sinks": "skipped",
        "cleanup": "passed",
    }
    assert good["target"]["kind"] == "simulator"
    assert good["stages"][3]["facts"]["levels"][0]["scheduled"] == 4
    assert good["stages"][4]["facts"]["task"] == "mmlu"
    assert {"run.json", "functional.json", "accuracy.json", "report.md", "accuracy.html"} <= {
        path.name for path in folder.iterdir()
    }
    run = json.loads((folder / "run.json").read_bytes())
    assert [level["level"] for level in run["levels"]] == ["c2"]
    assert run["labels"]["scenario"] == "good"
    assert run["labels"]["run_type"] == "pr"

    (home,) = results.glob("*-matrix-m")
    suites = {suite.get("name"): suite for suite in ET.parse(home / "junit.xml").getroot()}
    assert suites["gone"].get("errors") == "1"
    assert suites["wrong"].get("failures") == "1"
    assert "| good | ✅ passed | 4/4 (passed) | c2: " in (home / "summary.md").read_text()
    assert max(map(len, done.stdout.splitlines())) <= 100
    assert "wrong: failed\n    functional failed: 1 of 4 checks failed: smoke.chat\n" in done.stdout


def test_a_daily_run_warns_of_load_and_fails_for_checks(benchcore, scenarios):
    results = scenarios(SLOW, WRONG)
    done = benchcore.run("run-matrix", "--matrix", "matrix.yaml", "--run-type", "daily")
    assert done.returncode == 5
    found = {one["scenario"]: one["verdict"] for one in matrix_of(results)["scenarios"]}
    assert found == {"slow": "warned", "wrong": "failed"}
    assert statuses(result_of(results, "wrong")[1])["perf"] == "passed"


def running(results, name, stage):
    """Whether a scenario has come to a stage."""
    logs = list(results.glob(f"*Z-{name}/logs/benchcore.log"))
    return bool(logs) and f"{stage}: begins" in logs[0].read_text()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_in_mid_stage_keeps_what_was_measured_and_takes_all_down(
    benchcore, scenarios, until, number, code
):
    results = scenarios(LONG, GOOD)
    process = benchcore.start("run-matrix", "--matrix", "matrix.yaml")
    until(lambda: running(results, "long", "perf"))
    folder = next(results.glob("*Z-long"))
    until(lambda: (folder / "requests.csv").is_file() and len(_lines(folder)) > 2)
    process.send_signal(number)
    out, err = process.communicate(timeout=600)
    assert process.returncode == code, err
    found = matrix_of(results)
    assert (found["status"], found["verdict"]) == ("interrupted", "interrupted")
    assert {one["scenario"]: one["verdict"] for one in found["scenarios"]} == {
        "long": "interrupted",
        "good": "skipped",
    }
    _, result = result_of(results, "long")
    assert statuses(result) == {
        "launch": "passed",
        "health": "passed",
        "perf": "interrupted",
        "gate": "interrupted",
        "sinks": "interrupted",
        "cleanup": "passed",
    }
    assert result["exit_code"] == code
    run = json.loads((folder / "run.json").read_bytes())
    assert run["status"] == "interrupted"
    assert run["levels"][0]["ok"] > 0
    assert not is_there(pid_of(result))
    assert "Traceback" not in err + out


def _lines(folder):
    return (folder / "requests.csv").read_text().splitlines()


def test_when_the_matrix_is_killed_nothing_stays(benchcore, scenarios, until):
    results = scenarios(LONG)
    process = benchcore.start("run-matrix", "--matrix", "matrix.yaml")
    until(lambda: running(results, "long", "perf"))
    server = pid_of(result_of(results, "long")[1])
    assert is_there(server)
    process.kill()
    process.communicate(timeout=600)
    until(lambda: not is_there(server))
    until(lambda: result_of(results, "long")[1]["status"] == "interrupted")
    assert statuses(result_of(results, "long")[1])["cleanup"] == "passed"


def test_a_scenario_whose_process_is_killed_fails_and_the_next_one_runs_and_resuming_forgets_none(
    benchcore, scenarios, until
):
    results = scenarios(LONG, QUICK)
    process = benchcore.start("run-matrix", "--matrix", "matrix.yaml")
    until(lambda: running(results, "long", "perf"))
    server = pid_of(result_of(results, "long")[1])
    # Meanwhile nothing is said of what is not known yet.
    meanwhile = matrix_of(results)
    assert meanwhile["verdict"] is None
    verdicts = {one["scenario"]: one["verdict"] for one in meanwhile["scenarios"]}
    assert verdicts == {"long": "running", "good": "waiting"}
    child = _child(process.pid)
    os.kill(child, signal.SIGKILL)
    _, err = process.communicate(timeout=600)
    assert process.returncode == 1, err
    found = {one["scenario"]: one for one in matrix_of(results)["scenarios"]}
    assert found["long"]["verdict"] == "failed"
    assert found["long"]["message"] == "its process ended with -9 before it was done"
    assert found["good"]["verdict"] == "passed"
    until(lambda: not is_there(server))
    # It goes on, and is interrupted.
    (home,) = results.glob("*-matrix-m")
    (good,) = results.glob("*Z-good")
    again = benchcore.start("run-matrix", "--matrix", "matrix.yaml", "--resume", home)
    until(
        lambda: len(list(results.glob("*Z-long"))) == 2 or "long-2" in str(list(results.iterdir()))
    )
    again.terminate()
    again.communicate(timeout=600)
    assert again.returncode == 143
    found = {one["scenario"]: one for one in matrix_of(results)["scenarios"]}
    assert found["good"]["folder"] == good.name
    assert found["good"]["verdict"] == "passed"
    assert found["long"]["verdict"] == "interrupted"


def _child(parent):
    with open(f"/proc/{parent}/task/{parent}/children") as file:
        (child,) = map(int, file.read().split())
    return child


def test_two_nightly_runs_at_once_are_one(benchcore, scenarios, until):
    results = scenarios(LONG)
    first = benchcore.start("run-matrix", "--matrix", "matrix.yaml", "--run-type", "daily")
    until(lambda: running(results, "long", "perf"))
    second = benchcore.run("run-matrix", "--matrix", "matrix.yaml", "--run-type", "daily")
    assert second.returncode == 6
    (line,) = second.stderr.splitlines()
    assert line.startswith(
        "benchcore: results/.lock: held by benchcore run-matrix m --run-type daily, process "
        f"{first.pid}; wait for it"
    )
    one = benchcore.run("run", "--scenario", "s-long.yaml")
    assert one.returncode == 6
    first.terminate()
    first.communicate(timeout=600)
    assert first.returncode == 143
    assert len(list(results.glob("*-matrix-m"))) == 1


def test_a_matrix_goes_on_where_it_stopped(benchcore, scenarios):
    results = scenarios(QUICK, SLOW)
    first = benchcore.run("run-matrix", "--matrix", "matrix.yaml", "--only", "good")
    assert first.returncode == 0, first.stderr
    (home,) = results.glob("*-matrix-m")
    (before,) = results.glob("*Z-good")
    done = benchcore.run("run-matrix", "--matrix", "matrix.yaml", "--resume", home)
    assert done.returncode == 5
    found = {one["scenario"]: one for one in matrix_of(results)["scenarios"]}
    assert found["good"]["folder"] == before.name
    assert found["good"]["message"] == "finished before"
    assert found["slow"]["verdict"] == "failed"
    assert list(results.glob("*Z-good")) == [before]
    # What is not among --only stays as it was; a dry run does not go on with anything.
    done = benchcore.run(
        "run-matrix", "--matrix", "matrix.yaml", "--resume", home, "--only", "good"
    )
    assert done.returncode == 5
    assert {one["scenario"]: one["verdict"] for one in matrix_of(results)["scenarios"]} == {
        "good": "passed",
        "slow": "failed",
    }
    done = benchcore.run("run-matrix", "--matrix", "matrix.yaml", "--resume", home, "--dry-run")
    assert done.returncode == 2
    # What is not whole is not finished.
    (before / "functional.json").write_text("{")
    again = ("run-matrix", "--matrix", "matrix.yaml", "--resume", home)
    done = benchcore.run(*again, "--only", "good")
    assert done.returncode == 5
    assert f"good: runs again: results/{before.name}/functional.json: is not JSON" in done.stderr
    assert len(list(results.glob("*Z-good"))) == 2
    done = benchcore.run(*again, "--run-type", "daily")
    assert done.returncode == 2
    assert "is of m, pr, and not of m and daily" in done.stderr


def test_a_dry_run_touches_nothing_and_shows_every_part(benchcore, scenarios):
    results = scenarios(GOOD, SLOW)
    done = benchcore.run("run-matrix", "--matrix", "matrix.yaml", "--dry-run", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["verdict"] == "planned"
    (folder,) = results.glob("*-good-dry-run")
    result = json.loads((folder / "result.json").read_bytes())
    assert set(statuses(result).values()) == {"planned"}
    parts = {stage["name"]: stage["facts"] for stage in result["stages"]}
    assert parts["accuracy"]["task"] == "mmlu"
    assert parts["accuracy"]["score"] is None
    assert parts["functional"]["total"] == 4
    assert parts["functional"]["pass_ratio"] is None
    assert parts["perf"]["levels"] == [{"level": "c2", "repeat": 1}]
    assert not (folder / "run.json").exists()
    assert not list(results.glob("*/launch"))


def test_a_broken_file_fails_its_scenario_alone(benchcore, scenarios, tmp_path):
    results = scenarios(SLOW.replace('slos: ["ttft:1us"]', ""))
    (tmp_path / "s-broken.yaml").write_text("id: broken\nlaunch: {}\n")
    (tmp_path / "s-late.yaml").write_text(
        "id: late\nlaunch: {simulator: {}}\nstages: {perf: {workload: gone.yaml}}\n"
    )
    done = benchcore.run("run-matrix", "--matrix", "matrix.yaml")
    assert done.returncode == 2, done.stderr
    found = {one["scenario"]: one for one in matrix_of(results)["scenarios"]}
    assert {name: one["verdict"] for name, one in found.items()} == {
        "late": "failed",
        "slow": "passed",
        "broken": "failed",
    }
    fault = "s-broken.yaml:2: launch: give one of local, kubernetes and simulator"
    assert found["broken"]["message"] == fault
    assert done.stderr.splitlines()[0] == fault
    _, late = result_of(results, "late")
    assert statuses(late)["launch"] == "skipped"
    assert late["stages"][2]["message"].startswith("gone.yaml: No such file")
    plan = benchcore.run("plan", "--matrix", "matrix.yaml")
    assert plan.returncode == 2
    assert [line.partition(": ")[0] for line in plan.stderr.splitlines()] == [
        "benchcore",
        "s-late.yaml",
    ]


def test_jobs_run_side_by_side(benchcore, scenarios):
    results = scenarios(QUICK, SLOW.replace('slos: ["ttft:1us"]', ""))
    done = benchcore.run("run-matrix", "--matrix", "matrix.yaml", "--jobs", "2")
    assert done.returncode == 0, done.stderr
    spans = []
    for name in ("good", "slow"):
        folder, _ = result_of(results, name)
        # The times in its files are to the second, and a quick job is over in less.
        written = [path.stat().st_mtime_ns for path in folder.iterdir()]
        spans.append((min(written), max(written)))
    assert max(begin for begin, _ in spans) < min(end for _, end in spans)


def test_a_daily_run_is_pushed_and_an_outage_only_warns(benchcore, scenarios, gateway):  # noqa: F811
    results = scenarios(GOOD)
    args = ("run", "--scenario", "s-good.yaml", "--run-type", "daily", "--stage", "functional")
    done = benchcore.run(*args, env={"PROM_PUSHGATEWAY_URL": gateway})
    assert done.returncode == 0, done.stderr
    assert "nothing is pushed of the simulator" in done.stdout
    nowhere = {"PROM_PUSHGATEWAY_URL": "http://127.0.0.1:1"}
    done = benchcore.run(*args, "--allow-simulator", env=nowhere)
    assert done.returncode == 0, done.stderr
    folder, result = result_of(results, "good")
    assert statuses(result)["sinks"] == "warned"
    assert result["stages"][-2]["message"].endswith(f": benchcore push results/{folder.name}")
    done = benchcore.run("push", folder, "--allow-simulator", env={"PROM_PUSHGATEWAY_URL": gateway})
    assert done.returncode == 0, done.stderr
    text = urllib.request.urlopen(f"{gateway}/metrics").read().decode()
    assert "benchcore_functional_pass_ratio{" in text
    assert 'run_type="daily",scenario="good"} 1' in text


def test_a_pull_request_is_held_against_the_last_nightly_run(benchcore, scenarios):
    results = scenarios(GOOD.replace("requests: 4", "requests: 40"))
    stages = ("--stage", "functional", "--stage", "perf")
    args = ("run", "--scenario", "s-good.yaml", "--allow-simulator", *stages)
    done = benchcore.run(*args)
    assert done.returncode == 0, done.stdout
    assert "holds no earlier valid run like" in done.stdout  # the first one says so
    done = benchcore.run(*args, "--run-type", "daily", "--concurrency", "2,3")
    assert done.returncode == 0, done.stdout
    nightly, _ = result_of(results, "good")
    benchcore.run(*args)
    _, result = result_of(results, "good")
    gate = result["stages"][-3]
    assert gate["facts"]["baseline"] == f"results/{nightly.name}"
    levels = {rule["level"] for rule in gate["facts"]["rules"]}
    assert levels == {"c2", None}
    assert any("are of different run types" in note for note in gate["notes"])


def test_a_server_is_brought_up_alone_and_taken_down(benchcore, scenarios, until):
    results = scenarios(SLOW)
    process = benchcore.start("deploy", "s-slow.yaml")
    address = process.stdout.readline().strip()
    with urllib.request.urlopen(f"{address}/health") as answer:
        assert answer.status == 200
    again = benchcore.run("deploy", "s-slow.yaml")
    assert again.returncode == 2
    assert f"slow is deployed already, {address}; undeploy it first" in again.stderr
    done = benchcore.run("undeploy", "s-slow.yaml")
    assert done.returncode == 0, done.stderr
    process.communicate(timeout=600)
    assert process.returncode == 0
    with pytest.raises(OSError):
        urllib.request.urlopen(f"{address}/health")
    done = benchcore.run("undeploy", "s-slow.yaml")
    assert done.returncode == 2
    assert "slow is not deployed from results" in done.stderr
    assert not (results / ".deployed" / "slow" / "deployed.json").exists()


def test_what_is_begun_with_new_can_be_planned_and_run(benchcore, tmp_path):
    for kind in ("scenario", "matrix", "checks", "workload"):
        done = benchcore.run("new", kind, "mine")
        assert done.returncode == 0, done.stderr
        assert (tmp_path / done.stdout.strip()).is_file()
    again = benchcore.run("new", "scenario", "mine")
    assert again.returncode == 2
    assert "scenarios/mine.yaml: exists already; name another file with --to" in again.stderr
    for run_type in ("pr", "daily"):
        done = benchcore.run("plan", "--run-type", run_type)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(f"mine, {run_type}: one line for people\n")
        assert max(map(len, done.stdout.splitlines())) <= 100
    done = benchcore.run("run", "--scenario", "mine", "--stage", "functional")
    assert done.returncode == 0, done.stderr
    done = benchcore.run("check", "--sim", "--cases-file", "mine.checks.yaml", "--suite", "mine")
    assert done.returncode == 0, done.stdout
    done = benchcore.measure(
        *("climb", "--sim", "--workload", "workloads/mine.yaml", "--concurrency", "1"),
        *("--requests", "3", "--no-progress"),
    )
    assert "c1" in done.stdout


def test_a_plan_knows_how_long_it_took_the_last_time(benchcore, scenarios):
    scenarios(GOOD)
    done = benchcore.run("plan", "--scenario", "s-good.yaml", "--json")
    stages = {stage["name"]: stage for stage in json.loads(done.stdout)[0]["stages"]}
    assert stages["perf"]["last_time_seconds"] is None
    assert stages["perf"]["does"] == ["c2: synthetic, 4 requests"]
    assert benchcore.run("run", "--scenario", "s-good.yaml").returncode == 0
    done = benchcore.run("plan", "--scenario", "s-good.yaml", "--json")
    stages = {stage["name"]: stage for stage in json.loads(done.stdout)[0]["stages"]}
    assert stages["perf"]["last_time_seconds"] > 0
    assert stages["gate"]["last_time_seconds"] is None


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["run", "--scenario", "gone"], "scenario 'gone' is not known"),
        (["run", "--scenario", "s-good.yaml", "--stage", "perv"], "has no stage perv for pr"),
        (["run", "--scenario", "bad.yaml"], "bad.yaml:2: launch: give one of local"),
        (["run-matrix", "--matrix", "gone.yaml"], "gone.yaml: does not exist; name a matrix"),
        (["run-matrix", "--matrix", "matrix.yaml", "--only", "x"], "--only x: is not a scenario"),
        (["plan", "--scenario", "s-good.yaml", "--only", "a"], "--scenario plans one scenario"),
        (["new", "scenario", "A b"], "a name may contain only lower-case letters"),
        (["undeploy", "s-good.yaml"], "good is not deployed"),
    ],
)
def test_bad_input_gets_one_line_and_2(benchcore, scenarios, tmp_path, args, says):
    scenarios(GOOD)
    (tmp_path / "bad.yaml").write_text("id: bad\nlaunch: {}\n")
    done = benchcore.run(*args)
    assert done.returncode == 2
    assert says in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
