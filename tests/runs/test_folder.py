"""The run folder: made once, files replaced whole or grown by whole lines."""

import errno
import os

import pytest

from benchcore.base.errors import ConfigError
from benchcore.base.files import GrowingFile, make_folder, replace_file


def test_the_folder_is_named_by_time_and_name(tmp_path):
    folder = make_folder(tmp_path / "deep" / "results", "20261120T010203Z", "my run/1")
    assert folder == tmp_path / "deep" / "results" / "20261120T010203Z-my-run-1"
    assert list(folder.iterdir()) == []


def test_a_second_run_of_the_same_second_gets_a_number(tmp_path):
    names = [make_folder(tmp_path, "20261120T010203Z", "x").name for _ in range(3)]
    assert names == ["20261120T010203Z-x", "20261120T010203Z-x-2", "20261120T010203Z-x-3"]


def test_a_name_of_nothing_but_punctuation_becomes_run(tmp_path):
    assert make_folder(tmp_path, "t", "../..").name == "t-run"


def test_results_that_are_a_file_are_refused(tmp_path):
    (tmp_path / "results").write_text("")
    with pytest.raises(ConfigError, match="results: is a file, not a folder"):
        make_folder(tmp_path / "results", "t", "x")


@pytest.mark.parametrize("below", [(), ("a", "b")])
def test_a_link_that_leads_nowhere_is_named(tmp_path, below):
    link = tmp_path / "results"
    link.symlink_to(tmp_path / "gone")
    with pytest.raises(ConfigError) as told:
        make_folder(link.joinpath(*below), "20260101T000000Z", "climb")
    at = f"{link} " if below else ""
    assert str(told.value) == (
        f"--output {link.joinpath(*below)}: {at}is a link to {tmp_path / 'gone'}, which does not "
        "exist; name another folder"
    )


def test_a_file_is_replaced_whole_and_the_old_one_survives_a_failure(tmp_path, monkeypatch):
    path = tmp_path / "run.json"
    replace_file(path, b"one")
    assert path.read_bytes() == b"one"

    def full(_descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        replace_file(path, b"two")
    assert path.read_bytes() == b"one"
    assert [entry.name for entry in tmp_path.iterdir()] == ["run.json"]


def test_lines_wait_for_the_flush(tmp_path):
    file = GrowingFile(tmp_path / "a.csv")
    file.write(b"one\n")
    assert (tmp_path / "a.csv").read_bytes() == b""
    file.flush()
    assert (tmp_path / "a.csv").read_bytes() == b"one\n"
    file.write(b"two\n")
    file.close()
    assert (tmp_path / "a.csv").read_bytes() == b"one\ntwo\n"
    file.close()


class Full:
    """A disk with room for so many bytes."""

    def __init__(self, file, room):
        self.file = file
        self.room = room

    def write(self, data):
        if self.room == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        count = self.file.write(bytes(data)[: self.room])
        self.room -= count
        return count

    def __getattr__(self, name):
        return getattr(self.file, name)


def test_a_full_disk_leaves_whole_lines_and_the_rest_follows_when_there_is_room(tmp_path):
    file = GrowingFile(tmp_path / "a.csv")
    file._file = Full(file._file, 9)
    for line in (b"first\n", b"second\n", b"third\n"):
        file.write(line)
    with pytest.raises(OSError, match="No space left"):
        file.flush()
    assert (tmp_path / "a.csv").read_bytes() == b"first\n"
    file._file.room = 1000
    file.write(b"fourth\n")
    file.close()
    assert (tmp_path / "a.csv").read_bytes() == b"first\nsecond\nthird\nfourth\n"
