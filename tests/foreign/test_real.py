"""Files that each tool really wrote: every figure that is imported is the tool's own.

What is expected is read from the file by the tool's own keys, and what each tool printed when it
had run stands here as text. How the files were made is in `fixtures/README.md`.
"""

import json
import re
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from benchcore.foreign.detect import combine, read_foreign, results_in
from benchcore.runs.run_json import dump

FIXTURES = Path(__file__).parent / "fixtures"
CLOSED, FAILURES = "closed", "failures"
QUANTILES = {"p50": 50, "p75": 75, "p90": 90, "p95": 95, "p99": 99, "p999": 99.9}
STATISTICS = ("count", "avg", "min", "max", "std", *QUANTILES)
FIGURES = (
    "window_seconds",
    "scheduled",
    "ok",
    "failed",
    "cancelled",
    "request_throughput",
    "output_token_throughput",
    "input_token_throughput",
    "total_token_throughput",
    "tokens_per_second_per_user",
    "goodput",
    "goodput_ratio",
    "failure_rate",
)
METRICS = ("ttft", "ttfo", "tpot", "icl", "e2e")
LOAD = ("level", "mode", "concurrency", "rate", "arrival", "max_inflight")


def imported(path):
    paths = results_in(FIXTURES / path)
    run = combine([(str(one), read_foreign(one)) for one in paths]).to_json()
    dump(run)
    return run


def given(level):
    """Every number of a level that is known, by name."""
    found = {name: level[name] for name in FIGURES}
    found |= {f"tokens.{name}": level["tokens"][name] for name in ("input", "output")}
    for metric, summary in level["metrics"].items():
        found |= {f"{metric}.{name}": summary[name] for name in STATISTICS}
    return {name: value for name, value in found.items() if value is not None}


def load(level):
    return tuple(level[name] for name in LOAD)


def near(expected):
    # The same digits; a conversion of units may round the last bit otherwise.
    return pytest.approx({name: v for name, v in expected.items() if v is not None}, rel=1e-12)


def ranked(name, samples):
    """Nearest-rank percentiles of samples by NumPy, and their moments."""
    samples = np.array(samples)
    found = {
        f"{name}.{percentile}": float(np.percentile(samples, rank, method="inverted_cdf"))
        for percentile, rank in QUANTILES.items()
    }
    moments = {"count": len(samples), "avg": samples.mean(), "std": samples.std()}
    moments |= {"min": samples.min(), "max": samples.max()}
    return found | {f"{name}.{moment}": float(value) for moment, value in moments.items()}


# vLLM, in Python and in Rust

VLLM = {"ttft": "ttft", "tpot": "tpot", "icl": "itl", "e2e": "e2el"}


def vllm_figures(file):
    """What a result says of the whole run."""
    return {
        "window_seconds": file["duration"],
        "scheduled": file["num_prompts"],
        "ok": file["completed"],
        "failed": file["failed"],
        "request_throughput": file["request_throughput"],
        "output_token_throughput": file["output_throughput"],
        "input_token_throughput": file.get(
            "input_throughput", file["total_input_tokens"] / file["duration"]
        ),
        "total_token_throughput": file["total_token_throughput"],
        "goodput": file["request_goodput"],
        "failure_rate": file["failed"] / file["num_prompts"],
        "tokens.input": file["total_input_tokens"],
        "tokens.output": file["total_output_tokens"],
    }


@pytest.mark.parametrize("tool", ["vllm", "vllm-rs"])
def test_a_summary_of_vllm(tool):
    file = json.loads((FIXTURES / tool / "closed.json").read_text())
    run = imported(f"{tool}/closed.json")
    (level,) = run["levels"]
    expected = vllm_figures(file)
    for ours, theirs in VLLM.items():
        for statistic, key in (("avg", "mean"), ("p50", "median"), ("std", "std")):
            expected[f"{ours}.{statistic}"] = file[f"{key}_{theirs}_ms"] / 1000
        for percentile in ("p90", "p99"):
            expected[f"{ours}.{percentile}"] = file[f"{percentile}_{theirs}_ms"] / 1000
    expected |= {"ttft.count": 40, "e2e.count": 40}
    assert given(level) == near(expected)
    assert load(level) == ("c4", "closed", 4, None, None, None)
    assert run["target"]["model"] == "sim-1"
    assert run["target"]["endpoint"] == "chat"


