"""What a command tells another process over a pipe that nobody empties for a while."""

import os

import orjson

from benchcore.show.feed import FeedWriter


def read(descriptor):
    data = b""
    while not data.endswith(b"\n"):
        data += os.read(descriptor, 1 << 20)
    return [orjson.loads(line) for line in data.splitlines()]


def test_a_line_that_a_full_pipe_takes_in_part_is_ended_before_the_next():
    reading, writing = os.pipe()
    write = FeedWriter(writing)
    long = "x" * 300_000  # a pipe holds 64 KiB
    write("note", {"text": long})
    write("note", {"text": "lost: the one before is not through"})
    taken = os.read(reading, 1 << 20)
    while not taken.endswith(b"\n"):
        write("note", {"text": "next"})
        taken += os.read(reading, 1 << 20)
    write("note", {"text": "last"})
    lines = [orjson.loads(line) for line in taken.splitlines()]
    assert lines[0] == {"event": "note", "text": long}
    assert all(line["text"] == "next" for line in lines[1:])
    assert read(reading)[-1] == {"event": "note", "text": "last"}
    os.close(reading)
    write("note", {"text": "nobody reads"})
    write("note", {"text": "nobody reads"})
    os.close(writing)
