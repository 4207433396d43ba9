"""Pages of a dcgm-exporter, and what the process says that reads devices of this machine."""

import json

import pytest

from benchcore.base.errors import ConfigError
from benchcore.observe import gpu_readers
from benchcore.observe.dcgm import DcgmPages
from benchcore.observe.families import PageReader
from benchcore.observe.gpus import GpuWatch
from benchcore.observe.scraper import Page

S = 1_000_000_000


def read(*pages):
    readings, reader = [], PageReader()
    taken = DcgmPages(readings.append, {4: "power cap"})
    for second, page in enumerate(pages):
        changes = reader.read(page.encode())
        taken.take(Page("http://a", second * S, reader.series, changes))
    return readings


@pytest.mark.parametrize("unknown", ["NaN", "+Inf", "-Inf"])
def test_what_is_no_finite_number_is_unknown(unknown):
    page = (
        'DCGM_FI_DEV_POWER_USAGE{{UUID="GPU-a"}} {0}\n'
        'DCGM_FI_DEV_CLOCKS_EVENT_REASONS{{UUID="GPU-a"}} {1}\n'
        'DCGM_FI_DEV_GPU_UTIL{{UUID="GPU-a"}} {2}\n'
    )
    first, second = read(page.format(300, 4, 50), page.format(unknown, unknown, 60))
    assert (first.power_watts, first.throttled, first.utilization) == (300.0, ("power cap",), 0.5)
    assert (second.power_watts, second.throttled, second.utilization) == (None, (), 0.6)


def test_why_no_device_is_read_is_told_to_its_end(monkeypatch, capsysbinary):
    why = "install this: " + "x" * 400

    def without():
        raise ConfigError(why)

    monkeypatch.setattr(gpu_readers, "READERS", {"nvidia": without})
    assert gpu_readers.main() == 0
    assert json.loads(capsysbinary.readouterr().out) == {"none": why}


async def test_a_driver_that_says_nothing_holds_up_no_climb(monkeypatch):
    monkeypatch.setattr("benchcore.observe.gpus._START_SECONDS", 0.0)
    why = "their driver said nothing for 0 s"
    with pytest.raises(ConfigError, match=f"--gpu all: {why}"):
        await GpuWatch("all", pytest.fail).start()
    told = []
    await GpuWatch("auto", told.append).start()
    assert told == [f"the GPUs of this machine are not read: {why}"]
