"""Energy: what the GPUs of a level used, and what its tokens cost in joules and in money.

Of each device the energy of a window is the growth of its counter, where it has one, and else the
integral of its power by trapezoids. Either way the ends of the window are interpolated between the
readings on both sides of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from benchcore.base.stored import Count, Flag, Number, Stored
from benchcore.observe.gpus import Reading

Floats = NDArray[np.float64]

MOST_GAP_SECONDS: Final = 3.0
"""Between two readings: what a device did in a longer gap is not known."""
_MOST_UNSEEN: Final = 0.05
"""Of a window, at its ends: before the first reading and behind the last nothing is counted."""
_HOUR: Final = 3600.0


class Device(Stored):
    """What a device did in the window of a level."""

    device: str
    name: str | None = None
    role: str | None = None
    utilization_avg: Number | None = None
    memory_bytes_avg: Number | None = None
    memory_bytes_max: Number | None = None
    memory_total_bytes: Number | None = None
    power_watts_avg: Number | None = None
    power_watts_max: Number | None = None
    energy_joules: Number | None = None
    energy_from: Literal["counter", "power"] | None = None
    sm_hertz_avg: Number | None = None
    memory_hertz_avg: Number | None = None
    throttled: dict[str, Number] | None = None
    """By reason, the share of the readings in which it held the clocks down."""
    readings: Count = 0


class Gpus(Stored):
    """What the GPUs of a level did in its window, each and all together."""

    devices: list[Device] = Field(default_factory=list)
    energy_joules: Number | None = None
    energy_joules_by_role: dict[str, Number] | None = None
    energy_valid: Flag = False
    energy_reasons: list[str] = Field(default_factory=list)
    hours: Number | None = None
    """GPU-hours of the window."""


def gpus(
    readings: Iterable[Reading],
    begin: float,
    end: float,
    *,
    expected: Sequence[str] = (),
    lost: Mapping[str, str] | None = None,
) -> Gpus | None:
    """Return what the GPUs did in a window.

    Args:
        readings: of any devices, from before the window to after it.
        begin: of the window, in seconds of CLOCK_MONOTONIC.
        end: likewise.
        expected: devices that were there when the climb began.
        lost: by device that cannot be read any more, why.

    Returns:
        `None` where there is not one device.
    """
    lost = lost or {}
    of_each: dict[str, list[Reading]] = {name: [] for name in expected}
    for reading in readings:
        of_each.setdefault(reading.device, []).append(reading)
    if not of_each:
        return None
    devices, reasons = [], []
    by_role: dict[str, float] = {}
    for name, theirs in of_each.items():
        device, said = _device(name, sorted(theirs, key=lambda reading: reading.at), begin, end)
        if name in lost:
            said = [f"{name}: {lost[name]}"]
            device.energy_joules = device.energy_from = None
        devices.append(device)
        reasons += said
        role = device.role or ""
        if device.energy_joules is not None:
            by_role[role] = by_role.get(role, 0.0) + device.energy_joules
    known = [device.energy_joules for device in devices if device.energy_joules is not None]
    whole = sum(known) if len(known) == len(devices) else None
    return Gpus.complete(
        devices=devices,
        energy_joules=whole,
        energy_joules_by_role=by_role if any(by_role) else None,
        energy_valid=whole is not None and not reasons,
        energy_reasons=reasons,
        hours=len(devices) * (end - begin) / _HOUR,
    )


def _device(
    name: str, readings: Sequence[Reading], begin: float, end: float
) -> tuple[Device, list[str]]:
    """Return what one device did, and why its energy is not to be trusted."""
    inside = [reading for reading in readings if begin <= reading.at <= end]
    newest = readings[-1] if readings else Reading(0.0, name)
    energy, source, reasons = _energy(name, readings, begin, end)

    def values(field: str) -> Floats:
        known = [value for reading in inside if (value := getattr(reading, field)) is not None]
        return np.array(known, dtype=np.float64)

    def mean(field: str) -> float | None:
        samples = values(field)
        return float(samples.mean()) if len(samples) else None

    def most(field: str) -> float | None:
        samples = values(field)
        return float(samples.max()) if len(samples) else None

    why = [reason for reading in inside for reason in reading.throttled]
    throttled = {reason: why.count(reason) / len(inside) for reason in sorted(set(why))}
    device = Device.complete(
        device=name,
        name=newest.name or None,
        role=newest.role or None,
        utilization_avg=mean("utilization"),
        memory_bytes_avg=mean("memory_bytes"),
        memory_bytes_max=most("memory_bytes"),
        memory_total_bytes=newest.memory_total_bytes,
        power_watts_avg=energy / (end - begin) if energy is not None else mean("power_watts"),
        power_watts_max=most("power_watts"),
        energy_joules=energy,
        energy_from=source,
        sm_hertz_avg=mean("sm_hertz"),
        memory_hertz_avg=mean("memory_hertz"),
        throttled=throttled or None,
        readings=len(inside),
    )
    return device, reasons


def _energy(
    name: str, readings: Sequence[Reading], begin: float, end: float
) -> tuple[float | None, Literal["counter", "power"] | None, list[str]]:
    """Return the joules of a window, where they come from, and why they are not to be trusted."""
    before = [reading for reading in readings if reading.at <= begin][-1:]
    after = [reading for reading in readings if reading.at >= end][:1]
    used = [*before, *(reading for reading in readings if begin < reading.at < end), *after]
    times = np.array([reading.at for reading in used])
    if len(used) < 2:
        return None, None, [f"{name}: fewer than two readings"]
    reasons = []
    covered = [max(begin, times[0]), min(end, times[-1])]
    missing = max(covered[0] - begin, end - covered[1])
    gap = max(float(np.diff(times).max()), missing)
    unseen = (covered[0] - begin) + (end - covered[1])
    if gap > MOST_GAP_SECONDS:
        reasons.append(f"{name}: no reading for {gap:.1f} s")
    elif unseen > _MOST_UNSEEN * (end - begin):
        reasons.append(f"{name}: no reading for {unseen:.1f} s at the ends of the window")
    power = np.array(
        [np.nan if reading.power_watts is None else reading.power_watts for reading in used]
    )
    counter = np.array(
        [np.nan if reading.energy_joules is None else reading.energy_joules for reading in used]
    )
    growth = np.diff(counter)
    # Watts over each interval: by the counter, or by the mean of the power at its ends.
    with np.errstate(divide="ignore", invalid="ignore"):
        counted = np.where(growth >= 0, growth / np.diff(times), np.nan)
    trapezoid = (power[1:] + power[:-1]) / 2
    watts = np.where(np.isnan(counted), trapezoid, counted)
    if np.isnan(watts).any():
        return None, None, [*reasons, f"{name}: says neither its energy nor its power throughout"]
    if (growth < 0).any():
        reasons.append(f"{name}: its energy counter fell; its power stands in for it there")
    by_counter = not np.isnan(counted).all()
    joules = _integral(times, watts, power, by_counter, begin, end)
    return joules, "counter" if by_counter else "power", reasons


def _integral(
    times: Floats, watts: Floats, power: Floats, by_counter: bool, begin: float, end: float
) -> float:
    """Return the joules between two instants.

    Args:
        times: shape (n,), of the readings.
        watts: shape (n - 1,), mean power of each interval.
        power: shape (n,), at each reading.
        by_counter: the mean power of an interval is all that is known of it; else power goes in a
            line from reading to reading.
        begin: from when.
        end: until when.
    """
    if not by_counter:
        inside = times[(times > begin) & (times < end)]
        at = np.concatenate([[max(begin, times[0])], inside, [min(end, times[-1])]])
        here = np.interp(at, times, power)
        return float(((here[1:] + here[:-1]) / 2 * np.diff(at)).sum())
    starts, ends = np.maximum(times[:-1], begin), np.minimum(times[1:], end)
    return float((np.maximum(ends - starts, 0.0) * watts).sum())


def per_token(
    usage: Gpus | None,
    *,
    output_tokens: float | None,
    requests: float | None,
    seconds: float,
    price: float | None = None,
    count: int | None = None,
) -> dict[str, float | None]:
    """Return what tokens and requests of a window cost.

    Args:
        usage: what the GPUs did; `None`: unknown.
        output_tokens: of the window.
        requests: that ended `ok` in it.
        seconds: its length.
        price: of a GPU for an hour; `None`: not given.
        count: how many GPUs are paid for; `None`: those that were read.

    Returns:
        `tokens_per_joule`, `joules_per_request` and `cost_per_million_tokens`; `None`: unknown.
    """
    joules = usage.energy_joules if usage is not None and usage.energy_valid else None
    if count is None and usage is not None:
        count = len(usage.devices)
    paid = None if price is None or count is None else price * count * seconds / _HOUR
    return {
        "tokens_per_joule": output_tokens / joules if joules and output_tokens else None,
        "joules_per_request": joules / requests if joules is not None and requests else None,
        "cost_per_million_tokens": (
            paid / output_tokens * 1e6 if paid is not None and output_tokens else None
        ),
    }


def gpu_columns(usage: Gpus) -> dict[str, float]:
    """Return the columns of `summary.csv` that the GPUs fill: what is known of them, of all.

    The memory is that of the device that has most in use, the utilization the mean over devices.
    """
    memory = [
        device.memory_bytes_max for device in usage.devices if device.memory_bytes_max is not None
    ]
    used = [
        device.utilization_avg for device in usage.devices if device.utilization_avg is not None
    ]
    return {
        **({"gpu_memory_bytes_max": max(memory)} if memory else {}),
        **({"gpu_utilization_avg": sum(used) / len(used)} if used else {}),
    }
