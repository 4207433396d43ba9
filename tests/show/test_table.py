"""The table and the progress lines: what a person reads."""

import io
import logging
from dataclasses import replace

import pytest

from benchcore.base.text import columns, number, percent
from benchcore.config import catalogue
from benchcore.metrics.level import TokenSums
from benchcore.metrics.summary import summarize
from benchcore.metrics.validity import Evidence, Validity
from benchcore.runs.run import Level, Run
from benchcore.show.markdown import render_markdown
from benchcore.show.progress import LOGGER, Live, TerminalProgress, level_line, live_line
from benchcore.show.table import render

MS = 1_000_000


def rates(requests, output, prompt, total):
    return {
        "request_throughput": requests,
        "output_token_throughput": output,
        "input_token_throughput": prompt,
        "total_token_throughput": total,
    }


def level(name="c64", **changes):
    fields = {
        "level": name,
        "workload": "synthetic",
        "mode": "closed",
        "concurrency": 64,
        "rate": None,
        "arrival": None,
        "repeat": 1,
        "window_seconds": 10.0,
        "warmup_seconds": 1.0,
        "drain_seconds": 1.0,
        "scheduled": 500,
        "outcomes": {"ok": 500},
        **rates(1234.5, 123456.0, 1.0, 2.0),
        "tokens_per_second_per_user": 99.94,
        "good": 500,
        "goodput": 50.0,
        "goodput_ratio": 1.0,
        "failure_rate": 0.0,
        "metrics": {
            "ttft": summarize([n * MS for n in range(1, 501)]),
            "itl": summarize([10 * MS] * 50),
            "e2e": summarize([12345 * MS] * 500),
        },
        "tokens": TokenSums(token_count_source={"usage": 500}),
        "itl": "estimated",
        "tpot_estimated": 0,
        "tpot_excluded": 0,
        "retried": 0,
        "steady_state": {},
        "judged": Validity("valid"),
        "evidence": Evidence(),
        "findings": [],
        "notes": [],
        "server": {},
        "records": [],
    }
    return Level.measured(**(fields | changes))


def run(*levels, **changes):
    found = Run.begun("id", "2026-01-01T00:00:00Z", target={})
    for one in levels:
        found.add(one)
    return found.model_copy(update=changes)


def test_the_table_reads_exactly_so_and_fits_a_hundred_columns():
    text = render(
        run(level(), level("r1000.5", repeat=2, **rates(None, None, None, None))), color=False
    )
    lines = text.splitlines()
    assert max(map(len, lines)) <= 100
    assert lines[0].split() == [
        "tok/s",
        "TTFT",
        "ms",
        "TTFT",
        "ms",
        "ITL",
        "ms",
        "ITL",
        "ms",
        "e2e",
        "ms",
        "goodput",
    ]
    heads = "level req/s tok/s per user p50 p99 p50 p99 p99 failed req/s validity"
    assert lines[1].split() == heads.split()
    cells = "123,456 99.9 250 495 10.0 ~10.0 12,345 0 % 50.0 valid"
    assert lines[2].split() == f"c64 1,234 {cells}".split()
    assert lines[3].split() == [
        "r1000.5",
        "#2",
        "–",
        "–",
        "99.9",
        "250",
        "495",
        "10.0",
        "~10.0",
        "12,345",
        "0",
        "%",
        "50.0",
        "valid",
    ]
    # Figures stand under their heads, to the right.
    for head, figure in (("p50", "250"), ("failed", "0 %")):
        assert lines[1].index(head) + len(head) == lines[2].index(figure) + len(figure)
    assert lines[4:] == [
        "",
        "~ rests on fewer than 459 requests, too few for a p99 at 99 % confidence",
    ]


def test_a_narrow_terminal_gets_a_narrow_table():
    heads = ["level", "req/s", "tok/s", "p50", "p99", "p99", "p99", "failed", "validity"]
    cells = ["c64", "1,234", "123,456", "250", "495", "~10.0", "12,345", "0", "%", "valid"]
    for width in (99, 80):
        lines = render(run(level()), color=False, width=width).splitlines()
        assert max(map(len, lines)) <= width
        assert lines[1].split() == heads
        assert lines[2].split() == cells


def test_a_column_is_one_entry_of_the_catalogue(monkeypatch):
    more = replace(catalogue.LATENCIES["first_byte"], columns={"p90": catalogue.EVERYWHERE})
    monkeypatch.setattr(catalogue, "_LATENCIES", (*catalogue._LATENCIES, more))
    first_byte = summarize([n * MS for n in range(1, 101)])
    shown = run(level(metrics={"first_byte": first_byte}))
    brief = render(shown, color=False, width=90)
    assert "first byte ms" in brief
    assert brief.splitlines()[1].split()[-3:] == ["p90", "failed", "validity"]
    assert "| first byte p90 ms | failed |" in render_markdown(shown)
    assert "| 90.0 | 0 % | valid |" in render_markdown(shown)


def test_repeats_are_one_row_with_their_spread_below():
    times = [
        level(repeat=n, **rates(rate, 1000.0 * n, None, None), findings=[f"f{n}"])
        for n, rate in ((1, 10.0), (2, 12.0), (3, 14.0))
    ]
    times[2].verdict, times[2].reasons = "suspect", ["cpu: busy"]
    other = level("c8")
    lines = render(run(times[0], other, *times[1:]), color=False).splitlines()
    assert lines[2].split()[:5] == ["c64", "×3", "12.0", "2,000", "99.9"]
    assert lines[2].split()[-1] == "suspect"
    assert lines[3].split()[0] == "c8"
    assert lines[5] == "standard deviation between repeats, in per cent of the mean"
    assert lines[8].split()[:8] == ["c64", "×3", "16.7", "%", "50.0", "%", "0", "%"]
    said = lines[lines.index("c64: f1") :]
    assert said[:2] == ["c64: f1", "c8: suspect"] or "c64 #3: suspect: cpu: busy" in said
    assert "c64 #2: f2" in said


