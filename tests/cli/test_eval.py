"""`benchcore eval`, `benchcore climb --eval` and `benchcore compare` as a user types them."""

import json
import signal
from pathlib import Path

import pytest

from benchcore import SimOptions, SimProfile, SimulatorProcess

pytestmark = [pytest.mark.integration, pytest.mark.accuracy]

FILES = ["accuracy.json", "accuracy.prom", "report.html", "run.json", "samples.jsonl"]


@pytest.fixture
def able():
    """Starts simulators that know some of what they are asked."""
    started = []

    def start(**fields):
        profile = SimProfile.named("fast", **fields)
        started.append(SimulatorProcess(SimOptions(profile=profile)).start())
        return started[-1].base_url

    yield start
    for process in started:
        process.stop()


def folders(results):
    return sorted(results.iterdir())


def accuracy(folder):
    return json.loads((folder / "accuracy.json").read_bytes())


def samples(folder):
    return [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]


def test_an_eval_of_the_simulator_prints_its_score_and_writes_the_whole_folder(benchcore, tmp_path):
    done = benchcore.run("eval", "--preset", "debug")
    assert done.returncode == 0, done.stderr
    assert "SIMULATOR: this scores the built-in simulated server (no --base-url" in done.stderr
    assert max(map(len, done.stdout.splitlines())) <= 100
    assert done.stdout.splitlines()[0].split()[:2] == ["gpqa", "diamond"]
    assert "10 questions are few: read the interval, not the score" in done.stdout
    (folder,) = folders(tmp_path / "results")
    assert folder.name.endswith("-eval-gpqa")
    assert sorted(path.name for path in folder.iterdir()) == FILES
    found = accuracy(folder)
    assert {name: found[name] for name in ("task", "variant", "status", "n", "errors", "ok")} == {
        "task": "gpqa",
        "variant": "diamond",
        "status": "complete",
        "n": 10,
        "errors": 0,
        "ok": None,
    }
    assert found["interval"][0] < found["score"] < found["interval"][1]
    assert found["target"]["kind"] == "simulator"
    assert found["data"]["files"][0]["rows"] == 100
    assert found["config"]["limit"] == 10
    assert json.loads((folder / "run.json").read_bytes())["status"] == "complete"
    assert (
        'benchcore_accuracy_samples{model="sim-1",task="gpqa"} 10.0'
        in (folder / "accuracy.prom").read_text()
    )


TASKS = ["gpqa", "gsm8k", "ifeval", "math500", "mgsm", "mmlu", "mmlu_pro", "mmlu_pro_cot"]


@pytest.mark.parametrize("name", TASKS)
def test_the_built_in_questions_have_a_score_on_a_plain_simulator(
    benchcore, simulator, tmp_path, name
):
    url = simulator.base_url
    asked = ("eval", name, "--base-url", url, "--data", "builtin", "--limit", "40", "--quiet")
    done = benchcore.run(*asked)
    assert done.returncode == 0, done.stderr
    (folder,) = folders(tmp_path / "results")
    found = accuracy(folder)
    assert (found["n"], found["errors"]) == (40, 0)
    assert 0.4 < found["score"] < 1


def test_a_limit_is_of_all_questions_in_every_language_together(benchcore, tmp_path):
    done = benchcore.run("eval", "mgsm", "--limit", "40", "--quiet")
    assert done.returncode == 0, done.stderr
    (folder,) = folders(tmp_path / "results")
    found = accuracy(folder)
    assert (found["n"], found["planned"], found["questions"]) == (40, 40, 40)
    # Eleven languages in turn: the first seven have four each, the others three.
    assert sorted(one["n"] for one in found["groups"].values()) == [3] * 4 + [4] * 7


def test_question_text_is_nowhere_unless_it_is_asked_for(benchcore, tmp_path):
    assert benchcore.run("eval", "--limit", "3", "--name", "bare").returncode == 0
    assert benchcore.run("eval", "--limit", "3", "--name", "kept", "--save-text").returncode == 0
    assert benchcore.run("eval", "--limit", "3", "--name", "shown", "--show-text").returncode == 0
    text = "How many"
    where = {}
    for folder in folders(tmp_path / "results"):
        name = folder.name.partition("-")[2]
        where[name] = {
            path.name for path in folder.iterdir() if text in path.read_text(errors="replace")
        }
    assert where == {
        "bare": set(),
        "kept": {"samples.jsonl"},
        "shown": {"samples.jsonl", "report.html"},
    }


