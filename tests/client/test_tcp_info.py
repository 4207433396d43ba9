"""What the kernel knows of the way to the server is written into each record."""

import subprocess
import sys

import pytest

from benchcore.client.client import Client
from benchcore.client.records import Outcome
from benchcore.config.target import Target
from tests.wire import THERE, Wire, cannot

needs_a_wire = pytest.mark.skipif(bool(cannot()), reason=cannot() or "-")
SERVER = """
import socket, sys
listening = socket.create_server((sys.argv[1], 0))
print(listening.getsockname()[1], flush=True)
while True:
    connection, _ = listening.accept()
    while connection.recv(65536):
        connection.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\n{}")
"""


class Serving:
    """A server of its own process, behind a wire."""

    def __init__(self, wire):
        command = wire.inside(sys.executable, "-c", SERVER, THERE)
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.url = f"http://{THERE}:{int(self.process.stdout.readline())}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()
        self.process.stdout.close()


async def asked(url, times):
    client = Client(Target(base_url=url, model="m"))
    await client.open()
    try:
        return [await client.send(client.prepare_raw("GET", "/v1/models")) for _ in range(times)]
    finally:
        await client.close()


@needs_a_wire
async def test_the_round_trip_of_a_slow_network_is_known_to_a_tenth():
    with Wire(lambda _packet, _there: 0.02) as wire, Serving(wire) as server:
        records = await asked(server.url, 3)
    assert [record.outcome for record in records] == [Outcome.OK] * 3
    for record in records:
        assert 0.040 <= record.rtt_ns / 1e9 <= 0.050
        assert record.retransmits == 0
        assert record.out_of_order == 0
        assert 0 <= record.read_lag_ns < 40_000_000


@needs_a_wire
async def test_what_is_lost_on_the_way_is_counted_for_the_request_that_it_was_of():
    lost = []

    def delay(packet, there):
        # The first packet with a request in it, of the second request.
        if there and len(lost) < 4 and packet.is_tcp and packet.pushes:
            lost.append(packet)
            if len(lost) == 2:
                return None
        return 0.001

    with Wire(delay) as wire, Serving(wire) as server:
        records = await asked(server.url, 3)
    assert [record.retransmits for record in records] == [0, 1, 0]


async def test_over_loopback_the_round_trip_is_short_and_nothing_is_lost(simulator):
    (record,) = await asked(simulator.base_url, 1)
    assert 0 < record.rtt_ns < 50_000_000
    assert (record.retransmits, record.out_of_order) == (0, 0)