@pytest.mark.parametrize("tool", ["vllm", "vllm-rs"])
def test_saved_requests_of_vllm(tool):
    file = json.loads((FIXTURES / tool / "failures.json").read_text())
    (level,) = imported(f"{tool}/failures.json")["levels"]
    requests = [
        (ttft, gaps, tokens, latency)
        for ttft, gaps, tokens, latency, error in zip(
            *(file[name] for name in ("ttfts", "itls", "output_lens", "latencies", "errors")),
            strict=True,
        )
        if not error
    ]
    samples = {
        "ttft": [ttft for ttft, *_ in requests],
        "tpot": [(end - ttft) / (n - 1) for ttft, _, n, end in requests if n > 1],
        "icl": [gap for _, gaps, *_ in requests for gap in gaps],
        "e2e": [end for *_, end in requests],
    }
    expected = vllm_figures(file)
    for ours, values in samples.items():
        expected |= ranked(ours, values)
    found = given(level)
    assert found == pytest.approx({k: v for k, v in expected.items() if v is not None}, rel=1e-9)
    # The samples are those of its own summary, whose percentiles are interpolated.
    for ours, theirs in VLLM.items():
        assert found[f"{ours}.avg"] * 1000 == pytest.approx(file[f"mean_{theirs}_ms"], rel=1e-9)
        assert found[f"{ours}.std"] * 1000 == pytest.approx(file[f"std_{theirs}_ms"], rel=1e-9)
        for percentile in (50, 90, 99):
            linear = np.percentile(samples[ours], percentile) * 1000
            assert linear == pytest.approx(file[f"p{percentile}_{theirs}_ms"], rel=1e-9)
    assert load(level) == ("r20", "open", None, 20.0, "poisson", None)
    assert found["failed"] == sum(map(bool, file["errors"]))
    assert any("Service Unavailable" in note for note in level["notes"])


def test_the_start_of_vllm_is_its_end_less_the_duration(tmp_path):
    """Neither of them depends on when the file was written."""
    starts = {}
    for tool in ("vllm", "vllm-rs"):
        copy = tmp_path / f"{tool}.json"
        copy.write_bytes((FIXTURES / tool / "closed.json").read_bytes())
        run = read_foreign(copy).to_json()
        starts[tool] = (run["started_at"], run["origin"]["tool"], run["levels"][0]["notes"])
    zone = "date has no time zone: read as UTC"
    assert starts == {
        "vllm": ("2026-11-28T00:36:30Z", "vllm bench serve", [zone]),
        "vllm-rs": ("2026-11-28T00:37:07Z", "vllm-rs bench serve", []),
    }


def test_the_client_in_rust_takes_more_chunks_for_tokens_than_there_are_and_says_so():
    """The role-only chunk is its first token, and the last chunk has a gap, too."""
    file = json.loads((FIXTURES / "vllm-rs" / "failures.json").read_text())
    requests = zip(file["itls"], file["output_lens"], strict=True)
    assert {len(gaps) for gaps, tokens in requests if tokens == 24} == {25}
    (level,) = imported("vllm-rs/failures.json")["levels"]
    assert "a request has more gaps than tokens" in level["definitions"]["ttft"]
    (level,) = imported("vllm/failures.json")["levels"]
    assert "of chat a chunk with output" in level["definitions"]["ttft"]


# SGLang

SGLANG = {"ttft": "ttft", "tpot": "tpot", "icl": "itl", "e2e": "e2e_latency"}