@pytest.mark.parametrize(
    ("least", "code", "says"),
    [("0.1", 0, "passed: held to 0.1"), ("1.0", 5, "failed: held to 1")],
)
def test_a_score_is_held_to_its_limit(benchcore, tmp_path, least, code, says):
    done = benchcore.run("eval", "mmlu", "--min-score", least, "--quiet")
    assert done.returncode == code
    assert says in done.stdout
    (folder,) = folders(tmp_path / "results")
    assert accuracy(folder)["ok"] is (code == 0)
    if code:
        assert done.stderr.splitlines()[-1].startswith("benchcore: mmlu: the score 0.")


def test_a_score_below_its_limit_whose_interval_reaches_it_passes_and_says_so(
    benchcore, able, tmp_path
):
    url = able(ability=0.6)
    asked = ("eval", "mmlu", "--base-url", url, "--data", "builtin", "--limit", "12", "--quiet")
    assert benchcore.run(*asked, "--name", "free").returncode == 0
    (folder,) = folders(tmp_path / "results")
    score, (low, high) = accuracy(folder)["score"], accuracy(folder)["interval"]
    assert low < score < high
    held = (f"{(score + high) / 2:.2f}", f"{(score + low) / 2:.2f}", f"{high + 0.01:.2f}")
    ends = {}
    for least in held:
        done = benchcore.run(*asked, "--name", f"held-{least}", "--min-score", least)
        (folder,) = (one for one in folders(tmp_path / "results") if one.name.endswith(least))
        found = accuracy(folder)
        last = [line for line in done.stdout.splitlines() if "held to" in line]
        ends[least] = (done.returncode, *last, found["ok"], found["certain"])
        page = (folder / "report.html").read_text()
        assert f">{last[0]}<" in page
        side = "below" if score < float(least) else "not below"
        remark = (
            f"too few samples to tell: the score {score:.4f} is {side} the limit "
            f"{float(least):g}, and its 95 % interval {low:.4f}-{high:.4f} reaches both sides of "
            "it; --min-score judges by the upper bound: a run fails only where that is below the "
            "limit, too"
        )
        assert (remark in found["remarks"]) is not found["certain"]
    below, above, beyond = (f"{float(least):g}" for least in held)
    assert list(ends.values()) == [
        (
            0,
            f"passed: held to {below}, which the score is below and its interval reaches",
            True,
            False,
        ),
        (0, f"passed: held to {above}, which the samples are too few to tell", True, False),
        (5, f"failed: held to {beyond}", False, True),
    ]


def test_ifevals_samples_name_their_instructions_and_hold_no_text_of_them(benchcore, tmp_path):
    assert benchcore.run("eval", "ifeval", "--quiet").returncode == 0
    (folder,) = folders(tmp_path / "results")
    facts = [one["facts"] for one in samples(folder)]
    assert {name for one in facts for name in one} == {"instructions", "id"}
    assert "harbour" not in (folder / "samples.jsonl").read_text()


def test_json_goes_to_stdout(benchcore):
    done = benchcore.run("eval", "gsm8k", "--limit", "20", "--json")
    assert done.returncode == 0, done.stderr
    assert set(json.loads(done.stdout)["figures"]) == {"strict", "flexible"}


def test_a_run_that_is_interrupted_goes_on_and_asks_nothing_twice(benchcore, able, tmp_path):
    url = able(ability=0.7, decode_base_seconds=0.02)
    process = benchcore.start(
        *("eval", "gpqa", "--base-url", url, "--data", "builtin"),
        *("--concurrency", "4", "--n-repeats", "1"),
    )
    lines = []
    for line in process.stderr:
        lines.append(line)
        if line.startswith("7/100"):
            break
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=600)
    assert process.returncode == 130
    assert "of 100 samples were made: the run is interrupted" in out
    (folder,) = folders(tmp_path / "results")
    before = samples(folder)
    assert 7 <= len(before) < 20
    assert accuracy(folder)["status"] == "interrupted"
    done = benchcore.run("eval", "--resume", folder, "--quiet")
    assert done.returncode == 0, done.stderr
    after = samples(folder)
    assert sorted(one["index"] for one in after) == list(range(100))
    kept = {one["index"]: one for one in after}
    assert all(kept[one["index"]] == one for one in before)
    found = accuracy(folder)
    assert (found["status"], found["n"]) == ("complete", 100)


