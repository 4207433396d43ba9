"""Addresses: where a target is, and which of its addresses answers."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from benchcore.base.errors import TargetError
from benchcore.config.target import Target

Address = tuple[socket.AddressFamily, Any]
T = TypeVar("T")

_PROXIES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY")


async def find_addresses(target: Target, loop: asyncio.AbstractEventLoop) -> list[Address]:
    """Return the addresses of a target, in the order in which they are to be tried.

    Raises:
        TargetError: its name is not known.
    """
    if target.uds is not None:
        return [(socket.AF_UNIX, target.uds)]
    try:
        found = await loop.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no host name"
        raise TargetError(
            f"{target.base_url}: the name {target.host!r} is not known "
            f"({why}); check --base-url{proxy_remark()}"
        ) from None
    addresses: list[Address] = [(family, address) for family, _, _, _, address in found]
    if target.host == "localhost":
        families = {family for family, _ in addresses}
        addresses += [one for one in _loopback(target.port) if one[0] not in families]
    return addresses


async def first_that_answers(
    addresses: list[Address],
    loop: asyncio.AbstractEventLoop,
    connected: Callable[[socket.socket], Awaitable[T]],
) -> T:
    """Connect to the first address that answers, and let the next connection try that first.

    Args:
        addresses: of the target; the one that has answered moves to its front.
        loop: the running event loop.
        connected: makes a connection of a socket that is connected.

    Raises:
        OSError: none answers: what the first one said.
    """
    problem: OSError | None = None
    for place, (family, address) in enumerate(tuple(addresses)):
        try:
            sock = socket.socket(family, socket.SOCK_STREAM)
        except OSError as error:
            problem = problem or error
            continue
        try:
            sock.setblocking(False)
            if family != socket.AF_UNIX:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await loop.sock_connect(sock, address)
            if place:
                good = (family, address)
                addresses[:] = [good, *(one for one in addresses if one != good)]
            return await connected(sock)
        except OSError as error:
            sock.close()
            problem = problem or error
        except BaseException:
            sock.close()
            raise
    assert problem is not None
    raise problem


def _loopback(port: int) -> list[Address]:
    """Return both addresses of this machine: what names it may know only one (RFC 6761, 6.3)."""
    return [(socket.AF_INET, ("127.0.0.1", port)), (socket.AF_INET6, ("::1", port, 0, 0))]


def proxy_remark() -> str:
    """Return what to add where a server cannot be reached and a proxy is named; often empty."""
    named = [name for name in _PROXIES if os.environ.get(name) or os.environ.get(name.lower())]
    if not named:
        return ""
    return (
        f" ({named[0]} is set and passed by on purpose: a proxy in between would be measured too; "
        "benchcore connects to the server itself)"
    )


def connect_problem(error: OSError) -> str:
    """Return in a few words why a connection could not be opened."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"the server's certificate is not trusted ({error.verify_message}); "
            "--ca-file names a CA, --insecure trusts anything"
        )
    if isinstance(error, ssl.SSLError):
        return f"TLS: {error.reason or error}"
    # asyncio puts its own sentence, with the address, into strerror.
    return os.strerror(error.errno) if error.errno else str(error)
