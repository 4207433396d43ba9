"""Time-outs are judged by stamps; real times are small."""

from __future__ import annotations

import asyncio
import socket
import sys
import threading
import time

import pytest

from benchcore.base.clock import NEVER_NS
from benchcore.client.exchange import Exchange, Limits
from benchcore.client.records import Outcome, Phase, Record
from benchcore.client.request import Prompt
from benchcore.client.stamps import Stamper
from benchcore.client.watchdog import AT_A_GO, LATE_NS, Watchdog, broken_limit, too_late
from benchcore.config.target import Target, Timeouts

BOTH_LOOPS = True
linux = pytest.mark.skipif(sys.platform != "linux", reason="kernel stamps are Linux's")


def at(wire, *steps):
    """A script that waits and sends by turns, then waits for the client to hang up."""

    def script(peer):
        peer.request()
        for step in steps:
            if isinstance(step, float):
                time.sleep(step)
            else:
                try:
                    peer.send(step)
                except OSError:
                    return
        peer.hung_up()

    return script


async def timed(client, post):
    before = time.perf_counter()
    record = await post(client)
    return record, time.perf_counter() - before


@pytest.fixture
def token(wire):
    return wire.chunk(wire.delta(content="a"))


@pytest.fixture
def end(wire):
    return wire.chunk(wire.delta("stop")) + wire.chunk(wire.DONE) + wire.LAST_CHUNK


@pytest.mark.parametrize("silence", ["no byte", "a head", "a role", "comments"])
async def test_no_first_token_in_time(wire, serve, connect, post, silence):
    pings = (0.03, wire.chunk(b": ping\n\n")) * 50
    steps = {
        "no byte": (),
        "a head": (wire.STREAM_HEAD,),
        "a role": (wire.STREAM_HEAD + wire.chunk(wire.delta(role="assistant")),),
        "comments": (wire.STREAM_HEAD, *pings),
    }[silence]
    client = await connect(serve(at(wire, *steps)).url, timeouts={"first_token": 0.1})
    record, seconds = await timed(client, post)
    assert (record.outcome, record.phase) == (Outcome.TIMEOUT, Phase.FIRST_TOKEN)
    assert record.error == "first_token took longer than 0.1 s"
    assert seconds >= 0.099  # a timer of uvloop may be a millisecond early
    assert (record.done_ns - record.sent_ns) / 1e9 >= 0.1


async def test_only_tokens_reset_the_limit_between_tokens(wire, serve, connect, post, token):
    fillers = {
        "nothing": b"",
        "comments": wire.chunk(b": ping\n\n"),
        "empty deltas": wire.chunk(wire.delta(content="")),
        "usage": wire.chunk(wire.usage(1, 2)),
    }
    clients = []
    for filler in fillers.values():
        steps = (wire.STREAM_HEAD + token, 0.05, token, *(0.05, filler) * 20, token)
        server = serve(at(wire, *steps))
        clients.append(await connect(server.url, timeouts={"between_tokens": 0.8}))
    ended = await asyncio.gather(*(timed(client, post) for client in clients))
    for filler, (record, seconds) in zip(fillers, ended, strict=True):
        assert (record.outcome, record.phase) == (Outcome.TIMEOUT, Phase.BETWEEN_TOKENS), filler
        assert record.error == "between_tokens took longer than 0.8 s"
        assert record.token_events == 2, filler
        assert seconds >= 0.85


async def test_tokens_that_come_in_time_go_on_for_longer_than_the_limit(
    wire, serve, connect, post, token, end
):
    steps = (wire.STREAM_HEAD, *(token, 0.15) * 8, end)
    client = await connect(serve(at(wire, *steps)).url, timeouts={"between_tokens": 0.9})
    record = await post(client)
    assert (record.outcome, record.token_events) == (Outcome.OK, 8)


async def test_the_first_token_is_not_between_tokens(wire, serve, connect, post, token, end):
    steps = (0.15, wire.STREAM_HEAD + token + end)
    client = await connect(serve(at(wire, *steps)).url, timeouts={"between_tokens": 0.05})
    assert (await post(client)).outcome is Outcome.OK


async def test_total_counts_from_sent_and_tokens_do_not_reset_it(wire, serve, connect, post, token):
    steps = (wire.STREAM_HEAD, *(token, 0.02) * 100)
    client = await connect(serve(at(wire, *steps)).url, timeouts={"total": 0.6})
    record, seconds = await timed(client, post)
    assert (record.outcome, record.phase) == (Outcome.TIMEOUT, Phase.TOTAL)
    assert record.error == "total took longer than 0.6 s"
    assert seconds >= 0.6
    assert record.token_events >= 1