def test_a_killed_run_keeps_whole_lines_and_goes_on(benchcore, able, tmp_path):
    url = able(ability=0.7, decode_base_seconds=0.02)
    process = benchcore.start(
        *("eval", "gpqa", "--base-url", url, "--data", "builtin", "--n-repeats", "1"),
        *("--concurrency", "4"),
    )
    for line in process.stderr:
        if line.startswith("5/100"):
            break
    process.kill()
    process.communicate(timeout=600)
    (folder,) = folders(tmp_path / "results")
    assert accuracy(folder)["status"] == "running"
    assert len(samples(folder)) >= 5
    with (folder / "samples.jsonl").open("a") as file:
        file.write('{"index": 99, "half of a li')
    done = benchcore.run("eval", "--resume", folder, "--quiet", "--concurrency", "50")
    assert done.returncode == 0, done.stderr
    assert sorted(one["index"] for one in samples(folder)) == list(range(100))


def test_a_run_that_is_gone_on_with_keeps_its_settings(benchcore, tmp_path):
    assert benchcore.run("eval", "mmlu", "--limit", "2", "--quiet").returncode == 0
    (folder,) = folders(tmp_path / "results")
    done = benchcore.run("eval", "--resume", folder, "--limit", "3")
    assert done.returncode == 2
    assert "--resume continues as the run began: leave out limit" in done.stderr
    done = benchcore.run("eval", "gpqa", "--resume", folder)
    assert "leave out TASK" in done.stderr


def test_a_run_that_is_gone_on_with_asks_the_same_endpoint_in_the_same_way(
    benchcore, able, tmp_path
):
    truth = tmp_path / "truth.jsonl"
    profile = SimProfile.named("fast", ability=0.7)
    with SimulatorProcess(SimOptions(profile=profile, truth=truth)) as server:
        args = ("eval", "mmlu", "--base-url", server.base_url, "--data", "builtin", "--quiet")
        asked = ("--endpoint", "completions", "--no-stream", "--extra-body", '{"seed": 3}')
        asked = (*asked, "--label", "quant=fp8", "--label", "team=a")
        assert benchcore.run(*args, *asked, "--limit", "6").returncode == 0
        (folder,) = folders(tmp_path / "results")
        lines = (folder / "samples.jsonl").read_text().splitlines(keepends=True)
        (folder / "samples.jsonl").write_text("".join(lines[:4]))
        before = accuracy(folder)["target"]
        again = ("eval", "--resume", folder, "--quiet", "--label", "team=b")
        assert benchcore.run(*again).returncode == 0
    assert accuracy(folder)["target"] == before
    labels = json.loads((folder / "run.json").read_bytes())["labels"]
    assert labels == {"quant": "fp8", "team": "b"}
    assert (before["endpoint"], before["stream"]) == ("completions", False)
    asked_of = [json.loads(line)["endpoint"] for line in truth.read_text().splitlines()]
    assert asked_of == ["/v1/completions"] * 8
    assert len(samples(folder)) == 6


def test_a_simulators_run_goes_on_with_a_simulator(benchcore, tmp_path):
    assert benchcore.run("eval", "mmlu", "--limit", "6", "--quiet").returncode == 0
    (folder,) = folders(tmp_path / "results")
    (folder / "samples.jsonl").write_text("")
    done = benchcore.run("eval", "--resume", folder, "--quiet")
    assert done.returncode == 0, done.stderr
    assert accuracy(folder)["target"]["kind"] == "simulator"
    assert len(samples(folder)) == 6


def test_a_server_that_is_not_there_leaves_nothing(benchcore, tmp_path):
    done = benchcore.run("eval", "--base-url", "http://127.0.0.1:1", "--data", "builtin")
    assert done.returncode == 3
    assert "http://127.0.0.1:1 does not answer" in done.stderr
    assert folders(tmp_path / "results") == []


def test_errors_alone_are_no_score(benchcore, simulator_with, tmp_path):
    server = simulator_with(faults=("status:400@1",))
    done = benchcore.run("eval", "--base-url", server.base_url, "--data", "builtin", "--limit", "4")
    assert done.returncode == 3
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"benchcore: {server.base_url}: a first chat request (POST ")
    assert "ended as http_error 400: " in last
    (folder,) = folders(tmp_path / "results")
    assert accuracy(folder)["errors"] == 4


