"""`benchcore climb` as a user types it."""

import csv
import gzip
import json
import os
import re
import resource
import signal
import subprocess
import sys

import pytest

from benchcore.cli.main import run
from benchcore.sim.process import SimulatorProcess
from benchcore.sim.vocabulary import pieces

pytestmark = [pytest.mark.integration, pytest.mark.perf]

SHORT = ("--input-tokens", "16", "--output-tokens", "4", "--idle", "0s")


def text_of(path):
    return gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text()


def only_folder(results):
    folders = list(results.iterdir())
    assert len(folders) == 1
    return folders[0]


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_climb_prints_one_table_and_writes_the_whole_run_folder(benchcore, simulator, tmp_path):
    done = benchcore.measure(
        *("climb", "--base-url", simulator.base_url, "--concurrency", "1,4"),
        *("--requests", "30", "--name", "my run", "--label", "gpu=none", *SHORT),
    )
    assert done.returncode == 0, done.stderr
    assert max(map(len, done.stdout.splitlines())) <= 100
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines[2:4]] == ["c1", "c4"]
    folder = only_folder(tmp_path / "results")
    assert re.fullmatch(r"\d{8}T\d{6}Z-my-run", folder.name)
    assert sorted(path.name for path in folder.iterdir()) == [
        "histograms.hlog",
        "report.html",
        "report.md",
        "requests.csv",
        "run.json",
        "server_metrics.csv.gz",
        "summary.csv",
        "timeline.csv",
    ]
    run = json.loads((folder / "run.json").read_bytes())
    assert run["schema_version"] == 1
    assert run["status"] == "complete"
    assert run["labels"] == {"gpu": "none"}
    assert run["target"]["kind"] == "server"
    assert run["target"]["model"] == "sim-1"
    assert run["command"][1:3] == ["climb", "--base-url"]
    for level, users in zip(run["levels"], (1, 4), strict=True):
        assert level["concurrency"] == users
        assert (level["scheduled"], level["ok"], level["failed"]) == (30, 30, 0)
        assert level["outcomes"] == {"ok": 30}
        assert level["tokens"]["token_count_source"] == {"usage": 30}
        assert level["tokens"]["input"] == level["tokens"]["asked_input"] == 30 * 16
        assert level["tokens"]["output"] == 30 * 4
        assert level["metrics"]["ttft"]["count"] == 30
        # Where the machine is busy all tokens of each request may come in one read: no gap is left.
        assert level["metrics"].get("icl", {"count": 0})["count"] <= 30 * 3
        assert "p99" in level["metrics"]["ttft"]["low_confidence"]
    summary = rows(folder / "summary.csv")
    assert [row["level"] for row in summary] == ["c1", "c4"]
    for row, level in zip(summary, run["levels"], strict=True):
        p99 = level["metrics"]["ttft"]["p99"]
        assert float(row["ttft_seconds_p99"]) == pytest.approx(p99, rel=1e-8)
        assert row["gpu_utilization_avg"] == "-1"
    requests = rows(folder / "requests.csv")
    measured = [row for row in requests if row["level"] == "c4" and row["stage"] == "window"]
    assert len(measured) == 30
    assert {row["outcome"] for row in measured} == {"ok"}
    assert len({row["request_id"] for row in requests}) == len(requests)


def test_prompts_that_repeat_are_told_where_people_look(benchcore, simulator, tmp_path):
    prompts = tmp_path / "few.jsonl"
    prompts.write_text("".join(f'{{"prompt": "{word}"}}\n' for word in ("a", "b", "a")))
    load = ("--workload", str(prompts), "--concurrency", "1,2", "--requests", "8", "--idle", "0s")
    done = benchcore.measure("climb", "--base-url", simulator.base_url, *load)
    assert done.returncode == 0, done.stderr
    run = json.loads((only_folder(tmp_path / "results") / "run.json").read_text())
    asked = run["workload"]["asked"]
    assert run["workload"]["distinct"] == 2
    assert asked >= 16
    # A sentence may be broken into lines at any space.
    told = " ".join(done.stdout.split())
    assert f"few: its 2 different prompt(s) were asked {asked} times" in told
    report = next((tmp_path / "results").iterdir()) / "report.md"
    assert "prompt(s) were asked" in report.read_text()


