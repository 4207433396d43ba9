"""`benchcore check` as a user types it."""

import json
import signal
import time
from xml.etree import ElementTree as ET

import pytest

pytestmark = [pytest.mark.integration, pytest.mark.functional]

FILES = ["functional.json", "functional.prom", "junit.xml", "run.json"]


def only_folder(results):
    (folder,) = results.iterdir()
    return folder


def report(results):
    return json.loads((only_folder(results) / "functional.json").read_bytes())


def test_a_check_prints_a_table_and_writes_the_whole_folder(benchcore, tmp_path):
    done = benchcore.run(
        *("check", "--sim", "--suite", "sse", "--suite", "smoke", "--label", "quant=fp8")
    )
    assert done.returncode == 0, done.stderr
    assert max(map(len, done.stdout.splitlines())) <= 100
    assert [line.split()[:2] for line in done.stdout.splitlines()[1:4]] == [
        ["smoke", "4"],
        ["sse", "21"],
        ["all", "25"],
    ]
    assert "SIMULATOR" in done.stderr
    folder = only_folder(tmp_path / "results")
    assert sorted(path.name for path in folder.iterdir()) == FILES
    summary = report(tmp_path / "results")["summary"]
    assert (summary["total"], summary["pass"], summary["pass_ratio"]) == (25, 25, 1.0)
    assert (summary["status"], summary["mode"]) == ("complete", "compat")
    assert summary["target"]["kind"] == "simulator"
    run = json.loads((folder / "run.json").read_bytes())
    assert (run["status"], run["target"]["model"]) == ("complete", "sim-1")
    assert (run["name"], run["labels"]) == ("check", {"quant": "fp8"})
    suites = ET.parse(folder / "junit.xml").getroot()
    assert (suites.get("tests"), suites.get("failures")) == ("25", "0")


def test_json_goes_to_stdout_and_case_picks_one(benchcore):
    done = benchcore.run("check", "--sim", "--case", "sse.one_done", "--json", "--strict")
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)["results"]
    assert [(one["case_id"], one["verdict"]) for one in results] == [("sse.one_done", "pass")]


def test_a_broken_server_gives_5_and_a_curl_line(benchcore, simulator_with, tmp_path):
    simulator = simulator_with(breaks=("sse.one_done",))
    done = benchcore.run("check", "--base-url", simulator.base_url, "--suite", "sse", "--quiet")
    assert done.returncode == 5
    (folder,) = (tmp_path / "results").iterdir()
    assert done.stderr == (
        f"results are in results/{folder.name}\nbenchcore: 1 of 21 checks failed: sse.one_done\n"
    )
    assert "FAIL sse.one_done — there is exactly one [DONE]" in done.stdout
    assert f"curl -sS -i -N -X POST {simulator.base_url}/v1/chat/completions" in done.stdout
    (failed,) = [one for one in report(tmp_path / "results")["results"] if one["verdict"] == "fail"]
    assert (failed["case_id"], failed["expected"], failed["got"]) == (
        "sse.one_done",
        "one [DONE]",
        "0",
    )
    assert failed["evidence"][-1]["response"]["status"] == 200


def test_fail_fast_makes_no_more_checks(benchcore, simulator_with, tmp_path):
    simulator = simulator_with(breaks=("sse.content_type",))
    done = benchcore.run(
        *("check", "--base-url", simulator.base_url, "--suite", "sse", "--fail-fast"),
        *("--concurrency", "1", "--quiet"),
    )
    assert done.returncode == 5
    summary = report(tmp_path / "results")["summary"]
    assert (summary["fail"], summary["skip"], summary["status"]) == (1, 20, "interrupted")


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (
            ("--suite", "functoin_call"),
            "--suite functoin_call: is not known; did you mean function_call?",
        ),
        (("--case", "sse.one_dne"), "--case sse.one_dne: is not known; did you mean sse.one_done?"),
        (("--cases-file", "none.yaml"), "none.yaml: No such file or directory; give a YAML file"),
        (
            ("--sim", "--base-url", "http://127.0.0.1:1"),
            ("--sim starts a server of its own: leave --base-url out (see benchcore check --help)"),
        ),
    ],
)
def test_a_usage_error_is_one_line(benchcore, args, line):
    done = benchcore.run("check", *args)
    assert (done.returncode, done.stderr) == (2, f"benchcore: {line}\n")


def test_an_unknown_engine_is_refused_with_all_that_are_known(benchcore):
    done = benchcore.run("check", "--base-url", "http://127.0.0.1:1", "--engine", "x", "--quiet")
    assert done.returncode == 2
    assert done.stderr.startswith("benchcore: --engine x: is not known; choose one of")


def test_an_unreachable_server_gives_3_and_a_folder_that_says_failed(benchcore, tmp_path):
    done = benchcore.run("check", "--base-url", "http://127.0.0.1:1", "--quiet")
    assert done.returncode == 3
    assert done.stderr.count("\n") == 1
    assert report(tmp_path / "results")["summary"]["status"] == "failed"


@pytest.mark.parametrize("asked", [(), ("--quiet",)])
def test_a_server_that_puts_off_everything_gives_3_and_its_words(
    benchcore, simulator_with, tmp_path, asked
):
    url = simulator_with(faults=("retry_after:0@1",)).base_url
    done = benchcore.run("check", "--base-url", url, "--suite", "smoke", *asked)
    assert done.returncode == 3
    last = done.stderr.splitlines()[-1]
    assert last.startswith(
        f"benchcore: {url} answers nothing: a first request was put off with status 429 in each of "
        "5 tries: "
    )
    summary = report(tmp_path / "results")["summary"]
    assert (summary["status"], summary["skip"]) == ("failed", 4)


