"""Another tool's file as our metrics: what is read of it, and what is told of one that is wrong."""

import json
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from benchcore.base.errors import ConfigError
from benchcore.config.document import read_model
from benchcore.config.metric_map import MetricMap
from benchcore.publish.mapped_metrics import mapped_metrics, read_rows
from benchcore.publish.pushgateway import shown

VLLM = Path(__file__).parent / "maps" / "vllm.yaml"
COLUMNS = (
    "model_id,max_concurrency,median_ttft_ms,p99_ttft_ms,median_tpot_ms,p99_tpot_ms,p99_e2el_ms,"
    "request_throughput,output_throughput"
)
TABLE = f"""\
{COLUMNS}
org/model,1,12.3,45.6,7.1,8.2,900,1.5,190
org/model,64.0,80,250.25,-1,,NaN,33.25,4100
"""


def mapped(path, text, metric_map=None, **options):
    path.write_text(text)
    if metric_map is None:
        found = read_model(VLLM, MetricMap)
    else:
        found = MetricMap.model_validate(metric_map)
    return mapped_metrics(found, read_rows(path), path, **options)


def series(found):
    return {
        (sample.name, *sorted(pair for pair in sample.labels.items() if pair[1])): sample.value
        for family in text_string_to_metric_families(shown(found.registry))
        for sample in family.samples
    }


def simple(**fields):
    return {
        "labels": {"level": {"column": "n", "prefix": "c"}},
        "metrics": [{"metric": "goodput", "column": "good", **fields}],
    }


def told(path, text, metric_map=None, **options):
    with pytest.raises(ConfigError) as error:
        mapped(path, text, metric_map or simple(), **options)
    assert str(error.value).startswith(str(path)) or options
    return str(error.value).replace(f"{path}", "F")


def test_every_cell_of_a_table_has_its_series(tmp_path):
    found = mapped(tmp_path / "bench.csv", TABLE)
    about = [("model", "org/model"), ("scenario", "nightly"), ("workload", "sharegpt")]

    def key(name, level, *quantile):
        labels = [*about, ("level", level), ("mode", "closed")]
        labels += [("quantile", one) for one in quantile]
        return (f"benchcore_{name}", *sorted(labels))

    assert series(found) == {
        key("ttft_seconds", "c1", "0.5"): 0.0123,
        key("ttft_seconds", "c1", "0.99"): 0.0456,
        key("tpot_seconds", "c1", "0.5"): 0.0071,
        key("tpot_seconds", "c1", "0.99"): 0.0082,
        key("e2e_seconds", "c1", "0.99"): 0.9,
        key("request_throughput", "c1"): 1.5,
        key("output_token_throughput", "c1"): 190,
        # 64.0 is 64, and what is -1, empty or NaN is left out and not zero.
        key("ttft_seconds", "c64", "0.5"): 0.08,
        key("ttft_seconds", "c64", "0.99"): 0.25025,
        key("request_throughput", "c64"): 33.25,
        key("output_token_throughput", "c64"): 4100,
    }
    assert found.series == 11
    assert found.grouping == {"scenario": "nightly", "model": "org/model"}


def test_a_metric_has_the_labels_of_the_contract_be_they_empty(tmp_path):
    text = shown(mapped(tmp_path / "a.csv", "n,good\n1,3\n", simple()).registry)
    assert text.splitlines()[2] == (
        'benchcore_goodput{instance="",level="c1",mode="",model="",quant="",run_type="",'
        'scenario="",workload=""} 3.0'
    )


def test_a_quote_a_mark_and_empty_lines_do_no_harm(tmp_path):
    text = '\ufeff\n good , n \n\n" 3","1"\n,2\n'
    assert series(mapped(tmp_path / "a.csv", text, simple())) == {
        ("benchcore_goodput", ("level", "c1")): 3
    }


@pytest.mark.parametrize("prefix", ["", "llm_"])
def test_the_prefix_is_ones_own_or_none(tmp_path, prefix):
    (key,) = series(mapped(tmp_path / "a.csv", "n,good\n1,3\n", simple(), prefix=prefix))
    assert key[0] == f"{prefix}goodput"


def test_a_prefix_that_begins_no_name_is_refused(tmp_path):
    text = told(tmp_path / "a.csv", "n,good\n1,3\n", prefix="9-")
    assert text == "--prefix '9-': cannot begin the name of a metric"


def test_an_object_a_list_and_lines_of_json_are_tables_too(tmp_path):
    rows = [
        {"n": 8, "latency": {"p99": 12.5}, "good": float("nan")},
        {"n": 16.0, "latency": {"p99": 20}, "good": None},
        {"n": None, "good": 2},
    ]
    metric_map = simple()
    metric_map["metrics"].append(
        {"metric": "e2e_seconds", "quantile": "0.99", "column": "latency.p99", "scale": 0.001}
    )
    expected = {
        ("benchcore_e2e_seconds", ("level", "c8"), ("quantile", "0.99")): 0.0125,
        ("benchcore_e2e_seconds", ("level", "c16"), ("quantile", "0.99")): 0.02,
        ("benchcore_goodput",): 2,
    }
    assert series(mapped(tmp_path / "a.json", json.dumps(rows), metric_map)) == expected
    lines = "\n".join(map(json.dumps, rows)) + "\n"
    assert series(mapped(tmp_path / "a.jsonl", lines, metric_map)) == expected
    assert series(mapped(tmp_path / "b.json", json.dumps(rows[2]), simple())) == {
        ("benchcore_goodput",): 2
    }