def test_json_on_standard_output_is_run_json(benchcore, simulator, tmp_path):
    done = benchcore.measure(
        *("climb", "--base-url", simulator.base_url, "--concurrency", "2", "--requests", "20"),
        *("--json", "--quiet", *SHORT),
    )
    assert done.returncode == 0, done.stderr
    folder = only_folder(tmp_path / "results")
    assert done.stderr == f"results are in results/{folder.name}\n"
    written = (folder / "run.json").read_text()
    assert done.stdout == written


def test_the_simulator_is_loud_and_marks_the_run(benchcore, tmp_path):
    done = benchcore.measure("climb", "--concurrency", "1", "--requests", "3", *SHORT)
    assert done.returncode == 0, done.stderr
    assert "SIMULATOR" in done.stderr.splitlines()[0]
    assert "SIMULATOR" in done.stdout
    run = json.loads((only_folder(tmp_path / "results") / "run.json").read_bytes())
    assert run["target"]["kind"] == "simulator"
    folder = only_folder(tmp_path / "results")
    assert [row["target_kind"] for row in rows(folder / "summary.csv")] == ["simulator"]
    assert "#[target: simulator]" in (folder / "histograms.hlog").read_text()
    quiet = benchcore.measure("climb", "--quiet", "--concurrency", "1", "--requests", "2", *SHORT)
    assert "SIMULATOR" in quiet.stderr


def test_an_open_loop_sends_its_drawn_schedule(benchcore, simulator, tmp_path):
    def sent():
        done = benchcore.measure(
            *("climb", "--base-url", simulator.base_url, "--rate", "40", "--duration", "1s"),
            *("--seed", "7", "--warmup", "0", "--output", "out", *SHORT),
        )
        assert done.returncode == 0, done.stderr
        folder = max((tmp_path / "out").iterdir())
        level = json.loads((folder / "run.json").read_bytes())["levels"][0]
        assert level["mode"] == "open"
        assert level["scheduled"] == level["ok"]
        assert level["metrics"]["dispatch_lag"]["count"] == level["scheduled"]
        found = [row for row in rows(folder / "requests.csv") if row["stage"] == "window"]
        return [row["scheduled_seconds"] for row in sorted(found, key=lambda r: int(r["index"]))]

    first, second = sent(), sent()
    assert len(first) > 20
    assert first == second


def test_a_named_union_runs_each_part_with_its_own_load(benchcore, simulator, tmp_path):
    done = benchcore.measure(
        *("climb", "--base-url", simulator.base_url, "--workload", "year1", "--idle", "0s")
    )
    assert done.returncode == 0, done.stderr
    run = json.loads((only_folder(tmp_path / "results") / "run.json").read_bytes())
    seen = [
        (level["level"], level["workload"], level["concurrency"], level["scheduled"])
        for level in run["levels"]
    ]
    assert seen == [
        ("short-c1", "short", 1, 5),
        ("long-c1", "long", 1, 3),
        ("stress-c10", "stress", 10, 10),
    ]


