"""GPUs are read by NVML, here a small library of our own whose power goes by a script."""

import asyncio
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from benchcore.base.errors import ConfigError
from benchcore.metrics.energy import gpus
from benchcore.observe.gpus import GpuWatch, chosen

pytest.importorskip("pynvml")
STEPS = ((0.3, 100.0), (0.2, 400.0))


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


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    folder = tmp_path_factory.mktemp("nvml")
    compiler = shutil.which("cc")
    assert compiler, "a C compiler is needed (apt install gcc libc6-dev)"
    subprocess.run(
        [
            *(compiler, "-shared", "-fPIC", "-O1", "-o", folder / "libnvidia-ml.so.1"),
            *(Path(__file__).with_name("nvml.c"), "-lm"),
        ],
        check=True,
    )
    return folder


@pytest.fixture
def nvml(library, monkeypatch):
    """Sets up the script; returns when the counters began."""

    def script(**more):
        began = time.perf_counter()
        monkeypatch.setenv("LD_LIBRARY_PATH", str(library))
        monkeypatch.setenv("NVML_T0", repr(began))
        steps = ",".join(f"{seconds}:{watts}" for seconds, watts in STEPS)
        monkeypatch.setenv("NVML_STEPS", steps)
        for name, value in more.items():
            monkeypatch.setenv(f"NVML_{name}", str(value))
        return began

    return script


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


async def test_without_a_driver_auto_is_silent_and_what_is_asked_for_is_refused(monkeypatch):
    monkeypatch.setenv("LD_LIBRARY_PATH", "/nowhere")
    watch = await watched("auto", lambda _watch: True)
    assert watch.devices == ()
    with pytest.raises(ConfigError, match="--gpu all: NVML: NVML Shared Library Not Found"):
        await watched("all", lambda _watch: True)


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
        ("0,GPU-a", "names GPU GPU-a twice"),
        (",", "names no GPU; write auto, all, none, 0,1 or prefill=0,1;decode=2"),
    ],
)
def test_devices_that_are_not_there_are_refused(wanted, said):
    with pytest.raises(ConfigError) as refused:
        chosen(wanted, ["GPU-a", "GPU-b"])
    assert said in str(refused.value)
