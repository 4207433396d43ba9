"""Whatever one answer's bytes provoke ends its own exchange, and nothing but that."""

from __future__ import annotations

import asyncio

import pytest

from benchcore.client.events import ChatReader
from benchcore.client.records import Outcome, Phase
from benchcore.client.request import Prompt
from benchcore.client.watchdog import broken

BOTH_LOOPS = True
DEPTHS = [200, 253, 254, 255, 500, 990, 1020, 1023, 1025, 100_000]


def lists(depth):
    return b"[" * depth + b"1" + b"]" * depth


def objects(depth):
    return b'{"a":' * depth + b"1" + b"}" * depth


def event(data):
    return b"data: %b\n\n" % data


@pytest.fixture
def shapes(wire):
    """Answers that hold JSON of some depth, by where it stands."""

    def of(deep):
        token, done = wire.delta(content="a"), wire.DONE
        stream = wire.stream
        return {
            "a finish reason": stream(
                token,
                event(b'{"choices":[{"index":0,"delta":{},"finish_reason":%b}]}' % deep),
                done,
            ),
            "an error": stream(token, event(b'{"error":%b}' % deep)),
            "a message": stream(token, event(b'{"error":{"message":%b}}' % deep)),
            "content": stream(
                token,
                event(b'{"choices":[{"index":0,"delta":{"content":%b}}]}' % deep),
                wire.delta("stop"),
                done,
            ),
            "an index": stream(
                token,
                event(b'{"choices":[{"index":%b,"delta":{"content":"b"}}]}' % deep),
                wire.delta("stop"),
                done,
            ),
            "choices": stream(token, event(b'{"choices":%b}' % deep), done),
            "an event": stream(token, event(deep), done),
            "usage": stream(
                token, wire.delta("stop"), event(b'{"choices":[],"usage":%b}' % deep), done
            ),
            "beside a token": stream(
                *[event(b'{"choices":[{"index":0,"delta":{"content":"a"},"logprobs":%b}]}' % deep)]
                * 4,
                wire.delta("stop"),
                done,
            ),
            "a refusal": wire.plain(b'{"error":%b}' % deep, "500 Oops"),
            "the words of a refusal": wire.plain(b'{"error":{"message":%b}}' % deep, "400 No"),
            "its field": wire.plain(b'{"error":{"param":%b,"message":"x"}}' % deep, "400 No"),
            "a plain answer": wire.plain(b'{"choices":%b}' % deep),
            "a plain error": wire.plain(b'{"error":%b}' % deep),
            "anything": wire.plain(deep),
        }

    return of


@pytest.mark.no_cover
@pytest.mark.parametrize("endpoint", ["chat", "completions", "responses"])
@pytest.mark.parametrize(
    ("depth", "keep"),
    [
        # A second for each, and with and without the text it is the same parser that gives up.
        pytest.param(depth, keep, marks=[pytest.mark.full] * (keep and depth > 10_000))
        for depth in DEPTHS
        for keep in (False, True)
    ],
)
@pytest.mark.parametrize("form", [lists, objects])
async def test_deep_json_ends_the_request_wherever_it_stands(
    replay, shapes, keep, endpoint, depth, form
):
    for place, raw in shapes(form(depth)).items():
        for stream in (True, False):
            record = replay(raw, endpoint=endpoint, stream=stream, keep=keep)
            assert record.outcome is not None, place
            if "refusal" in place or place == "its field":
                assert record.outcome is Outcome.HTTP_ERROR, place
            assert "fault of benchcore" not in record.error, (place, record.error)
            assert len(record.error) < 500, place


async def test_a_listing_nested_deeply_is_an_answer_like_any_other(replay, wire):
    record = replay(wire.plain(b'{"data":%b}' % lists(1000)), ask=True)
    assert record.outcome is Outcome.OK