@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        (("--concurrency", ""), 2, "the list is empty"),
        (("--concurrency", "8,1"), 2, "did you mean 1,8?"),
        (("--concurrency", "1,x"), 2, "not a list of numbers"),
        (("--concurrency", "0"), 2, "above 0"),
        (("--rate", "1", "--concurrency", "1"), 2, "give one"),
        (("--arrival", "often", "--rate", "1"), 2, "constant, poisson or gamma"),
        (("--slo", "speed:1"), 2, "METRIC:DURATION"),
        (("--workload", "shrot"), 2, "short"),
        (("--input-tokens", "many"), 2, "length 'many'"),
        (("--header", "nothing"), 2, "KEY=VALUE"),
        (("--extra-body", "[1]"), 2, "JSON object"),
        (("--extra-body", '{"x": NaN}'), 2, "NaN is not a number in JSON"),
        (("--extra-body", '{"x": 99999999999999999999}'), 2, "more than 64 bits"),
        (("--seed", "99999999999999999999"), 2, "--seed"),
        (("--rate", "1", "--think-time", "1s"), 2, "for a closed loop"),
        (("--concurrency", "1", "--max-inflight", "4"), 2, "for an open loop"),
        (("--timeout", "soon=1"), 2, "is not a phase"),
        (("--base-url", "ftp://host"), 2, "is not http"),
        (("--base-url", "http://user:secret@host"), 2, "must not contain a user or password"),
        (("--api-key-env", "NO_SUCH_VARIABLE"), 2, "NO_SUCH_VARIABLE is not set"),
        (("--stop-on-failures", "120%"), 2, "between 0 and 100"),
        (("--no-such-option",), 2, "No such option"),
        (("--base-url", "http://127.0.0.1:1"), 3, "does not answer (Connection refused)"),
        (("--base-url", "http://no-such-host.invalid"), 3, "is not known"),
        (("--base-url", "SIM", "--model", "sim-2"), 3, "server has 'sim-1'"),
        (("--base-url", "SIM", "--output", "file"), 2, "file"),
        (("--base-url", "SIM", "--workload", "bad.jsonl"), 2, "bad.jsonl:17"),
        (("--base-url", "SIM", "--tokenizer", "none.json"), 2, "none.json"),
    ],
)
def test_bad_input_gets_one_clear_line_and_its_exit_code(
    benchcore, simulator, tmp_path, args, code, says
):
    (tmp_path / "file").write_text("not a folder")
    lines = ['{"prompt": "hello"}'] * 16 + ["{broken"] + ['{"prompt": "hello"}'] * 3
    (tmp_path / "bad.jsonl").write_text("\n".join(lines))
    done = benchcore.measure("climb", *(simulator.base_url if a == "SIM" else a for a in args))
    assert done.returncode == code, done.stderr
    complaints = [line for line in done.stderr.splitlines() if line.startswith("benchcore: ")]
    assert len(complaints) == 1
    assert says in complaints[0]
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert not (tmp_path / "results").exists() or not list((tmp_path / "results").iterdir())


def test_an_unwritable_results_folder_is_told_before_the_load(benchcore, simulator, tmp_path):
    (tmp_path / "results").write_text("")
    done = benchcore.measure("climb", "--base-url", simulator.base_url)
    assert done.returncode == 2
    assert "--output results" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_key_goes_to_the_server_and_nowhere_else(benchcore, tmp_path):
    from benchcore.sim import SimOptions

    benchcore.environment["MY_KEY"] = "sk-very-secret"
    benchcore.environment["OPENAI_API_KEY"] = "sk-not-to-be-read"
    with SimulatorProcess(SimOptions(api_key="sk-very-secret")) as process:
        args = ("climb", "--base-url", process.base_url, "--concurrency", "1", "--requests", "2")
        refused = benchcore.measure(*args, *SHORT)
        assert refused.returncode == 3
        assert "--api-key-env" in refused.stderr
        done = benchcore.measure(*args, "--api-key-env", "MY_KEY", "--log-level", "debug", *SHORT)
    assert done.returncode == 0, done.stderr
    everything = done.stdout + done.stderr
    for path in only_folder(tmp_path / "results").iterdir():
        everything += text_of(path)
    assert "secret" not in everything
    shown = benchcore.measure("climb", "--sim", "--print-request", "--api-key-env", "MY_KEY")
    assert "authorization: Bearer ***" in shown.stdout
    assert "secret" not in shown.stdout + shown.stderr


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_saves_what_was_measured(benchcore, simulator, tmp_path, until, number, code):
    process = benchcore.start(
        *("climb", "--base-url", simulator.base_url, "--concurrency", "4,8"),
        *("--duration", "600s", *SHORT),
    )
    try:
        until(lambda: requests_so_far(tmp_path) > 20)
        process.send_signal(number)
        out, err = process.communicate(timeout=600)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == code, err
    assert "c4" in out
    run = json.loads((only_folder(tmp_path / "results") / "run.json").read_bytes())
    assert run["status"] == "interrupted"
    (level,) = run["levels"]
    assert level["interrupted"] is True
    assert level["ok"] > 20
    assert level["scheduled"] == level["ok"] + level["cancelled"] + level["failed"]