def sglang_figures(file):
    expected = {
        "window_seconds": file["duration"],
        "ok": file["completed"],
        "request_throughput": file["request_throughput"],
        "output_token_throughput": file["output_throughput"],
        "input_token_throughput": file["input_throughput"],
        "total_token_throughput": file["total_throughput"],
        "tokens.input": file["total_input_tokens"],
        "tokens.output": file["total_output_tokens"],
        "ttft.count": file["completed"],
        "e2e.count": file["completed"],
    }
    for ours, theirs in SGLANG.items():
        for statistic, key in (("avg", "mean"), ("p50", "median"), ("std", "std")):
            expected[f"{ours}.{statistic}"] = file[f"{key}_{theirs}_ms"] / 1000
        for percentile in ("p90", "p95", "p99"):
            expected[f"{ours}.{percentile}"] = file[f"{percentile}_{theirs}_ms"] / 1000
    return expected


def test_a_summary_of_sglang():
    file = json.loads((FIXTURES / "sglang" / "closed.jsonl").read_text())
    (level,) = imported("sglang/closed.jsonl")["levels"]
    assert given(level) == near(sglang_figures(file))
    assert load(level) == ("c4", "closed", 4, None, None, None)
    assert level["notes"] == [
        "failures are not in the file: --output-details saves them",
        "the file does not say when the run began: when it was written, less the duration",
    ]


def test_saved_requests_of_sglang_say_what_failed():
    file = json.loads((FIXTURES / "sglang" / "failures.jsonl").read_text())
    (level,) = imported("sglang/failures.jsonl")["levels"]
    failed = sum(map(bool, file["errors"]))
    counts = {"scheduled": 40, "failed": failed, "failure_rate": failed / 40}
    assert failed + file["completed"] == 40
    assert given(level) == near(sglang_figures(file) | counts)
    assert load(level) == ("r20", "open", None, 20.0, "poisson", None)
    assert level["notes"][0].startswith(f"{failed} × Service Unavailable: ")


# GuideLLM

GUIDELLM = {
    "ttft": ("time_to_first_token_ms", 1000),
    "ttfo": ("time_to_first_output_token_ms", 1000),
    "tpot": ("inter_token_latency_ms", 1000),
    "e2e": ("request_latency", 1),
}


@pytest.mark.parametrize("which", [CLOSED, FAILURES])
def test_a_report_of_guidellm(which):
    report = json.loads((FIXTURES / "guidellm" / f"{which}.json").read_text())
    (benchmark,) = report["benchmarks"]
    metrics, totals = benchmark["metrics"], benchmark["metrics"]["request_totals"]
    run = imported(f"guidellm/{which}.json")
    (level,) = run["levels"]

    def mean(name):
        return metrics[name]["successful"]["mean"]

    def total(name):
        return round(metrics[name]["successful"]["total_sum"])

    expected = {
        "window_seconds": benchmark["duration"],
        "scheduled": totals["total"],
        "ok": totals["successful"],
        "failed": totals["errored"],
        "cancelled": totals["incomplete"],
        "request_throughput": mean("requests_per_second"),
        "output_token_throughput": mean("output_tokens_per_second"),
        "input_token_throughput": mean("prompt_tokens_per_second"),
        "total_token_throughput": mean("tokens_per_second"),
        "failure_rate": totals["errored"] / totals["total"],
        "tokens.input": total("prompt_token_count"),
        "tokens.output": total("output_token_count"),
    }
    if which == CLOSED:
        expected |= {"goodput": mean("request_goodput"), "goodput_ratio": metrics["slo_attainment"]}
    for ours, (theirs, units) in GUIDELLM.items():
        found = metrics[theirs]["successful"]
        for statistic, key in (("avg", "mean"), ("std", "std_dev"), ("min", "min"), ("max", "max")):
            expected[f"{ours}.{statistic}"] = found[key] / units
        for percentile in QUANTILES:
            expected[f"{ours}.{percentile}"] = found["percentiles"][percentile] / units
        expected[f"{ours}.count"] = found["count"]
    assert given(level) == near(expected)
    assert run["target"] == {
        "kind": "import",
        "base_url": f"http://127.0.0.1:{8471 if which == CLOSED else 8472}",
        "model": "sim-1",
        "endpoint": "chat",
    }
    assert (run["origin"]["tool"], run["origin"]["version"]) == ("guidellm", "0.8.1")
    assert load(level) == (
        ("c4", "closed", 4, None, None, None)
        if which == CLOSED
        else ("r20", "open", None, 20.0, "constant", 10240)
    )


