"""The gate: what fails, what passes, and how often it is wrong."""

import csv
import json
import math
import shutil
from pathlib import Path

import pytest

from benchcore.base.errors import ConfigError
from benchcore.cli.main import run as main
from benchcore.config.catalogue import RATES
from benchcore.config.document import read_model
from benchcore.config.limits import DEFAULT, GateFile
from benchcore.judge.baselines import earlier_like, find_baseline, set_baseline
from benchcore.judge.gate import gate
from benchcore.runs.reading import RunFolder
from benchcore.show.lines import render_gate

RULES = [rule.metric for rule in DEFAULT.rules]


def judged(run, baseline, rules=DEFAULT):
    return gate(RunFolder(run), RunFolder(baseline), rules)


def failures(result):
    return [(line.level, line.rule.split()[0]) for line in result.lines if not line.passed]


def rules(*found, **fields):
    return GateFile.model_validate({"rules": found, **fields})


def test_the_usual_rules_are_those_of_the_documentation():
    found = [(rule.metric, rule.worse_by, rule.max, rule.needs) for rule in DEFAULT.rules]
    assert found == [
        ("ttft.p99", 0.10, None, "significant"),
        ("e2e.p99", 0.10, None, "significant"),
        ("request_throughput", 0.05, None, "significant"),
        ("failure_rate", None, 0.05, None),
        ("functional.pass_ratio", 0.0, None, None),
        ("accuracy.score", 0.0, None, "significant"),
    ]
    assert DEFAULT.false_alarms == 0.01


def test_a_run_passes_against_itself_with_a_line_for_each_rule_and_level(make_run):
    folder = make_run("a", levels=(1, 8))
    result = judged(folder, folder)
    assert result.passed
    assert [(line.level, line.rule.split()[0]) for line in result.lines] == [
        (level, metric) for metric in RULES[:4] for level in ("c1", "c8")
    ]


@pytest.mark.no_cover
@pytest.mark.parametrize("seeds", [10, pytest.param(200, marks=pytest.mark.full)])
def test_over_many_seeds_false_alarms_are_few_and_a_quarter_slower_is_seen(make_run, capsys, seeds):
    alarms = missed = 0
    told = []
    for seed in range(seeds):
        base = make_run(f"base{seed}", seed=3 * seed, count=400)
        same = make_run(f"same{seed}", seed=3 * seed + 1, count=400)
        slow = make_run(f"slow{seed}", seed=3 * seed + 2, count=400, slow=1.25)
        alarms += not judged(same, base).passed
        missed += judged(slow, base).passed
        if seed == 0:
            told = [line.note for line in judged(same, base).lines if "to tell 12 %" in line.note]
    with capsys.disabled():
        print(f"\ngate, {seeds} seeds: false alarms {alarms / seeds:.1%}, a quarter", end=" ")
        print(f"slower seen {1 - missed / seeds:.1%}; {told[0]}")
    assert alarms <= seeds / 100
    assert missed <= seeds / 20
    assert told


def test_a_slower_server_fails_with_what_was_found(make_run):
    base, slow = make_run("base", seed=1), make_run("slow", seed=2, slow=1.3)
    result = judged(slow, base)
    assert failures(result) == [("c8", metric) for metric in RULES[:3]]
    text = render_gate(result, "slow", "base", markdown=False)
    assert text.splitlines()[0] == "slow against base: failed"
    assert "FAIL  c8  ttft.p99 at most 10 % worse, more than chance: " in text
    assert "request_throughput at most 5 % worse, more than chance: " in text
    faster = judged(base, slow)
    assert faster.passed


def test_repeats_judge_by_what_differs_from_run_to_run(make_run):
    base = make_run("base", seed=1, count=100, repeats=5)
    same = make_run("same", seed=2, count=100, repeats=5)
    slow = make_run("slow", seed=3, count=100, repeats=5, slow=1.3)
    assert judged(same, base).passed
    assert failures(judged(slow, base)) == [("c8", metric) for metric in RULES[:3]]


