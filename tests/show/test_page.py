"""The page: what it says. What a browser makes of it: `test_browser.py`."""

import base64
import hashlib
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import benchcore
from benchcore.judge.explain import explain
from benchcore.judge.parts import Until
from benchcore.runs.checks import CheckResult
from benchcore.runs.reading import RunFolder
from benchcore.show.charts import Band, spaced
from benchcore.show.document import document
from benchcore.show.drawing import draw, figure_of
from benchcore.show.explanation import sentences
from benchcore.show.markdown import render_markdown
from benchcore.show.page import render_page
from benchcore.show.plots import plots, thinned
from tests.run_folders import ended_checks

ROOT = Path(__file__).parents[2]
ASSETS = Path(benchcore.__file__).parent / "show" / "assets"


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
    return lambda path, **given: render_page(RunFolder(path), **given)


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
    # An end tag may have attributes, and a comment with a script in it swallows the next end tag.
    labels = {"x": "</script><script>alert(1)</script>", "y": "</script x", "z": "<!--<script x"}
    path = make_run("a", labels=labels)
    page = page_of(path)
    data = re.search(r'<script type="application/json" id="run">(.*?)</script>', page)[1]
    assert json.loads(data) == RunFolder(path).run.whole()
    assert json.loads(data)["labels"] == labels
    assert "<" not in data


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
    page = page_of(path, gpus=2)
    over_time = "In flight, tokens per second and time to first token of level c8 over time"
    shades = "grey: warm-up, green: steady state, dotted: the end of the window"
    captions = re.findall(r'<figure class="plot" data-plot="(.*?)">.*?<figcaption>(.*?)<', page)
    assert captions == [
        ("curve", "Latency against throughput, a point for each of 2 levels."),
        ("pareto", "Tokens per second per user against tokens per second per GPU (2)."),
        ("goodput", "Requests per second that meet a limit of the TTFT."),
        ("timeline-c8", f"{over_time}, in seconds from its start; {shades}."),
        ("requests", "Time to first token of 1,000 requests."),
    ]
    data = json.loads(re.search(r'id="plots">(.*?)</script>', page)[1])
    assert [(plot["name"], plot["text"] + ".") for plot in data] == captions
    assert [series["label"] for series in data[2]["panels"][0]["series"]] == ["c1", "c8"]


def test_tables_have_captions_and_heads_of_columns_and_rows(make_run, page_of):
    page = page_of(make_run("a", levels=(1, 8)))
    tables = re.findall(r"<table>.*?</table>", page, re.DOTALL)
    assert len(tables) == 5
    for table in tables:
        assert re.match(r'<table><caption class="hidden">[^<]+</caption><thead><tr><th ', table)
        head, _, body = table.partition("</thead>")
        assert "<td" not in head
        assert body.count('<th scope="row"') == body.count("<tr>") >= 2


def test_the_page_says_why_slow_requests_are_slow(make_run, page_of):
    path = make_run("a", levels=(1, 8), count=400)
    read = Read(page_of(path))
    run = RunFolder(path)
    for level in run.levels:
        for until in Until:
            for sentence in sentences(explain(run.requests(level.level, 1), until)):
                assert sentence in read.text
    assert read.text.count("late departure by benchcore's stamps") == 2
    assert "Why are slow requests slow?" in read.text


def test_the_knee_is_marked_in_the_curve(make_run):
    path = make_run("a", levels=(1, 8))
    run = json.loads((path / "run.json").read_text())
    for level, rate in zip(run["levels"], (500.0, 510.0), strict=True):
        level["output_token_throughput"] = rate
    (path / "run.json").write_text(json.dumps(run))
    (curve,) = [plot for plot in plots(RunFolder(path)) if plot.name == "curve"]
    assert [text for _, _, text in curve.panels[0].labels] == ["c1 (knee)", "c8"]


def test_the_timeline_shades_warm_up_and_steady_state(make_run):
    steady = {"found": True, "start_seconds": 2.0, "end_seconds": 5.0}
    path = make_run("a", level={"steady_state": steady, "warmup_seconds": 1.0})
    timeline(path)
    (plot,) = [one for one in plots(RunFolder(path)) if one.name == "timeline-c8"]
    assert len(plot.panels) == 3
    for panel in plot.panels:
        assert panel.bands == (Band("warmup", 0.0, 1.0), Band("steady", 2.0, 5.0))
    for axes in figure_of(plot).axes:
        spans = [
            patch.get_extents().transformed(axes.transData.inverted()) for patch in axes.patches
        ]
        drawn = {(round(span.x0, 6), round(span.x1, 6)) for span in spans}
        assert {(0.0, 1.0), (2.0, 5.0)} <= drawn


