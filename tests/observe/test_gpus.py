"""GPUs are read by NVML, here a small library of our own whose power goes by a script."""

import asyncio
import os

import pytest

from benchcore.base.errors import ConfigError
from benchcore.metrics.energy import gpus
from benchcore.observe.gpus import GpuWatch, chosen, is_watched
from tests.observe.scripted_nvml import STEPS, library, nvml

__all__ = ["library", "nvml"]  # fixtures

pytest.importorskip("pynvml")


def joules(begin, end):
    """Return what the first device uses between two moments after its counter began, in joules."""
    points = 20_000
    whole = sum(seconds for seconds, _ in STEPS)
    total = 0.0
    for place in range(points):
        into = (begin + (place + 0.5) * (end - begin) / points) % whole
        for seconds, watts in STEPS:
            if into < seconds:
                total += watts
                break
            into -= seconds
    return total * (end - begin) / points


async def watched(wanted, enough, say=lambda _text: None):
    """Watch until enough was read; returns the watch."""
    watch = GpuWatch(wanted, say)
    await watch.start()
    try:
        while not enough(watch):
            await asyncio.sleep(0.01)
    finally:
        await watch.close()
    return watch


def span(watch):
    """Return a window in the middle of what was read, its ends at readings of the first device."""
    times = [reading.at for reading in watch.readings if reading.device == "GPU-0"]
    return times[1], times[-2]


def enough(watch):
    times = [reading.at for reading in watch.readings]
    return bool(times) and times[-1] - times[0] > 1.3


@pytest.mark.parametrize("more", [{}, {"WRAP": 150}], ids=["counter", "wrap"])
async def test_joules_by_the_counter_are_the_integral_of_the_power(nvml, more):
    began = nvml(**more)
    watch = await watched("all", enough)
    begin, end = span(watch)
    found = gpus(watch.readings, begin, end, expected=watch.devices, lost=watch.lost)
    truth = joules(begin - began, end - began)
    first, second = found.devices
    assert first.energy_joules == pytest.approx(truth, rel=0.01 if not more else 0.1)
    assert second.energy_joules == pytest.approx(truth / 2, rel=0.01 if not more else 0.1)
    assert found.energy_joules == pytest.approx(first.energy_joules + second.energy_joules)
    assert first.energy_from == "counter"
    assert found.energy_valid == (not more)
    assert (first.device, first.name, first.utilization_avg) == ("GPU-0", "Scripted 9000", 0.75)
    assert first.memory_bytes_max == 20 * 2**30
    assert first.memory_total_bytes == 80 * 2**30
    assert (first.sm_hertz_avg, first.memory_hertz_avg) == (1980e6, 2619e6)
    assert (first.throttled, second.throttled) == ({"power cap": 1.0}, None)
    assert first.power_watts_max == 400


async def test_without_a_counter_power_is_integrated(nvml):
    began = nvml(COUNTER=0)
    watch = await watched("0", enough)
    begin, end = span(watch)
    found = gpus(watch.readings, begin, end, expected=watch.devices)
    (device,) = found.devices
    assert device.energy_from == "power"
    # Power is looked at ten times a second, and steps of it lie between two looks.
    assert device.energy_joules == pytest.approx(joules(begin - began, end - began), rel=0.15)
    assert found.energy_valid


async def test_a_device_that_is_lost_is_told_and_makes_energy_unknown(nvml, tmp_path):
    gone = tmp_path / "gone"
    nvml(LOST=gone)
    said = []

    def lost(watch):
        if len(watch.readings) > 4:
            gone.touch()
        return watch.lost and len(watch.readings) > 10

    watch = await watched("all", lost, said.append)
    assert watch.lost == {"GPU-1": "GPU is lost"}
    assert said == ["GPU GPU-1 cannot be read any more: GPU is lost"]
    times = [reading.at for reading in watch.readings]
    found = gpus(watch.readings, times[2], times[-1], expected=watch.devices, lost=watch.lost)
    assert found.energy_joules is None
    assert not found.energy_valid
    assert found.energy_reasons == ["GPU-1: GPU is lost"]


async def test_without_a_library_auto_says_so_and_what_is_asked_for_is_refused(monkeypatch):
    monkeypatch.setenv("LD_LIBRARY_PATH", "/nowhere")
    said = []
    watch = await watched("auto", lambda _watch: True, said.append)
    assert watch.devices == ()
    (line,) = said
    assert "the GPUs of this machine are not read: NVML: NVML Shared Library Not Found" in line
    with pytest.raises(ConfigError, match="--gpu all: NVML: NVML Shared Library Not Found"):
        await watched("all", lambda _watch: True)