@pytest.mark.parametrize("figure", [one.key for one in RATES.values() if one.key != "failure_rate"])
def test_of_every_rate_the_worse_direction_fails_and_the_other_does_not(make_run, figure):
    more = make_run("more", count=20, level={figure: 100.0})
    less = make_run("less", count=20, level={figure: 80.0})
    costs = figure in ("joules_per_request", "cost_per_million_tokens")
    worse, better = (more, less) if costs else (less, more)
    rule = rules({"metric": figure, "worse_by": "10%"})
    assert failures(judged(worse, better, rule)) == [("c8", figure)]
    assert judged(better, worse, rule).passed


def test_an_invalid_run_fails(make_run):
    base = make_run("base")
    bad = make_run("bad", level={"validity": "invalid", "reasons": ["cpu: busy"]})
    result = judged(bad, base)
    assert not result.passed
    assert result.lines[0].found == "invalid: cpu: busy"


def test_an_unfinished_run_fails(make_run):
    result = judged(make_run("cut", status="interrupted"), make_run("base"))
    assert (result.lines[0].rule, result.lines[0].found) == ("the run is complete", "interrupted")
    assert not result.passed


def test_a_missing_figure_or_level_fails(make_run):
    base = make_run("base", levels=(1, 8))
    without = judged(make_run("without", levels=(8,)), base)
    assert {line.found for line in without.lines if line.level == "c1"} == {
        "the run has no such level"
    }
    metrics = {"ttft": {"p99": None}, "e2e": {"p99": 0.3}}
    empty = judged(make_run("empty", level={"metrics": metrics}), make_run("base2"))
    assert ("c8", "ttft.p99") in failures(empty)


def test_a_level_that_only_the_run_has_is_noted_and_held_to_bounds_alone(make_run):
    result = judged(make_run("more", levels=(8, 16)), make_run("base"))
    assert result.passed
    assert "c16: the baseline has no such level: ttft.p99 is not held" in result.notes
    assert [line.rule.split()[0] for line in result.lines if line.level == "c16"] == [
        "failure_rate"
    ]


def test_a_run_without_a_workloads_name_is_matched_by_its_load(make_run):
    ours = make_run("ours", levels=(1, 8))
    theirs = make_run("theirs", seed=1, levels=(8,), level={"workload": None})
    result = judged(ours, theirs)
    assert result.passed
    assert {line.level for line in result.lines if "ttft" in line.rule} == {"c8"}
    assert "c1: the baseline has no such level: ttft.p99 is not held" in result.notes


def test_failures_over_five_per_cent_fail(make_run):
    base = make_run("base")
    assert judged(make_run("ok", level={"failure_rate": 0.05}), base).passed
    assert failures(judged(make_run("bad", level={"failure_rate": 0.051}), base)) == [
        ("c8", "failure_rate")
    ]


def test_a_different_length_is_noted(make_run):
    run = make_run("run", load={"arrival": "poisson", "requests": 900})
    result = judged(run, make_run("base"))
    assert "load.requests is 500 in one and 900 in the other" in result.notes


def checks(folder, ratio, failed=()):
    results = [{"case_id": case, "verdict": "fail"} for case in failed]
    results += [{"case_id": "sse.one_done", "verdict": "pass"}] if not failed else []
    found = {"summary": {"pass_ratio": ratio}, "results": results}
    (folder / "functional.json").write_text(json.dumps(found))


def test_a_lower_pass_ratio_fails_and_names_what_is_new(make_run):
    base, run = make_run("base"), make_run("run")
    checks(base, 1.0)
    checks(run, 0.9, ["sse.one_done"])
    result = judged(run, base)
    assert failures(result) == [("", "functional.pass_ratio")]
    assert result.lines[-1].note == "new failures: sse.one_done"
    checks(run, 1.0)
    assert judged(run, base).passed
    (run / "functional.json").unlink()
    assert failures(judged(run, base)) == [("", "functional.pass_ratio")]