@pytest.mark.parametrize("where", ["event", "close", "commit"])
async def test_a_fault_of_ours_in_reading_ends_one_request_and_is_counted(
    wire, serve, answer, connect, post, monkeypatch, where
):
    """The request has the fault in its record; the next one goes as if nothing had been."""
    client = await connect(serve(answer(wire.good())).url)

    def faulty(*_args, **_named):
        raise ZeroDivisionError("no such thing")

    with monkeypatch.context() as patch:
        patch.setattr(ChatReader, where, faulty)
        record = await post(client)
    assert record.outcome is Outcome.PROTOCOL_ERROR
    assert record.error.startswith("a fault of benchcore's own in reading the answer: Zero")
    assert "test_confinement.py" in record.error
    assert client.client_faults == 1
    assert client.in_flight == {}
    assert (await post(client)).outcome is Outcome.OK


async def test_a_fault_at_the_end_of_a_broken_connection_ends_its_request_alone(
    wire, serve, connect, post, monkeypatch
):
    def script(peer):
        peer.request()
        peer.send(wire.STREAM_HEAD + wire.chunk(wire.delta(content="a")))

    client = await connect(serve(script).url)

    def faulty(*_):
        raise ZeroDivisionError("no such thing")

    monkeypatch.setattr(ChatReader, "close", faulty)
    record = await post(client)
    assert record.outcome is Outcome.PROTOCOL_ERROR
    assert client.client_faults == 1
    assert client.in_flight == {}


async def test_deep_json_is_not_counted_as_a_fault_of_ours(
    wire, serve, answer, connect, post, monkeypatch
):
    client = await connect(serve(answer(wire.good())).url)

    def deep(*_):
        raise RecursionError("maximum recursion depth exceeded")

    monkeypatch.setattr(ChatReader, "event", deep)
    record = await post(client)
    assert record.outcome is Outcome.PROTOCOL_ERROR
    assert record.error == "the JSON of the answer is nested too deeply"
    assert client.client_faults == 0


async def test_a_fault_of_whoever_takes_the_record_is_not_confined(replay, wire):
    """It is no fault of the answer: a schedule that breaks must not go on unseen."""

    class BrokenError(Exception):
        pass

    from benchcore.client import client as module

    client = module.Client

    def broken_take(self, exchange, **_):
        del self.in_flight[exchange]
        raise BrokenError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(client, "_end", broken_take)
        with pytest.raises(BrokenError):
            replay(wire.good())


async def test_the_watchdog_survives_an_entry_that_raises(serve, connect, monkeypatch):
    """One exchange that cannot be looked at ends; the time-out of the other one fires."""
    client = await connect(
        serve(lambda peer: peer.request() and peer.hung_up()).url, timeouts={"total": 0.2}
    )
    ends = []
    poisoned = client.start(client.prepare(Prompt("a")), 1, ends.append)
    other = client.start(client.prepare(Prompt("b")), 2, ends.append)
    from benchcore.client import watchdog as module

    honest = module.overdue

    def overdue(exchange, timeouts, now_ns):
        if exchange is poisoned:
            raise ValueError("file descriptor cannot be a negative integer")
        return honest(exchange, timeouts, now_ns)

    monkeypatch.setattr(module, "overdue", overdue)
    while len(ends) < 2:
        await asyncio.sleep(0.005)
    assert ends[0] is poisoned.record
    assert ends[0].outcome is Outcome.PROTOCOL_ERROR
    assert (ends[1].outcome, ends[1].phase) == (Outcome.TIMEOUT, Phase.TOTAL)
    assert ends[1] is other.record


async def test_a_closed_connection_is_not_looked_at_for_errors(wire, serve, connect):
    client = await connect(serve(lambda peer: peer.request() and peer.hung_up()).url)
    exchange = client.start(client.prepare(Prompt("a")), 1, lambda _record: None)
    while exchange.connection is None:
        await asyncio.sleep(0.001)
    exchange.connection.close()
    assert broken([exchange], 1 << 62) == []
    client.cancel(exchange)


async def test_an_exchange_whose_connection_cannot_be_made_for_a_fault_of_ours_ends(
    connect, post, monkeypatch
):
    client = await connect("http://127.0.0.1:9")

    async def faulty(_target):
        raise ValueError("server_hostname cannot be an empty string")

    monkeypatch.setattr(client.connector, "connect", faulty)
    record = await post(client)
    assert record.outcome is Outcome.PROTOCOL_ERROR
    assert client.client_faults == 1
