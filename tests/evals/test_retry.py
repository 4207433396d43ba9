import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchcore.base.backoff import retry_after
from benchcore.client.records import Outcome, Record
from benchcore.client.refusals import again


def ended(outcome, status=0, error="", retry_after=""):
    record = Record("id")
    record.outcome, record.status, record.error = outcome, status, error
    record.retry_after = retry_after
    return record


def wait(record, tries=1, most=4):
    return again(record, tries, most, random.Random(0), 1_000_000.0)


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 529])
def test_passing_statuses_are_tried_again(status):
    found = wait(ended(Outcome.HTTP_ERROR, status, "busy"))
    assert found.why == f"{status}: busy"
    assert 0.25 <= found.seconds <= 0.5


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422])
def test_others_are_final(status):
    assert wait(ended(Outcome.HTTP_ERROR, status, retry_after="1")) is None


@pytest.mark.parametrize("outcome", [Outcome.CONNECT_ERROR, Outcome.TRUNCATED])
def test_a_broken_connection_is_tried_again(outcome):
    assert wait(ended(outcome, 200, "reset")).why == "reset"


@pytest.mark.parametrize(
    "outcome",
    [Outcome.OK, Outcome.EMPTY, Outcome.TIMEOUT, Outcome.STREAM_ERROR, Outcome.PROTOCOL_ERROR],
)
def test_an_answer_that_is_empty_late_or_wrong_is_final(outcome):
    assert wait(ended(outcome, 200)) is None


def test_tries_are_bounded():
    record = ended(Outcome.HTTP_ERROR, 503)
    assert wait(record, tries=4) is not None
    assert wait(record, tries=5) is None
    assert wait(record, tries=1, most=0) is None


def test_waits_double_up_to_30_seconds():
    record = ended(Outcome.HTTP_ERROR, 503)
    draw = random.Random(1)
    waits = [again(record, tries, 99, draw, 0.0).seconds for tries in range(1, 12)]
    for tries, seconds in enumerate(waits, 1):
        ceiling = min(30.0, 0.5 * 2 ** (tries - 1))
        assert ceiling / 2 <= seconds <= ceiling


def test_retry_after_is_honoured_up_to_two_minutes():
    assert wait(ended(Outcome.HTTP_ERROR, 429, retry_after="7")).seconds == 7.0
    assert wait(ended(Outcome.HTTP_ERROR, 429, retry_after="120")).seconds == 120.0
    assert wait(ended(Outcome.HTTP_ERROR, 429, retry_after="121")) is None


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("", None),
        ("3", 3.0),
        ("0.5", 0.5),
        ("-3", 0.0),
        ("soon", None),
        ("nan", None),
        ("inf", None),
        ("Mon, 12 Jan 1970 13:46:50 GMT", 10.0),
        ("Mon, 12 Jan 1970 13:46:30 GMT", 0.0),
    ],
)
def test_retry_after_is_seconds_or_a_date(value, seconds):
    assert retry_after(value, 1_000_000.0) == seconds


@given(st.text())
def test_any_retry_after_at_all_raises_nothing(value):
    found = retry_after(value, 0.0)
    assert found is None or found >= 0
