import json

import jsonschema
import pytest
import yaml

from tests.schema import FOLDER, MODELS, written

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


@pytest.mark.parametrize("name", sorted(MODELS))
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
