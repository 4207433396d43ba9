"""A wire between two network namespaces, whose packets come as late as a test says.

Two TUN devices and a thread that carries packets from one to the other: real TCP over a real,
slow network, where the kernel has no `netem`. It takes root and `/dev/net/tun`.
"""

import ctypes
import fcntl
import heapq
import os
import select
import shutil
import struct
import subprocess
import threading
import time
from pathlib import Path

HERE, THERE = "10.213.7.1", "10.213.7.2"
_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
_SYN, _PSH, _ACK = 0x02, 0x08, 0x10


def cannot():
    """Return why there can be no wire here; empty: there can."""
    if os.geteuid() != 0:
        return "no wire: only root may lay one"
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        return "no wire: there is no /dev/net/tun"
    if shutil.which("ip") is None:
        return "no wire: there is no ip command"
    return ""


def _tun(name):
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(
        descriptor, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TUN | _IFF_NO_PI)
    )
    return descriptor


def _ip(*args):
    subprocess.run(["ip", *args], check=True, capture_output=True)


class Packet:
    """A TCP packet over IPv4 on its way.

    Args:
        data: the whole of it.
    """

    def __init__(self, data):
        head = (data[0] & 15) * 4
        self.is_tcp = data[9] == 6
        self.ports = struct.unpack_from(">HH", data, head) if self.is_tcp else (0, 0)
        flags = data[head + 13] if self.is_tcp else 0
        self.opens = flags & (_SYN | _ACK) == _SYN
        self.pushes = bool(flags & _PSH)


class Wire:
    """The wire, up while the context lasts; what listens on `THERE` is run by `inside`.

    Args:
        delay: returns for each packet and its way (`True`: to `THERE`) the seconds that it takes;
            `None`: it is lost.
    """

    def __init__(self, delay):
        self._delay = delay
        self.name = f"bcw{os.getpid()}"
        self._stop, self._wake = os.pipe()
        self._ends = []

    def __enter__(self):
        here, there = f"{self.name}a", f"{self.name}b"
        _ip("netns", "add", self.name)
        try:
            self._ends = [_tun(here), _tun(there)]
            _ip("link", "set", there, "netns", self.name)
            _ip("addr", "add", f"{HERE}/30", "dev", here)
            _ip("link", "set", here, "up")
            for args in (
                ("addr", "add", f"{THERE}/30", "dev", there),
                ("link", "set", there, "up"),
                ("link", "set", "lo", "up"),
            ):
                _ip("-n", self.name, *args)
        except BaseException:
            self._down()
            raise
        self._thread = threading.Thread(target=self._carry)
        self._thread.start()
        return self

    def __exit__(self, *_):
        os.write(self._wake, b"x")
        self._thread.join()
        self._down()

    def _down(self):
        for descriptor in (*self._ends, self._stop, self._wake):
            os.close(descriptor)
        _ip("netns", "del", self.name)

    def inside(self, *command):
        """Return a command that runs another where `THERE` is."""
        return ["ip", "netns", "exec", self.name, *command]

    def enter(self):
        """Move the calling process to where `THERE` is."""
        descriptor = os.open(Path("/run/netns") / self.name, os.O_RDONLY)
        if ctypes.CDLL(None, use_errno=True).setns(descriptor, 0):
            raise OSError(ctypes.get_errno(), "setns")
        os.close(descriptor)

    def _carry(self):
        """Carry packets until told to stop; each way keeps its order at equal delays."""
        waiting = []
        number = 0
        while True:
            timeout = max(waiting[0][0] - time.monotonic(), 0) if waiting else None
            ready, _, _ = select.select([*self._ends, self._stop], [], [], timeout)
            if self._stop in ready:
                return
            for end in ready:
                try:
                    data = os.read(end, 65536)
                except BlockingIOError:
                    continue
                if data[0] >> 4 != 4:
                    continue  # IPv6 looks for its neighbours
                there = end == self._ends[0]
                seconds = self._delay(Packet(data), there)
                if seconds is None:
                    continue
                number += 1
                to = self._ends[1 if there else 0]
                heapq.heappush(waiting, (time.monotonic() + seconds, number, to, data))
            while waiting and waiting[0][0] <= time.monotonic():
                _, _, to, data = heapq.heappop(waiting)
                os.write(to, data)