@pytest.mark.parametrize(
    ("verdict", "became", "note"),
    [
        ("error", "fail", "1 checks met a server that had gone"),
        ("unsettled", "cannot tell", "1 checks are unsettled: the server put them off with 429"),
    ],
)
def test_a_check_that_was_not_judged_is_never_a_pass_of_the_gate(make_run, verdict, became, note):
    base, run = make_run("base"), make_run("run")
    checks(base, 1.0)
    results = [{"case_id": "sse.one_done", "verdict": verdict}]
    found = {"summary": {"pass_ratio": 1.0}, "results": results}
    (run / "functional.json").write_text(json.dumps(found))
    (line,) = [line for line in judged(run, base).lines if not line.level]
    assert (line.verdict, line.note) == (became, note)


@pytest.mark.parametrize(
    ("made", "became", "note"),
    [
        (
            ["error", "skip", "skip"],
            "fail",
            "1 checks met a server that had gone",
        ),
        (
            ["unsettled", "unsettled", "unsupported"],
            "cannot tell",
            "2 checks are unsettled: the server put them off with 429",
        ),
        (
            ["unsettled", "error", "skip"],
            "fail",
            (
                "1 checks met a server that had gone; "
                "1 checks are unsettled: the server put them off with 429"
            ),
        ),
        (["skip", "unsupported", "skip"], "fail", ""),
    ],
)
def test_a_run_of_which_no_check_was_judged_says_so_to_the_gate(make_run, made, became, note):
    base, run = make_run("base"), make_run("run")
    checks(base, 1.0)
    results = [{"case_id": f"a.{n}", "verdict": verdict} for n, verdict in enumerate(made)]
    found = {"summary": {"pass_ratio": None}, "results": results}
    (run / "functional.json").write_text(json.dumps(found))
    (line,) = [line for line in judged(run, base).lines if not line.level]
    assert (line.found, line.verdict, line.note) == (
        "none of 3 checks was judged",
        became,
        note,
    )


@pytest.mark.parametrize(
    ("interval", "verdict", "note"),
    [
        ([0.6, 0.78], "pass", "at least 0.75 is asked for, which the upper bound of its interval"),
        ([0.6, 0.74], "fail", "at least 0.75 is asked for"),
    ],
)
def test_what_an_eval_was_held_to_is_judged_by_the_bound_of_its_interval(
    make_run, interval, verdict, note
):
    base, run = make_run("base"), make_run("run")
    score(base, 70)
    score(run, 70, min_score=0.75, interval=interval)
    (line,) = [line for line in judged(run, base).lines if not line.level]
    assert line.verdict == verdict
    assert note in line.note
    # The rule's own minimum is one of the score itself.
    strict = rules({"metric": "accuracy.score", "min": 0.75})
    assert not judged(run, base, strict).passed


def score(folder, right, count=100, **fields):
    lines = []
    for index in range(count):
        sample = {
            "index": index,
            "question": f"q{index}",
            "repeat": 0,
            "group": "",
            "target": "A",
            "outcome": "scored",
            "score": float(index < right),
        }
        lines.append(json.dumps(sample))
    (folder / "samples.jsonl").write_text("\n".join(lines) + "\n")
    found = {"task": "gpqa", "score": right / count, "min_score": None, **fields}
    (folder / "accuracy.json").write_text(json.dumps(found))


