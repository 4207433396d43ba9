"""The page: what it says, and what a browser makes of it."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from html import escape
from html.parser import HTMLParser
from urllib.parse import urlsplit

import numpy as np
import pytest

from benchcore.judge.history import read_history
from benchcore.runs.checks import CheckResult
from benchcore.runs.reading import RunFolder
from benchcore.show.markdown import render_markdown
from benchcore.show.page import NO_PLOTS, render_page, write_reports
from benchcore.show.pages import comparison_page, history_page
from benchcore.show.plots import plots, thinned
from tests.run_folders import ended_checks

MAKERS = (".google.com", ".googleapis.com", ".gvt1.com", ".gstatic.com")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


class Read(HTMLParser):
    """The texts of a page, and the elements that it has."""

    def __init__(self, page):
        super().__init__()
        self.texts, self.tags, self.inside = [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.inside.append(tag)

    def handle_endtag(self, tag):
        while self.inside and self.inside.pop() != tag:
            pass

    def handle_data(self, data):
        if not self.inside or self.inside[-1] not in ("script", "style"):
            self.texts.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())


@pytest.fixture
def page_of():
    return lambda path, **given: render_page(RunFolder(path), plots(RunFolder(path), **given))


def timeline(path, level="c8", seconds=6):
    head = "level,repeat,second,in_flight,sent,done,failed,tokens,ttft_p50_seconds,ttft_p99_seconds"
    rows = [f"{level},1,{n},8,30,30,{n % 2},600,0.05,0.08" for n in range(seconds)]
    (path / "timeline.csv").write_text("\n".join([head, *rows]) + "\n")


def test_the_numbers_of_the_page_are_those_of_run_json(make_run, page_of):
    path = make_run("a", levels=(1, 8), count=200)
    read = Read(page_of(path))
    levels = json.loads((path / "run.json").read_text())["levels"]
    for level in levels:
        for metric in ("ttft", "e2e"):
            value = level["metrics"][metric]["p99"] * 1e3
            shown = f"{value:.0f}" if value >= 100 else f"{value:.1f}"
            assert shown in read.texts
    questions = ["Is it valid?", "Where is the knee?", "What did it cost in latency?"]
    places = [read.text.index(one) for one in (*questions, "What failed?")]
    assert places == sorted(places)


def test_the_whole_run_stands_in_the_page(make_run, page_of):
    path = make_run("a", labels={"x": "</script><script>alert(1)</script>"})
    page = page_of(path)
    data = re.search(r'<script type="application/json" id="run">(.*?)</script>', page)[1]
    assert json.loads(data) == RunFolder(path).run.whole()
    assert json.loads(data)["labels"] == {"x": "</script><script>alert(1)</script>"}


def test_what_a_hostile_server_wrote_stands_as_text(make_run, page_of):
    nasty = "<img src=x onerror=alert(1)>\"'&\x1b[2J"
    target = {"kind": "server", "model": nasty, "base_url": "http://a"}
    level = {
        "findings": [f"1 × http_error: {nasty}"],
        "reasons": [nasty],
        "validity": "suspect",
        "workload": nasty,
        "level": "c8<b>",
    }
    path = make_run("a", target=target, level=level, command=["benchcore", "climb", nasty])
    page = page_of(path)
    read = Read(page)
    assert {"img", "b"}.isdisjoint(tag for tag, _ in read.tags)
    assert all(not name.startswith("on") for _, attrs in read.tags for name in attrs)
    assert "<img src=x onerror=alert(1)>" in read.text
    assert "\x1b" not in page


def test_every_plot_has_words_for_those_who_cannot_see_it(make_run, page_of):
    path = make_run("a", levels=(1, 8))
    timeline(path)
    read = Read(page_of(path, gpus=2))
    drawn = [attrs["aria-label"] for tag, attrs in read.tags if tag == "svg"]
    assert drawn == [
        "Latency against throughput, a point for each of 2 levels",
        "Tokens per second per user against tokens per second per GPU (2)",
        "Requests per second that meet a limit of the TTFT",
        "Time to first token of 1,000 requests",
        "In flight, tokens per second and time to first token of level c8 over time",
    ]
    assert "c8" in read.texts


def test_the_timeline_shades_warm_up_and_steady_state(make_run):
    steady = {"found": True, "start_seconds": 2.0, "end_seconds": 5.0}
    path = make_run("a", level={"steady_state": steady, "warmup_seconds": 1.0})
    timeline(path)
    (plot,) = [one for one in plots(RunFolder(path)) if one.name == "timeline-c8"]
    for axes in plot.figure.axes:
        spans = [
            patch.get_extents().transformed(axes.transData.inverted()) for patch in axes.patches
        ]
        found = {(round(span.x0, 6), round(span.x1, 6)) for span in spans}
        assert {(0.0, 1.0), (2.0, 5.0)} <= found


def test_checks_and_scores_have_sections_of_their_own(make_run, page_of):
    path = make_run(
        "a", level={"accuracy": {"score": 0.5, "interval": [0.4, 0.6], "n": 9, "errors": 1}}
    )
    summary = {
        "pass": 9,
        "fail": 1,
        "pass_ratio": 0.9,
        "unsupported": 0,
        "skip": 2,
        "mode": "compat",
        "engine": "vllm",
    }
    failed = {
        "case_id": "sse.one_done",
        "title": "t",
        "verdict": "fail",
        "expected": "1",
        "got": "0",
    }
    found = {"summary": summary, "results": [failed]}
    (path / "functional.json").write_text(json.dumps(found))
    text = Read(page_of(path)).text
    assert "9 passed, 1 failed (90.0 %), 0 unsupported, 2 skipped, compat mode, engine vllm" in text
    assert "sse.one_done t 1; got 0" in text
    assert "c8 0.5000 0.4000 – 0.6000 9 1" in text


def markdown_of(path):
    folder = RunFolder(path)
    return render_markdown(folder.run, folder.checks())


def test_checks_that_were_not_judged_are_told_on_the_page_and_in_markdown(make_run, page_of):
    path = make_run("a")
    verdicts = ["pass", "unsettled", "unsettled", "error", "skip"]
    results = [
        CheckResult.begun(f"sse.c{n}", "sse", "t", verdict=verdict)
        for n, verdict in enumerate(verdicts)
    ]
    report = ended_checks(results, status="failed")
    (path / "functional.json").write_text(json.dumps(report.to_json()))
    told = "2 unsettled (429 each time), 1 not judged (the server had gone), compat mode"
    counts = "1 passed, 0 failed (100.0 %)"
    page = Read(page_of(path)).text
    assert f"{counts}, 0 unsupported, 1 skipped, {told}, engine vllm" in page
    written = markdown_of(path)
    assert (
        f"checks: {counts}; 2 unsettled (429 each time); 1 not judged (the server had gone)"
        in written
    )


def test_a_run_of_which_no_check_was_judged_has_no_share_of_passes(make_run, page_of):
    path = make_run("a")
    results = [CheckResult.begun("sse.c", "sse", "t", verdict="unsettled", reason="429")]
    report = ended_checks(results)
    (path / "functional.json").write_text(json.dumps(report.to_json()))
    assert (
        "0 passed, 0 failed (–), 0 unsupported, 0 skipped, 1 unsettled" in Read(page_of(path)).text
    )
    assert "checks: 0 passed, 0 failed (–); 1 unsettled (429 each time)" in markdown_of(path)


def test_an_unfinished_run_and_a_simulators_say_so(make_run, page_of):
    path = make_run("a", status="interrupted", target={"kind": "simulator", "model": "s"})
    text = Read(page_of(path)).text
    assert "SIMULATOR: these are the figures" in text
    assert "is interrupted: it holds what was measured until then" in text


def test_a_hundred_thousand_requests_stay_below_three_megabytes(make_run, page_of):
    path = make_run("a", levels=(64,), count=1_000)
    head, *rows = (path / "requests.csv").read_text().splitlines()
    known = [row.split(",") for row in rows]
    where, times = [row[:5] for row in known], np.array([row[5:] for row in known], float)
    # The same thousand requests a hundred times, one after the other.
    later = [times + place * times.max() for place in range(100)]
    lines = (
        ",".join((*words, *map(repr, moments)))
        for block in later
        for words, moments in zip(where, block.tolist(), strict=True)
    )
    (path / "requests.csv").write_text("\n".join((head, *lines)) + "\n")
    page = page_of(path)
    assert len(page.encode()) < 3_000_000
    assert "of 100,000 requests, the slowest of each moment kept" in page


def test_thinning_keeps_what_is_highest():
    draw = np.random.default_rng(0)
    x, y = np.arange(20_000.0), draw.random(20_000)
    y[12_345] = 50.0
    kept_x, kept_y = thinned(x, y, 1000)
    assert len(kept_x) == 1000
    assert 50.0 in kept_y
    assert kept_x[kept_y == 50.0] == [12_345.0]
    few = thinned(x[:10], y[:10], 1000)
    assert (few[0] == x[:10]).all()


@pytest.fixture
def no_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)  # importing it fails
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "matplotlib" else found(name)
    )


def test_every_page_comes_without_matplotlib_and_says_how_to_get_plots(make_run, no_matplotlib):
    first, second = (RunFolder(make_run(f"2026010{n}T000000Z-a", seed=n)) for n in (1, 2))
    write_reports(first.path, draw=True)
    made = {
        "run": (first.path / "report.html").read_text(),
        "comparison": comparison_page(first, [second], []),
        "history": history_page(read_history(first.path.parent)),
    }
    for name, page in made.items():
        assert "<svg" not in page, name
        assert page.count(escape(NO_PLOTS)) == 1, name
        assert page.endswith("</body></html>\n"), name
    assert "pip install 'benchcore-llm[report]'" in NO_PLOTS
    assert ".venv/bin/pip install -e '.[report]'" in NO_PLOTS


def test_the_page_of_a_climb_is_written_without_importing_matplotlib(make_run):
    path = make_run("a")
    code = (
        "import pathlib, sys; from benchcore.show.page import write_reports; "
        f"write_reports(pathlib.Path({str(path)!r}), draw=False); "
        "print([name for name in sys.modules if 'matplotlib' in name])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
    assert escape(NO_PLOTS) in (path / "report.html").read_text()


def test_without_matplotlib_plots_as_files_say_what_to_install(make_run, no_matplotlib):
    with pytest.raises(Exception, match=r"pip install 'benchcore-llm\[report\]'"):
        plots(RunFolder(make_run("a")))


def pages(kind, make_run, page_of):
    """Write a page of a kind into the folder of results, a hostile name in it; return its path."""
    target = {"model": "<script>alert(1)</script>", "kind": "server"}
    paths = [
        make_run(f"2026010{night}T000000Z-a", seed=night, levels=(1, 8), target=target)
        for night in (1, 2)
    ]
    for path in paths:
        timeline(path)
    page = paths[0].parent / "page.html"
    folders = [RunFolder(path) for path in paths]
    if kind == "report":
        page.write_text(page_of(paths[0]))
    elif kind == "comparison":
        page.write_text(comparison_page(folders[0], folders[1:], ["<b>a note</b>"]))
    else:
        page.write_text(history_page(read_history(paths[0].parent)))
    return page


@pytest.mark.integration
@pytest.mark.parametrize("width", [400, 1280])
@pytest.mark.parametrize(
    ("kind", "says", "drawn"),
    [
        ("report", "Where is the knee?", 5),
        ("comparison", "20260102T000000Z-a against 20260101T000000Z-a", 0),
        ("history", "No figure changed its level by more than chance.", 10),
    ],
)
def test_a_browser_shows_it_without_an_error_and_fetches_nothing(
    make_run, page_of, tmp_path, width, kind, says, drawn
):
    if CHROMIUM is None:
        # CI installs one; a machine without it is not to be told that the page is broken.
        assert not os.environ.get("CI"), "CI has no chromium"
        pytest.skip("no chromium")
    page = pages(kind, make_run, page_of)
    log = tmp_path / "net.json"
    done = subprocess.run(
        [
            *(CHROMIUM, "--headless", "--no-sandbox", "--disable-quic"),
            *("--disable-background-networking", "--disable-component-update"),
            *("--enable-logging=stderr", f"--log-net-log={log}", f"--window-size={width},900"),
            *(f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", f"file://{page}"),
        ],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0
    assert "CONSOLE" not in done.stderr
    read = Read(done.stdout)
    assert says in read.text
    assert sum(1 for tag, _ in read.tags if tag == "svg") == drawn
    addresses = [
        value
        for _, attrs in read.tags
        for name, value in attrs.items()
        if name in ("src", "href", "xlink:href", "data", "action") and not value.startswith("#")
    ]
    assert addresses == []
    asked = {
        urlsplit(event["params"]["url"]).hostname
        for event in json.loads(log.read_text())["events"]
        if str(event.get("params", {}).get("url", "")).startswith("http")
    }
    # The browser asks its maker for the time and the like, page or no page.
    assert {host for host in asked if not host.endswith(MAKERS)} == set()
