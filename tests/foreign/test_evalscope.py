"""Results of EvalScope: what lies in its folders, old names and new, and what is not read."""

import json
import sqlite3

import pytest

from benchcore.base.errors import ConfigError
from benchcore.foreign.detect import combine, read_foreign, results_in

SUMMARY = {
    "Test Duration (s)": 10.0,
    "Concurrency": 4,
    "Request Rate (req/s)": -1.0,
    "Total Requests": 5,
    "Success Requests": 4,
    "Failed Requests": 1,
    "Stream Requests": 5,
    "Req Throughput (req/s)": 0.4,
    "Avg Latency (s)": 2.0,
    "Avg Input Tokens": 10.0,
    "Output Throughput (tok/s)": 8.0,
    "Total Throughput (tok/s)": 12.0,
    "Avg TTFT (ms)": 250.0,
    "Avg TPOT (ms)": 125.0,
    "Avg ITL (ms)": 62.5,
    "Avg Output Tokens": 20.0,
}
OLD = {
    "Time taken for tests (s)": 10.0,
    "Number of concurrency": 4,
    "Total requests": 5,
    "Succeed requests": 4,
    "Failed requests": 1,
    "Request throughput (req/s)": 0.4,
    "Average latency (s)": 2.0,
    "Output token throughput (tok/s)": 8.0,
    "Total token throughput (tok/s)": 12.0,
    "Average time to first token (s)": 0.25,
    "Average time per output token (s)": 0.125,
    "Average inter-token latency (s)": 0.0625,
}
# success, start, latency, first chunk, per token, gaps, prompt, completion, stream
ROWS = [
    (1, 100.0, 1.0, 0.25, 0.125, "[0.5, 0.25]", 10, 20, 1),
    (1, 101.0, 2.0, 0.5, 0.25, "[1.0]", 11, 21, 1),
    (1, 102.0, 3.0, 0.75, 0.0, "[]", 12, 1, 1),
    (1, 103.0, 4.0, 4.0, 0.125, "[]", 13, 23, 0),
    (0, 104.0, None, None, None, "[9.0]", None, None, 1),
]
COLUMNS = (
    "success INTEGER, start_time REAL, latency REAL, first_chunk_latency REAL, "
    "time_per_output_token REAL, inter_token_latencies TEXT, prompt_tokens INTEGER, "
    "completion_tokens INTEGER, is_stream INTEGER"
)


@pytest.fixture
def level(tmp_path):
    """Writes the folder of a level; returns its summary."""

    def write(name="parallel_4_number_5", summary=SUMMARY, rows=None, **files):
        folder = tmp_path / "run" / name
        folder.mkdir(parents=True)
        path = folder / "benchmark_summary.json"
        path.write_text(json.dumps(summary))
        for kind, content in files.items():
            (folder / f"benchmark_{kind}.json").write_text(json.dumps(content))
        if rows is not None:
            with sqlite3.connect(folder / "benchmark_data.db") as opened:
                opened.execute(f"CREATE TABLE result({COLUMNS})")
                marks = ", ".join("?" * len(rows[0]))
                opened.executemany(f"INSERT INTO result VALUES ({marks})", rows)
            opened.close()
        return path

    return write


@pytest.mark.parametrize("summary", [SUMMARY, OLD], ids=["new", "old"])
def test_a_summary_alone_has_the_averages(level, summary):
    run = read_foreign(level(summary=summary)).to_json()
    (found,) = run["levels"]
    assert found["level"] == "c4"
    counts = {name: found[name] for name in ("scheduled", "ok", "failed", "window_seconds")}
    assert counts == {"scheduled": 5, "ok": 4, "failed": 1, "window_seconds": 10.0}
    assert found["failure_rate"] == 0.2
    assert found["request_throughput"] == 0.4
    rates = [found[f"{way}_token_throughput"] for way in ("input", "output", "total")]
    assert rates == [4.0, 8.0, 12.0]
    averages = {name: one["avg"] for name, one in found["metrics"].items()}
    assert averages == {"ttft": 0.25, "tpot": 0.125, "icl": 0.0625, "e2e": 2.0}
    assert found["metrics"]["ttft"]["p99"] is None
    assert found["tokens"]["output"] is None
    assert "the file does not say when the run began" in found["notes"][-1]


def test_percentiles_beside_it_are_read(level):
    rows = [
        {"Percentiles": name, "TTFT (ms)": value, "ITL (ms)": 1.0, "Latency (s)": value}
        for name, value in (("min", 1.0), ("50%", 2.0), ("99%", 4.0), ("max", 8.0))
    ]
    (found,) = read_foreign(level(percentile=rows)).to_json()["levels"]
    ttft = {name: found["metrics"]["ttft"][name] for name in ("min", "p50", "p90", "p99", "max")}
    assert ttft == {"min": 0.001, "p50": 0.002, "p90": None, "p99": 0.004, "max": 0.008}
    assert found["metrics"]["e2e"]["p99"] == 4.0
    assert "rounded to four digits" in found["definitions"]["ttft"]


