"""The panel of a climb that goes on, and the chart at its end."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchcore.client.records import Outcome, Record
from benchcore.runs.run import Level
from benchcore.show.panel import ClimbPanel, bar, chart, sparkline
from benchcore.show.progress import Live, TerminalProgress


def live(**more):
    told = {
        "level": "c8",
        "stage": "window",
        "elapsed_seconds": 3.0,
        "done_share": 0.5,
        "eta_seconds": 12.0,
        "in_flight": 8,
        "tokens_per_second": 1358.0,
        "ttft_p50_seconds": 0.0174,
        "ttft_p99_seconds": 0.0265,
        "ok": 99,
        "failed": 1,
    }
    return Live(**{**told, **more})


def level(name, tokens=191.0, ttft=0.0119):
    summary = dict.fromkeys(("avg", "min", "max", "std", "p50", "p75", "p90", "p95"), ttft)
    summary |= {"count": 500, "p99": ttft, "p999": ttft, "low_confidence": []}
    return Level.model_validate(
        {
            "level": name,
            "repeat": 1,
            "mode": "closed",
            "failure_rate": 0.0,
            "validity": "valid",
            "metrics": {"ttft": summary, "itl": summary},
            "request_throughput": 5.8,
            "output_token_throughput": tokens,
        }
    )


def drawn(width, **more):
    panel = ClimbPanel(3)
    panel.level(level("c1"))
    panel.failed("c1: http_error: 500 said no")
    for tokens in (None, 300.0, 900.0):
        panel.take(live(tokens_per_second=tokens, **more))
    panel.take(live(**more))
    return panel.lines(live(**more), 100.0, width)


def test_at_80_columns():
    assert drawn(79) == [
        f"c8 window  {'━' * 14}{'╌' * 14}   50%  eta 12s  level 2 of 3  all 1m40s",
        "level          req/s    tok/s TTFT p50 TTFT p99  ITL p99  failed  validity",
        "c1              5.80      191     11.9     11.9     11.9     0 %  valid",
        "c8                 …    1,358     17.4     26.5        …   1.0 %  …",
        "tok/s      ▂▆█" + " " * 48 + "1,358",
        "TTFT p99  ████" + " " * 48 + "26.5 ms",
        "in flight ████" + " " * 48 + "8",
        "last failure: c1: http_error: 500 said no",
    ]


def test_at_120_columns_with_gpus_and_the_server_s_queue():
    lines = drawn(119, gpu_utilization=0.81, gpu_watts=350.0, server_waiting=2.0)
    assert lines[0].startswith(f"c8 window  {'━' * 20}{'╌' * 20}   50%  eta 12s  level 2 of 3")
    assert lines[-3].split() == ["GPU", "████", "81.0", "%,", "350", "W"]
    assert lines[-2].split() == ["queue", "████", "2", "waiting"]
    assert max(map(len, lines)) <= 119


@given(st.integers(40, 200), st.integers(0, 30))
def test_no_line_is_wider_than_the_terminal(width, levels):
    panel = ClimbPanel(levels + 1)
    for number in range(levels):
        panel.level(level(f"c{10**number}"))
    panel.failed("x" * 300)
    panel.take(live(level="c1" * 20))
    lines = panel.lines(live(level="c1" * 20), None, width)
    assert all(len(line) <= width for line in lines)
    assert len(lines) <= 16


def test_a_sparkline_goes_from_nothing_to_the_largest_and_leaves_gaps():
    assert sparkline([0, 1, 2, None, 4, 8], 10) == "▁▂▃ ▅█"
    assert sparkline([1, 2, 3], 2) == "▆█"
    assert sparkline([0, 0], 5) == "▁▁"
    assert sparkline([None], 5) == " "


@pytest.mark.parametrize(("share", "shown"), [(-1, "╌╌╌╌"), (0.5, "━━╌╌"), (7, "━━━━")])
def test_a_bar_is_as_long_as_asked(share, shown):
    assert bar(share, 4) == shown


class Terminal(io.StringIO):
    def __init__(self, lines=40):
        super().__init__()
        self.size = lines

    def fileno(self):
        return 99


@pytest.fixture
def terminal(monkeypatch):
    def of(columns, lines):
        size = type("size", (), {"columns": columns, "lines": lines})
        monkeypatch.setattr("os.get_terminal_size", lambda _number: size)
        return Terminal()

    return of


def begun(stream):
    progress = TerminalProgress(stream, live=True, interval_seconds=10, drawing=ClimbPanel)
    run = type("run", (), {"target": type("target", (), {"probe": {}}), "folder": None})
    progress.begin(run, 2)
    return progress


def test_the_panel_is_drawn_over_itself_and_taken_away(terminal):
    stream = terminal(80, 40)
    progress = begun(stream)
    progress.live(live())
    first = stream.getvalue()
    count = first.count("\n") + 1
    assert count == 6
    assert first.startswith("\rc8 window")
    assert first.endswith("\x1b[J")
    progress.live(live())
    second = stream.getvalue()[len(first) :]
    assert second.startswith(f"\r\x1b[{count - 1}Ac8 window")
    progress.clear()
    assert stream.getvalue().endswith(f"\r\x1b[{count - 1}A\x1b[J")
    before = len(stream.getvalue())
    progress.clear()
    assert len(stream.getvalue()) == before


def test_in_a_terminal_of_few_lines_one_line_is_drawn(terminal):
    stream = terminal(80, 6)
    begun(stream).live(live())
    assert "\n" not in stream.getvalue()
    assert "c8 window  50% eta 12s" in stream.getvalue()


def test_a_failure_is_shown_below_and_what_a_terminal_would_obey_is_not(terminal):
    stream = terminal(80, 40)
    progress = begun(stream)
    progress.failure("c8", Record("1", outcome=Outcome.HTTP_ERROR, error="no\x1b[2J"))
    progress.live(live())
    assert "last failure: c8: http_error: no\N{REPLACEMENT CHARACTER}[2J" in stream.getvalue()


def test_the_chart_has_each_level_where_its_figures_are():
    lines = chart([level("c1", 100.0, 0.01), level("c8", 200.0, 0.04)], 80)
    assert lines[0] == "output tokens/s against TTFT p99"
    assert lines[1].startswith("     200 ┤")
    assert lines[1].endswith("c8 ●")
    assert lines[7].startswith("     100 ┤")
    assert lines[7][10 + 17 :].lstrip().startswith("● c1")
    assert lines[-1].endswith("40.0 ms")
    assert max(map(len, lines)) <= 80


def test_of_one_level_there_is_no_chart():
    assert chart([level("c1")], 80) == []
    without = level("c8").model_copy(update={"metrics": {}})
    assert chart([level("c1"), without], 80) == []


@pytest.mark.parametrize(("width", "there"), [(0, False), (1, False), (10, False), (31, True)])
def test_in_a_narrow_terminal_there_is_no_chart(width, there):
    lines = chart([level("c1", 100.0, 0.01), level("c8", 200.0, 0.04)], width)
    assert bool(lines) is there
    assert all(len(line) <= max(width, 32) for line in lines)
