import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from tests.config_reference import PAGE, reference
from tests.schema import FOLDER, SCHEMAS, written

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "results" / "examples"
SCENARIOS = [
    *sorted((ROOT / "scenarios").glob("*.yaml")),
    ROOT / "benchcore" / "templates" / "scenario.yaml",
    ROOT / "benchcore" / "templates" / "matrix.yaml",
]
CASES = """\
suite: ours
cases:
  - id: greets
    request: {messages: [{role: user, content: Hello}]}
    expect: {status: 200, contains: hello, finish_reason: [stop, length]}
matrices:
  - id: grid
    grid: {temperature: [0, 1]}
negative:
  - id: hot
    parameter: temperature
    values: [hot]
    expect_error: {status: 4xx}
"""


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_the_schema_in_the_docs_is_that_of_the_model(name):
    assert (FOLDER / f"{name}.schema.json").read_text() == written(name)


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("", "", None),
        ("suite: ours\n", "", "'suite' is a required property"),
        ("grid: {temperature: [0, 1]}", "gird: {}", "'gird'"),
    ],
)
def test_an_editor_finds_with_it_what_we_find(old, new, fault):
    schema = json.loads((FOLDER / "cases.schema.json").read_text())
    errors = jsonschema.Draft202012Validator(schema).iter_errors(
        yaml.safe_load(CASES.replace(old, new) if old else CASES)
    )
    found = [error.message for error in errors]
    assert any(fault in message for message in found) if fault else found == []


@pytest.mark.parametrize(
    "path", sorted(EXAMPLES.glob("*-real-*/run.json")), ids=lambda path: path.parent.name
)
def test_runs_of_real_servers_are_what_the_schema_says(path):
    schema = json.loads((FOLDER / "run.schema.json").read_text())
    run = json.loads(path.read_bytes())
    jsonschema.validate(run, schema)
    run["levels"][0]["ttft_p99"] = 1
    with pytest.raises(jsonschema.ValidationError, match="'ttft_p99' was unexpected"):
        jsonschema.validate(run, schema)


@pytest.mark.parametrize(
    ("share", "fits"), [("10%", True), (0.1, True), ("ten", False), (-1, False)]
)
def test_a_share_of_a_rule_is_a_number_or_per_cent(share, fits):
    schema = json.loads((FOLDER / "gate.schema.json").read_text())
    rules = {"rules": [{"metric": "ttft.p99", "worse_by": share}]}
    found = list(jsonschema.Draft202012Validator(schema).iter_errors(rules))
    assert (found == []) is fits


def test_the_reference_of_scenarios_is_that_of_the_models():
    assert PAGE.read_text(encoding="utf-8") == reference()


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.name)
def test_what_ships_is_what_the_schema_says(path):
    name = "matrix" if path.stem == "matrix" else "scenario"
    schema = json.loads((FOLDER / f"{name}.schema.json").read_text())
    found = yaml.safe_load(path.read_text().replace("@NAME@", "mine"))
    assert list(jsonschema.Draft202012Validator(schema).iter_errors(found)) == []


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("stages: {perf: {concurency: [1]}}", "'concurency' was unexpected"),
        ("stages: {perf: {pr: {concurency: [1]}}}", "'concurency' was unexpected"),
        ("priority: high", "'high' is not valid"),
        ("priority: ${PRIORITY:-1}", None),
        ("stages: {perf: {pr: false, daily: {requests: 3}}}", None),
    ],
)
def test_an_editor_finds_what_is_wrong_in_a_scenario(text, fault):
    schema = json.loads((FOLDER / "scenario.schema.json").read_text())
    errors = jsonschema.Draft202012Validator(schema).iter_errors(yaml.safe_load(text))
    found = [one for error in errors for one in deepest(error)]
    assert any(fault in message for message in found) if fault else found == []


def deepest(error):
    """The messages of an error, down to the last choice that did not fit."""
    yield error.message
    for inner in error.context:
        yield from deepest(inner)