def requests_so_far(tmp_path):
    found = list((tmp_path / "results").glob("*/requests.csv"))
    return len(found[0].read_text().splitlines()) if found else 0


def test_a_killed_run_keeps_whole_lines_of_what_it_measured(benchcore, simulator, tmp_path, until):
    process = benchcore.start(
        *("climb", "--base-url", simulator.base_url, "--concurrency", "4"),
        *("--duration", "600s", *SHORT),
    )
    try:
        until(lambda: requests_so_far(tmp_path) > 200)
    finally:
        process.kill()
        process.communicate()
    folder = only_folder(tmp_path / "results")
    run = json.loads((folder / "run.json").read_bytes())
    assert run["status"] == "running"
    text = (folder / "requests.csv").read_text()
    assert text.endswith("\n")
    found = rows(folder / "requests.csv")
    assert len(found) > 199
    assert {row["outcome"] for row in found} == {"ok"}
    assert all(None not in row.values() for row in found)
    assert (folder / "timeline.csv").read_text().endswith("\n")


def test_a_full_disk_costs_the_files_and_not_the_figures(benchcore, simulator, tmp_path):
    def full():
        # A write beyond this fails, as on a full disk.
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))

    done = benchcore.measure(
        *("climb", "--base-url", simulator.base_url, "--concurrency", "8"),
        *("--requests", "600", *SHORT),
        preexec_fn=full,
    )
    assert done.returncode == 1
    assert "c8" in done.stdout
    complaints = [line for line in done.stderr.splitlines() if line.startswith("benchcore: ")]
    assert len(complaints) == 1
    assert "is not complete (csv: requests.csv: File too large" in complaints[0]
    folder = only_folder(tmp_path / "results")
    text = (folder / "requests.csv").read_text()
    assert text.endswith("\n")
    assert 200 < len(rows(folder / "requests.csv")) < 600
    assert json.loads((folder / "run.json").read_bytes())["levels"][0]["ok"] == 600


def test_a_failing_server_has_a_failure_rate_and_stops_the_climb(benchcore, tmp_path):
    from benchcore.sim import SimOptions, SimProfile

    options = SimOptions(profile=SimProfile.named("fast"), faults=("error_event:2@0.5",), seed=3)
    with SimulatorProcess(options) as process:
        for _ in range(20):  # the probes may meet the fault too
            done = benchcore.measure(
                *("climb", "--base-url", process.base_url, "--concurrency", "4,8"),
                *("--requests", "40", "--stop-on-failures", "20%", "--count-failures", *SHORT),
            )
            if done.returncode != 3:
                break
    assert done.returncode == 0, done.stderr
    run = json.loads((only_folder(tmp_path / "results") / "run.json").read_bytes())
    (level,) = run["levels"]
    assert "of the requests failed, more than 20.0%" in run["stopped"]
    assert level["outcomes"].keys() == {"ok", "stream_error"}
    assert level["ok"] + level["failed"] == level["scheduled"] == 40
    assert level["failure_rate"] == level["failed"] / 40
    ttft = level["metrics"]["ttft"]
    assert ttft["count"] == level["ok"]
    assert "p99" in ttft["infinite"]
    assert ttft["with_failures"]["p99"] is None
    assert "no higher level was run" in done.stdout


