"""GPU readers: the process that asks the vendors' libraries what their devices do.

`python -m benchcore.observe.gpu_readers` writes a line of JSON for each device ten times a second,
and ends when its standard input does. NVIDIA's devices are read by NVML (`nvidia-ml-py`), AMD's by
AMD SMI (`amdsmi`, which comes with ROCm).
"""

from __future__ import annotations

import contextlib
import importlib
import select
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from types import ModuleType
from typing import Any, Final, Protocol

import orjson

from benchcore.base.errors import ConfigError
from benchcore.observe.gpus import THROTTLES, Reading
from benchcore.version import installing

EVERY_SECONDS: Final = 0.1
_MEGAHERTZ: Final = 1e6
_MILLI: Final = 1e-3
_SHOWN: Final = 200
"""Characters of what a library says when it fails."""


class Reader(Protocol):
    """A vendor's devices."""

    def names(self) -> list[str]:
        """Return what each device is called, in the vendor's order."""

    def read(self, place: int) -> Reading:
        """Return what a device says now.

        Raises:
            DeviceLostError: it is there no more.
        """


class DeviceLostError(Exception):
    """A device that was there is there no more; says how."""


class Nvml:
    """NVIDIA's devices.

    Raises:
        ConfigError: the library is not installed, or finds no driver.
    """

    def __init__(self) -> None:
        try:
            self._nvml: ModuleType = importlib.import_module("pynvml")
        except ImportError:
            raise ConfigError(
                f"NVIDIA's GPUs are read by nvidia-ml-py: {installing('gpu')}"
            ) from None
        try:
            self._nvml.nvmlInit()
            self._handles = [
                self._nvml.nvmlDeviceGetHandleByIndex(place)
                for place in range(self._nvml.nvmlDeviceGetCount())
            ]
        except self._nvml.NVMLError as error:
            raise ConfigError(f"NVML: {str(error)[:_SHOWN]}") from None
        self._named = [self._text(handle, "nvmlDeviceGetUUID") for handle in self._handles]
        self._models = [self._text(handle, "nvmlDeviceGetName") for handle in self._handles]

    def _text(self, handle: Any, name: str) -> str:
        text = self._ask(name, handle)
        return text.decode(errors="replace") if isinstance(text, bytes) else str(text or "")

    def _ask(self, name: str, *args: Any) -> Any:
        """Return what a function says; `None`: this device does not say it.

        Raises:
            DeviceLostError: it is there no more.
        """
        nvml = self._nvml
        try:
            return getattr(nvml, name)(*args)
        except AttributeError:  # an older library
            return None
        except nvml.NVMLError as error:
            gone = (
                nvml.NVML_ERROR_GPU_IS_LOST,
                nvml.NVML_ERROR_RESET_REQUIRED,
                nvml.NVML_ERROR_UNKNOWN,
            )
            if error.value in gone:
                raise DeviceLostError(str(error)) from None
            return None

    def names(self) -> list[str]:
        """Return the UUID of each device."""
        return self._named

    def read(self, place: int) -> Reading:
        """Return what a device says now.

        Raises:
            DeviceLostError: it is there no more.
        """
        handle, nvml = self._handles[place], self._nvml
        used = self._ask("nvmlDeviceGetUtilizationRates", handle)
        memory = self._ask("nvmlDeviceGetMemoryInfo", handle)
        reasons = self._ask("nvmlDeviceGetCurrentClocksEventReasons", handle)
        if reasons is None:  # what it was called up to CUDA 12.2
            reasons = self._ask("nvmlDeviceGetCurrentClocksThrottleReasons", handle)
        return Reading(
            at=time.perf_counter(),
            device=self._named[place],
            name=self._models[place],
            utilization=None if used is None else used.gpu / 100,
            memory_bytes=None if memory is None else float(memory.used),
            memory_total_bytes=None if memory is None else float(memory.total),
            power_watts=_scaled(self._ask("nvmlDeviceGetPowerUsage", handle), _MILLI),
            energy_joules=_scaled(self._ask("nvmlDeviceGetTotalEnergyConsumption", handle), _MILLI),
            sm_hertz=_scaled(
                self._ask("nvmlDeviceGetClockInfo", handle, nvml.NVML_CLOCK_SM), _MEGAHERTZ
            ),
            memory_hertz=_scaled(
                self._ask("nvmlDeviceGetClockInfo", handle, nvml.NVML_CLOCK_MEM), _MEGAHERTZ
            ),
            throttled=tuple(name for bit, name in THROTTLES.items() if (reasons or 0) & bit),
        )