@pytest.mark.parametrize(
    ("before", "after", "least", "passed"),
    [
        (80, 80, None, True),
        (80, 78, None, True),  # two of a hundred lost: chance does that
        (80, 60, None, False),
        (80, 90, None, True),
        (80, 80, 0.9, False),
    ],
)
def test_a_score_that_is_significantly_lower_or_under_its_minimum_fails(
    make_run, before, after, least, passed
):
    base, run = make_run("base"), make_run("run")
    score(base, before)
    score(run, after, min_score=least)
    assert judged(run, base).passed is passed


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("functional.json", "{}"),
        ("functional.json", "[]"),
        ("functional.json", "5"),
        ("functional.json", '{"summary": {}, "results": []}'),
        ("functional.json", '{"summary": {"pass_ratio": "all"}, "results": []}'),
        ("functional.json", '{"summary": {"pass_ratio": 1}}'),
        ("functional.json", '{"summary": {"pass_ratio": 1}, "results": [{}]}'),
        ("accuracy.json", "{}"),
        ("accuracy.json", "[]"),
        ("accuracy.json", '{"task": "gpqa"}'),
        ("accuracy.json", '{"task": "gpqa", "score": "good"}'),
        ("accuracy.json", '{"task": "gpqa", "score": 1, "min_score": "0.5"}'),
    ],
)
@pytest.mark.parametrize("which", ["run", "baseline"])
def test_a_damaged_file_is_told_by_its_name(make_run, which, name, content):
    folders = {"run": make_run("run", count=20), "baseline": make_run("base", count=20)}
    for folder in folders.values():
        checks(folder, 1.0)
        score(folder, 80)
    (folders[which] / name).write_text(content)
    with pytest.raises(ConfigError) as told:
        judged(folders["run"], folders["baseline"])
    assert str(told.value).startswith(f"{folders[which] / name}: is not of ")
    assert str(told.value).endswith("; it is damaged: name another run")


def test_the_command_says_so_in_one_line_and_exits_with_2(make_run, capsys):
    run, base = make_run("run", count=20), make_run("base", count=20)
    checks(run, 1.0)
    (base / "functional.json").write_text("{}")
    assert main(["gate", str(run), "--baseline", str(base)]) == 2
    assert capsys.readouterr().err == (
        f"benchcore: {base}/functional.json: is not of checks (summary: field required); "
        "it is damaged: name another run\n"
    )


def test_the_eval_of_a_climb_has_no_score_of_its_own_and_is_none_the_worse(make_run):
    run = make_run("run", count=20)
    (run / "accuracy.json").write_text(json.dumps({"task": "gpqa", "levels": []}))
    result = judged(run, run)
    assert result.passed
    assert not any("accuracy" in line.rule for line in result.lines)


def test_a_baseline_of_a_name_counts_before_a_folder_of_that_name(make_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run, results = RunFolder(make_run("run", count=20)), tmp_path / "results"
    (tmp_path / "main").mkdir()
    with pytest.raises(ConfigError) as told:
        find_baseline(run, results, "main")
    assert str(told.value) == (
        f"baseline main: is a folder without a run.json and not a baseline of {results}: "
        "there is none"
    )
    shutil.copytree(make_run("other", count=20), tmp_path / "main", dirs_exist_ok=True)
    assert find_baseline(run, results, "main").path == Path("main")
    kept = set_baseline(run, results, "main")
    assert find_baseline(run, results, "main").path == kept.path
    assert find_baseline(run, results, "nightly/main").path == kept.path
    assert find_baseline(run, results, "./main").path == Path("main")
    with pytest.raises(
        ConfigError, match=r"^baseline gone: is not a folder and not a baseline of "
    ):
        find_baseline(run, results, "gone")


def test_rules_of_ones_own(make_run, tmp_path):
    path = tmp_path / "rules.yaml"
    path.write_text(
        "rules:\n"
        "  - {metric: ttft.p50, level: c8, worse_by: 20%}\n"
        "  - {metric: request_throughput, min: 1}\n"
        "  - {metric: e2e.p99, max: 0.1}\n"
    )
    found = read_model(path, GateFile)
    base, slow = make_run("base", levels=(1, 8)), make_run("slow", levels=(1, 8), slow=1.3)
    result = judged(slow, base, found)
    assert failures(result) == [("c8", "ttft.p50"), ("c1", "e2e.p99"), ("c8", "e2e.p99")]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "rules:\n  - {metric: ttft, max: 1}\n",
            "rules.yaml:2: rules.0.metric: 'ttft' is not a figure",
        ),
        ("rules:\n  - {metric: ttft.p99}\n", "give worse_by, min or max"),
        (
            "rules:\n  - {metric: ttft.p99, max: 1, needs: significant}\n",
            "needs can only be given with worse_by",
        ),
        ("rules:\n  - {metric: ttft.p99, wors_by: 1}\n", "did you mean worse_by?"),
        ("rules: []\n", "rules.yaml:1: rules:"),
    ],
)
def test_a_fault_in_the_rules_is_told_with_its_line(tmp_path, text, says):
    path = tmp_path / "rules.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_model(path, GateFile)
    assert says in str(caught.value)