async def test_a_plain_answer_has_a_total_limit_only(wire, serve, connect, post):
    body = {"choices": [{"message": {"content": "a"}}]}
    limits = {"first_token": 0.02, "between_tokens": 0.02, "total": 1.0}
    server = serve(at(wire, 0.05, wire.plain(body)))
    client = await connect(server.url, stream=False, timeouts=limits)
    assert (await post(client)).outcome is Outcome.OK
    client = await connect(serve(at(wire)).url, stream=False, timeouts=limits)
    record = await post(client)
    assert (record.outcome, record.phase) == (Outcome.TIMEOUT, Phase.TOTAL)


async def test_a_time_out_frees_the_connection_at_once(serve, connect, post):
    closed = threading.Event()

    def script(peer):
        peer.request()
        if peer.hung_up():
            closed.set()

    client = await connect(serve(script).url, timeouts={"total": 0.05})
    assert (await post(client)).outcome is Outcome.TIMEOUT
    assert client._idle == []
    assert client.in_flight == {}
    assert await asyncio.to_thread(closed.wait, 60)


async def test_connecting_has_its_own_limit(connect, post):
    # A backlog that is full answers no more: the kernel drops what comes.
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        fillers = []
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
            fillers.append(filler)
        client = await connect(
            f"http://127.0.0.1:{listener.getsockname()[1]}",
            timeouts={"connect": 0.1, "first_token": 0.01},
        )
        record, seconds = await timed(client, post)
        assert await client.connect_ahead(1) == 0
        for filler in fillers:
            filler.close()
    assert (record.outcome, record.phase) == (Outcome.TIMEOUT, Phase.CONNECT)
    assert record.error == "connecting took longer than 0.1 s"
    assert seconds >= 0.099  # a timer of uvloop may be a millisecond early
    assert record.sent_ns == 0


@pytest.mark.parametrize("limit", [None, 5.0])
async def test_a_time_out_of_the_kernels_own_is_a_connect_error(
    serve, connect, post, monkeypatch, limit
):
    client = await connect(serve(lambda peer: None).url, timeouts={"connect": limit})

    async def give_up(_target):
        raise TimeoutError(110, "Connection timed out")

    monkeypatch.setattr(client.connector, "connect", give_up)
    record = await post(client)
    assert (record.outcome, record.error) == (Outcome.CONNECT_ERROR, "Connection timed out")


@linux
async def test_a_stalled_loop_is_no_time_out_where_the_data_were_in_time(
    wire, serve, connect, token, end
):
    stalled, sent = threading.Event(), threading.Event()

    def script(peer):
        peer.request()
        stalled.wait()
        peer.send(wire.STREAM_HEAD + token)
        time.sleep(0.02)
        peer.send(token)
        time.sleep(0.02)
        peer.send(end)
        sent.set()
        peer.hung_up()

    limits = {"first_token": 1.0, "between_tokens": 1.0, "total": 1.5}
    client = await connect(serve(script).url, timeouts=limits)
    await client.connect_ahead(1)
    ended = []
    client.start(client.prepare(Prompt("hi")), 1, ended.append)
    stalled.set()
    sent.wait()
    time.sleep(1.6)  # all limits pass while nobody reads
    client._watchdog.start()  # before any reader has run
    assert [(record.outcome, record.error) for record in ended] == [(Outcome.OK, "")]
    (record,) = ended
    assert (record.done_ns - record.sent_ns) / 1e9 < 1.5


@linux
async def test_a_stream_that_goes_on_after_a_stall_is_judged_by_what_lay_there(
    wire, serve, connect, token, end
):
    stalled, sent, over = threading.Event(), threading.Event(), threading.Event()

    def script(peer):
        peer.request()
        peer.send(wire.STREAM_HEAD + token)
        stalled.wait()
        time.sleep(1.0)
        peer.send(token)
        sent.set()
        over.wait()
        peer.send(token + end)
        peer.hung_up()

    client = await connect(serve(script).url, timeouts={"between_tokens": 2.0})
    await client.connect_ahead(1)
    ended = []
    exchange = client.start(client.prepare(Prompt("hi")), 1, ended.append)
    while not exchange.record.stamps:
        await asyncio.sleep(0.001)
    stalled.set()
    sent.wait()
    time.sleep(1.1)  # the last token seen is older than the limit, the last one come is not
    client._watchdog.start()
    assert ended == []
    assert len(exchange.record.stamps) == 2
    over.set()
    while not ended:
        await asyncio.sleep(0.001)
    assert [record.outcome for record in ended] == [Outcome.OK]


