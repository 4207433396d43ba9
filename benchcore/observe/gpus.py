"""GPUs: what the devices of this machine say of themselves while a climb goes on.

A call of a vendor's library may take milliseconds, in which no token would be read: the libraries
are therefore asked by a process of their own, `gpu_readers`.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Final

import orjson

from benchcore.base.errors import ConfigError

AUTO: Final = "auto"
ALL: Final = "all"
NONE: Final = "none"
_DRIVERS: Final = ("/dev/nvidiactl", "/dev/kfd")
"""What NVIDIA's and AMD's drivers leave under /dev."""
_LATE_SECONDS: Final = 1.0
_START_SECONDS: Final = 60.0
"""A driver that is not loaded yet takes some 20 s; one that hangs says nothing at all."""
# Of `nvmlClocksEventReasons` (nvml.h); idle, and clocks that the user has set, hold nothing.
THROTTLES: Final[dict[int, str]] = {
    0x4: "power cap",
    0x8: "hardware slowdown",
    0x10: "sync boost",
    0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "hardware power brake",
    0x100: "display clocks",
}
"""Why clocks are held down, by NVIDIA's bits."""


def is_watched(wanted: str, *, is_here: bool) -> bool:
    """Return whether any GPU is to be read.

    Args:
        wanted: as `--gpu` says.
        is_here: whether the target is on this machine.
    """
    if wanted == AUTO:
        return is_here and any(map(os.path.exists, _DRIVERS))
    return wanted != NONE


@dataclass(frozen=True, slots=True)
class Reading:
    """What a device said at one moment; `None`: it does not say.

    Args:
        at: when, in seconds of CLOCK_MONOTONIC.
        device: which, by a name that stays.
        name: of its model.
        utilization: how much of the time since the last look it was busy, 0 to 1.
        memory_bytes: that is used.
        memory_total_bytes: that it has.
        power_watts: that it takes.
        energy_joules: by its own counter, from any beginning.
        sm_hertz: clock of its processors.
        memory_hertz: clock of its memory.
        throttled: why its clocks are held down.
        role: what it does, such as `prefill`; empty: all of it.
    """

    at: float
    device: str
    name: str = ""
    utilization: float | None = None
    memory_bytes: float | None = None
    memory_total_bytes: float | None = None
    power_watts: float | None = None
    energy_joules: float | None = None
    sm_hertz: float | None = None
    memory_hertz: float | None = None
    throttled: tuple[str, ...] = ()
    role: str = ""