def test_guidellm_says_which_errors_it_saved():
    (level,) = imported("guidellm/failures.json")["levels"]
    *errors, saved = level["notes"]
    assert saved == f"the file has the errors of 3 of {level['failed']} failed requests"
    assert sum(int(note.split(" × ")[0]) for note in errors) == 3


# AIPerf

AIPERF = {
    "ttft": "time_to_first_token",
    "ttfo": "time_to_first_output_token",
    "tpot": "inter_token_latency",
    "icl": "inter_chunk_latency",
    "e2e": "request_latency",
}


@pytest.mark.parametrize("which", [CLOSED, FAILURES])
def test_an_export_of_aiperf(which):
    export = json.loads((FIXTURES / "aiperf" / which / "profile_export_aiperf.json").read_text())
    run = imported(f"aiperf/{which}")
    (level,) = run["levels"]

    def only(name):
        return export[name]["avg"] if name in export else None

    failed = only("error_request_count") or 0
    everything = only("request_count") + failed
    good = only("good_request_count")
    expected = {
        "window_seconds": only("benchmark_duration"),
        "scheduled": everything,
        "ok": only("request_count"),
        "failed": failed,
        "failure_rate": failed / everything,
        "request_throughput": only("request_throughput"),
        "output_token_throughput": only("output_token_throughput"),
        "input_token_throughput": only("input_token_throughput"),
        "total_token_throughput": only("total_token_throughput"),
        "tokens_per_second_per_user": only("output_token_throughput_per_user"),
        "goodput": only("goodput"),
        "goodput_ratio": None if good is None else good / everything,
        "tokens.input": only("total_isl"),
        "tokens.output": only("total_osl"),
    }
    for ours, theirs in AIPERF.items():
        block = export[theirs]
        assert block["unit"] == "ms"
        expected[f"{ours}.count"] = block["count"]
        for statistic in STATISTICS[1:]:
            if statistic in block:
                expected[f"{ours}.{statistic}"] = block[statistic] / 1000
    assert given(level) == near(expected)
    assert (run["origin"]["tool"], run["origin"]["version"]) == ("aiperf", "0.13.0")
    assert run["target"]["model"] == "sim-1"
    assert run["target"]["endpoint"] == "chat"
    assert load(level) == (
        ("c4", "closed", 4, None, None, None)
        if which == CLOSED
        else ("r20", "open", None, 20.0, "poisson", None)
    )
    assert (failed == 0) == (level["notes"] == [])
    assert run["started_at"] == export["start_time"].split(".")[0] + "Z"


# EvalScope

EVALSCOPE = {
    "ttft": ("TTFT (ms)", "Avg TTFT (ms)", 1000, 2),
    "tpot": ("TPOT (ms)", "Avg TPOT (ms)", 1000, 2),
    "icl": ("ITL (ms)", "Avg ITL (ms)", 1000, 2),
    "e2e": ("Latency (s)", "Avg Latency (s)", 1, 4),
}
ROWS = {
    "min": "min",
    "p50": "50%",
    "p75": "75%",
    "p90": "90%",
    "p95": "95%",
    "p99": "99%",
    "max": "max",
}


def evalscope_files(folder):
    summary, percentiles, arguments = (
        json.loads((folder / f"benchmark_{name}.json").read_text())
        for name in ("summary", "percentile", "args")
    )
    return summary, {row["Percentiles"]: row for row in percentiles}, arguments


