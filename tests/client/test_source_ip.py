"""Where connections come from."""

import asyncio

import pytest

from benchcore.base.errors import ConfigError
from benchcore.client.client import Client
from benchcore.client.records import Outcome
from benchcore.config.target import Target


@pytest.fixture
async def seen():
    """A server on both loopback addresses, and who has connected."""
    peers = []

    async def answer(reader, writer):
        peers.append(writer.get_extra_info("peername")[0])
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
        await writer.drain()
        writer.close()

    servers = [await asyncio.start_server(answer, host, 0) for host in ("127.0.0.1", "::1")]
    ports = [server.sockets[0].getsockname()[1] for server in servers]
    yield peers, [f"http://127.0.0.1:{ports[0]}", f"http://[::1]:{ports[1]}"]
    for server in servers:
        server.close()


async def ask(url, sources, times=1):
    async with Client(Target(url), source_ips=sources) as client:
        return [await client.ask("GET", "/v1/models") for _ in range(times)]


async def test_several_addresses_are_taken_in_turn(seen):
    peers, (url, _) = seen
    records = await ask(url, ("127.0.0.7", "127.0.0.8"), 5)
    assert {record.outcome for record in records} == {Outcome.OK}
    assert peers == ["127.0.0.7", "127.0.0.8", "127.0.0.7", "127.0.0.8", "127.0.0.7"]


async def test_each_family_has_its_own(seen):
    peers, (four, six) = seen
    for url in (four, six):
        await ask(url, ("127.0.0.9", "::1"))
    assert peers == ["127.0.0.9", "::1"]


async def test_there_is_no_way_without_one_of_its_family(seen):
    peers, (_, url) = seen
    (record,) = await ask(url, ("127.0.0.9",))
    assert record.outcome is Outcome.CONNECT_ERROR
    assert peers == []


@pytest.mark.parametrize("address", ["192.0.2.1", "no address", "2001:db8::1", ""])
async def test_an_address_of_another_machine_is_refused(address):
    with pytest.raises(ConfigError, match=r"^--source-ip .*: connections cannot come from there"):
        Client(Target("http://127.0.0.1:1"), source_ips=(address,))


async def test_the_kernel_chooses_where_nothing_is_said(seen):
    peers, (url, _) = seen
    await ask(url, ())
    assert peers == ["127.0.0.1"]