def test_a_gate_that_judged_nothing_is_no_pass(make_run):
    run = make_run("run")
    assert not judged(run, run, rules({"metric": "ttft.p99", "level": "c99", "max": 1})).passed


def test_markdown_shows_what_a_hostile_server_wrote_as_text(make_run):
    level = {"validity": "invalid", "reasons": ["<script>|`x`"]}
    text = render_gate(
        judged(make_run("bad", level=level), make_run("base")), "bad", "base", markdown=True
    )
    assert "&lt;script&gt;\\|'x'" in text


# What two runs cannot tell.


def waves(folder, level, factor):
    """Make the requests of a run slower and slower towards its end, by a factor in all."""
    path = folder / "requests.csv"
    rows = list(csv.DictReader(path.open()))
    for place, row in enumerate(rows):
        slow = factor ** (place / len(rows))
        sent = float(row["sent_seconds"])
        for name in ("first_token_seconds", "last_token_seconds", "done_seconds"):
            row[name] = f"{sent + (float(row[name]) - sent) * slow:.9f}"
    with path.open("w", newline="") as file:
        out = csv.DictWriter(file, rows[0])
        out.writeheader()
        out.writerows(rows)
    run = json.loads((folder / "run.json").read_text())
    run["levels"][0].update(level)
    (folder / "run.json").write_text(json.dumps(run))


def worse(run, figure, by):
    level = RunFolder(run).levels[0]
    metric, _, name = figure.partition(".")
    metrics = level.to_json()["metrics"]
    metrics[metric][name] *= by
    return {"metrics": metrics}


def verdicts(result):
    return {line.rule.split()[0]: line.verdict for line in result.lines}


def test_a_run_that_drifts_cannot_tell_a_change_and_says_what_it_takes(make_run):
    base, run = make_run("base", seed=1), make_run("run", seed=2)
    waves(base, {}, 1.5)
    waves(run, worse(run, "e2e.p99", 1.3), 1.5)
    result = judged(run, base)
    assert result.passed
    assert verdicts(result)["e2e.p99"] == "cannot tell"
    (line,) = [one for one in result.lines if one.rule.startswith("e2e.p99")]
    assert "times the duration tells, or 5 earlier runs" in line.note
    text = render_gate(result, "run", "base", markdown=False)
    assert text.splitlines()[0].startswith("run against base: passed; ")
    assert "rules cannot tell" in text.splitlines()[0]
    assert "\ncannot tell  c8  e2e.p99" in text


def test_three_times_as_slow_fails_all_the_same(make_run):
    base, run = make_run("base", seed=1), make_run("run", seed=2, slow=3.5)
    waves(base, {}, 1.5)
    waves(run, {}, 1.5)
    assert verdicts(judged(run, base))["e2e.p99"] == "fail"