def test_json_logs_are_one_object_a_line(benchcore, simulator):
    done = benchcore.measure(
        *("climb", "--base-url", simulator.base_url, "--concurrency", "1", "--requests", "2"),
        *("--log-format", "json", *SHORT),
    )
    assert done.returncode == 0
    logged = [json.loads(line) for line in done.stderr.splitlines()]
    assert all(line.keys() == {"time", "level", "message"} for line in logged)
    assert any("results are in" in line["message"] for line in logged)


def test_no_stream_measures_whole_answers_only(benchcore, simulator, tmp_path):
    done = benchcore.measure(
        *("climb", "--base-url", simulator.base_url, "--concurrency", "2", "--requests", "20"),
        *("--no-stream", *SHORT),
    )
    assert done.returncode == 0, done.stderr
    level = json.loads((only_folder(tmp_path / "results") / "run.json").read_bytes())["levels"][0]
    assert level["ok"] == 20
    assert set(level["metrics"]) == {
        *("e2e", "e2e_from_schedule", "first_byte", "first_byte_from_schedule", "send")
    }
    assert level["output_token_throughput"] is None


def test_before_level_runs_and_a_failing_one_ends_the_run(benchcore, simulator, tmp_path):
    args = ("climb", "--base-url", simulator.base_url, "--concurrency", "1,2", "--requests", "2")
    done = benchcore.measure(*args, "--before-level", "echo again >> marks", *SHORT)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "marks").read_text() == "again\nagain\n"
    failing = benchcore.measure(*args, "--before-level", "exit 7", "--output", "other", *SHORT)
    assert failing.returncode == 2
    assert "ended with 7" in failing.stderr


def test_saved_events_and_texts_are_those_of_the_requests(benchcore, simulator, tmp_path):
    done = benchcore.measure(
        *("climb", "--base-url", simulator.base_url, "--concurrency", "2", "--requests", "6"),
        # An answer may end of itself, now and then before its fourth token.
        *("--save-events", "--save-text", "--ignore-eos", *SHORT),
    )
    assert done.returncode == 0, done.stderr
    folder = only_folder(tmp_path / "results")
    requests = {row["request_id"]: row for row in rows(folder / "requests.csv")}
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    assert {event["request_id"] for event in events} == requests.keys()
    for event in events:
        if event["outcome"] == "ok":
            assert sum(event["events"] or [1] * len(event["stamps_ns"])) == 4
            assert event["stamps_ns"] == sorted(event["stamps_ns"])
    texts = [json.loads(line) for line in (folder / "texts.jsonl").read_text().splitlines()]
    assert [len(pieces(text["text"])) for text in texts if text["outcome"] == "ok"] == [
        4 for event in events if event["outcome"] == "ok"
    ]


def test_no_color_and_a_pipe_leave_no_escape_codes(benchcore, simulator):
    benchcore.environment["NO_COLOR"] = "1"
    done = benchcore.measure(
        *("climb", "--base-url", simulator.base_url, "--concurrency", "1", "--requests", "2"),
        *SHORT,
    )
    assert "\x1b" not in done.stdout + done.stderr