@linux
@pytest.mark.parametrize("phase", [Phase.FIRST_TOKEN, Phase.BETWEEN_TOKENS, Phase.TOTAL])
@pytest.mark.parametrize("reader_first", [True, False])
async def test_a_stalled_loop_does_not_hide_a_time_out(
    wire, serve, connect, token, end, phase, reader_first
):
    """What came too late is read, whole and well, in the first moment after the stall."""
    stalled, sent = threading.Event(), threading.Event()

    def script(peer):
        peer.request()
        peer.send(wire.STREAM_HEAD + (token if phase is Phase.BETWEEN_TOKENS else b""))
        stalled.wait()
        time.sleep(0.5)
        peer.send(token + end)
        sent.set()
        peer.hung_up()

    client = await connect(serve(script).url, timeouts={phase.value: 0.4})
    await client.connect_ahead(1)
    ended = []
    exchange = client.start(client.prepare(Prompt("hi")), 1, ended.append)
    while not (exchange.record.stamps or (exchange.record.status and phase != "between_tokens")):
        await asyncio.sleep(0.001)
    stalled.set()
    sent.wait()
    if reader_first:
        exchange.connection._on_readable()
    else:
        client._watchdog.start()
    assert [(record.outcome, record.phase) for record in ended] == [(Outcome.TIMEOUT, phase)]
    assert ended[0].error == f"{phase.value} took longer than 0.4 s"


async def test_usage_and_done_after_the_end_are_not_between_tokens(
    wire, serve, connect, post, token, monkeypatch
):
    from benchcore.client import watchdog as module

    monkeypatch.setattr(module, "GRACE_NS", 60_000_000_000)
    steps = (
        wire.STREAM_HEAD + token,
        0.01,
        wire.chunk(wire.delta("stop")),
        1.2,
        wire.chunk(wire.usage(3, 1)) + wire.chunk(wire.DONE) + wire.LAST_CHUNK,
    )
    client = await connect(
        serve(at(wire, *steps)).url,
        timeouts={"first_token": 1.0, "between_tokens": 1.0, "total": 1.0},
    )
    record = await post(client)
    assert (record.outcome, record.error) == (Outcome.OK, "")
    assert record.usage.completion_tokens == 1


@pytest.mark.parametrize("rest", [b"", b": ping\n\n"])
async def test_a_body_that_never_ends_after_the_proper_end_is_cut_after_a_grace(
    wire, serve, connect, post, token, monkeypatch, rest
):
    from benchcore.client import watchdog as module

    monkeypatch.setattr(module, "GRACE_NS", 80_000_000)
    pings = (0.03, wire.chunk(rest)) * 100 if rest else ()
    server = serve(at(wire, wire.STREAM_HEAD + token + wire.chunk(wire.delta("stop")), *pings))
    client = await connect(server.url, timeouts={"total": 2.0})
    record, seconds = await timed(client, post)
    assert (record.outcome, record.error) == (Outcome.OK, "")
    assert seconds >= 0.08
    assert client._idle == []
    assert record.tail_ns >= 80_000_000
    assert record.released_ns - record.done_ns >= 80_000_000


async def test_a_request_is_over_at_done_and_its_connection_once_the_body_is(
    wire, serve, connect, post, token
):
    ended = threading.Event()

    def script(peer):
        peer.request()
        peer.send(wire.STREAM_HEAD + token + wire.chunk(wire.delta("stop")) + wire.chunk(wire.DONE))
        ended.wait()
        peer.send(wire.LAST_CHUNK)
        peer.request()
        peer.send(wire.good())
        peer.hung_up()

    client = await connect(serve(script).url)
    record = await post(client)
    assert (record.outcome, record.error) == (Outcome.OK, "")
    assert record.done_ns < record.released_ns
    assert record.tail_ns >= LATE_NS
    assert client.in_flight == {}
    (connection,) = client._tails
    ended.set()
    while client._tails:
        await asyncio.sleep(0.001)
    assert client._idle == [connection]
    again = await post(client)
    assert (again.outcome, again.reused) == (Outcome.OK, True)


async def test_a_connection_whose_body_never_ends_is_closed(
    wire, serve, connect, post, token, monkeypatch
):
    from benchcore.client import client as module

    monkeypatch.setattr(module, "TAIL_NS", 10_000_000)
    said = wire.STREAM_HEAD + token + wire.chunk(wire.delta("stop")) + wire.chunk(wire.DONE)
    client = await connect(serve(at(wire, said)).url)
    assert (await post(client)).outcome is Outcome.OK
    while client._tails:
        await asyncio.sleep(0.001)
    assert client._idle == []


async def test_an_error_event_before_a_silence_is_a_stream_error(
    wire, serve, connect, post, token, monkeypatch
):
    from benchcore.client import watchdog as module

    monkeypatch.setattr(module, "GRACE_NS", 50_000_000)
    error = wire.chunk(wire.event({"error": {"message": "out of memory"}}))
    client = await connect(
        serve(at(wire, wire.STREAM_HEAD + token + error)).url,
        timeouts={"between_tokens": 2.0, "total": 3.0},
    )
    record = await post(client)
    assert (record.outcome, record.error) == (Outcome.STREAM_ERROR, "out of memory")