class GpuWatch:
    """GPUs while a climb goes on: those of this machine, and those that others tell of.

    Args:
        wanted: which, as `--gpu` says; see `chosen`.
        say: told what cannot be read.
        others: whether other machines tell of theirs, too: devices are then named by their UUIDs,
            wherever they are.
    """

    def __init__(self, wanted: str, say: Callable[[str], None], *, others: bool = False) -> None:
        self._wanted = wanted
        self._say = say
        self._others = others
        self._here: frozenset[str] = frozenset()
        self._process: asyncio.subprocess.Process | None = None
        self._task: asyncio.Task[None] | None = None
        self._roles: dict[str, str] = {}
        self.readings: list[Reading] = []
        self.lost: dict[str, str] = {}
        self.newest: dict[str, Reading] = {}

    @property
    def devices(self) -> tuple[str, ...]:
        """Those that are watched, and those that are wanted and were not there yet."""
        return tuple(self._roles | (named(self._wanted) if self._others else {}))

    async def start(self) -> None:
        """Begin to read; returns once it is known which devices there are.

        Raises:
            ConfigError: a device is asked for that is not there.
        """
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "benchcore.observe.gpu_readers"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            # A Ctrl-C in the terminal is for this process, which reads on until its load has ended.
            start_new_session=True,
        )
        assert self._process.stdout is not None
        said: dict[str, Any] = {"none": "their reader has died"}
        try:
            async with asyncio.timeout(_START_SECONDS):
                first = await self._process.stdout.readline()
        except TimeoutError:
            said = {"none": f"their driver said nothing for {_START_SECONDS:g} s"}
        else:
            if first:
                said = orjson.loads(first)
        if "none" in said:
            await self.close()
            if self._others:
                return
            if self._wanted != AUTO:
                raise ConfigError(f"--gpu {self._wanted}: {said['none']}")
            self._say(f"the GPUs of this machine are not read: {said['none']}")
            return
        try:
            devices = said["devices"]
            if self._others and (names := named(self._wanted)):
                self._roles = {name: names[name] for name in devices if name in names}
            else:
                self._roles = chosen(self._wanted, devices)
        except ConfigError:
            await self.close()
            raise
        self._here = frozenset(self._roles)
        self._task = asyncio.create_task(self._listen(self._process.stdout))

    async def _listen(self, stream: asyncio.StreamReader) -> None:
        async for line in stream:
            said = orjson.loads(line)
            if "lost" in said and said["lost"] in self._roles:
                self.lost[said["lost"]] = said["how"]
                self._say(f"GPU {said['lost']} cannot be read any more: {said['how']}")
            elif "reading" in said and said["reading"]["device"] in self._roles:
                fields = said["reading"]
                fields["throttled"] = tuple(fields["throttled"])
                self._keep(Reading(**fields))
        for device in self._here - self.lost.keys():
            self.lost[device] = "its reader has died"

    def _keep(self, reading: Reading) -> None:
        reading = replace(reading, role=self._roles[reading.device])
        self.readings.append(reading)
        self.newest[reading.device] = reading

    def take(self, reading: Reading) -> None:
        """Take what another machine tells of a device; one that is read here is left alone."""
        device = reading.device
        if device in self._here:
            return
        if device not in self._roles:
            names = named(self._wanted)
            if names and device not in names:
                return
            self._roles[device] = names.get(device, "")
        self._keep(reading)

    def now(self) -> dict[str, float | None]:
        """Return how the devices stand, by the names of `config.alerts`; `None`: not known."""
        newest = [self.newest[name] for name in self._roles if name in self.newest]
        memory = [
            reading.memory_bytes / reading.memory_total_bytes
            for reading in newest
            if reading.memory_bytes is not None and reading.memory_total_bytes
        ]
        used = [reading.utilization for reading in newest if reading.utilization is not None]
        watts = [reading.power_watts for reading in newest if reading.power_watts is not None]
        return {
            "gpu_memory": max(memory, default=None),
            "gpu_utilization": sum(used) / len(used) if used else None,
            "gpu_power": sum(watts) if watts and len(watts) == len(self._roles) else None,
        }

    async def reach(self, at: float) -> None:
        """Wait until every device was read at a moment or after it, or is late.

        Args:
            at: in seconds of CLOCK_MONOTONIC.
        """
        deadline = time.perf_counter() + _LATE_SECONDS
        while time.perf_counter() < deadline:
            there = self._here - self.lost.keys()
            if all(name in self.newest and self.newest[name].at >= at for name in there):
                return
            await asyncio.sleep(_LATE_SECONDS / 50)

    def forget(self, before: float) -> None:
        """Forget readings that no window needs any more.

        Args:
            before: seconds of CLOCK_MONOTONIC; the last reading before it is kept.
        """
        kept = [reading for reading in self.readings if reading.at >= before]
        last = {reading.device: reading for reading in self.readings if reading.at < before}
        self.readings = [*last.values(), *kept]

    async def close(self) -> None:
        """Read no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        process.stdin.close()
        try:
            async with asyncio.timeout(2.0):
                await process.wait()
        except TimeoutError:  # a driver that hangs
            process.kill()
            await process.wait()


def named(wanted: str) -> dict[str, str]:
    """Return the devices that are named, each with its role; none where all are wanted."""
    if wanted in (AUTO, ALL):
        return {}
    return {
        name.strip(): part.rpartition("=")[0].strip()
        for part in wanted.split(";")
        for name in part.rpartition("=")[2].split(",")
        if name.strip()
    }


def chosen(wanted: str, devices: Iterable[str]) -> dict[str, str]:
    """Return which devices are wanted, and the role of each.

    Args:
        wanted: `auto` or `all`, or numbers or UUIDs separated by commas, each part with a role in
            front where it has one, as `prefill=0,1;decode=2,3`.
        devices: what there is, in its order.

    Raises:
        ConfigError: one is not there, or is named twice.
    """
    names = list(devices)
    if wanted in (AUTO, ALL):
        return dict.fromkeys(names, "")
    roles: dict[str, str] = {}
    for part in wanted.split(";"):
        role, equals, listed = part.rpartition("=")
        for text in filter(None, (device.strip() for device in listed.split(","))):
            name = names[int(text)] if text.isdecimal() and int(text) < len(names) else text
            if name not in names:
                there = ", ".join(f"{place} ({name})" for place, name in enumerate(names))
                raise ConfigError(f"--gpu {wanted}: there is no GPU {text}; there are {there}")
            if name in roles:
                raise ConfigError(f"--gpu {wanted}: names GPU {text} twice")
            roles[name] = role.strip() if equals else ""
    if not roles:
        raise ConfigError(
            f"--gpu {wanted!r}: names no GPU; write auto, all, none, 0,1 or prefill=0,1;decode=2"
        )
    return roles