def test_help_imports_nothing_heavy(benchcore):
    code = (
        "import sys\n"
        "from benchcore.cli.main import run\n"
        "run(['--help'])\n"
        "heavy = {'numpy', 'aiohttp', 'pydantic', 'rich', 'kubernetes_asyncio', 'uvloop'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert "Measure a server, level by level." in done.stdout


def test_a_climb_imports_nothing_that_it_does_not_use(simulator, tmp_path):
    code = (
        "import sys\n"
        "from benchcore.cli.main import run\n"
        "run(sys.argv[1:])\n"
        "idle = {'aiohttp', 'kubernetes_asyncio', 'matplotlib', 'tokenizers'}\n"
        "print(sorted(idle & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [
            *(sys.executable, "-c", code, "climb", "--base-url", simulator.base_url),
            *("--concurrency", "2", "--requests", "40", "--output", str(tmp_path), *SHORT),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (["--concurrency", "1", "--rate", "1"], 2),
        (["--concurrency", "1", "--requests", "2", "--output", "/dev/null/results"], 2),
    ],
)
def test_a_command_that_ends_before_its_load_leaves_no_simulator(monkeypatch, options, code):
    begun = []
    begin = SimulatorProcess.begin
    monkeypatch.setattr(SimulatorProcess, "begin", lambda sim: begun.append(sim) or begin(sim))
    assert run(["climb", "--sim", *options]) == code
    (simulator,) = begun
    assert simulator._process.poll() is not None


@pytest.mark.parametrize("option", ["--dry-run", "--print-request"])
def test_what_only_shows_something_begins_no_simulator(monkeypatch, option):
    monkeypatch.setattr(SimulatorProcess, "begin", None)
    assert run(["climb", "--sim", "--concurrency", "1", "--requests", "2", option]) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells of threads")
@pytest.mark.parametrize(("asked", "left"), [(None, None), ("3", "3")])
def test_numpy_is_imported_without_threads_and_servers_have_what_they_like(asked, left):
    code = (
        "import os, pathlib\n"
        "from benchcore.cli.driver import import_numpy\n"
        "import_numpy()\n"
        "threads = len(list(pathlib.Path('/proc/self/task').iterdir()))\n"
        "print(threads, os.environ.get('OPENBLAS_NUM_THREADS'))\n"
    )
    environ = {k: v for k, v in os.environ.items() if k != "OPENBLAS_NUM_THREADS"}
    if asked is not None:
        environ["OPENBLAS_NUM_THREADS"] = asked
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environ
    )
    threads, said = done.stdout.split()
    assert said == str(left)
    if asked is None:
        assert threads == "1"


def test_an_internal_fault_is_one_line_without_traceback(monkeypatch, capsys):
    from benchcore.cli import main

    def broken(*_args, **_kwargs):
        raise KeyError("oops")

    monkeypatch.setattr(main.cli, "main", broken)
    monkeypatch.delenv("BENCHCORE_TRACEBACK", raising=False)
    assert main.run([]) == 1
    error = capsys.readouterr().err
    assert error.startswith("benchcore: internal fault: KeyError: 'oops'")
    assert len(error.splitlines()) == 1


@pytest.mark.skipif(os.name != "posix", reason="a unix socket")
def test_a_unix_socket_is_measured_with_userspace_stamps(benchcore, tmp_path):
    from benchcore.sim import SimOptions, SimProfile

    path = tmp_path / "s.sock"
    with SimulatorProcess(SimOptions(profile=SimProfile.named("fast"), uds=path)):
        done = benchcore.measure(
            *("climb", "--base-url", f"unix:{path}", "--concurrency", "2", "--requests", "20"),
            *SHORT,
        )
    assert done.returncode == 0, done.stderr
    run = json.loads((only_folder(tmp_path / "results") / "run.json").read_bytes())
    assert run["timestamps"]["kernel"] == 0
    assert run["timestamps"]["userspace"] > 20


def test_a_header_is_kept_out_of_the_files(benchcore, simulator, tmp_path):
    done = benchcore.measure(
        *("climb", "--base-url", simulator.base_url, "--concurrency", "1", "--requests", "2"),
        *("--header", "X-Key=sk-secret", "--header=Cookie=sk-secret", *SHORT),
    )
    assert done.returncode == 0, done.stderr
    folder = only_folder(tmp_path / "results")
    assert all("sk-secret" not in text_of(path) for path in folder.iterdir())
    command = json.loads((folder / "run.json").read_bytes())["command"]
    assert "X-Key=***" in command
    assert "--header=Cookie=***" in command


