from array import array

import pytest

from benchcore.client.records import Outcome, Record, Usage

MS = 1_000_000
SECOND = 1_000 * MS


def new_record(
    stamps=(),
    *,
    scheduled=SECOND,
    sent=None,
    done=None,
    events=None,
    tokens=None,
    lanes=None,
    completion=None,
    prompt=None,
    cached=None,
    reasoning=None,
    reasoning_events=0,
    outcome=Outcome.OK,
    streamed=True,
    first_output=None,
    **more,
):
    """A record as the client leaves it; instants in ns."""
    stamps = list(stamps)
    record = Record("x", scheduled_ns=scheduled, outcome=outcome, streamed=streamed, **more)
    record.sent_ns = scheduled if sent is None else sent
    record.stamps = array("q", stamps)
    record.events = None if events is None else array("q", events)
    record.tokens = None if tokens is None else array("q", tokens)
    record.lanes = None if lanes is None else array("q", lanes)
    record.token_events = len(stamps) if events is None else sum(events)
    record.reasoning_events = reasoning_events
    if stamps:
        record.first_byte_ns = record.first_byte_ns or stamps[0]
        record.first_token_ns, record.last_token_ns = stamps[0], stamps[-1]
        record.first_output_ns = stamps[0] if first_output is None else first_output
    record.done_ns = done if done is not None else (stamps[-1] if stamps else record.sent_ns)
    if any(value is not None for value in (completion, prompt, cached, reasoning)):
        record.usage = Usage(prompt, completion, cached, reasoning)
    return record


@pytest.fixture(scope="session")
def record():
    return new_record