def test_gpus_and_what_tokens_cost_have_tables(make_run, page_of):
    device = {
        "device": "gpu0",
        "name": "H<b>100",
        "utilization_avg": 0.5,
        "power_watts_avg": 300.0,
        "memory_bytes_max": 7e10,
        "memory_total_bytes": 8e10,
        "sm_hertz_avg": 1.98e9,
        "throttled": {"power cap": 0.25},
        "readings": 9,
    }
    gpus = {"devices": [device], "energy_joules": 1234.0, "energy_reasons": ["a gap of 4 s"]}
    level = {"gpus": gpus, "tokens_per_joule": 2.5, "cost_per_million_tokens": 0.75}
    page = page_of(make_run("a", level=level))
    text = Read(page).text
    assert "c8 1,234 2.50 – 0.75 a gap of 4 s" in text
    assert "c8 gpu0 H<b>100 50.0 % 300 – 70.0 80.0 1,980 power cap" in text
    assert "GPUs, energy and cost" not in page_of(make_run("b"))


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


@given(st.integers(0, 10_000), st.integers(1, 500))
def test_places_are_spaced_evenly_and_each_is_another(count, most):
    places = spaced(count, most).tolist()
    assert len(places) == min(count, most)
    assert sorted(set(places)) == places
    if most > 1 and count:
        assert (places[0], places[-1]) == (0, count - 1)
        gaps = np.diff(places)
        assert len(gaps) == 0 or gaps.max() - gaps.min() <= 1


def test_pages_are_whole_without_matplotlib_and_files_say_what_to_install(make_run):
    path = make_run("a")
    code = (
        "import pathlib, sys; sys.modules['matplotlib'] = None\n"
        "from benchcore.show.page import write_reports; path = pathlib.Path(sys.argv[1])\n"
        "write_reports(path)\n"
        "from benchcore.runs.reading import RunFolder; from benchcore.show.plots import plots\n"
        "from benchcore.show.drawing import draw\n"
        "try: draw(plots(RunFolder(path))[0])\n"
        "except Exception as error: print(error)\n"
    )
    command = [sys.executable, "-c", code, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "pip install 'benchcore-llm[report]'" in done.stdout
    assert ".venv/bin/pip install -e '.[report]'" in done.stdout
    page = (path / "report.html").read_text()
    assert page.count('<figure class="plot"') == 3
    assert page == render_page(RunFolder(path))


def test_a_plot_is_drawn_as_files(make_run):
    path = make_run("a", levels=(1, 8))
    timeline(path)
    drawn = {plot.name: draw(plot) for plot in plots(RunFolder(path))}
    for files in drawn.values():
        assert files["png"].startswith(b"\x89PNG")
        assert files["svg"].startswith(b"<?xml")
    assert b">TTFT p99</text>" in drawn["curve"]["svg"]
    assert draw(plots(RunFolder(path))[0]) == drawn["curve"]


def scripts_and_policy(page):
    scripts = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="(.*?)"', page)
    return scripts, dict(part.split(" ", 1) for part in policy.split("; "))


def test_only_our_own_scripts_and_styles_may_run_and_nothing_may_be_fetched(make_run, page_of):
    labels = {"x": "</title><script>alert(1)</script>"}
    page = page_of(make_run("a", labels=labels, error=labels["x"], status="failed"))
    scripts, policy = scripts_and_policy(page)
    assert policy.pop("default-src") == "'none'"
    assert (policy.pop("base-uri"), policy.pop("form-action")) == ("'none'", "'none'")
    styles = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    for kind, contents in (("script-src", scripts), ("style-src", styles)):
        assert policy.pop(kind).split() == [
            f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
            for text in contents
        ]
    assert policy == {}
    assert len(scripts) == 3
    assert not any("alert(1)" in script for script in scripts)
    assert not re.search(r"<[^>]* (?:on\w+|style)=", page.partition("</main>")[0])


def test_a_page_without_plots_has_no_script_at_all():
    scripts, policy = scripts_and_policy(document("t", ["<h1>t</h1>"]))
    assert (scripts, policy["script-src"]) == ([], "'none'")


def test_what_is_not_ours_is_what_it_was_published_as_and_its_licence_is_in_each_page(
    make_run, page_of
):
    vendored = json.loads((ASSETS / "vendored.json").read_text())
    assert (vendored["package"], vendored["license"]) == ("uplot", "MIT")
    for name, digest in vendored["sha256"].items():
        assert hashlib.sha256((ASSETS / name).read_bytes()).hexdigest() == digest, name
    assert set(vendored["sha256"]) == {path.name for path in ASSETS.glob("uPlot.*")}
    assert f"(v{vendored['version']})" in (ASSETS / "uPlot.iife.min.js").read_text()
    page = page_of(make_run("a"))
    assert (ASSETS / "uPlot.LICENSE").read_text().strip() in page