def test_a_server_that_dies_is_not_the_fault_of_the_run(benchcore, tmp_path):
    from benchcore.sim import SimOptions, SimProfile

    with SimulatorProcess(SimOptions(profile=SimProfile.named("fast"))) as process:
        done = benchcore.measure(
            *("climb", "--base-url", process.base_url, "--concurrency", "2", "--warmup", "0"),
            *("--duration", "2s", "--before-level", f"kill -9 {process.pid}", *SHORT),
        )
    assert done.returncode == 3, done.stderr
    assert f"{process.base_url} has gone in c2: " in done.stderr
    (level,) = json.loads((only_folder(tmp_path / "results") / "run.json").read_bytes())["levels"]
    assert level["validity"] != "invalid"
    assert level["outcomes"].keys() == {"connect_error"}
    assert level["failure_rate"] == 1.0


def test_a_broken_slo_is_said_and_is_no_fault_of_the_run(benchcore, simulator):
    done = benchcore.measure(
        *("climb", "--base-url", simulator.base_url, "--concurrency", "1", "--requests", "20"),
        *("--slo", "ttft:1us", *SHORT),
    )
    assert done.returncode == 0, done.stderr
    assert "c1: SLO ttft:0.001ms broken: p99 " in done.stdout


def test_an_interrupt_while_the_simulator_starts_leaves_no_process(benchcore, until):
    process = benchcore.start("climb", "--sim")
    # Said just before the simulator is started, which takes a quarter of a second at least.
    assert "SIMULATOR" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=600)
    assert process.returncode == 130
    assert "Traceback" not in err


def test_a_window_of_n_requests_counts_n_of_them(benchcore, simulator, tmp_path):
    done = benchcore.measure(
        *("climb", "--base-url", simulator.base_url, "--concurrency", "1", "--requests", "20"),
        *SHORT,
    )
    assert done.returncode == 0, done.stderr
    (level,) = json.loads((only_folder(tmp_path / "results") / "run.json").read_bytes())["levels"]
    # The N-th is scheduled where the one before ends: with the last of the warm-up, N − 1 or N.
    ended = level["request_throughput"] * level["window_seconds"]
    assert ended == pytest.approx(round(ended))
    assert round(ended) in (19, 20)
    tokens = level["output_token_throughput"] * level["window_seconds"]
    assert tokens == pytest.approx(round(ended) * 4, abs=4.01)


@pytest.mark.parametrize(
    "args",
    [
        ("climb", "--requests", "4", "--concurrency", "1", "--idle", "0s", "--no-progress"),
        ("eval", "gsm8k", "--data", "builtin", "--limit", "2"),
        ("check", "--case", "smoke.chat"),
    ],
)
def test_what_the_server_takes_can_be_said_beforehand(benchcore, simulator, tmp_path, args):
    done = benchcore.run(
        *args,
        *("--base-url", f"{simulator.base_url}/v1", "--path", "/chat/completions"),
        *("--omit", "temperature", "--rename", "max_tokens=max_completion_tokens"),
    )
    assert done.returncode == 0, done.stderr
    (folder,) = (tmp_path / "results").iterdir()
    target = json.loads((folder / "run.json").read_text())["target"]
    assert target["omit"] == ["temperature"]
    assert target["rename"] == {"max_tokens": "max_completion_tokens"}
    assert target["path"] == "/v1/chat/completions"


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("--omit", "model"), "--omit: 'model' is not a field that a request can leave out"),
        (("--rename", "a"), "is not KEY=VALUE"),
        (("--rename", "a=a"), "--rename: a=a does not rename one optional field to another"),
        (("--path", "chat"), "path 'chat' does not begin with '/'"),
    ],
)
def test_what_cannot_be_left_out_or_renamed_is_refused(benchcore, args, says):
    done = benchcore.measure("climb", "--base-url", "http://127.0.0.1:1", *args)
    assert done.returncode == 2
    assert says in done.stderr
