"""The requests of a page: what its columns hold, and what they leave out."""

import base64
import csv
import json
import re
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchcore.runs.reading import RunFolder
from benchcore.show import requests
from benchcore.show.page import render_page
from benchcore.show.requests import requests_block
from tests.run_folders import COLUMNS


def unpacked(element):
    """Return the columns of a block as a browser reads them, and what else it says."""
    said = json.loads(re.fullmatch(r"<script [^>]*>(.*)</script>", element)[1])
    data = zlib.decompress(base64.b64decode(said["packed"]), -zlib.MAX_WBITS)
    columns, rows = {}, said["rows"]
    for column in said["columns"]:
        size = column["bytes"] if column["kind"] == "lines" else column["width"] * rows
        held, data = data[:size], data[size:]
        if column["kind"] == "lines":
            columns[column["name"]] = held.decode().split("\n")
            continue
        planes = [held[plane * rows :][:rows] for plane in range(column["width"])]
        codes = [int.from_bytes(digits, "little") for digits in zip(*planes, strict=True)]
        if column["kind"] == "words":
            columns[column["name"]] = [column["words"][code] for code in codes]
            continue
        columns[column["name"]] = [
            column["low"] + (code - 1) * column["step"] if code else None for code in codes
        ]
    assert data == b""
    return columns, said


def write_rows(path, rows):
    """Replace the requests of a run by others, which have no more columns than these."""
    names = ["level", "repeat", "stage", "outcome", "scheduled_seconds", "sent_seconds"]
    names += sorted({name for row in rows for name in row} - set(names))
    names += [name for name in COLUMNS if name not in names]
    usual = {"level": "c8", "repeat": 1, "stage": "window", "outcome": "ok"}
    with (path / "requests.csv").open("w", newline="") as file:
        out = csv.DictWriter(file, names)
        out.writeheader()
        out.writerows(usual | row for row in rows)


