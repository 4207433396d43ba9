"""`benchcore import` as a user types it."""

import json

import pytest
from click.testing import CliRunner

from benchcore.base.errors import ConfigError
from benchcore.cli.push import import_results

RESULT = {
    "date": "20261121-015600",
    "backend": "openai-chat",
    "model_id": "tiny-llama",
    "num_prompts": 10,
    "request_rate": "inf",
    "max_concurrency": 4,
    "duration": 60.0,
    "completed": 10,
    "failed": 0,
    "request_throughput": 0.5,
    "mean_ttft_ms": 20.0,
    "median_ttft_ms": 16.0,
    "p99_ttft_ms": 32.0,
}


@pytest.fixture
def call(tmp_path, monkeypatch):
    """Calls the command in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(*args):
        done = CliRunner().invoke(import_results, list(map(str, args)), standalone_mode=False)
        if done.exception is not None:
            raise done.exception
        return done

    return run


@pytest.fixture
def result(tmp_path):
    """Writes a result of vLLM."""

    def write(name="result.json", **fields):
        (tmp_path / name).write_text(json.dumps(RESULT | fields))
        return name

    return write


def test_a_result_becomes_a_run_folder(call, result, tmp_path):
    done = call(result())
    assert done.return_value == 0
    folder = tmp_path / "results" / "20261121T015500Z-import-vllm"
    assert [path.name for path in folder.iterdir()] == ["run.json"]
    run = json.loads((folder / "run.json").read_bytes())
    assert run["run_id"] == folder.name
    assert run["name"] == "import-vllm"
    assert run["target"]["kind"] == "import"
    assert run["origin"]["file"] == "result.json"
    assert run["levels"][0]["metrics"]["ttft"]["p99"] == 0.032
    assert done.output.splitlines() == [
        "level  ok  failed  req/s  out tok/s  TTFT p50 ms  TTFT p99 ms",
        "   c4  10       0    0.5          -         16.0         32.0",
        f"figures as vllm bench serve defines them: definitions in results/{folder.name}/run.json",
    ]


def test_several_results_become_levels(call, result, tmp_path):
    files = [result("4.json"), result("8.json", max_concurrency=8)]
    call(*files, "--from", "vllm", "--output", "there", "--name", "ladder")
    (folder,) = (tmp_path / "there").iterdir()
    assert folder.name == "20261121T015500Z-ladder"
    run = json.loads((folder / "run.json").read_bytes())
    assert [(one["level"], one["origin_file"]) for one in run["levels"]] == [
        ("c4", "4.json"),
        ("c8", "8.json"),
    ]


def test_json_goes_to_stdout(call, result, tmp_path):
    printed = json.loads(call(result(), "--json").output)
    (folder,) = (tmp_path / "results").iterdir()
    assert printed == json.loads((folder / "run.json").read_bytes())


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["gone.json"], "gone.json: No such file or directory; name a result file"),
        (["result.json", "--from", "aiperf"], "result.json: is not a result of aiperf"),
        (["result.json", "result.json"], "result.json: holds the same as result.json; name it"),
        (["result.json", "other.json"], "other.json: its model is other, that of result.json"),
    ],
)
def test_bad_input_leaves_nothing(call, result, tmp_path, args, says):
    result()
    result("other.json", model_id="other")
    with pytest.raises(ConfigError, match=says):
        call(*args)
    assert not (tmp_path / "results").exists()
