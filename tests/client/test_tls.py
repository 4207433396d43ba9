from __future__ import annotations

import asyncio
import socket
import ssl
import sys
import threading
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from benchcore.base.errors import ConfigError
from benchcore.client.client import Client
from benchcore.client.records import Outcome, Phase
from benchcore.config.target import Target

BOTH_LOOPS = True


def name(text):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def certificate(subject, key, issuer, issuer_key, *extensions):
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name(subject))
        .issuer_name(name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    return builder.sign(issuer_key, hashes.SHA256())


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    """A CA of our own, and a server it vouches for: (ca file, certificate and key file)."""
    folder = tmp_path_factory.mktemp("ca")
    ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    ca = certificate(
        "a CA", ca_key, "a CA", ca_key, (x509.BasicConstraints(ca=True, path_length=0), True)
    )
    names = [x509.IPAddress(ip_address("127.0.0.1")), x509.DNSName("localhost")]
    server = certificate(
        "a server",
        key,
        "a CA",
        ca_key,
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (x509.SubjectAlternativeName(names), False),
    )
    pem = serialization.Encoding.PEM
    (folder / "ca.pem").write_bytes(ca.public_bytes(pem))
    (folder / "server.pem").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + server.public_bytes(pem)
    )
    return str(folder / "ca.pem"), str(folder / "server.pem")


@pytest.fixture
def encrypted(authority):
    """Let a script speak through TLS."""

    def wrap(script, version=None):
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(authority[1])
        if version is not None:
            context.maximum_version = version

        def with_tls(peer):
            plain = peer.sock
            with suppress(ssl.SSLError, ConnectionError):
                peer.sock = context.wrap_socket(plain, server_side=True)
                script(peer)

        return with_tls

    return wrap


def url(server, host="127.0.0.1"):
    return f"https://{host}:{server.port}"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_certificate_of_a_known_ca_is_trusted_and_the_connection_kept(
    wire, serve, answer, encrypted, connect, post, authority, host, version
):
    server = serve(encrypted(answer(wire.good()), version))
    client = await connect(url(server, host), ca_file=authority[0])
    records = [await post(client) for _ in range(3)]
    assert [record.outcome for record in records] == [Outcome.OK] * 3
    assert [record.reused for record in records] == [False, True, True]
    assert records[0].connect_ns > 0
    for record in records:
        assert record.sent_ns <= record.first_byte_ns <= record.first_token_ns <= record.done_ns
        assert record.sent_ns <= record.send_end_ns
    lags = client.stamper.take_lags()
    if sys.platform == "linux":
        assert client.stamper.userspace == 0
        assert len(lags) >= 3


async def test_an_unknown_ca_is_a_connect_error_that_says_what_to_do(
    wire, serve, answer, encrypted, connect, post
):
    client = await connect(url(serve(encrypted(answer(wire.good())))))
    record = await post(client)
    assert record.outcome is Outcome.CONNECT_ERROR
    assert "certificate is not trusted" in record.error
    assert "--ca-file" in record.error
    assert "--insecure" in record.error
    assert await client.connect_ahead(2) == 0


async def test_a_certificate_for_another_host_is_not_trusted(
    wire, serve, answer, encrypted, connect, post, authority
):
    client = await connect(url(serve(encrypted(answer(wire.good())))), ca_file=authority[0])
    client.target = client.target.model_copy(update={"base_url": "https://other.example"})
    record = await post(client)
    assert record.outcome is Outcome.CONNECT_ERROR
    assert "Hostname mismatch" in record.error


async def test_insecure_trusts_anything(wire, serve, answer, encrypted, connect, post):
    client = await connect(url(serve(encrypted(answer(wire.good())))), verify=False)
    assert (await post(client)).outcome is Outcome.OK


async def test_a_server_without_tls_is_a_connect_error(serve, connect, post):
    def script(peer):
        peer.sock.recv(10)
        peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    record = await post(await connect(url(serve(script))))
    assert record.outcome is Outcome.CONNECT_ERROR
    assert record.error.startswith("TLS: ")


async def test_a_server_that_hangs_up_in_the_handshake_is_a_connect_error(serve, connect, post):
    def script(peer):
        peer.sock.recv(10_000)

    record = await post(await connect(url(serve(script))))
    assert (record.outcome, record.error) == (
        Outcome.CONNECT_ERROR,
        "closed during the TLS handshake",
    )


async def test_a_handshake_that_stalls_is_a_time_out_of_connecting(serve, connect, post, files):
    client = await connect(url(serve(lambda peer: peer.sock.recv(1))), timeouts={"connect": 0.1})
    # The script reads one byte of the hello; closing resets, so hold the socket open instead.
    server = serve(lambda peer: threading.Event().wait(0.3))
    client.connector.addresses = [(socket.AF_INET, ("127.0.0.1", server.port))]
    record = await post(client)
    assert (record.outcome, record.phase) == (Outcome.TIMEOUT, Phase.CONNECT)