def test_the_block_holds_what_the_file_does_to_the_microsecond(make_run):
    path = make_run("a", levels=(1, 8), count=300)
    columns, said = unpacked(requests_block(RunFolder(path)).element)
    with (path / "requests.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert said["rows"] == len(rows) == 600
    assert columns["level"] == [row["level"] for row in rows]
    assert columns["index"] == [int(row["index"]) for row in rows]
    for name, begin, end in (("ttft", "sent", "first_token"), ("e2e", "sent", "last_token")):
        took = [float(row[f"{end}_seconds"]) - float(row[f"{begin}_seconds"]) for row in rows]
        assert columns[name] == pytest.approx(took, abs=0.5e-6 + 1e-12)
    assert "error" not in columns
    assert [part["title"] for part in said["parts"]] == [
        "late departure",
        "queue or prefill",
        "decode",
        "unexplained",
    ]


@given(
    st.lists(
        st.one_of(st.none(), st.floats(0, 1e5), st.integers(0, 2**40).map(lambda n: n / 1e6)),
        min_size=1,
        max_size=50,
    ).filter(lambda values: any(value is not None for value in values)),
    st.sampled_from([1e-6, 1e-5, 1.0]),
)
def test_a_number_comes_back_within_half_a_step_and_an_unknown_one_as_unknown(values, step):
    array = np.array([np.nan if value is None else value for value in values])
    said, data = requests._number_column("x", array, step)
    count, width = len(values), said["width"]
    codes = [
        sum(data[plane * count + place] << 8 * plane for plane in range(width))
        for place in range(count)
    ]
    for value, code in zip(values, codes, strict=True):
        assert (code == 0) == (value is None)
        if value is not None:
            back = said["low"] + (code - 1) * said["step"]
            assert abs(back - value) <= said["step"] * 0.5000001 + 1e-9
    assert said["step"] <= max(step, 10 * (array[~np.isnan(array)].max() / 2**32))


@given(st.lists(st.text(), min_size=1, max_size=300))
def test_texts_come_back_as_they_were_where_they_can_be_printed(texts):
    said, data = requests._text_column("x", texts)
    shown = [
        "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
        for text in texts
    ]
    if said["kind"] == "lines":
        assert data.decode().split("\n") == shown
    else:
        planes = [data[n * len(texts) :][: len(texts)] for n in range(said["width"])]
        back = [int.from_bytes(digits, "little") for digits in zip(*planes, strict=True)]
        assert [said["words"][code] for code in back] == shown


def test_each_request_has_its_parts_and_those_that_failed_too(make_run):
    path = make_run("a")
    whole = {
        "scheduled_seconds": "1.0",
        "sent_seconds": "1.25",
        "connect_seconds": "0.05",
        "send_seconds": "0.01",
        "first_byte_seconds": "1.5",
        "first_token_seconds": "1.75",
        "last_token_seconds": "2.75",
        "done_seconds": "2.8",
    }
    failed = whole | {"outcome": "http_error", "first_token_seconds": "", "last_token_seconds": ""}
    warmup = whole | {"stage": "warmup", "scheduled_seconds": "1.2", "connect_seconds": ""}
    lost = whole | {"outcome": "timeout", "done_seconds": "", "last_token_seconds": ""}
    write_rows(path, [whole, warmup, failed, lost])
    columns, said = unpacked(requests_block(RunFolder(path)).element)
    # Rows stand in the order in which they were due.
    order = [("window", "ok"), ("window", "http_error"), ("window", "timeout"), ("warmup", "ok")]
    assert list(zip(columns["stage"], columns["outcome"], strict=True)) == order
    keys = [part["key"] for part in said["parts"]]
    assert keys == ["late", "connect", "send", "wait", "server", "decode", "residual"]
    shown = [
        {key: columns[key][place] for key in keys if columns[key][place] is not None}
        for place in range(4)
    ]
    stamped = {"late": 0.2, "connect": 0.05, "send": 0.01, "residual": 0.0}
    assert shown[0] == pytest.approx(stamped | {"wait": 0.49, "decode": 1.0}, abs=1e-6)
    assert shown[1] == pytest.approx(stamped | {"server": 1.54}, abs=1e-6)
    assert shown[2] == {}
    assert shown[3]["late"] == pytest.approx(0.05, abs=1e-6)
    assert "connect" not in shown[3]
    assert all(part["title"] and part["how"] for part in said["parts"])


def many(path, count):
    """Give a run so many requests, each with ids, errors and tokens of its own."""
    draw = np.random.default_rng(1)
    scheduled = np.cumsum(draw.exponential(0.01, count))
    parts = draw.lognormal(-4, 0.7, (5, count))
    sent, byte, token, last, done = scheduled + np.cumsum(parts, axis=0)
    tokens = draw.integers(1, 2000, (2, count))
    ids = draw.bytes(16 * count).hex()
    write_rows(
        path,
        [
            {
                "index": n,
                "request_id": ids[32 * n : 32 * n + 32],
                "outcome": "timeout" if n % 50 == 7 else "ok",
                "scheduled_seconds": f"{scheduled[n]:.9f}",
                "sent_seconds": f"{sent[n]:.9f}",
                "first_byte_seconds": f"{byte[n]:.9f}",
                "first_token_seconds": f"{token[n]:.9f}",
                "last_token_seconds": f"{last[n]:.9f}",
                "done_seconds": f"{done[n]:.9f}",
                "send_seconds": f"{parts[1, n] / 9:.9f}",
                "prompt_tokens": tokens[0, n],
                "output_tokens": tokens[1, n],
            }
            for n in range(count)
        ],
    )


@pytest.mark.no_cover
def test_a_hundred_thousand_requests_stay_below_three_megabytes(make_run):
    path = make_run("a", count=100)
    many(path, 100_000)
    page = render_page(RunFolder(path))
    assert len(page.encode()) < 3_000_000
    told = "100,000 requests, unmeasured ones of warm-up and drain included; times to 0.01 ms; "
    assert f"{told}without request id. requests.csv has everything." in page
    assert "of 100,000 requests, the slowest of each moment kept" in page


@pytest.mark.parametrize(("largest", "step"), [(55_000, 1e-5), (45_000, 1e-4)])
def test_what_is_too_large_even_so_has_coarser_times(make_run, monkeypatch, largest, step):
    path = make_run("a", count=100)
    many(path, 3000)
    fine = requests_block(RunFolder(path))
    assert (fine.step, fine.without) == (1e-6, ())
    monkeypatch.setattr(requests, "LARGEST", largest)
    coarse = requests_block(RunFolder(path))
    assert (coarse.step, coarse.without) == (step, ("request_id",))
    assert f"times to {step * 1e3:g} ms; without request id" in str(coarse)
    columns, said = unpacked(coarse.element)
    assert "request_id" not in columns
    assert len(base64.b64decode(said["packed"])) <= largest


def test_of_too_many_those_that_failed_and_the_slowest_are_kept(make_run, monkeypatch):
    monkeypatch.setattr(requests, "MOST", 200)
    path = make_run("a", count=100)
    many(path, 2000)
    block = requests_block(RunFolder(path))
    assert (block.kept, block.total) == (200, 2000)
    columns, _ = unpacked(block.element)
    assert columns["outcome"].count("timeout") == 2000 // 50
    assert columns["index"] == sorted(columns["index"])
    monkeypatch.setattr(requests, "MOST", 2000)
    whole, _ = unpacked(requests_block(RunFolder(path)).element)
    slowest = sorted(range(2000), key=lambda n: -whole["e2e"][n])[:20]
    assert set(slowest) <= set(columns["index"])
    assert str(block).startswith("200 of 2,000 requests")
    assert "all that failed, the slowest, and every so many of the others" in str(block)


def test_a_run_without_rows_has_no_table(make_run):
    path = make_run("a")
    (path / "requests.csv").unlink()
    assert requests_block(RunFolder(path)) is None
    assert "Request by request" not in render_page(RunFolder(path))