AMDSMI = """
import os
from enum import Enum

class AmdSmiException(Exception): pass
class AmdSmiClkType(Enum):
    GFX = 0
    MEM = 1

def gone(): return os.path.exists(os.environ["AMD_GONE"])
def amdsmi_init(): pass
def amdsmi_get_processor_handles(): return ["only"]
def amdsmi_get_gpu_device_uuid(handle): return "amd-0"
def amdsmi_get_gpu_asic_info(handle): return {"market_name": "Instinct"}
def amdsmi_get_gpu_activity(handle):
    if gone(): raise AmdSmiException()
    return {"gfx_activity": 40, "umc_activity": 5, "mm_activity": "N/A"}
def amdsmi_get_gpu_vram_usage(handle):
    if gone(): raise AmdSmiException()
    return {"vram_total": 196592, "vram_used": 1024}
def amdsmi_get_power_info(handle):
    if gone(): raise AmdSmiException()
    return {"current_socket_power": "N/A", "average_socket_power": 250}
def amdsmi_get_energy_count(handle):
    if gone(): raise AmdSmiException()
    return {"energy_accumulator": 2_000_000, "counter_resolution": 15.3, "timestamp": 1}
def amdsmi_get_clock_info(handle, kind):
    return {"clk": 1700 if kind is AmdSmiClkType.GFX else 900}
"""
"""As AMD's documentation of AMD SMI's Python interface has it."""


async def test_amd_s_devices_are_read_by_amd_smi(tmp_path, monkeypatch):
    (tmp_path / "amdsmi.py").write_text(AMDSMI)
    gone = tmp_path / "gone"
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("AMD_GONE", str(gone))
    monkeypatch.setenv("LD_LIBRARY_PATH", "/nowhere")

    def lost(watch):
        if watch.readings:
            gone.touch()
        return bool(watch.lost)

    watch = await watched("all", lost)
    first = watch.readings[0]
    assert (first.device, first.name, first.utilization) == ("amd-0", "Instinct", 0.4)
    assert (first.memory_bytes, first.memory_total_bytes) == (2**30, 196592 * 2**20)
    assert (first.power_watts, first.energy_joules) == (250, pytest.approx(30.6))
    assert (first.sm_hertz, first.memory_hertz) == (1.7e9, 0.9e9)
    assert watch.lost == {"amd-0": "says nothing any more"}


async def test_a_reader_that_dies_leaves_its_devices_lost(nvml):
    nvml()
    watch = GpuWatch("all", lambda _text: None)
    await watch.start()
    os.kill(watch._process.pid, 9)
    while not watch.lost:
        await asyncio.sleep(0.01)
    assert watch.lost == dict.fromkeys(("GPU-0", "GPU-1"), "its reader has died")
    await watch.close()


def test_devices_are_chosen_by_number_or_name_with_their_roles():
    devices = ["GPU-a", "GPU-b", "GPU-c"]
    assert chosen("auto", devices) == {"GPU-a": "", "GPU-b": "", "GPU-c": ""}
    assert chosen("0, GPU-c", devices) == {"GPU-a": "", "GPU-c": ""}
    assert chosen("prefill=0;decode=1,2", devices) == {
        "GPU-a": "prefill",
        "GPU-b": "decode",
        "GPU-c": "decode",
    }


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ("3", "there is no GPU 3; there are 0 (GPU-a), 1 (GPU-b)"),
        ("²", "there is no GPU ²; there are 0 (GPU-a), 1 (GPU-b)"),
        ("0,GPU-a", "names GPU GPU-a twice"),
        (",", "names no GPU; write auto, all, none, 0,1 or prefill=0,1;decode=2"),
    ],
)
def test_devices_that_are_not_there_are_refused(wanted, said):
    with pytest.raises(ConfigError) as refused:
        chosen(wanted, ["GPU-a", "GPU-b"])
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("wanted", "is_here", "driver", "watched"),
    [
        ("auto", True, True, True),
        ("auto", True, False, False),
        ("auto", False, True, False),
        ("all", False, False, True),
        ("none", True, True, False),
    ],
)
def test_auto_reads_gpus_where_the_target_is_here_and_a_driver_is(
    monkeypatch, wanted, is_here, driver, watched
):
    monkeypatch.setattr(os.path, "exists", lambda _path: driver)
    assert is_watched(wanted, is_here=is_here) is watched


async def test_a_ctrl_c_in_the_terminal_does_not_end_the_reader(nvml):
    nvml()
    watch = GpuWatch("all", lambda _text: None)
    await watch.start()
    try:
        listed = await asyncio.create_subprocess_exec(
            *("ps", "-o", "pid=,args=", "--ppid", str(os.getpid())), stdout=asyncio.subprocess.PIPE
        )
        out, _ = await listed.communicate()
        (pid,) = (
            int(line.split()[0]) for line in out.decode().splitlines() if "gpu_readers" in line
        )
        assert os.getpgid(pid) == pid
    finally:
        await watch.close()