def test_a_figure_of_which_nothing_but_its_value_is_known_cannot_tell(make_run):
    base, run = make_run("base", seed=1), make_run("run", seed=2)
    (base / "requests.csv").unlink()
    waves(run, worse(run, "ttft.p99", 1.3), 1.0)
    result = judged(run, base)
    assert verdicts(result)["ttft.p99"] == "cannot tell"
    (line,) = [one for one in result.lines if one.rule.startswith("ttft.p99")]
    assert line.note == "nothing tells whether that is chance; 5 earlier runs of the same would"


def nightly(make_run, values, figure="e2e.p99"):
    """Nights whose figure is known, and nothing else of them differs."""
    metric, _, name = figure.partition(".")
    folders = []
    for number, value in enumerate(values):
        folder = make_run(f"2026010{number + 1}T000000Z-nightly", count=100)
        run = json.loads((folder / "run.json").read_text())
        run["levels"][0]["metrics"][metric][name] = value
        (folder / "run.json").write_text(json.dumps(run))
        folders.append(folder)
    return folders


def test_five_nights_tell_what_differs_between_them(make_run):
    *before, last, run = nightly(make_run, [0.100, 0.120, 0.090, 0.110, 0.105, 0.125])
    rule = rules({"metric": "e2e.p99", "worse_by": "10%", "needs": "significant"})
    nights = [RunFolder(one) for one in (*before, last)]
    found = gate(RunFolder(run), RunFolder(last), rule, nights)
    assert verdicts(found)["e2e.p99"] == "cannot tell", "they differ by as much themselves"
    mean = math.exp(sum(map(math.log, (0.100, 0.120, 0.090, 0.110, 0.105))) / 5)
    assert found.lines[-1].found.startswith(f"{mean * 1e3:.0f} ms → 125 ms")
    assert "judged by 5 earlier runs; more of them" in found.lines[-1].note
    assert not any("only 5 earlier runs" in note for note in found.notes)


def test_against_nights_that_are_alike_the_same_change_fails(make_run):
    *before, last, run = nightly(make_run, [0.100, 0.101, 0.099, 0.100, 0.101, 0.125])
    rule = rules({"metric": "e2e.p99", "worse_by": "10%", "needs": "significant"})
    nights = [RunFolder(one) for one in (*before, last)]
    assert verdicts(gate(RunFolder(run), RunFolder(last), rule, nights))["e2e.p99"] == "fail"
    # A named baseline is held against by itself, with the variance of the nights.
    kept = make_run("kept", count=100)
    found = RunFolder(kept).run
    found.levels[0].metrics["e2e"].p99 = 0.124
    (kept / "run.json").write_text(json.dumps(found.to_json()))
    assert verdicts(gate(RunFolder(run), RunFolder(kept), rule, nights))["e2e.p99"] == "pass"


def test_the_command_takes_the_nights_of_the_folder(make_run, tmp_path, capsys):
    folders = nightly(make_run, [0.100, 0.101, 0.099, 0.100, 0.101, 0.125])
    results = tmp_path / "results"
    assert main(["gate", str(folders[-1]), "--results", str(results)]) == 5
    assert "judged by 5 earlier runs" in capsys.readouterr().out
    assert [one.name for one in earlier_like(RunFolder(folders[-1]), results)] == [
        one.name for one in folders[:5]
    ]
    assert earlier_like(RunFolder(folders[0]), results) == []


def test_an_eval_shares_the_error_budget(make_run):
    base, run = make_run("base"), make_run("run")
    score(base, 80)
    score(run, 73)
    rule = {"metric": "accuracy.score", "worse_by": 0, "needs": "significant"}
    assert judged(run, base, rules(rule)).passed is False, "seven lost, none won: p 1/128"
    shared = [{"metric": "ttft.p99", "worse_by": 0.1, "needs": "significant"}]
    result = judged(run, base, rules(rule, *shared))
    assert verdicts(result)["accuracy.score"] == "cannot tell"
    assert "chance does as much with p 0.0078" in result.lines[-1].note