@pytest.mark.parametrize(
    ("folder", "expected_load"),
    [
        ("closed/parallel_1_number_8", ("c1", "closed", 1, None, None, None)),
        ("closed/parallel_4_number_24", ("c4", "closed", 4, None, None, None)),
        ("failures/rate_20.0_number_30", ("r20", "open", None, 20.0, "poisson", None)),
    ],
)
@pytest.mark.parametrize("database", [True, False], ids=["database", "summary"])
def test_a_level_of_evalscope(tmp_path, folder, expected_load, database):
    where = FIXTURES / "evalscope" / folder
    summary, rows, arguments = evalscope_files(where)
    copy = tmp_path / where.name
    copy.mkdir()
    for path in where.iterdir():
        if database or path.suffix == ".json":
            (copy / path.name).write_bytes(path.read_bytes())
    (result,) = results_in(copy)
    run = read_foreign(result).to_json()
    (level,) = run["levels"]
    found = given(level)
    ok, everything = summary["Success Requests"], summary["Total Requests"]
    output, both = summary["Output Throughput (tok/s)"], summary["Total Throughput (tok/s)"]
    assert {name: found.pop(name) for name in FIGURES if name in found} == near(
        {
            "window_seconds": summary["Test Duration (s)"],
            "scheduled": everything,
            "ok": ok,
            "failed": summary["Failed Requests"],
            "failure_rate": summary["Failed Requests"] / everything,
            "request_throughput": summary["Req Throughput (req/s)"],
            "output_token_throughput": output,
            "input_token_throughput": both - output,
            "total_token_throughput": both,
        }
    )
    for ours, (column, average, units, digits) in EVALSCOPE.items():
        for statistic, row in ROWS.items():
            value = found.pop(f"{ours}.{statistic}") * units
            assert round(value, 4) == pytest.approx(rows[row][column], abs=1e-9)
        value = found.pop(f"{ours}.avg") * units
        assert round(value, digits) == pytest.approx(summary[average], abs=1e-9)
    if database:
        tokens = [found.pop(f"tokens.{way}") for way in ("input", "output")]
        assert round(tokens[0] / ok, 4) == summary["Avg Input Tokens"]
        assert round(tokens[1] / ok, 4) == summary["Avg Output Tokens"]
        with sqlite3.connect(copy / "benchmark_data.db") as opened:
            gaps = opened.execute(
                "SELECT sum(json_array_length(inter_token_latencies)) FROM result WHERE success"
            ).fetchone()[0]
        opened.close()
        assert found.pop("icl.count") == gaps
        # What only the requests say.
        rest = {f"{name}.{one}" for name in EVALSCOPE for one in ("count", "std", "p999")}
        assert set(found) == rest - {"icl.count"}
    else:
        assert found == {"e2e.count": ok}
    assert load(level) == expected_load
    assert run["target"]["model"] == arguments["model"] == "sim-1"
    assert run["target"]["base_url"] == arguments["url"].removesuffix("/chat/completions")


def test_a_run_of_evalscope_is_its_levels():
    run = imported("evalscope/closed")
    assert [level["level"] for level in run["levels"]] == ["c1", "c4"]
    assert run["load"]["concurrency"] == [1, 4]


# What each tool printed, as text: the figures by name, in ms, per second or as a count.

