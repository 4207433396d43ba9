"""Addresses: where a target is, and which of its addresses answers."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import itertools
import os
import socket
import ssl
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, TypeVar

from benchcore.base.errors import ConfigError, TargetError
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


class Sources:
    """The addresses of this machine that connections come from, in turn.

    A port is taken for a pair of addresses, so that each further one has room for as many
    connections again.

    Args:
        addresses: IPv4 or IPv6; none: the kernel chooses.

    Raises:
        ConfigError: one of them is none of this machine's.
    """

    def __init__(self, addresses: Sequence[str] = ()) -> None:
        self._turns: dict[int, Iterator[str]] = {}
        by_family: dict[int, list[str]] = {}
        for address in addresses:
            try:
                version = ipaddress.ip_address(address).version
                family: int = socket.AF_INET if version == 4 else socket.AF_INET6
                with socket.socket(family, socket.SOCK_STREAM) as sock:
                    sock.bind((address, 0))
            except (OSError, ValueError) as error:
                why = error.strerror if isinstance(error, OSError) else "it is no IP address"
                raise ConfigError(
                    f"--source-ip {address}: connections cannot come from there ({why}); give an "
                    "address of this machine"
                ) from None
            by_family.setdefault(family, []).append(address)
        for family, known in by_family.items():
            self._turns[family] = itertools.cycle(known)

    def bind(self, sock: socket.socket) -> None:
        """Let a socket that is to be connected come from the next address.

        Raises:
            OSError: there is none of its family.
        """
        if not self._turns or sock.family == socket.AF_UNIX:
            return
        turn = self._turns.get(sock.family)
        if turn is None:
            raise OSError(errno.EAFNOSUPPORT, "no --source-ip of its family")
        if sys.platform == "linux":
            # The port is chosen when it connects: it may serve other targets, too (ip(7)).
            sock.setsockopt(socket.IPPROTO_IP, _BIND_ADDRESS_NO_PORT, 1)
        sock.bind((next(turn), 0))


_BIND_ADDRESS_NO_PORT = 24
"""Linux's; Python has no name for it."""


async def first_that_answers(
    addresses: list[Address],
    loop: asyncio.AbstractEventLoop,
    connected: Callable[[socket.socket], Awaitable[T]],
    sources: Sources,
) -> T:
    """Connect to the first address that answers, and let the next connection try that first.

    Args:
        addresses: of the target; the one that has answered moves to its front.
        loop: the running event loop.
        connected: makes a connection of a socket that is connected.
        sources: where connections come from.

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
            sources.bind(sock)
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