class AmdSmi:
    """AMD's devices, as AMD SMI of ROCm 6 and later says it.

    Raises:
        ConfigError: the library is not installed, or finds no driver.
    """

    def __init__(self) -> None:
        try:
            self._smi: ModuleType = importlib.import_module("amdsmi")
        except (ImportError, OSError, KeyError):
            raise ConfigError(
                "AMD's GPUs are read by amdsmi, which comes with ROCm: "
                "pip install /opt/rocm/share/amd_smi"
            ) from None
        try:
            self._smi.amdsmi_init()
            self._handles = list(self._smi.amdsmi_get_processor_handles())
        except self._smi.AmdSmiException as error:
            raise ConfigError(f"AMD SMI: {str(error)[:_SHOWN]}") from None
        self._named = [
            str(self._ask("amdsmi_get_gpu_device_uuid", handle) or place)
            for place, handle in enumerate(self._handles)
        ]
        self._models = [
            str((self._ask("amdsmi_get_gpu_asic_info", handle) or {}).get("market_name", ""))
            for handle in self._handles
        ]

    def _ask(self, name: str, *args: Any) -> Any:
        """Return what a function says; `None`: this device does not say it."""
        try:
            return getattr(self._smi, name)(*args)
        except (self._smi.AmdSmiException, AttributeError):
            return None

    def names(self) -> list[str]:
        """Return the UUID of each device."""
        return self._named

    def read(self, place: int) -> Reading:
        """Return what a device says now.

        Raises:
            DeviceLostError: it says nothing any more.
        """
        handle, smi = self._handles[place], self._smi
        activity = self._ask("amdsmi_get_gpu_activity", handle) or {}
        memory = self._ask("amdsmi_get_gpu_vram_usage", handle) or {}
        power = self._ask("amdsmi_get_power_info", handle) or {}
        energy = self._ask("amdsmi_get_energy_count", handle) or {}
        if not (activity or memory or power):
            raise DeviceLostError("says nothing any more")
        clock = self._ask("amdsmi_get_clock_info", handle, smi.AmdSmiClkType.GFX) or {}
        memory_clock = self._ask("amdsmi_get_clock_info", handle, smi.AmdSmiClkType.MEM) or {}
        counted, unit = energy.get("energy_accumulator"), energy.get("counter_resolution")
        watts = _plain(power.get("current_socket_power"))
        if watts is None:
            watts = _plain(power.get("average_socket_power"))
        return Reading(
            at=time.perf_counter(),
            device=self._named[place],
            name=self._models[place],
            utilization=_scaled(_plain(activity.get("gfx_activity")), 0.01),
            memory_bytes=_scaled(_plain(memory.get("vram_used")), 2**20),
            memory_total_bytes=_scaled(_plain(memory.get("vram_total")), 2**20),
            power_watts=watts,
            # A counter of steps of some microjoules.
            energy_joules=counted * unit * 1e-6 if counted and unit else None,
            sm_hertz=_scaled(_plain(clock.get("clk")), _MEGAHERTZ),
            memory_hertz=_scaled(_plain(memory_clock.get("clk")), _MEGAHERTZ),
        )


def _plain(value: object) -> float | None:
    """Return a number; what AMD SMI cannot say is the text N/A."""
    return float(value) if isinstance(value, (int, float)) else None


def _scaled(value: float | None, by: float) -> float | None:
    return None if value is None else value * by


READERS: Final[Mapping[str, Callable[[], Reader]]] = {"nvidia": Nvml, "amd": AmdSmi}


def find_reader() -> Reader:
    """Return the reader of the first vendor that has devices here.

    Raises:
        ConfigError: none has; says what each of them lacks.
    """
    reasons = []
    for vendor, reader in READERS.items():
        try:
            devices = reader()
        except ConfigError as error:
            reasons.append(str(error))
            continue
        if devices.names():
            return devices
        reasons.append(f"{vendor}: no device")
    raise ConfigError("; ".join(reasons))


def lines(reader: Reader, wait: Callable[[float], bool]) -> Iterator[bytes]:
    """Yield what the devices say, a line of JSON each: first their names, then readings, or a loss.

    Args:
        reader: of the devices.
        wait: waits for so many seconds; returns whether to end.
    """
    names = reader.names()
    yield orjson.dumps({"devices": names}) + b"\n"
    there = list(range(len(names)))
    due = time.perf_counter()
    while True:
        for place in list(there):
            said: dict[str, Any]
            try:
                said = {"reading": asdict(reader.read(place))}
            except DeviceLostError as error:
                there.remove(place)
                said = {"lost": names[place], "how": str(error)[:_SHOWN]}
            yield orjson.dumps(said) + b"\n"
        due = max(due + EVERY_SECONDS, time.perf_counter())
        if wait(due - time.perf_counter()):
            return


def _stdin_ended(seconds: float) -> bool:
    ready, _, _ = select.select([sys.stdin], [], [], max(seconds, 0.0))
    return bool(ready)


def main() -> int:
    """Write what the devices say to standard output until standard input ends."""
    out = sys.stdout.buffer
    with contextlib.suppress(BrokenPipeError):
        try:
            for line in lines(find_reader(), _stdin_ended):
                out.write(line)
                out.flush()
        except ConfigError as error:
            out.write(orjson.dumps({"none": str(error)}) + b"\n")
            out.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