def test_what_is_of_the_run_may_stand_in_every_row(tmp_path):
    metric_map = simple()
    metric_map["metrics"].append({"metric": "run_timestamp_seconds", "column": "began"})
    found = series(mapped(tmp_path / "a.csv", "n,good,began\n1,3,9\n2,4,9\n", metric_map))
    assert found["benchcore_run_timestamp_seconds",] == 9
    text = told(tmp_path / "a.csv", "n,good,began\n1,3,9\n2,4,10\n", metric_map)
    assert text.startswith("F:3: began: run_timestamp_seconds has another value at F:2; map a col")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "F: holds no rows"),
        ("n,good\n", "F: holds no rows"),
        ("n,good\n1,3,4\n", "F:2: has 3 cells, and the header has 2 columns"),
        ("n,good,n\n1,3,4\n", "F:1: has the column n twice; rename one"),
        ('n,good\n1,"3\n', "F:2: is not CSV: unexpected end of data"),
        ("n,godo\n1,3\n", "F: has no column good; did you mean godo? known are n, godo"),
        (
            "a,b\n1,3\n",
            "F: has no column n; known are a, b\nF: has no column good; known are a, b",
        ),
        (
            "n,good\n1,3\n2,fast\n",
            "F:3: good: 'fast' is not a number; put it under missing where it stands for not known",
        ),
        (
            'n,good\n"1\n",3\n2,"1,000"\n',
            "F:4: good: '1,000' is not a number; put it under missing where it stands for not known",  # noqa: E501
        ),
        (
            "n,good\n1,inf\n",
            "F:2: good: 'inf' is not a number; put it under missing where it stands for not known",
        ),
        (
            "n,good\n1,1e999\n",
            (
                "F:2: good: '1e999' is not a number; put it under missing where it stands for not "
                "known"
            ),
        ),
        (
            "n,good\n1,-1\n",
            "F:2: good: -1 is below 0; put it under missing where it stands for not known",
        ),
        (
            "n,good\n1,3\n1,4\n",
            (
                'F:3: good: goodput{level="c1"} has another value at F:2; map a column that tells '
                "the rows apart, such as level"
            ),
        ),
        ("n,good\n1,\n", "F: no value of a mapped column is known, so there is nothing to push"),
    ],
)
def test_what_is_wrong_with_a_table_is_told(tmp_path, text, says):
    assert told(tmp_path / "a.csv", text) == says


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("a.json", "[1]", "F: [0]: is not a JSON object"),
        ("a.json", "3", "F: is not a JSON object"),
        ("a.json", "{", "F: is not JSON: Expecting property name"),
        ("a.json", "[" * 100_000, "F: is not JSON: "),
        ("a.json", "[]", "F: holds no rows"),
        ("a.jsonl", '{"n": 1, "good": 1}\n{"n"', "F:2: is not JSON: "),
        ("a.json", '[{"n": 1, "good": true}]', "F: [0]: good: 'True' is not a number; "),
        ("a.json", '[{"n": [], "good": 1}]', "F: [0]: n: is not a text; map a key inside of it"),
        ("a.json", '[{"n": 1, "good": 1%s}]' % ("0" * 400), "F: [0]: good: '1000"),
        ("a.json", '{"x": {"y": {"z": 1}}}', "F: has no column n; known are x.y.z"),
    ],
)
def test_what_is_wrong_with_json_is_told(tmp_path, name, text, says):
    assert told(tmp_path / name, text).startswith(says)


def test_a_share_above_one_is_a_percentage(tmp_path):
    metric_map = {"metrics": [{"metric": "failure_ratio", "column": "bad"}]}
    assert told(tmp_path / "a.csv", "bad\n2.5\n", metric_map) == (
        "F:2: bad: 2.5 makes failure_ratio 2.5, but a share is 0 to 1; give scale: 0.01 where the "
        "column is in percent"
    )
    metric_map["metrics"][0]["scale"] = 0.01
    assert list(series(mapped(tmp_path / "a.csv", "bad\n2.5\n", metric_map)).values()) == [0.025]


def test_a_label_of_the_key_has_one_value(tmp_path):
    metric_map = simple()
    metric_map["labels"]["model"] = {"column": "m"}
    text = "n,good,m\n1,3,a\n2,4,b\n"
    assert told(tmp_path / "a.csv", text, metric_map) == (
        "F:3: the label model is 'b' here and 'a' at F:2; a label of the grouping key has one "
        "value: give grouping in the map without it"
    )
    found = mapped(tmp_path / "a.csv", text, {**metric_map, "grouping": []})
    assert found.grouping == {}
    assert found.series == 2


def test_a_file_that_cannot_be_read_is_told(tmp_path):
    with pytest.raises(ConfigError, match=r"gone.csv: No such file"):
        read_rows(tmp_path / "gone.csv")
    (tmp_path / "a.csv").write_bytes(b"n\n\xff\n")
    with pytest.raises(ConfigError, match=r"a.csv: is not UTF-8; save the file as UTF-8"):
        read_rows(tmp_path / "a.csv")
