"""Host: facts of the machine that the load comes from."""

import os
import platform
import resource
import sys
import time
from pathlib import Path
from typing import Any

_CPUINFO = Path("/proc/cpuinfo")
_CLOCK_SOURCE = Path("/sys/devices/system/clocksource/clocksource0/current_clocksource")


def processor_name() -> str | None:
    """Return the processor's name; `None` where the machine does not say."""
    try:
        lines = _CPUINFO.read_text().splitlines()
    except OSError:
        return platform.processor() or None
    for line in lines:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return None


def clock_source() -> str | None:
    """Return the kernel's clock source, such as `tsc`; `None` where it does not say."""
    try:
        return _CLOCK_SOURCE.read_text().strip()
    except OSError:
        return None


def usable_processors() -> int:
    """Return how many processors this process may run on."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def host_facts() -> dict[str, Any]:
    """Return what `run.json` says of this machine.

    Its name is the label `instance` of what is pushed, without which two machines would overwrite
    each other's figures.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return {
        "hostname": platform.node(),
        "system": platform.system(),
        "kernel": platform.release(),
        "machine": platform.machine(),
        "processor": processor_name(),
        "processors": usable_processors(),
        "clock": time.get_clock_info("perf_counter").implementation,
        "clock_source": clock_source(),
        "open_files": {
            "soft": None if soft == resource.RLIM_INFINITY else soft,
            "hard": None if hard == resource.RLIM_INFINITY else hard,
        },
    }
