"""One run at a time in a folder of results."""

import multiprocessing
import resource

import pytest

from benchcore.base.errors import ConfigError, LockError
from benchcore.scenario.upkeep import lock


def test_the_second_is_told_who_holds_it(tmp_path):
    with (
        lock(tmp_path / "results", "benchcore run a"),
        pytest.raises(LockError) as told,
        lock(tmp_path / "results", "benchcore run b"),
    ):
        pass
    said = str(told.value)
    assert said.startswith(f"{tmp_path}/results/.lock: held by benchcore run a, process ")
    assert said.endswith("; wait for it, or name another folder with --output")
    assert told.value.exit_code == 6


def test_it_is_free_again_afterwards_and_says_nothing_of_before(tmp_path):
    with lock(tmp_path, "a"):
        pass
    assert (tmp_path / ".lock").read_text() == ""
    with lock(tmp_path, "b"):
        assert (tmp_path / ".lock").read_text().startswith("b, process ")


def _hold(folder, held, go):
    with lock(folder, "a child"):
        held.set()
        go.wait(600)


def test_a_process_that_is_killed_lets_go(tmp_path):
    spawn = multiprocessing.get_context("spawn")
    held, go = spawn.Event(), spawn.Event()
    child = spawn.Process(target=_hold, args=(tmp_path, held, go))
    child.start()
    assert held.wait(600)
    with pytest.raises(LockError, match="held by a child"), lock(tmp_path, "b"):
        pass
    child.kill()
    child.join()
    with lock(tmp_path, "b"):
        pass


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "results").write_text("")
    with pytest.raises(ConfigError, match="cannot be written"), lock(tmp_path / "results", "a"):
        pass


def test_a_full_disk_is_told_and_leaves_no_lock(tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        with pytest.raises(ConfigError) as told, lock(tmp_path, "a"):
            pass
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert str(told.value) == (
        f"{tmp_path}/.lock: cannot be written (File too large); make room, or name another folder "
        "with --output"
    )
    with lock(tmp_path, "b"):
        pass