async def test_a_session_closed_in_mid_stream_is_truncated(
    wire, serve, encrypted, connect, post, authority
):
    def script(peer):
        peer.request()
        peer.send(wire.STREAM_HEAD + wire.chunk(wire.delta(content="a")))
        with suppress(OSError):
            peer.sock.unwrap()  # close_notify, then waits for ours

    client = await connect(url(serve(encrypted(script))), ca_file=authority[0])
    record = await asyncio.wait_for(post(client), 30)  # the socket itself stays open for longer
    assert (record.outcome, record.token_events) == (Outcome.TRUNCATED, 1)
    assert "the server closed the connection" in record.error


@pytest.mark.parametrize("end", ["close", "reset"])
async def test_a_connection_that_ends_without_a_word_is_truncated(
    wire, serve, encrypted, connect, post, authority, end
):
    def script(peer):
        peer.request()
        peer.send(wire.STREAM_HEAD + wire.chunk(wire.delta(content="a")))
        peer.sock = socket.socket(fileno=peer.sock.detach())
        getattr(peer, end)()

    client = await connect(url(serve(encrypted(script))), ca_file=authority[0])
    client._watchdog._seconds = 0.01
    client._watchdog.start()
    record = await post(client)
    assert (record.outcome, record.token_events) == (Outcome.TRUNCATED, 1)


async def test_garbage_between_records_is_a_broken_stream(
    wire, serve, encrypted, connect, post, authority
):
    def script(peer):
        peer.request()
        peer.send(wire.STREAM_HEAD + wire.chunk(wire.delta(content="a")))
        plain = socket.socket(fileno=peer.sock.detach())
        plain.sendall(b"\x17\x03\x03\x00\x20" + b"garbage!" * 4)
        plain.settimeout(60)
        with suppress(OSError):
            while plain.recv(1000):
                pass
        plain.close()

    client = await connect(url(serve(encrypted(script))), ca_file=authority[0])
    record = await post(client)
    assert record.outcome is Outcome.TRUNCATED
    assert "TLS: " in record.error


async def test_a_stale_session_is_retried(wire, serve, answer, encrypted, connect, post, authority):
    def script(peer):
        peer.request()
        peer.send(wire.good())
        peer.request()

    server = serve(encrypted(script), encrypted(answer(wire.good())))
    client = await connect(url(server), ca_file=authority[0])
    await post(client)
    record = await post(client)
    assert (record.outcome, record.retried) == (Outcome.OK, True)


async def test_an_idle_session_that_ends_is_forgotten(
    wire, serve, encrypted, connect, post, authority
):
    def script(peer):
        peer.request()
        peer.send(wire.good())

    client = await connect(url(serve(encrypted(script))), ca_file=authority[0])
    assert (await post(client)).outcome is Outcome.OK
    while client._idle:
        await asyncio.sleep(0.001)
    assert client._idle == []


async def test_big_bodies_go_both_ways(wire, serve, encrypted, connect, post, authority):
    got = []
    big = [wire.delta(content="y" * 50_000)] * 20

    def script(peer):
        got.append(peer.request())
        peer.send(wire.stream(*big, wire.DONE))

    client = await connect(url(serve(encrypted(script))), ca_file=authority[0], keep=True)
    record = await post(client, "x" * 3_000_000)
    assert record.outcome is Outcome.OK
    assert got[0].count(b"x") >= 3_000_000
    assert record.text == "y" * 1_000_000
    assert record.sent_ns < record.send_end_ns


async def test_a_session_may_write_while_a_request_is_still_being_sent(serve, connect):
    from benchcore.client.connection import TLSConnection

    sent = []

    class Outgoing:
        def read(self):
            return b"alert"

    class Session:
        outgoing = Outgoing()

    class Half(TLSConnection):
        def __init__(self):
            self._session = Session()
            self._remainder = memoryview(b"rest-")

        def _write(self, data):
            sent.append(bytes(data))

    connection = Half()
    connection._flush()
    assert bytes(connection._remainder) == b"rest-alert"
    connection._remainder = None
    connection._flush()
    assert sent == [b"alert"]


@pytest.mark.parametrize("content", [None, b"", b"no certificate"])
async def test_a_ca_file_that_is_none_is_a_config_error(tmp_path, content, files):
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)
    before = files()
    with pytest.raises(ConfigError, match=r"--ca-file .*ca\.pem: "):
        async with Client(Target("https://127.0.0.1:1", ca_file=str(path))):
            pass
    assert files() == before