@pytest.mark.parametrize("quiet", [(), ("--quiet",)])
def test_a_server_that_answers_5xx_to_everything_gives_3_and_its_words(
    benchcore, simulator_with, tmp_path, quiet
):
    url = simulator_with(faults=("status:502@1",)).base_url
    asked = ("eval", "mmlu", "--base-url", url, "--data", "builtin", "--retries", "0")
    done = benchcore.run(*asked, *quiet)
    assert done.returncode == 3
    (folder,) = folders(tmp_path / "results")
    last = done.stderr.splitlines()[-2:]
    assert last[0].endswith(f"what was answered is in results/{folder.name}")
    errors = accuracy(folder)["errors"]
    assert last[1].startswith(
        f"benchcore: {url} answered none of the first {errors} questions (http_error 502: "
    )
    assert 8 <= errors <= 24


def test_errors_are_asked_again_where_that_is_wanted(benchcore, simulator_with, able, tmp_path):
    broken = simulator_with(faults=("status:400@0.5",))
    url = able(ability=0.7)
    first = benchcore.run(
        *("eval", "mmlu", "--base-url", broken.base_url, "--data", "builtin", "--quiet"),
    )
    (folder,) = folders(tmp_path / "results")
    errors = accuracy(folder)["errors"]
    assert 20 < errors < 80
    assert f"{errors} of 100 samples ended in an error and count as 0" in first.stdout
    nothing_new = benchcore.run("eval", "--resume", folder, "--base-url", url, "--quiet")
    assert nothing_new.returncode == 0
    assert accuracy(folder)["errors"] == errors
    again = benchcore.run(
        "eval", "--resume", folder, "--base-url", url, "--retry-errors", "--quiet"
    )
    assert again.returncode == 0, again.stderr
    assert accuracy(folder)["errors"] == 0
    assert len(samples(folder)) == 100


def test_two_runs_are_compared_question_by_question(benchcore, able, tmp_path):
    for name, ability in (("good", 0.9), ("bad", 0.6)):
        url = able(ability=ability)
        done = benchcore.run(
            *("eval", "mmlu", "--base-url", url, "--data", "builtin", "--name", name, "--quiet")
        )
        assert done.returncode == 0, done.stderr
    bad, good = sorted(folders(tmp_path / "results"), key=lambda path: path.name.partition("-")[2])
    done = benchcore.run("compare", good, bad)
    assert done.returncode == 0, done.stderr
    assert "more than chance" in done.stdout
    assert "100 questions in both: 0 better, " in done.stdout
    told = json.loads(benchcore.run("compare", good, bad, "--json").stdout)
    found = told["others"][0]["paired"]
    assert found["significant"] is True
    assert found["better"] == 0
    assert found["difference"] == pytest.approx(-found["worse"] / 100)
    same = benchcore.run("compare", good, good)
    assert "not more than chance" in same.stdout


def test_settings_that_may_change_a_score_are_named(benchcore, tmp_path):
    for temperature in ("0", "0.7"):
        args = ("eval", "mmlu", "--limit", "3", "--temperature", temperature, "--quiet")
        assert benchcore.run(*args).returncode == 0
    done = benchcore.run("compare", *folders(tmp_path / "results"))
    assert done.stdout.splitlines()[2:] == ["temperature is 0.0 in one and 0.7 in the other"]


def test_a_gate_finds_the_eval_before(benchcore, tmp_path):
    results = tmp_path / "results"
    for name, task in (("20260101T000000Z", "gsm8k"), ("20260102T000000Z", "mmlu")):
        assert benchcore.run("eval", task, "--limit", "5", "--quiet").returncode == 0
        (made,) = (path for path in folders(results) if path.name.endswith(f"eval-{task}"))
        made.rename(results / f"{name}-eval-{task}")
    assert benchcore.run("eval", "mmlu", "--limit", "5", "--quiet").returncode == 0
    done = benchcore.run("gate", folders(results)[-1], "--allow-simulator")
    assert done.returncode == 0, done.stderr
    assert " against 20260102T000000Z-eval-mmlu: passed" in done.stdout
    assert "accuracy.score at most 0 % worse" in done.stdout


