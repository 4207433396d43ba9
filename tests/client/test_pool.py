"""Connections kept, lost, opened ahead and given up."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import threading
import time
import uuid

import pytest
from pydantic import SecretStr

from benchcore.base.errors import CapacityError, TargetError
from benchcore.client import client as client_module
from benchcore.client.client import OPENING_AT_ONCE, Client
from benchcore.client.records import Outcome, Phase
from benchcore.client.request import Prompt, request_ids
from benchcore.config.target import Target

BOTH_LOOPS = True


async def until(condition, seconds=600.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that"
        await asyncio.sleep(0.001)


async def test_a_connection_is_kept_and_used_again(wire, serve, answer, connect, post):
    server = serve(answer(wire.good()))
    client = await connect(server.url)
    first = await post(client)
    rest = [await post(client) for _ in range(5)]
    assert server.accepted == 1
    assert first.reused is False
    assert first.connect_ns > 0
    assert all(record.reused and record.connect_ns == 0 for record in rest)
    assert len(client._idle) == 1


async def test_what_a_request_takes_is_made_beforehand_once(wire, serve, answer, connect):
    server = serve(answer(wire.good()))
    client = await connect(server.url)
    first, second, never = (client.prepare(Prompt(text)) for text in ("one", "two", "three"))
    for request in (first, never, first):
        client.make_ready(request)
    made = dict(client._made)
    assert list(made) == [first.request_id, never.request_id]
    records = []
    over = asyncio.Event()
    started = client.start(first, 17, lambda record: (records.append(record), over.set()))
    assert started is made[first.request_id]
    await over.wait()
    (record,) = records
    assert (record.request_id, record.scheduled_ns) == (first.request_id, 17)
    assert record.outcome is Outcome.OK
    assert (await client.send(second)).outcome is Outcome.OK
    client.close_idle()
    assert client._made == {}
    assert made[never.request_id].feed(b"anything") is None  # let go of


async def test_one_connection_carries_one_request_at_a_time(wire, serve, answer, connect):
    server = serve(answer(wire.good()))
    client = await connect(server.url)
    records = await asyncio.gather(*(client.send(client.prepare(Prompt("hi"))) for _ in range(20)))
    assert {record.outcome for record in records} == {Outcome.OK}
    assert server.accepted == len(client._idle) == 20


async def test_connection_close_is_heeded(wire, serve, connect, post):
    raw = wire.good().replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n", 1)
    closed = threading.Event()

    def script(peer):
        peer.request()
        peer.send(raw)
        if peer.hung_up():
            closed.set()

    server = serve(script)
    client = await connect(server.url)
    assert (await post(client)).outcome is Outcome.OK
    assert client._idle == []
    assert await asyncio.to_thread(closed.wait, 5)


async def test_bytes_that_nobody_asked_for_end_an_idle_connection(wire, serve, connect, post):
    more = threading.Event()

    def script(peer):
        peer.request()
        peer.send(wire.good())
        more.wait(60)
        peer.send(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
        assert peer.hung_up()

    client = await connect(serve(script).url)
    assert (await post(client)).outcome is Outcome.OK
    assert len(client._idle) == 1
    more.set()
    await until(lambda: not client._idle)


async def test_an_idle_connection_that_the_server_closes_is_forgotten(wire, serve, connect, post):
    def script(peer):
        peer.request()
        peer.send(wire.good())

    server = serve(script)
    client = await connect(server.url)
    for _ in range(3):
        record = await post(client)
        assert (record.outcome, record.retried) == (Outcome.OK, False)
        await until(lambda: not client._idle)
    assert server.accepted == 3


def closes_when(told, wire):
    """Answer one request; close, or reset, at the next one without a byte."""

    def script(peer):
        peer.request()
        peer.send(wire.good())
        peer.request()
        getattr(peer, told)()

    return script


@pytest.mark.parametrize("how", ["close", "reset"])
async def test_a_stale_connection_is_retried_once_and_keeps_its_first_sent(
    wire, serve, answer, connect, post, how
):
    def slow(peer):
        peer.request()
        time.sleep(0.03)
        peer.send(wire.good())

    server = serve(closes_when(how, wire), slow)
    client = await connect(server.url)
    await post(client)
    before = time.perf_counter_ns()
    record = await post(client)
    assert (record.outcome, record.retried, record.reused) == (Outcome.OK, True, False)
    assert before <= record.sent_ns
    assert record.sent_ns + record.connect_ns < record.send_end_ns <= record.first_byte_ns
    assert record.first_token_ns - record.sent_ns >= 30_000_000
    assert server.accepted == 2


async def test_a_connection_closed_before_the_send_is_found_by_the_send(
    wire, serve, answer, connect, post
):
    """The server closed it, and the loop has not looked since."""
    over, closed = threading.Event(), threading.Event()

    def script(peer):
        peer.request()
        peer.send(wire.good())
        over.wait(60)
        peer.close()
        closed.set()

    server = serve(script, answer(wire.good()))
    client = await connect(server.url)
    await post(client)
    over.set()
    closed.wait()
    ended = []
    client.start(client.prepare(Prompt("hi")), 1, ended.append)
    await until(lambda: ended)
    assert [(record.outcome, record.retried) for record in ended] == [(Outcome.OK, True)]


async def test_a_second_failure_is_a_connect_error(wire, serve, connect, post):
    def refuses(peer):
        peer.request()

    server = serve(closes_when("close", wire), refuses)
    client = await connect(server.url)
    await post(client)
    record = await post(client)
    assert (record.outcome, record.retried) == (Outcome.CONNECT_ERROR, True)
    assert server.accepted == 2


async def test_a_retry_that_finds_nobody_is_a_connect_error(wire, serve, connect, post):
    def script(peer):
        peer.request()
        peer.send(wire.good())
        peer.request()
        server.listener.shutdown(socket.SHUT_RDWR)
        server.listener.close()

    server = serve(script)
    client = await connect(server.url)
    await post(client)
    record = await post(client)
    assert (record.outcome, record.retried) == (Outcome.CONNECT_ERROR, True)
    assert record.error == "Connection refused"
    assert record.sent_ns > 0


@pytest.mark.parametrize("byte", [b"H", b"HTTP/1.1 200 OK\r\n\r\n"])
async def test_nothing_is_retried_once_a_byte_came(wire, serve, connect, post, byte):
    def script(peer):
        peer.request()
        peer.send(wire.good())
        peer.request()
        peer.send(byte)

    server = serve(script)
    client = await connect(server.url)
    await post(client)
    record = await post(client)
    assert (record.outcome, record.retried) == (Outcome.TRUNCATED, False)
    assert server.accepted == 1


async def test_a_fresh_connection_is_never_retried(serve, connect, post):
    def script(peer):
        peer.request()

    server = serve(script)
    client = await connect(server.url)
    record = await post(client)
    assert (record.outcome, record.retried) == (Outcome.CONNECT_ERROR, False)
    assert server.accepted == 1


async def test_nobody_listening_is_a_connect_error_in_the_systems_words(connect, post):
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    client = await connect(f"http://127.0.0.1:{port}")
    record = await post(client)
    assert (record.outcome, record.error) == (Outcome.CONNECT_ERROR, "Connection refused")
    assert record.sent_ns == 0
    assert record.done_ns > 0


@pytest.mark.parametrize("after", [b"", b"HTTP/1.1 200 OK\r\n"])
async def test_cancelling_frees_the_connection_at_once(serve, connect, after):
    asked, closed = threading.Event(), threading.Event()

    def script(peer):
        peer.request()
        peer.send(after)
        asked.set()
        if peer.hung_up():
            closed.set()

    client = await connect(serve(script).url)
    task = asyncio.create_task(client.send(client.prepare(Prompt("hi"))))
    await asyncio.to_thread(asked.wait, 5)
    (exchange,) = client.in_flight
    record = exchange.record
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert record.outcome is Outcome.CANCELLED
    assert record.done_ns > 0
    assert client.in_flight == {}
    assert client._idle == []
    assert await asyncio.to_thread(closed.wait, 5)
    client.cancel(exchange)  # it has ended: nothing happens
    assert record.error == "cancelled"


async def test_cancelling_as_a_time_out_of_the_drain(serve, connect):
    def script(peer):
        peer.request()
        peer.hung_up()

    client = await connect(serve(script).url)
    ended = []
    exchange = client.start(client.prepare(Prompt("hi")), 7, ended.append)
    client.cancel(exchange, Outcome.TIMEOUT, Phase.DRAIN, "cut")
    (record,) = ended
    assert (record.outcome, record.phase, record.error) == (Outcome.TIMEOUT, Phase.DRAIN, "cut")
    assert record.scheduled_ns == 7


async def test_cancelling_while_connecting_leaves_no_socket(serve, connect, files):
    server = serve(lambda peer: peer.hung_up())
    client = await connect(server.url)
    before = files()
    ended = []
    exchange = client.start(client.prepare(Prompt("hi")), 1, ended.append)
    client.cancel(exchange)
    assert [record.outcome for record in ended] == [Outcome.CANCELLED]
    await until(lambda: files() <= before + 1)  # the server's end may still be open


async def test_closing_ends_all_that_is_in_flight(serve, files):
    server = serve(lambda peer: peer.request() and peer.hung_up())
    before = files()
    ended = []
    client = Client(Target(server.url, model="m"))
    async with client:
        client.start(client.prepare(Prompt("hi")), 1, ended.append)
        await until(lambda: server.accepted == 1)
        await client.connect_ahead(2)
        client.start(client.prepare(Prompt("hi")), 1, ended.append)
        client._idle.pop().close()
        client.start(client.prepare(Prompt("hi")), 1, ended.append)
        await asyncio.sleep(0)  # the last one is connecting
        assert len(client._connecting) == 1
    assert [record.outcome for record in ended] == [Outcome.CANCELLED] * 3
    assert client._idle == []
    await until(lambda: files() <= before)


async def test_connections_opened_ahead_are_used(wire, serve, answer, connect, post):
    server = serve(answer(wire.good()))
    client = await connect(server.url)
    assert await client.connect_ahead(40) == 40
    assert len(client._idle) == 40
    await until(lambda: server.accepted == 40)
    record = await post(client)
    assert (record.outcome, record.reused, record.connect_ns) == (Outcome.OK, False, 0)
    assert server.accepted == 40
    assert await client.connect_ahead(10) == 0
    assert await client.connect_ahead(42) == 2
    client.close_idle()
    assert client._idle == []


async def test_connections_are_opened_a_few_at_a_time(serve, connect, monkeypatch):
    client = await connect(serve(lambda peer: peer.hung_up()).url)
    opening, most = 0, 0
    connect_one = client.connector.connect

    async def counted(target):
        nonlocal opening, most
        opening += 1
        most = max(most, opening)
        try:
            return await connect_one(target)
        finally:
            opening -= 1

    monkeypatch.setattr(client.connector, "connect", counted)
    assert await client.connect_ahead(50) == 50
    assert most == OPENING_AT_ONCE


async def test_connections_that_cannot_be_opened_are_counted_out(connect):
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        client = await connect(f"http://127.0.0.1:{sock.getsockname()[1]}")
        assert await client.connect_ahead(5) == 0


async def test_more_connections_than_files_are_refused(serve, connect, monkeypatch):
    client = await connect(serve(lambda peer: None).url)

    def refuse(count):
        raise CapacityError(str(count))

    monkeypatch.setattr(client_module, "ensure_descriptors", refuse)
    with pytest.raises(CapacityError, match="7"):
        await client.connect_ahead(7)


async def test_ipv6(wire, serve, answer, connect, post):
    try:
        server = serve(answer(wire.good()), family=socket.AF_INET6, address=("::1", 0))
    except OSError:
        pytest.skip("no IPv6 here")
    client = await connect(f"http://[::1]:{server.port}/v1")
    record = await post(client)
    assert record.outcome is Outcome.OK
    assert list(record.stamps) == sorted(record.stamps)


async def test_unix_socket(wire, serve, connect, post, tmp_path):
    path = str(tmp_path / "a server.sock")
    asked = []

    def script(peer):
        asked.append(peer.request())
        peer.send(wire.good())

    serve(script, family=socket.AF_UNIX, address=path)
    client = await connect(f"unix:{path.replace(' ', '%20')}")
    assert (await post(client)).outcome is Outcome.OK
    assert b"\r\nhost: localhost\r\n" in asked[0]
    assert client.stamper.userspace > 0
    os.unlink(path)
    client.close_idle()
    record = await post(client)
    assert (record.outcome, record.error) == (
        Outcome.CONNECT_ERROR,
        "No such file or directory",
    )


async def test_the_second_address_of_a_name_is_tried(wire, serve, answer, connect, post):
    server = serve(answer(wire.good()))
    client = await connect(server.url)
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        nobody = socket.AF_INET, sock.getsockname()
        no_family = 255, ("x", 1)
        good = client.connector.addresses[0]
        client.connector.addresses = [no_family, nobody, good]
        assert (await post(client)).outcome is Outcome.OK
        client.close_idle()
        client.connector.addresses = [nobody, no_family]
        record = await post(client)
    assert (record.outcome, record.error) == (Outcome.CONNECT_ERROR, "Connection refused")


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a..b", f"{'x' * 70}.invalid"])
async def test_a_name_that_nobody_knows_is_a_target_error(host, files):
    before = files()
    with pytest.raises(TargetError, match=f"{re.escape(host)}.* is not known .*--base-url"):
        async with Client(Target(f"http://{host}:8000")):
            pass
    assert files() == before


def heads(raw):
    line, *rest = raw.split(b"\r\n\r\n")[0].decode().split("\r\n")
    return line, dict(entry.split(": ", 1) for entry in rest), len(rest)


async def test_what_a_request_looks_like_on_the_wire(wire, serve, connect, post):
    asked = []

    def script(peer):
        for _ in range(2):
            asked.append(peer.request())
            peer.send(wire.good())
        asked.append(peer.request())
        peer.send(wire.plain({"data": []}))

    server = serve(script)
    client = await connect(
        f"{server.url}/some/path/v1/",
        api_key=SecretStr("the-key"),
        headers={"X-Extra": "é", "User-Agent": "mine"},
    )
    records = [await post(client), await post(client), await client.ask("GET", "/v1/models")]
    line, found, count = heads(asked[0])
    assert line == "POST /some/path/v1/chat/completions HTTP/1.1"
    assert found["host"] == server.url.removeprefix("http://")
    assert found["authorization"] == "Bearer the-key"
    assert found["content-type"] == "application/json"
    assert found["accept"] == "text/event-stream"
    assert found["accept-encoding"] == "identity"
    assert found["x-extra"] == "é"
    assert found["user-agent"] == "mine"
    assert count == len(found)
    assert int(found["content-length"]) == len(asked[0].split(b"\r\n\r\n", 1)[1])
    line, found, _ = heads(asked[2])
    assert line == "GET /some/path/v1/models HTTP/1.1"
    assert (found["accept"], found["content-length"]) == ("application/json", "0")
    for raw, record in zip(asked, records, strict=True):
        assert heads(raw)[1]["x-request-id"] == record.request_id
        assert "the-key" not in repr(record)
    assert records[2].answer == {"data": []}


async def test_the_key_is_in_no_repr_and_a_header_overrides_it():
    client = Client(
        Target("http://h", api_key=SecretStr("the-key"), headers={"Authorization": "Basic secret"})
    )
    request = client.prepare(Prompt("hi"))
    assert b"authorization: Basic secret\r\n" in request.payload
    assert b"the-key" not in request.payload
    for thing in (request, client.target, client):
        assert "the-key" not in repr(thing)
        assert "secret" not in repr(thing)


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://h", "h"),
        ("http://h:8000", "h:8000"),
        ("http://[::1]:80", "[::1]:80"),
        ("http://127.0.0.1:1/v1", "127.0.0.1:1"),
        ("https://h:443", "h:443"),
        ("unix:/s", "localhost"),
    ],
)
async def test_the_forms_of_the_host_header(url, host):
    request = Client(Target(url)).prepare(Prompt("hi"))
    assert f"\r\nhost: {host}\r\n".encode() in request.payload


def test_request_ids_are_uuids_that_count_up():
    ids = request_ids(0x123456789ABCDEF)
    found = [next(ids) for _ in range(1000)]
    assert found[0] == "12345678-9abc-4def-8000-000000000000"
    assert found[1] == "12345678-9abc-4def-8000-000000000001"
    assert len(set(found)) == 1000
    assert found == sorted(found)
    for one in found:
        assert str(uuid.UUID(one)) == one
        assert uuid.UUID(one).version == 4
        assert uuid.UUID(one).variant == uuid.RFC_4122


async def test_two_clients_never_share_an_id():
    ids = {Client(Target("http://h")).prepare(Prompt("hi")).request_id for _ in range(100)}
    assert len(ids) == 100


async def test_a_request_carries_its_lengths_and_an_id_of_ones_own():
    client = Client(Target("http://h", stream=False))
    prompt = Prompt("hi", input_tokens=3, output_tokens=5)
    request = client.prepare(prompt, model="other", request_id="mine")
    assert (request.asked_input_tokens, request.asked_output_tokens) == (3, 5)
    assert (request.request_id, request.stream) == ("mine", False)
    assert b'"model":"other"' in request.payload
    assert b"x-request-id: mine\r\n" in request.payload


async def test_the_schedule_is_looked_at_after_a_read(wire, serve, answer, connect, post):
    client = await connect(serve(answer(wire.good())).url)
    ran = []
    client.due_ns = 0
    await post(client)  # nobody is told: nothing happens
    client.on_due = lambda: ran.append(1)
    await post(client)
    assert ran