def test_a_config_may_leave_only_the_smoke_checks(benchcore, tmp_path):
    config = tmp_path / "ours.yaml"
    config.write_text("suite: false\n")
    done = benchcore.run(
        "check", "--sim", "--json", env={"BENCHCORE_FUNCTIONAL_CONFIG": str(config)}
    )
    assert done.returncode == 0, done.stderr
    assert [one["case_id"] for one in json.loads(done.stdout)["results"]] == [
        "smoke.models",
        "smoke.chat",
        "smoke.streamed_chat",
        "smoke.no_messages",
    ]


def test_a_config_leaves_out_and_relaxes_with_a_reason(benchcore, simulator_with, tmp_path):
    simulator = simulator_with(breaks=("sse.one_done",))
    config = tmp_path / "ours.yaml"
    config.write_text(
        "suite: [sse]\n"
        "checks:\n"
        "  sse.one_done: {tolerate: the gateway eats it}\n"
        "  sse.framing: {skip: not today}\n"
    )
    done = benchcore.run(
        *("check", "--base-url", simulator.base_url, "--config", str(config), "--json", "--strict")
    )
    assert done.returncode == 0, done.stderr
    results = {one["case_id"]: one for one in json.loads(done.stdout)["results"]}
    assert results["sse.one_done"]["tolerated"] == [
        "expected one [DONE]; got 0; tolerated: the gateway eats it"
    ]
    assert results["sse.framing"]["reason"] == "left out: not today"


CASES = """\
suite: ours
defaults: {max_tokens: 32}
cases:
  - id: repeats
    request: {messages: [{role: user, content: "Repeat exactly, and nothing else: violet"}]}
    expect: {content: violet, finish_reason: stop, fields: {choices.0.message.role: assistant}}
  - id: repeats_streamed
    stream: true
    request: {messages: [{role: user, content: "Repeat exactly, and nothing else: violet"}]}
    expect: {contains: vio, matches: "^v.*t$"}
  - id: wrong
    request: {messages: [{role: user, content: "Repeat exactly, and nothing else: violet"}]}
    expect: {content: red}
  - id: nobody
    request: {model: nobody}
    expect_error: {status: 404, contains: NOBODY, param: model}
matrices:
  - id: grid
    grid: {temperature: [0, 9, 2], top_p: [0.1, 9, 1]}
negative:
  - id: temperature
    parameter: temperature
    values: [-1, hot]
    expect_error: {param: temperature}
  - id: accepted
    parameter: temperature
    values: [3, 1]
"""


def test_cases_of_ones_own_are_made_and_a_grid_takes_only_its_corners(benchcore, tmp_path):
    path = tmp_path / "ours.yaml"
    path.write_text(CASES)
    done = benchcore.run("check", "--sim", "--cases-file", str(path), "--suite", "ours", "--json")
    assert done.returncode == 5
    results = {
        one["case_id"]: (one["verdict"], one["expected"], one["got"])
        for one in json.loads(done.stdout)["results"]
    }
    assert results == {
        "ours.repeats": ("pass", None, None),
        "ours.repeats_streamed": ("pass", None, None),
        "ours.wrong": ("fail", 'content "red"', '"violet"'),
        "ours.nobody": ("pass", None, None),
        "ours.grid": ("pass", None, None),  # the 9 in the middle would be refused
        "ours.temperature": ("pass", None, None),
        "ours.accepted": (
            "fail",
            'status 4xx, with {"temperature":1}',
            results["ours.accepted"][2],
        ),
    }
    assert results["ours.accepted"][2].startswith("200: ")


def test_each_fault_of_a_file_of_cases_has_its_line(benchcore, tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_text(
        "suite: Ours\n"
        "cases:\n"
        "  - id: a\n"
        "    expct: {status: 200}\n"
        "  - id: b\n"
        "    expect: {matches: '(', status: 42}\n"
        "matrices:\n"
        "  - id: c\n"
    )
    done = benchcore.run("check", "--sim", "--cases-file", str(path))
    assert done.returncode == 2
    lines = done.stderr.removeprefix("benchcore: ").splitlines()
    assert f"{path}:4: cases.0.expct: is not known; did you mean expect?" in lines
    assert any(line.startswith(f"{path}:1: suite: 'Ours' is not a name") for line in lines)
    assert any(line.startswith(f"{path}:6: cases.1.expect.matches:") for line in lines)
    assert f"{path}:8: matrices.0.grid: is missing" in lines


def test_the_list_names_every_check_with_what_it_needs(benchcore):
    done = benchcore.run("check", "--list")
    assert (done.returncode, done.stderr) == (0, "264 checks\n")
    lines = done.stdout.splitlines()
    assert len(lines) == 264
    assert "[with --burst]" in next(line for line in lines if line.startswith("limits.retry_after"))


def test_an_interrupt_keeps_the_checks_that_were_made(benchcore, simulator, tmp_path):
    process = benchcore.start(
        *("check", "--base-url", simulator.base_url, "--concurrency", "1", "--burst", "64")
    )
    deadline = time.monotonic() + 600
    for line in process.stderr:
        if line.startswith("pass ") or time.monotonic() > deadline:
            break
    process.send_signal(signal.SIGINT)
    assert process.wait(600) == 130
    process.stdout.close()
    process.stderr.close()
    summary = report(tmp_path / "results")["summary"]
    assert summary["status"] == "interrupted"
    assert 1 <= summary["pass"] < 264
    assert summary["total"] == 264