def test_a_figure_that_one_repeat_lacks_has_no_mean():
    times = [level(), level(repeat=2, **rates(None, None, None, None))]
    assert render(run(*times), color=False).splitlines()[2].split()[:4] == ["c64", "×2", "–", "–"]


def test_what_must_be_said_stands_below():
    bad = level(
        "c8",
        outcomes={"ok": 3, "timeout": 1, "dropped": 2},
        failure_rate=0.5,
        judged=Validity("suspect", ["cpu: the event loop used 95% of a processor"]),
        findings=["1 × timeout: first_token took longer than 2 s"],
        notes=["a note"],
        tokens=TokenSums(token_count_source={"events": 3}),
    )
    lines = render(run(bad, stopped="c8: 50.0% failed"), color=False).splitlines()
    assert "50.0 %" in lines[2]
    assert lines[3:] == [
        "",
        "c8: suspect: cpu: the event loop used 95% of a processor",
        "c8: 1 × timeout: first_token took longer than 2 s",
        "c8: a note",
        "c8: 2 request(s) dropped at the cap on in-flight",
        "~ rests on fewer than 459 requests, too few for a p99 at 99 % confidence",
        "tokens are counted by events: no usage from the server",
        "no higher level was run: c8: 50.0% failed",
    ]


def test_markup_from_a_server_is_text():
    hostile = level(findings=["1 × http_error: [red]boo[/red] \x1b[31m"])
    assert "[red]boo[/red]" in render(run(hostile), color=False)
    assert "\x1b" not in render(run(hostile), color=False)


def test_colour_only_where_it_is_wanted():
    assert "\x1b[" in render(run(level()), color=True)
    assert "\x1b[" not in render(run(level()), color=False)


def test_nothing_measured_says_so():
    assert render(run(), color=False) == "nothing was measured\n"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0, "0.00"),
        (9.994, "9.99"),
        (12.34, "12.3"),
        (123.4, "123"),
        (12345.6, "12,346"),
    ],
)
def test_numbers(value, text):
    assert number(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(None, "–"), (0, "0 %"), (0.0204, "2.0 %"), (1, "100.0 %")]
)
def test_shares(value, text):
    assert percent(value) == text


LIVE = Live("c64", "window", 12.0, 0.5, 95.0, 64, 4000.0, 0.05, 0.5, 100, 1)


def test_a_live_line_holds_everything_in_a_hundred_columns():
    line = live_line(LIVE)
    assert line == (
        "c64 window  50% eta 1m35s | in flight 64 | 4,000 tok/s | "
        "TTFT p50 50.0 p99 500 ms | 100 ok 1 failed"
    )
    assert len(line) <= 100


def test_a_live_line_before_anything_is_known():
    early = Live("c1", "warmup", 0.1, None, None, 1, None, None, None, 0, 0)
    assert live_line(early) == (
        "c1 warmup | in flight 1 | – tok/s | TTFT p50 – p99 – ms | 0 ok 0 failed"
    )


@pytest.mark.parametrize("width", [99, 79, 60, 40, 20])
def test_a_live_line_fits_the_terminal_and_keeps_what_matters(width):
    line = live_line(LIVE, 600.0, width)
    assert len(line) <= width
    assert line.startswith("c64 window  50% eta 1m35s"[:width])
    assert ("100 ok 1 failed" in line) == (width >= 60)
    assert ("all levels 10m00s" in line) == (width >= 79)


@pytest.mark.parametrize(("said", "width"), [("80", 80), ("120", 100), ("", 100), ("0", 100)])
def test_the_width_is_the_terminals_and_at_most_a_hundred(monkeypatch, said, width):
    monkeypatch.setenv("COLUMNS", said)
    assert columns(io.StringIO()) == width


def test_the_time_of_all_levels_follows_from_those_so_far():
    stream = io.StringIO()
    progress = TerminalProgress(stream, live=True, interval_seconds=10)
    progress.begin(Run.begun("x", ""), 3)
    progress.live(LIVE)  # of 107 s
    assert "all levels 5m09s" in stream.getvalue()  # 95 s, and twice 107 s
    progress.level(level())  # of 12 s
    progress.live(LIVE)
    assert "all levels 2m34s" in stream.getvalue()  # 95 s, and once (12 s + 107 s) ÷ 2
    progress.level(level())
    stream.truncate(0)
    progress.live(LIVE)
    assert "all levels" not in stream.getvalue()


def test_a_level_in_a_line():
    assert level_line(level()) == (
        "c64: 1,234 req/s, 123,456 tok/s, TTFT p50 250 p99 495 ms, failed 0 %, valid"
    )


def test_a_terminal_gets_one_line_that_is_rewritten_and_cleared():
    stream = io.StringIO()
    progress = TerminalProgress(stream, live=True, interval_seconds=10)
    progress.live(LIVE)
    progress.live(LIVE)
    progress.clear()
    progress.clear()
    line = live_line(LIVE)
    assert stream.getvalue() == f"\r{line}\x1b[K\x1b[J" * 2 + "\r\x1b[J"


def test_a_log_gets_a_line_at_intervals(caplog):
    stream = io.StringIO()
    progress = TerminalProgress(stream, live=False, interval_seconds=0)
    LOGGER.propagate = True
    with caplog.at_level(logging.INFO, "benchcore"):
        progress.live(LIVE)
        progress.say("hello")
    assert stream.getvalue() == ""
    assert [record.message for record in caplog.records] == [live_line(LIVE), "hello"]
