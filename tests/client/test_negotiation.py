"""What a refusal says of a field, and what is asked instead."""

from __future__ import annotations

import pytest

from benchcore.client.records import Outcome, Record
from benchcore.client.refusals import negotiated
from benchcore.config.target import Target

BODY = {
    "model": "m",
    "stream": True,
    "messages": [],
    "max_tokens": 8,
    "stream_options": {"include_usage": True},
    "temperature": 0,
    "seed": 7,
}


def refused(text, status=400, field=""):
    return Record("1", outcome=Outcome.HTTP_ERROR, status=status, error=text, refused_field=field)


@pytest.mark.parametrize("status", [400, 422])
@pytest.mark.parametrize(
    ("text", "field", "omitted"),
    [
        ("Unrecognized request argument supplied: stream_options", "", "stream_options"),
        ("stream_options is only for gods", "", "stream_options"),
        ('[{"loc":["body","seed"],"msg":"Extra inputs are not permitted"}]', "seed", "seed"),
        ("Extra inputs are not permitted: seed", "", "seed"),
        ("bad request", "stream_options", "stream_options"),
        ("bad request", "stream_options.include_usage", "stream_options"),
        ("Unsupported value: 'temperature' does not support 0 with this model.", "", "temperature"),
        ("got an unexpected keyword argument 'seed'", "", "seed"),
        ("Additional properties are not allowed ('seed' was unexpected)", "", "seed"),
        ('Unknown name "seed": Cannot find field.', "", "seed"),
        ("不支持 stream_options 参数", "", "stream_options"),
    ],
)
def test_a_field_that_is_refused_by_name_is_left_out(status, text, field, omitted):
    target, line = negotiated(Target("http://h"), BODY, refused(text, status, field))
    assert (target.omit, target.rename) == ((omitted,), {})
    assert omitted not in target.adapted(dict(BODY))
    assert f"--omit {omitted}" in line


@pytest.mark.parametrize(
    ("text", "other"),
    [
        (
            "Unsupported: 'max_tokens'. Use 'max_completion_tokens' instead.",
            "max_completion_tokens",
        ),
        ("max_tokens is not supported", "max_completion_tokens"),
        ("unknown field max_tokens, known is max_new_tokens", "max_new_tokens"),
        ("Unknown parameter max_tokens; use `n_predict` instead", "n_predict"),
    ],
)
def test_a_limit_of_tokens_is_sent_under_the_name_that_the_server_takes(text, other):
    target, line = negotiated(Target("http://h"), BODY, refused(text))
    assert (target.omit, target.rename) == ((), {"max_tokens": other})
    assert target.adapted(dict(BODY))[other] == 8
    assert "max_tokens" not in target.adapted(dict(BODY))
    assert f"--rename max_tokens={other}" in line


def test_where_the_other_name_is_refused_too_the_limit_is_left_out():
    target = Target("http://h", rename={"max_tokens": "max_completion_tokens"})
    sent = target.adapted(dict(BODY))
    text = "Unsupported parameter: 'max_completion_tokens'"
    target, _ = negotiated(target, sent, refused(text))
    assert set(target.adapted(dict(BODY))) == set(BODY) - {"max_tokens"}


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("max_tokens is too large: 8. This model supports at most 4 completion tokens", 400),
        ("'max_tokens' must be less than 4; the maximum context length is 4", 422),
        ("the model does not exist", 400),
        ("messages: field required", 422),
        ("Unsupported parameter: 'messages'", 400),
        ("temperature must be between 0.1 and 1", 400),
        ("Unrecognized request argument supplied: stream_options", 500),
        ("Unrecognized request argument supplied: stream_options", 404),
        ("", 400),
    ],
)
def test_nothing_is_changed_where_the_refusal_is_of_something_else(text, status):
    assert negotiated(Target("http://h"), BODY, refused(text, status)) is None


def test_what_the_user_asks_for_is_not_dropped():
    target = Target("http://h", extra_body={"seed": 7})
    assert negotiated(target, BODY, refused("Unknown parameter: seed")) is None
    target = Target("http://h", extra_body={"seed": None})
    assert negotiated(target, BODY, refused("Unknown parameter: seed"))[0].omit == ("seed",)