async def test_a_stale_connections_retry_counts_from_its_first_sent(wire, serve, connect, post):
    def stale(peer):
        peer.request()
        peer.send(wire.good())
        peer.request()
        time.sleep(0.08)

    client = await connect(serve(stale, at(wire)).url, timeouts={"first_token": 0.4})
    await post(client)
    record, seconds = await timed(client, post)
    assert (record.outcome, record.phase) == (Outcome.TIMEOUT, Phase.FIRST_TOKEN)
    assert record.retried is True
    assert seconds >= 0.4


async def test_without_limits_nothing_is_watched_but_the_end(
    serve, connect, post, wire, token, end
):
    limits = dict.fromkeys(("connect", "first_token", "between_tokens", "total"))
    steps = (0.05, wire.STREAM_HEAD + token, 0.05, end)
    client = await connect(serve(at(wire, *steps)).url, timeouts=limits)
    assert (await post(client)).outcome is Outcome.OK


async def test_the_limits_by_a_records_own_stamps():
    from benchcore.client.exchange import Request
    from benchcore.config.target import Timeouts

    def late(limits, *, stamps=(), ended=0, done=0, streamed=True):
        record = Record("1", sent_ns=10**9, done_ns=done, streamed=streamed)
        exchange = Exchange(
            Request(b"", "1", "chat", stream=True), record, lambda _: None, limits=Limits()
        )
        record.stamps.extend(stamps)
        if stamps:
            record.first_token_ns, record.last_token_ns = stamps[0], stamps[-1]
        exchange.reader.ended_ns = ended
        return too_late(exchange, Timeouts(**limits))

    second = 10**9
    first = {"first_token": 2}
    assert late(first, stamps=[3 * second], done=9 * second) is None
    assert late(first, stamps=[3 * second + 1], done=9 * second) == (Phase.FIRST_TOKEN, 2)
    assert late(first, done=3 * second + 1) == (Phase.FIRST_TOKEN, 2)
    assert late(first, ended=3 * second, done=9 * second) is None
    assert late(first, done=9 * second, streamed=False) is None
    between = {"between_tokens": 1}
    tokens = [2 * second, 3 * second]
    assert late(between, stamps=tokens, ended=4 * second, done=9 * second) is None
    assert late(between, stamps=tokens, ended=4 * second + 1) == (Phase.BETWEEN_TOKENS, 1)
    assert late(between, stamps=tokens, done=4 * second + 1) == (Phase.BETWEEN_TOKENS, 1)
    assert late(between, stamps=[2 * second, 4 * second], ended=4 * second) == (
        Phase.BETWEEN_TOKENS,
        1,
    )
    assert late(between, done=90 * second) is None
    total = {"total": 5}
    assert late(total, done=6 * second) is None
    assert late(total, done=6 * second + 1) == (Phase.TOTAL, 5)
    assert late(total, stamps=[2 * second], ended=6 * second, done=9 * second) is None


def test_of_one_on_its_way_only_the_wait_that_it_is_in_counts():
    second = 10**9
    record = Record("1", sent_ns=second, streamed=True)
    record.stamps.extend([5 * second, 9 * second, 10 * second])
    record.first_token_ns, record.last_token_ns = 5 * second, 10 * second
    limits = Timeouts(first_token=2, between_tokens=3, total=None)
    assert broken_limit(record, limits, 11 * second, whole=False) is None
    assert broken_limit(record, limits, 11 * second, whole=True) == (Phase.FIRST_TOKEN, 2)
    later = Timeouts(first_token=None, between_tokens=3, total=None)
    assert broken_limit(record, later, 11 * second, whole=True) == (Phase.BETWEEN_TOKENS, 3)
    assert broken_limit(record, later, 13 * second, whole=False) is None
    assert broken_limit(record, later, 13 * second + 1, whole=False) == (Phase.BETWEEN_TOKENS, 3)


async def test_what_is_due_leaves_while_many_are_looked_at():
    class Unsent:
        record = Record("1")
        connection = None

    class Watched:
        target = Target("http://localhost:1")
        stamper = Stamper(kernel=False)
        in_flight = dict.fromkeys(Unsent() for _ in range(2 * AT_A_GO + 1))
        due_ns = 0
        left = 0

        def run_due(self):
            self.left += 1

        def close_tails(self, now_ns):
            pass

    client = Watched()
    watchdog = Watchdog(client, asyncio.get_running_loop())
    watchdog.start()
    watchdog.stop()
    assert client.left == 3
    client.due_ns = NEVER_NS
    watchdog.start()
    watchdog.stop()
    assert client.left == 3
