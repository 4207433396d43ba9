"""One connection over real sockets."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from contextlib import suppress

import pytest

from benchcore.client.records import Outcome
from benchcore.client.request import Prompt

BOTH_LOOPS = True
BIG = "x" * 10_000_000


def small_buffers(client, monkeypatch):
    connect = client._loop.sock_connect

    async def with_small_buffers(sock, address):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        await connect(sock, address)

    class Loop:
        def __getattr__(self, name):
            return getattr(type(self).loop, name)

        sock_connect = staticmethod(with_small_buffers)
        loop = client._loop

    monkeypatch.setattr(client, "_loop", Loop())


async def test_a_big_body_goes_through_a_slow_reader_whole(wire, serve, connect, post, monkeypatch):
    got = []
    read_all = threading.Event()

    def script(peer):
        peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        time.sleep(0.05)
        got.append(peer.request())
        read_all.set()
        peer.send(wire.good())

    client = await connect(serve(script).url)
    small_buffers(client, monkeypatch)
    before = time.perf_counter_ns()
    record = await post(client, BIG)
    assert record.outcome is Outcome.OK
    assert got[0].count(b"x") >= len(BIG)
    assert got[0].endswith(b"}")
    assert before <= record.sent_ns < record.send_end_ns <= record.first_byte_ns
    assert record.send_end_ns - record.sent_ns >= 40_000_000  # the reader slept first


async def test_a_small_body_is_sent_at_once(wire, serve, answer, connect, post):
    client = await connect(serve(answer(wire.good())).url)
    record = await post(client)
    assert 0 < record.sent_ns <= record.send_end_ns <= time.perf_counter_ns()
    assert record.sent_ns <= record.first_byte_ns


@pytest.mark.parametrize("end", ["close", "reset", "wait"])
async def test_an_answer_that_comes_before_the_body_was_sent_counts(
    wire, serve, connect, post, files, end
):
    raw = wire.plain({"error": {"message": "too big"}}, "413 Content Too Large")
    hung_up, answered = threading.Event(), threading.Event()

    def script(peer):
        peer.sock.recv(1000)
        peer.send(raw)
        if end == "reset":
            return  # to close with a body unread is to reset
        if end == "close":
            peer.sock.shutdown(socket.SHUT_WR)
        answered.wait(60)  # so that there is always something left to send
        with suppress(ConnectionResetError):
            while peer.sock.recv(1 << 20):
                pass
        hung_up.set()

    client = await connect(serve(script).url)
    before = files()
    record = await post(client, BIG)
    answered.set()
    assert (record.outcome, record.status, record.error) == (Outcome.HTTP_ERROR, 413, "too big")
    assert record.send_end_ns == 0
    assert client._idle == []
    if end != "reset":
        assert await asyncio.to_thread(hung_up.wait, 5)
    await asyncio.sleep(0)
    assert files() <= before + 2


async def test_an_answer_already_there_when_a_send_breaks_is_read(wire, serve, connect):
    """The server answers, closes, and only then the client sends on."""
    raw = wire.plain({"error": {"message": "too big"}}, "413 Content Too Large")
    closed = threading.Event()

    def script(peer):
        peer.sock.recv(1000)
        peer.send(raw)
        peer.close()
        closed.set()

    client = await connect(serve(script).url)
    assert await client.connect_ahead(1) == 1
    ended = []
    connection = client.start(client.prepare(Prompt(BIG)), 1, ended.append).connection
    closed.wait()  # the loop sees nothing while the answer and the reset come
    connection._on_writable()
    assert [(record.outcome, record.status) for record in ended] == [(Outcome.HTTP_ERROR, 413)]
    assert connection.closed


async def test_a_send_that_breaks_without_an_answer_is_a_connect_error(serve, connect, post):
    def script(peer):
        peer.sock.recv(1000)
        peer.reset()

    client = await connect(serve(script).url)
    record = await post(client, BIG)
    assert record.outcome is Outcome.CONNECT_ERROR
    assert record.error.startswith("no answer: ")
    assert (record.first_byte_ns, record.status) == (0, 0)
    assert record.retried is False


async def test_nothing_of_a_connection_stays_behind(wire, serve, connect, post, files):
    def script(peer):
        peer.request()
        peer.send(wire.good())
        peer.close()

    server = serve(script)
    before = files()
    client = await connect(server.url)
    keeper = files() - before
    for _ in range(20):
        assert (await post(client)).outcome is Outcome.OK
        client.close_idle()
    assert server.accepted == 20
    # The server's own ends of the connections are closed by its thread, in its own time.
    while files() > before + keeper + 1:
        await asyncio.sleep(0.01)
    await client.close()
    assert files() <= before + 1


@pytest.mark.parametrize("error", [BrokenPipeError(32, "Broken pipe"), OSError("odd")])
async def test_a_send_that_breaks_while_nothing_has_come_ends_the_request(replay, error):
    record = replay([], end=None, send_error=error)
    assert (record.outcome, record.error) == (
        Outcome.CONNECT_ERROR,
        f"no answer: {error.strerror or error}",
    )
