"""The least that stamps in Python: `recvmsg` on uvloop, each stamp kept, nothing parsed.

It knows from elsewhere how many segments an answer has (head, tokens, end) and finds the end of an
answer by its last bytes; a read more or less than that would be a merged one.
"""

import asyncio
import gc
import socket
import struct
import time
from array import array

import uvloop

from tests.bench.reader_arguments import Arguments, Usage, arguments, body, cpu_seconds

SO_TIMESTAMPNS = 35
END = b"0\r\n\r\n"


class Stream:
    """One connection that asks again when its answer has ended."""

    def __init__(self, sock: socket.socket, request: bytes) -> None:
        self.sock = sock
        self.request = request
        self.sent: list[int] = []
        self.answers: list[array[int]] = []

    def begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """Send the first request and read whatever comes."""
        recvmsg = self.sock.recvmsg
        unpack = struct.Struct("@qq").unpack
        mono_ns, real_ns = time.perf_counter_ns, time.time_ns
        keep = self._ask()

        def readable() -> None:
            nonlocal keep
            data, ancillary, _, _ = recvmsg(65536, 64)
            mono = mono_ns()
            seconds, nanoseconds = unpack(ancillary[0][2])
            keep(seconds * 1_000_000_000 + nanoseconds - (real_ns() - mono))
            if data.endswith(END):
                keep = self._ask()

        loop.add_reader(self.sock.fileno(), readable)

    def _ask(self):
        stamps = array("q")
        self.answers.append(stamps)
        self.sent.append(time.perf_counter_ns())
        self.sock.send(self.request)
        return stamps.append


async def measure(given: Arguments) -> Usage:
    """Run the streams and return what was used inside the window."""
    loop = asyncio.get_running_loop()
    payload = body(given.tokens)
    request = (
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\n"
        b"content-length: %d\r\n\r\n" % len(payload)
    ) + payload
    keeper = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    keeper.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    streams = []
    for _ in range(given.streams):
        sock = socket.create_connection((given.host, given.port))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        sock.setblocking(False)
        streams.append(Stream(sock, request))
    for stream in streams:
        stream.begin(loop)
        await asyncio.sleep(given.tokens / 1e5)
    gc.freeze()
    gc.disable()
    await asyncio.sleep(given.warmup)
    start_ns, cpu = time.perf_counter_ns(), cpu_seconds()
    await asyncio.sleep(given.duration)
    end_ns, cpu = time.perf_counter_ns(), cpu_seconds() - cpu
    reads = sum(start_ns <= s < end_ns for t in streams for a in t.answers for s in a)
    heads = sum(start_ns <= a[0] < end_ns for t in streams for a in t.answers if a)
    ended = [a for t in streams for a in t.answers[:-1] if start_ns <= a[-1] < end_ns]
    merged = sum(given.tokens + 2 - len(a) for a in ended)
    reads -= heads + len(ended)
    return Usage(reads + merged, reads, cpu, len(ended))


if __name__ == "__main__":
    uvloop.run(measure(arguments(__doc__))).print()
