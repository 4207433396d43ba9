"""DCGM: GPUs of other machines, by the page of a dcgm-exporter that is read with the metrics.

The exporter looks at its devices every 30 s unless it is told otherwise (`--collect-interval 1000`)
and shows what it saw last until then: a page on which nothing of a device has changed is therefore
no reading of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

from benchcore.base.clock import NS
from benchcore.observe.gpus import Reading
from benchcore.observe.scraper import Page

_PREFIX: Final = "DCGM_FI_DEV_"
_SCALES: Final = {
    "GPU_UTIL": ("utilization", 0.01),
    "POWER_USAGE": ("power_watts", 1.0),
    "TOTAL_ENERGY_CONSUMPTION": ("energy_joules", 1e-3),
    "FB_USED": ("memory_bytes", float(1 << 20)),
    "SM_CLOCK": ("sm_hertz", 1e6),
    "MEM_CLOCK": ("memory_hertz", 1e6),
}
"""Of DCGM's fields (dcgm_fields.h), what they are here and how many of its units they are."""
_MEMORY: Final = ("FB_USED", "FB_FREE", "FB_RESERVED")
_REASONS: Final = ("CLOCKS_EVENT_REASONS", "CLOCK_THROTTLE_REASONS")


class DcgmPages:
    """Makes readings of what dcgm-exporters show.

    Args:
        add: takes each.
        reasons: the names of what holds clocks down, by bit.
    """

    def __init__(self, add: Callable[[Reading], None], reasons: dict[int, str]) -> None:
        self._add = add
        self._reasons = reasons
        self._devices: dict[str, dict[str, float]] = {}

    def take(self, page: Page) -> None:
        """Take what is new on a page of any source."""
        touched: dict[str, str] = {}
        for change in page.changes:
            series = page.series[change.place]
            if not series.name.startswith(_PREFIX):
                continue
            device = series.labels.get("UUID") or series.labels.get("gpu", "")
            if not device:
                continue
            values = self._devices.setdefault(device, {})
            field = series.name.removeprefix(_PREFIX)
            value = float(change.text or "nan")
            if math.isfinite(value):
                values[field] = value
            else:  # it is gone, or not known
                values.pop(field, None)
            touched[device] = series.labels.get("modelName", "")
        for device, model in touched.items():
            self._add(self._reading(page.at_ns, device, model))

    def _reading(self, at_ns: int, device: str, model: str) -> Reading:
        values = self._devices[device]
        memory = [values[name] for name in _MEMORY if name in values]
        bits = next((int(values[name]) for name in _REASONS if name in values), 0)
        known: dict[str, Any] = {
            name: values[field] * scale
            for field, (name, scale) in _SCALES.items()
            if field in values
        }
        return Reading(
            at=at_ns / NS,
            device=device,
            name=model,
            memory_total_bytes=sum(memory) * (1 << 20) if "FB_FREE" in values else None,
            throttled=tuple(name for bit, name in self._reasons.items() if bits & bit),
            **known,
        )
