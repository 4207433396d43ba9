from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from benchcore.sim import SimOptions, SimProfile
from benchcore.sim.app import start


@dataclass(slots=True)
class Exchange:
    """A response read to its end, or to the point where the connection broke."""

    status: int
    headers: dict[str, str]
    body: bytes
    broken: BaseException | None = None

    @property
    def data(self) -> list[str]:
        lines = self.body.decode("utf-8", "surrogateescape").split("\n")
        return [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]

    @property
    def chunks(self) -> list[dict[str, Any]]:
        return [json.loads(data) for data in self.data if data != "[DONE]"]

    @property
    def done(self) -> bool:
        return bool(self.data) and self.data[-1] == "[DONE]"

    def json(self) -> Any:
        return json.loads(self.body)

    def deltas(self, key: str = "content", choice: int = 0) -> list[str]:
        return [
            one["delta"][key]
            for chunk in self.chunks
            for one in chunk.get("choices", ())
            if one["index"] == choice and one["delta"].get(key)
        ]


@dataclass(slots=True)
class Server:
    base_url: str
    session: aiohttp.ClientSession
    truth: Path

    async def post(
        self, path: str, body: Any, fault: str | None = None, **headers: str
    ) -> Exchange:
        if fault is not None:
            headers["x-sim-fault"] = fault
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        async with self.session.post(self.base_url + path, data=data, headers=headers) as response:
            read = bytearray()
            broken: BaseException | None = None
            try:
                async for piece in response.content.iter_any():
                    read += piece
            except aiohttp.ClientError as error:
                broken = error
            return Exchange(response.status, dict(response.headers), bytes(read), broken)

    async def chat(self, fault: str | None = None, /, **fields: Any) -> Exchange:
        body = {"messages": [{"role": "user", "content": "say something"}], **fields}
        return await self.post("/v1/chat/completions", body, fault)

    async def stream(self, fault: str | None = None, /, **fields: Any) -> Exchange:
        fields = {"max_tokens": 8, "ignore_eos": True, **fields}
        return await self.chat(fault, stream=True, **fields)

    async def get(self, path: str) -> Exchange:
        async with self.session.get(self.base_url + path) as response:
            return Exchange(response.status, dict(response.headers), await response.read())

    async def raw(
        self, fault: str, *, received: int = 0, **fields: Any
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        body = json.dumps(
            {
                "messages": [{"role": "user", "content": "say something"}],
                "max_tokens": 8,
                "ignore_eos": True,
                "stream": True,
                **fields,
            }
        ).encode()
        place = urlsplit(self.base_url)
        sock = socket.socket()
        if received:  # the bytes that wait to be read, at most
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, received)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, (place.hostname, place.port))
        reader, writer = await asyncio.open_connection(sock=sock)
        writer.write(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: sim\r\n"
            b"x-sim-fault: %b\r\nContent-Length: %d\r\n\r\n%b" % (fault.encode(), len(body), body)
        )
        return reader, writer

    def accounts(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.truth.read_text().splitlines()]


ServerMaker = Callable[..., Awaitable[Server]]


@pytest.fixture
async def make_server(tmp_path: Path) -> AsyncIterator[ServerMaker]:
    runners = []
    sessions = []

    async def make(profile: dict[str, Any] | None = None, **options: Any) -> Server:
        truth = tmp_path / f"truth-{len(runners)}.jsonl"
        figures = {"decode_base_seconds": 0.001, **(profile or {})}
        runner, base_url = await start(
            SimOptions(profile=SimProfile.named("fast", **figures), truth=truth, **options)
        )
        runners.append(runner)
        session = aiohttp.ClientSession()
        sessions.append(session)
        return Server(base_url, session, truth)

    yield make
    for session in sessions:
        await session.close()
    for runner in runners:
        await runner.cleanup()


@pytest.fixture
async def server(make_server: ServerMaker) -> Server:
    return await make_server()


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    folder = tmp_path_factory.mktemp("tls")
    certfile, keyfile = folder / "cert.pem", folder / "key.pem"
    certfile.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    keyfile.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return certfile, keyfile
