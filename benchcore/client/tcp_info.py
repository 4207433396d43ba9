"""TCP info: what the kernel knows of the way to the server, asked once as a request ends.

On Linux alone: elsewhere, and over Unix sockets, nothing of it is known.
"""

from __future__ import annotations

import socket
import struct
import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from benchcore.client.records import Record

# Places in `struct tcp_info` (linux/tcp.h), which has only ever grown at its end.
_RETRANSMITTED: Final = 100
_SMALLEST_RTT: Final = 148
_OUT_OF_ORDER: Final = 224
_SHORT: Final = _SMALLEST_RTT + 4
_WHOLE: Final = _OUT_OF_ORDER + 4
_COUNT: Final = struct.Struct("=I")
_INFO: Final = getattr(socket, "TCP_INFO", None) if sys.platform == "linux" else None
_NO_SAMPLE: Final = 0xFFFFFFFF
_US: Final = 1000


class PathWatch:
    """Notes of each request what its way to the server was like.

    The round trip is the smallest that the kernel has seen within five minutes on this connection,
    its opening included. The smoothed one would not do: a server acknowledges a request late, or
    with its answer, so that what the kernel takes for a round trip holds up to 40 ms of waiting.

    Args:
        sock: of the connection.
    """

    __slots__ = ("_is_known", "_out_of_order", "_retransmitted", "_sock")

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._is_known = _INFO is not None and sock.family in (socket.AF_INET, socket.AF_INET6)
        self._retransmitted = 0
        self._out_of_order = 0

    def note(self, record: Record) -> None:
        """Write into a record what there is to say; the socket is still open."""
        if not self._is_known:
            return
        assert _INFO is not None
        info = self._sock.getsockopt(socket.IPPROTO_TCP, _INFO, _WHOLE)
        if len(info) < _SHORT:
            return
        rtt_us = _COUNT.unpack_from(info, _SMALLEST_RTT)[0]
        record.rtt_ns = rtt_us * _US if rtt_us != _NO_SAMPLE else 0
        retransmitted = _COUNT.unpack_from(info, _RETRANSMITTED)[0]
        record.retransmits, self._retransmitted = (
            retransmitted - self._retransmitted,
            retransmitted,
        )
        if len(info) >= _WHOLE:  # since Linux 5.4
            out_of_order = _COUNT.unpack_from(info, _OUT_OF_ORDER)[0]
            record.out_of_order, self._out_of_order = (
                out_of_order - self._out_of_order,
                out_of_order,
            )