PRINTED = {
    "vllm/closed.json": {
        "ok": "40",
        "failed": "0",
        "window_seconds": "0.56",
        "request_throughput": "70.82",
        "goodput": "38.95",
        "output_token_throughput": "1,699.57",
        "total_token_throughput": "2,652.04",
        "ttft.avg": "6.92",
        "ttft.p50": "5.70",
        "ttft.p99": "20.70",
        "tpot.avg": "2.12",
        "tpot.p50": "2.05",
        "tpot.p99": "2.45",
        "icl.avg": "2.12",
        "icl.p50": "2.04",
        "icl.p99": "6.91",
        "e2e.avg": "55.70",
        "e2e.p50": "54.13",
        "e2e.p99": "74.38",
    },
    "vllm-rs/closed.json": {
        "ok": "40",
        "window_seconds": "0.55",
        "request_throughput": "72.13",
        "goodput": "63.11",
        "output_token_throughput": "1,731.14",
        "total_token_throughput": "4,039.34",
        "tokens.input": "1,280",
        "tokens.output": "960",
        "ttft.avg": "1.83",
        "ttft.p50": "0.82",
        "ttft.p90": "2.94",
        "ttft.p99": "10.91",
        "tpot.avg": "2.31",
        "tpot.p50": "2.34",
        "tpot.p99": "2.56",
        "icl.avg": "2.13",
        "icl.p50": "2.04",
        "icl.p99": "6.72",
        "e2e.avg": "54.99",
        "e2e.p50": "55.52",
        "e2e.p99": "60.31",
    },
    "sglang/closed.jsonl": {
        "ok": "40",
        "window_seconds": "0.58",
        "request_throughput": "68.69",
        "output_token_throughput": "1,648.47",
        "total_token_throughput": "3,846.44",
        "ttft.avg": "5.11",
        "ttft.p50": "4.17",
        "ttft.p99": "11.41",
        "tpot.avg": "2.19",
        "tpot.p50": "2.22",
        "tpot.p99": "2.47",
        "icl.avg": "2.19",
        "icl.p50": "2.05",
        "icl.p99": "7.41",
        "e2e.avg": "55.58",
        "e2e.p50": "55.76",
        "e2e.p99": "60.90",
    },
    "guidellm/closed.json": {
        "request_throughput": "66.1",
        "input_token_throughput": "790.4",
        "output_token_throughput": "1,587.4",
        "total_token_throughput": "2,377.8",
        "goodput": "54.6",
    },
    "aiperf/closed": {
        "ok": "40",
        "request_throughput": "47.28",
        "goodput": "22.46",
        "output_token_throughput": "3,201.98",
        "input_token_throughput": "1,512.93",
        "tokens_per_second_per_user": "1,334.36",
        "ttft.avg": "17.02",
        "ttft.min": "3.53",
        "ttft.max": "72.62",
        "ttft.p99": "70.67",
        "ttft.p90": "26.01",
        "ttft.p50": "10.39",
        "ttft.std": "17.94",
        "tpot.avg": "0.81",
        "tpot.p50": "0.72",
        "tpot.p99": "1.76",
        "e2e.avg": "70.32",
        "e2e.p50": "58.53",
        "e2e.p99": "174.87",
    },
    "evalscope/closed": {
        "ok": "24",
        "request_throughput": "85.77",
        "ttft.avg": "8.1",
        "ttft.p50": "6.46",
        "ttft.p99": "16.06",
        "tpot.avg": "2.04",
        "tpot.p50": "2.04",
        "tpot.p99": "2.45",
        "e2e.avg": "42",
        "e2e.p50": "41",
        "e2e.p99": "57",
    },
}


@pytest.mark.parametrize("path", PRINTED)
def test_what_the_tool_printed_is_what_is_imported(path):
    level = imported(path)["levels"][-1]
    found = given(level)
    assert {
        name: _as_printed(found[name] * (1000 if name.split(".")[0] in METRICS else 1), printed)
        for name, printed in PRINTED[path].items()
    } == PRINTED[path]


def _as_printed(value, printed):
    digits = len(printed.partition(".")[2])
    return f"{value:,.{digits}f}"


# A path with a folder in it from the root on; what stands behind a host or a port is a URL.
ABSOLUTE = re.compile(rb"(?<![\w:/.>-])/(?!v1/)[a-z]\w*/\w[\w./-]*")


def test_no_fixture_tells_of_the_machine_it_was_made_on():
    files = [path for path in FIXTURES.rglob("*") if path.is_file()]
    assert len(files) > 20
    for path in files:
        content = path.read_bytes()
        assert ABSOLUTE.findall(content) == [], path
        assert len(content) < 150_000