def test_the_database_beside_it_is_exact_and_plain_answers_have_no_ttft(level):
    (found,) = read_foreign(level(rows=ROWS)).to_json()["levels"]
    metrics = found["metrics"]
    assert [metrics["ttft"][name] for name in ("count", "avg", "p50", "max")] == [3, 0.5, 0.5, 0.75]
    # A stream of one token has no time per token.
    assert [metrics["tpot"][name] for name in ("count", "avg")] == [2, 0.1875]
    assert [metrics["icl"][name] for name in ("count", "p50", "max")] == [3, 0.5, 1.0]
    assert [metrics["e2e"][name] for name in ("count", "p50", "p99")] == [4, 2.0, 4.0]
    assert (found["tokens"]["input"], found["tokens"]["output"]) == (46, 65)
    assert "computed here from the saved requests" in found["definitions"]["ttft"]


def test_a_database_that_lacks_requests_gives_way_to_the_summary(level):
    (found,) = read_foreign(level(rows=ROWS[1:])).to_json()["levels"]
    assert found["metrics"]["ttft"]["avg"] == 0.25
    assert found["tokens"]["output"] is None


def test_a_start_of_the_calendar_is_the_runs_and_one_since_boot_is_not(level):
    calendar = [(row[0], row[1] + 1795824872.0, *row[2:]) for row in ROWS]
    run = read_foreign(level("parallel_1_number_5", rows=calendar)).to_json()
    assert run["started_at"] == "2026-11-28T00:16:12Z"
    assert run["levels"][0]["notes"] == []
    notes = read_foreign(level(rows=ROWS)).to_json()["levels"][0]["notes"]
    assert notes == [
        "the file does not say when the run began: when it was written, less the duration"
    ]


def test_the_arguments_say_the_target_and_no_key_is_kept(level):
    arguments = {
        "url": "http://me:pw@host:8000/v1/chat/completions",
        "model": "tiny-llama",
        "api_key": "sk-secret",
        "dataset": "random",
        "max_tokens": 24,
    }
    run = read_foreign(level(args=arguments)).to_json()
    assert run["target"] == {
        "kind": "import",
        "base_url": "http://host:8000/v1",
        "model": "tiny-llama",
        "endpoint": "chat",
    }
    assert run["workload"] == {"name": "random", "kind": "import", "output_tokens": 24}
    assert "sk-secret" not in json.dumps(run)


@pytest.mark.parametrize(
    ("facts", "arguments", "expected"),
    [
        ({}, {}, ("c4", "closed", 4, None, None)),
        ({"Request Rate (req/s)": 2.5}, {}, ("r2.5", "open", None, 2.5, 4)),
        (
            {"Request Rate (req/s)": 2.5, "Concurrency": -1},
            {"open_loop": True},
            ("r2.5", "open", None, 2.5, None),
        ),
        ({"Request Rate (req/s)": 2.5}, {"open_loop": True}, ("r2.5", "open", None, 2.5, None)),
    ],
)
def test_how_it_was_loaded(level, facts, arguments, expected):
    (found,) = read_foreign(level(summary=SUMMARY | facts, args=arguments)).to_json()["levels"]
    names = ("level", "mode", "concurrency", "rate", "max_inflight")
    assert tuple(found[name] for name in names) == expected


def test_a_folder_stands_for_its_levels_in_the_order_of_their_load(level, tmp_path):
    for users in (16, 2, 4):
        level(f"parallel_{users}_number_5", SUMMARY | {"Concurrency": users})
    paths = results_in(tmp_path / "run")
    run = combine([(str(path), read_foreign(path)) for path in paths]).to_json()
    assert [(one["level"], one["origin_file"]) for one in run["levels"]] == [
        (f"c{users}", f"parallel_{users}_number_5/benchmark_summary.json") for users in (2, 4, 16)
    ]


@pytest.mark.parametrize("name", ["benchmark_data.db", "benchmark_percentile.json"])
def test_each_file_of_a_level_stands_for_it(level, name):
    path = level()
    assert results_in(path.with_name(name)) == [path]


def test_two_results_in_a_folder_are_not_guessed_between(level, tmp_path):
    level()
    (tmp_path / "run" / "profile_export_aiperf.json").write_text("{}")
    with pytest.raises(ConfigError, match="run: has more than one result; name a result file"):
        results_in(tmp_path / "run")


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("benchmark_data.db", b"no database at all, and long enough", "is not a database that can"),
        ("benchmark_data.db", b"", "has no table of requests; move it away"),
        ("benchmark_percentile.json", b"[{", "is not JSON"),
        ("benchmark_args.json", b"[" * 100_000, "is not JSON"),
    ],
)
def test_what_lies_beside_it_and_cannot_be_read_is_told(level, name, content, says):
    path = level()
    path.with_name(name).write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        read_foreign(path)
    assert str(caught.value).startswith(str(path.with_name(name)))
    assert says in str(caught.value)


def test_a_result_of_embeddings_is_refused(level):
    summary = {name: value for name, value in SUMMARY.items() if "Output" not in name}
    with pytest.raises(ConfigError, match="is of embeddings or a ranking"):
        read_foreign(level(summary=summary))


def test_the_texts_of_answers_are_never_unpickled(level):
    path = level(rows=ROWS)
    with sqlite3.connect(path.with_name("benchmark_data.db")) as opened:
        opened.execute("ALTER TABLE result ADD COLUMN response_messages TEXT")
        opened.execute("UPDATE result SET response_messages = 'gASVnotapickle'")
    opened.close()
    (found,) = read_foreign(path).to_json()["levels"]
    assert found["metrics"]["e2e"]["count"] == 4
