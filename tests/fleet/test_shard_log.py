"""The log of a worker, read while it grows and whatever cuts it short."""

import errno
import os
from array import array
from dataclasses import fields

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchcore.client.records import InBand, Outcome, Record, Usage
from benchcore.fleet import shard_log
from benchcore.fleet.shard_log import Begun, Closed, Ended, LogReader, ShardLog, open_log
from benchcore.load.level_plan import Stage
from benchcore.metrics.percentiles import Histogram
from benchcore.metrics.spool import packed
from benchcore.metrics.throughput import Second

STAGES = [Stage.WARMUP, Stage.WINDOW, Stage.DRAIN]


def no_spill(data):
    raise AssertionError("the file has room")


def record(index, stamps):
    one = Record(f"r{index}", 5 + index, index, Outcome.OK, stamps=array("q", stamps))
    one.usage = Usage(prompt_tokens=7, completion_tokens=len(stamps))
    one.in_band = InBand("vllm", queue_seconds=0.25, cached_tokens=3) if index % 2 else None
    one.text, one.worker, one.session, one.kind = "你好", 2, index // 3, "chat"
    return one


def second(tokens, gaps):
    made = Second(sent=1, done=2, failed=3, tokens=tokens, ttfts_ns=[9, 8])
    if gaps:
        import numpy as np

        made.gaps = Histogram()
        made.gaps.add(np.array(gaps, dtype=np.int64))
    return made


def known(entry):
    """An entry as something that can be compared."""
    if isinstance(entry, Closed):
        inside = entry.second
        gaps = None if inside.gaps is None else inside.gaps.__getstate__()
        counts = (inside.sent, inside.done, inside.failed, inside.tokens, inside.ttfts_ns)
        return entry.number, entry.in_flight, counts, gaps
    if isinstance(entry, Ended):
        values = {field.name: getattr(entry.record, field.name) for field in fields(Record)}
        return values, entry.stage, entry.data in (b"", packed(entry.record))
    return entry


ENTRIES = st.lists(
    st.one_of(
        st.builds(Begun, st.integers(0, 1 << 40), st.integers(0, 1 << 62), st.sampled_from(STAGES)),
        st.builds(
            Ended,
            st.builds(record, st.integers(0, 99), st.lists(st.integers(0, 1 << 60), max_size=9)),
            st.sampled_from(STAGES),
        ),
        st.builds(
            Closed,
            st.integers(0, 9),
            st.floats(0, 1e6),
            st.builds(second, st.integers(0, 99), st.lists(st.integers(1000, 1 << 40), max_size=4)),
        ),
    ),
    max_size=12,
)


def write(log, entries):
    for entry in entries:
        if isinstance(entry, Begun):
            log.begun(entry.index, entry.scheduled_ns, entry.stage)
        elif isinstance(entry, Ended):
            log.ended(entry.record, entry.stage)
        else:
            log.second(entry.number, entry.in_flight, entry.second)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    opened = []

    def new():
        opened.append(open_log(tmp_path_factory.getbasetemp()))
        return opened[-1]

    yield new
    for file in opened:
        os.close(file)


@given(entries=ENTRIES, cuts=st.lists(st.integers(1, 400), max_size=30))
@settings(max_examples=80)
def test_what_is_read_while_it_grows_is_what_was_written(files, entries, cuts):
    whole, growing = files(), files()
    write(ShardLog(whole, no_spill), entries)
    data = os.pread(whole, 1 << 24, 0)
    reader = LogReader(growing)
    found = []
    for cut in [*cuts, len(data)]:
        os.write(growing, data[:cut])
        data = data[cut:]
        found += reader.read()
    assert [known(one) for one in found] == [known(one) for one in entries]
    assert list(reader.read()) == []
    os.ftruncate(growing, 0)


@given(entries=ENTRIES, room=st.integers(0, 3000), late=st.booleans())
@settings(max_examples=80)
def test_a_full_disk_loses_nothing(files, entries, room, late):
    file = files()
    spilled, wrote = [], os.write

    def short(to, data):
        """Write as much as there is room for."""
        nonlocal room
        if to != file:
            return wrote(to, data)
        if not room:
            raise OSError(errno.ENOSPC, "No space left on device")
        done = wrote(to, data[:room])
        room -= done
        return done

    reader, found = LogReader(file), []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(shard_log.os, "write", short)
        log = ShardLog(file, spilled.append)
        for entry in entries:
            write(log, [entry])
            if not late:
                found += reader.read()
                for data in spilled:
                    reader.spilled(data)
                spilled.clear()
    for data in spilled:
        reader.spilled(data)
    found += reader.read(None)
    assert [known(one) for one in found] == [known(one) for one in entries]
    reader.begin_again()
    assert list(reader.read()) == []


def test_a_log_is_read_anew_after_it_was_emptied(files):
    file = files()
    log, reader = ShardLog(file, no_spill), LogReader(file)
    first, after = Begun(1, 2, Stage.WINDOW), Begun(3, 4, Stage.DRAIN)
    write(log, [first])
    assert list(reader.read()) == [first]
    reader.begin_again()
    write(log, [after])
    assert list(reader.read()) == [after]
    assert list(log.entries()) == [after]


def test_a_log_has_no_name(tmp_path):
    file = open_log(tmp_path)
    os.write(file, b"x")
    os.close(file)
    assert list(tmp_path.iterdir()) == []