def test_two_tasks_do_not_compare(benchcore, tmp_path):
    for name in ("mmlu", "gsm8k"):
        assert benchcore.run("eval", name, "--limit", "2", "--quiet").returncode == 0
    done = benchcore.run("compare", *folders(tmp_path / "results"))
    assert done.returncode == 2
    assert "two different tasks cannot be compared" in done.stderr


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["gpqaa"], "task 'gpqaa' is unknown; did you mean gpqa?"),
        (["--variant", "hard"], "no variant 'hard'"),
        (["--data", "gone.csv"], "gone.csv: No such file or directory"),
        (["--concurrency", "2", "--rate", "2"], "--concurrency and --rate are two kinds of load"),
        (
            ["--extraction", "simple-evals", "--limit", "3", "--n-repeats", "2"],
            "in simple-evals mode limit needs n_repeats 1",
        ),
        (["--retry-errors"], "--retry-errors needs --resume"),
        (["--sim", "--base-url", "http://127.0.0.1:1"], "leave --base-url out"),
        (["--few-shot", "3", "--few-shot-data", "gone.csv"], "gone.csv: No such file"),
        (["gsm8k", "--extraction", "simple-evals"], "no extraction 'simple-evals'"),
        (["mine.yaml"], "mine.yaml: No such file or directory"),
    ],
)
def test_bad_input_gets_one_line_and_2(benchcore, args, says):
    done = benchcore.run("eval", *args)
    assert done.returncode == 2
    assert says in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_the_tasks_are_listed(benchcore):
    done = benchcore.run("eval", "--list")
    assert [line.split()[0] for line in done.stdout.splitlines()] == [
        "gpqa",
        "gsm8k",
        "ifeval",
        "math500",
        "mgsm",
        "mmlu",
        "mmlu_pro",
        "mmlu_pro_cot",
    ]


def test_the_example_of_a_task_of_ones_own_runs(benchcore, tmp_path):
    example = Path(__file__).parents[2] / "workloads" / "eval" / "example.yaml"
    done = benchcore.run("eval", example, "--sim", "--quiet")
    assert done.returncode == 0, done.stderr
    found = accuracy(folders(tmp_path / "results")[0])
    assert (found["task"], found["n"], found["no_answer"]) == ("example", 100, 0)
    assert found["score"] > 0.6
    assert sorted(found["groups"]) == ["Counting", "Taking away", "Times"]


def test_few_shot_turns_go_before_each_question(benchcore, able, tmp_path):
    shots = tmp_path / "shots.jsonl"
    shots.write_text('{"question": "1+1?", "answer": "2\\n#### 2"}\n' * 2)
    url = able(ability=1.0)
    done = benchcore.run(
        *("eval", "gsm8k", "--base-url", url, "--data", "builtin", "--limit", "2"),
        *("--few-shot", "2", "--few-shot-data", shots, "--save-text"),
    )
    assert done.returncode == 0, done.stderr
    (folder,) = folders(tmp_path / "results")
    roles = [turn["role"] for turn in samples(folder)[0]["prompt"]]
    assert roles == ["user", "assistant"] * 2 + ["user"]
    assert accuracy(folder)["data"]["few_shot_files"][0]["rows"] == 2


def test_a_climb_scores_each_level_and_writes_its_samples(benchcore, tmp_path):
    done = benchcore.measure(
        *("climb", "--sim", "--eval", "mmlu", "--concurrency", "4,32", "--no-progress"),
        *("--eval-set", "max_tokens=64"),
    )
    assert done.returncode == 0, done.stderr
    assert "against the first" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 100
    (folder,) = folders(tmp_path / "results")
    found = accuracy(folder)
    assert [level["level"] for level in found["levels"]] == ["c4", "c32"]
    assert [level["n"] for level in found["levels"]] == [100, 100]
    assert [one["level"] for one in samples(folder)] == ["c4"] * 100 + ["c32"] * 100
    levels = json.loads((folder / "run.json").read_bytes())["levels"]
    assert levels[0]["accuracy"]["score"] == found["levels"][0]["score"]
    assert "How many" not in (folder / "samples.jsonl").read_text()


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--eval", "mmlu", "--workload", "short"], "--eval brings its own questions"),
        (["--eval-set", "limit=3"], "--eval-set needs --eval"),
        (["--eval", "mmlu", "--eval-set", "rate=3"], "--eval-set rate: is not one of"),
        (["--eval", "mmlu", "--eval-set", "limit=x"], "--limit: Input should be a valid integer"),
        (["--eval", "nothing"], "task 'nothing' is unknown"),
    ],
)
def test_a_climb_refuses_what_does_not_go_together(benchcore, args, says):
    done = benchcore.measure("climb", "--sim", *args)
    assert done.returncode == 2
    assert says in done.stderr.splitlines()[-1]
