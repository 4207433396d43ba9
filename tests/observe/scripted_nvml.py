"""A libnvidia-ml.so of our own, whose devices take power by a script: see `scripted_nvml.c`."""

import shutil
import subprocess
import time
from pathlib import Path

import pytest

STEPS = ((0.3, 100.0), (0.2, 400.0))
"""Seconds and watts of the first device, over and over; the second takes half as much."""


@pytest.fixture(scope="session")
def library(tmp_path_factory):
    """The folder of the library."""
    folder = tmp_path_factory.mktemp("nvml")
    compiler = shutil.which("cc")
    assert compiler, "a C compiler is needed (apt install gcc libc6-dev)"
    subprocess.run(
        [
            *(compiler, "-shared", "-fPIC", "-O1", "-o", folder / "libnvidia-ml.so.1"),
            *(Path(__file__).with_name("scripted_nvml.c"), "-lm"),
        ],
        check=True,
    )
    return folder


@pytest.fixture
def nvml(library, monkeypatch):
    """Sets up the script; returns when the counters began, in seconds of CLOCK_MONOTONIC."""

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
