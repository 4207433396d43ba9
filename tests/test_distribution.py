"""The distribution: its name, its locks, and the stranger that bears its import name."""

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from benchcore.version import DISTRIBUTION, installing

ROOT = Path(__file__).parent.parent


def locked(path):
    """Return the extras that a lock names of each of its packages."""
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if match := re.match(r"([A-Za-z0-9._-]+)(?:\[([^]]*)\])?==", line):
            extras = {one.strip() for one in (match[2] or "").split(",")} - {""}
            found[canonicalize_name(match[1])] = extras
    return found


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-dev.lock"])
def test_a_lock_names_every_extra_that_a_locked_package_asks_for(lock):
    """pip before 24 takes `coverage[toml]` for another package than the locked `coverage`."""
    pinned = locked(ROOT / lock)
    asked = 0
    for name in pinned:
        try:
            wanted = importlib.metadata.requires(name) or ()
        except importlib.metadata.PackageNotFoundError:
            continue  # for another platform
        for requirement in map(Requirement, wanted):
            marker = requirement.marker
            chosen = [{"extra": one} for one in (pinned[name] or {""})]
            if not requirement.extras or (marker and not any(map(marker.evaluate, chosen))):
                continue
            asked += 1
            assert pinned[canonicalize_name(requirement.name)] >= requirement.extras, requirement
    assert asked or lock == "requirements.lock"


def test_advice_names_the_distribution_and_the_checkout():
    assert importlib.metadata.version(DISTRIBUTION)
    assert installing("k8s") == (
        "pip install 'benchcore-llm[k8s]', or in a checkout .venv/bin/pip install -e '.[k8s]'"
    )


@pytest.fixture(params=["ours over theirs", "theirs over ours"])
def mixture(request, tmp_path):
    """Return a folder into which both distributions have installed files."""
    shutil.copytree(ROOT / "benchcore", tmp_path / "benchcore")
    (tmp_path / "benchcore-1.0.0.dist-info").mkdir()
    (tmp_path / "benchcore_llm-0.1.0.dist-info").mkdir()
    if request.param == "theirs over ours":
        (tmp_path / "benchcore" / "__init__.py").write_text('"""Theirs."""\n')
    return tmp_path


def run_in(folder, *args, name=None):
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONSAFEPATH": "1"}
    return subprocess.run(
        [sys.executable, *args],
        capture_output=True,
        text=True,
        env=environment,
        cwd=folder,
        check=False,
    )


def told(folder):
    return (
        f"{folder} also holds benchcore 1.0.0, another project of that name, which has overwritten "
        "files of benchcore-llm: run pip uninstall benchcore benchcore-llm, then pip install "
        "benchcore-llm"
    )


def test_importing_a_mixture_with_the_namesake_fails_in_one_line(mixture):
    done = run_in(mixture, "-c", "import benchcore.version")
    assert done.stderr.splitlines()[-1] == f"ImportError: {told(mixture)}"


def test_the_command_refuses_to_run_over_the_namesake_in_one_line(mixture, tmp_path):
    script = tmp_path / "bin" / "benchcore"
    script.parent.mkdir()
    script.write_text("from benchcore.cli.main import main\nmain()\n")
    done = run_in(mixture, str(script), "--version")
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"benchcore: {told(mixture)}\n")
