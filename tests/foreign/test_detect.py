"""Which load generator wrote a file; files that none of them wrote."""

import json
import math
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchcore.base.errors import ConfigError
from benchcore.foreign.detect import KINDS, combine, read_foreign
from benchcore.foreign.figures import summary_of, whole, without_user
from benchcore.runs.run_json import dump

SMALLEST = {
    "vllm": {"model_id": "m", "num_prompts": 2, "duration": 1.0, "completed": 2},
    "sglang": {
        "backend": "sglang",
        "total_output_tokens_retokenized": 1,
        "duration": 1.0,
        "completed": 2,
    },
    "guidellm": {"benchmarks": [{"metrics": {"request_totals": {"successful": 2}}}]},
    "aiperf": {"request_count": {"unit": "requests", "avg": 2.0}},
    "evalscope": {
        "Total Requests": 2,
        "Success Requests": 2,
        "Req Throughput (req/s)": 2.0,
        "Output Throughput (tok/s)": None,
    },
}


def write(folder, content):
    path = folder / "result.json"
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_each_is_known_by_what_it_holds(tmp_path, kind):
    path = write(tmp_path, SMALLEST[kind])
    run = read_foreign(path).to_json()
    assert kind in run["origin"]["tool"]
    assert run == read_foreign(path, kind).to_json()
    (level,) = run["levels"]
    assert level["ok"] == 2
    assert level["metrics"] == {}
    unknown = ("output_token_throughput", "input_token_throughput", "goodput", "itl", "validity")
    assert {level[name] for name in unknown} == {None}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("other", KINDS)
def test_another_kind_than_it_is_said_to_be_is_refused(tmp_path, kind, other):
    if kind == other:
        return
    with pytest.raises(ConfigError, match=f"is not a result of {other}; give the file of"):
        read_foreign(write(tmp_path, SMALLEST[kind]), other)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty; give a result file"),
        (b" \n", "is empty; give a result file"),
        (b"\xff\xfe{}", "byte 1 is not UTF-8; give a JSON file"),
        (b'{"model_id": "m", "dur', "is cut off at line 1; copy it again, whole"),
        (b'{\n"model_id": "m",\n', "is cut off at line 3; copy it again, whole"),
        (b"level,ok\nc1,3\n", "is not JSON: Expecting value at line 1, column 1; copy it"),
        (b"[1, 2]", "holds something other than an object; give a result file"),
        (b"{}", "is not a result of a known load generator; known are vllm bench serve"),
        (b'{"a": 1}\n{"a": 2', ":2: is cut off at line 1; remove or complete the line"),
        (b'{"a": 1}\n3', "holds something other than an object"),
        (b"[" * 100_000, "is nested too deep"),
    ],
)
def test_what_none_of_them_wrote_gets_one_line(tmp_path, content, says):
    path = write(tmp_path, content)
    with pytest.raises(ConfigError) as caught:
        read_foreign(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert says in message
    assert "\n" not in message


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match=r"gone\.json: No such file or directory; name a"):
        read_foreign(tmp_path / "gone.json")


def test_an_unknown_kind(tmp_path):
    with pytest.raises(ConfigError, match="--from wrk: is not a known format; known are vllm, sgl"):
        read_foreign(write(tmp_path, SMALLEST["vllm"]), "wrk")


def test_one_object_a_file_where_the_tool_writes_one(tmp_path):
    line = json.dumps(SMALLEST["aiperf"]).encode()
    with pytest.raises(ConfigError, match="holds 2 objects; give the file of aiperf"):
        read_foreign(write(tmp_path, line + b"\n" + line))


def test_runs_of_several_files_are_one(tmp_path):
    runs = []
    for users in (4, 8, 4):
        path = tmp_path / f"{users}-{len(runs)}.json"
        path.write_text(json.dumps(SMALLEST["vllm"] | {"max_concurrency": users, "n": len(runs)}))
        runs.append((str(path), read_foreign(path)))
    run = combine(runs).to_json()
    assert [(one["level"], one["repeat"], one["origin_file"]) for one in run["levels"]] == [
        ("c4", 1, "4-0.json"),
        ("c8", 1, "8-1.json"),
        ("c4", 2, "4-2.json"),
    ]
    assert [one["file"] for one in run["origin"]["files"]] == ["4-0.json", "8-1.json", "4-2.json"]
    assert run["load"]["concurrency"] == [4, 8]


@pytest.mark.parametrize(
    ("second", "says"),
    [
        (SMALLEST["sglang"], "b: its tool is sglang.bench_serving, that of a vllm bench serve"),
        (SMALLEST["vllm"] | {"model_id": "n"}, "b: its model is n, that of a m; import them one"),
        (SMALLEST["vllm"], "b: holds the same as a; name it once"),
    ],
)
def test_runs_that_are_not_of_one_kind_are_not_combined(tmp_path, second, says):
    first = read_foreign(write(tmp_path, SMALLEST["vllm"]))
    other = read_foreign(write(tmp_path, second))
    with pytest.raises(ConfigError, match=says):
        combine([("a", first), ("b", other)])


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
FIELDS = {
    "vllm": [
        *("date", "request_rate", "burstiness", "max_concurrency", "failed", "backend"),
        *("mean_ttft_ms", "p99_ttft_ms", "p99.9_itl_ms", "ttfts", "itls", "output_lens"),
        *("errors", "latencies", "duration", "completed", "ramp_up_strategy", "model_id"),
    ],
    "sglang": ["request_rate", "errors", "mean_itl_ms", "max_itl_ms", "backend", "dataset_name"],
    "guidellm": ["metadata", "args", "benchmarks", "config"],
    "aiperf": [
        *("request_latency", "input_config", "start_time", "records", "error_request_count"),
        *("benchmark_duration", "total_isl", "was_cancelled", "aiperf_version"),
    ],
    "evalscope": [
        *("Test Duration (s)", "Concurrency", "Request Rate (req/s)", "Avg TTFT (ms)"),
        *("Total Throughput (tok/s)", "Stream Requests", "Avg Latency (s)", "Failed Requests"),
    ],
}


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_any_json_gives_a_run_that_can_be_written_or_one_line(kind, data):
    fields = data.draw(st.dictionaries(st.sampled_from(FIELDS[kind]), values, max_size=4))
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder), SMALLEST[kind] | fields)
        try:
            run = read_foreign(path).to_json()
        except ConfigError as error:
            assert "\n" not in str(error)  # noqa: PT017
            return
    dump(run)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=50))
def test_a_summary_is_in_order_and_of_the_samples(samples):
    found = summary_of(samples, len(samples)).to_json()
    ranks = [found[name] for name in ("min", "p50", "p75", "p90", "p95", "p99", "p999", "max")]
    assert ranks == sorted(ranks)
    assert set(ranks) <= set(samples)
    assert found["avg"] == pytest.approx(math.fsum(samples) / len(samples))


@pytest.mark.parametrize(
    ("value", "count"),
    [(3, 3), (3.0, 3), (0, 0), (2.5, None), (-1, None), (2**64, None), (True, None), ("3", None)],
)
def test_a_count_is_whole(value, count):
    assert whole(value) == count


@pytest.mark.parametrize(
    ("url", "clean"),
    [
        ("http://me:pw@host:1/v1", "http://host:1/v1"),
        ("http://host/a@b", "http://host/a@b"),
        ("me:pw@host", "host"),
        (None, None),
    ],
)
def test_passwords_are_not_kept(url, clean):
    assert without_user(url) == clean
