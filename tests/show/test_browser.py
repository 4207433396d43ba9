"""Pages in a real browser: they fetch nothing, and pointing, zooming and sorting change them."""

import csv
import shutil
import socket
from pathlib import Path

import pytest

from benchcore.judge.history import read_history
from benchcore.runs.reading import RunFolder
from benchcore.show.page import render_page
from benchcore.show.pages import accuracy_page, comparison_page, history_page
from tests.show.browser import Browser, need_chromium
from tests.show.test_eval_page import report
from tests.show.test_page import timeline

EXAMPLE = Path(__file__).parents[2] / "results" / "examples" / "simulator"
GOLDEN = Path(__file__).parents[1] / "golden" / "runs"
HOSTILE = "</script><script>console.log(1)</script><img src=http://127.0.0.1:9/x>"

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    need_chromium()
    with Browser(tmp_path_factory.mktemp("browser")) as started:
        yield started


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The page of a climb of the simulator."""
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(render_page(RunFolder(EXAMPLE)))
    return path


def rows_of(folder):
    with (folder / "requests.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def write(kind, make_run, folder):
    """Write a page of a kind with a hostile name in it; return its path."""
    target = {"model": HOSTILE, "kind": "server"}
    folders = []
    for night in (1, 2):
        path = make_run(f"2026010{night}T000000Z-a", seed=night, levels=(1, 8), target=target)
        timeline(path)
        shutil.copy(EXAMPLE / "histograms.hlog", path)
        folders.append(RunFolder(path))
    content = {
        "report": lambda: render_page(folders[0]),
        "comparison": lambda: comparison_page(folders[0], folders[1:], [HOSTILE]),
        "history": lambda: history_page(read_history(folders[0].path.parent)),
        "eval": lambda: accuracy_page(report(), show_text=True),
    }
    page = folder / "page.html"
    page.write_text(content[kind]())
    return page


@pytest.mark.parametrize(
    ("kind", "drawn"), [("report", 13), ("comparison", 9), ("history", 10), ("eval", 0)]
)
def test_at_every_width_and_in_both_schemes_it_is_drawn_and_fetches_nothing(
    browser, make_run, tmp_path, kind, drawn
):
    page = write(kind, make_run, tmp_path)
    for width, columns in ((400, 1), (1280, 2), (1920, 2)):
        browser.open(page, width)
        assert browser.run("document.querySelectorAll('canvas').length") == drawn
        assert browser.run("document.documentElement.scrollWidth") <= width
        shown = "getComputedStyle(document.querySelector('.plots')).gridTemplateColumns"
        if drawn:
            assert len(browser.run(shown).split()) == columns
        for scheme, color in (("dark", "rgb(20, 23, 26)"), ("light", "rgb(255, 255, 255)")):
            browser.prefer(scheme)
            assert browser.run("getComputedStyle(document.body).backgroundColor") == color
        assert browser.asked == [page.as_uri()]
        assert browser.faults == []


def test_runs_of_old_and_of_other_tools_have_pages_too(browser, tmp_path):
    page = tmp_path / "page.html"
    folders = [RunFolder(path.parent) for path in sorted(GOLDEN.rglob("run.json"))]
    climbs = [folder for folder in folders if folder.levels]
    assert len(climbs) > 10
    for folder in climbs:
        page.write_text(render_page(folder))
        browser.open(page)
        assert browser.faults == [], folder.path
        figures = browser.run("document.querySelectorAll('figure').length")
        assert browser.run("document.querySelectorAll('figure:has(canvas)').length") == figures > 0
        rows = sum(
            len(requests)
            for level in folder.levels
            if (requests := folder.requests(level.level, level.repeat)) is not None
        )
        count = browser.run("document.querySelector('.count')?.textContent ?? ''")
        assert count == (f"{rows} of {rows} requests" if rows else "")


def test_even_a_script_that_got_in_could_send_nothing(browser, page):
    browser.open(page)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/"
        fetched = f"fetch('{url}').then(() => 'sent', () => 'refused')"
        assert browser.run(fetched) == "refused"
        assert "Content Security Policy" in browser.faults[0]["entry"]["text"]
        image = f"const image = new Image(); image.src = '{url}'; document.body.append(image)"
        ended = "image.onload = () => done('sent'); image.onerror = () => done('refused')"
        assert browser.run(f"new Promise((done) => {{ {image}; {ended}; }})") == "refused"
        added = "const s = document.createElement('script'); s.text = 'window.ran = 1'"
        browser.run(f"{{ {added}; document.body.append(s); }}")
        assert browser.run("window.ran") is None
        listening.setblocking(False)
        with pytest.raises(BlockingIOError):
            listening.accept()


def middle(browser, name, across=0.5):
    """Return where on the screen a point of a plot is, once it is in view."""
    return browser.run(
        f"""(() => {{
          const over = document.querySelector('figure[data-plot="{name}"] .u-over');
          over.scrollIntoView({{block: "center"}});
          const box = over.getBoundingClientRect();
          return [box.left + {across} * box.width, box.top + box.height / 2];
        }})()"""
    )


def legend(name):
    return f"""[...document.querySelectorAll('figure[data-plot="{name}"] .key b')]
        .map((one) => one.textContent.trim())"""


def picture(browser, name):
    canvas = f"""document.querySelector('figure[data-plot="{name}"] canvas')"""
    return browser.run(f"{canvas}.toDataURL()")


def test_pointing_at_a_plot_tells_its_values_and_those_of_the_plots_linked_with_it(browser, page):
    browser.open(page)
    assert set(browser.run(legend("percentiles-ttft"))) == {""}
    browser.mouse("mouseMoved", *middle(browser, "percentiles-ttft"))
    for name in ("percentiles-ttft", "percentiles-e2e"):
        browser.until(f"{legend(name)}.every((one) => parseFloat(one) > 0)")
    assert set(browser.run(legend("distribution-ttft"))) == {""}
    # The panels of a timeline stand at the same second.
    browser.mouse("mouseMoved", *middle(browser, "timeline-c1"))
    browser.until(f"{legend('timeline-c1')}.every((one) => parseFloat(one) > 0)")
    at = """[...document.querySelectorAll('figure[data-plot="timeline-c1"] .at')]
        .map((one) => one.textContent)"""
    told = browser.run(at)
    assert len(told) == 3
    assert len(set(told)) == 1
    assert told[0].startswith("at ")


def test_dragging_zooms_the_plots_of_a_group_and_reset_shows_all(browser, page):
    browser.open(page)
    names = ("percentiles-ttft", "percentiles-itl", "distribution-ttft")
    before = {name: picture(browser, name) for name in names}
    reset = """document.querySelector('figure[data-plot="percentiles-itl"] .tools button')"""
    assert browser.run(f"{reset}.hidden") is True
    browser.drag(middle(browser, names[0], 0.3), middle(browser, names[0], 0.6))
    browser.until(f"!{reset}.hidden")
    after = {name: picture(browser, name) for name in names}
    assert {name for name in names if after[name] != before[name]} == set(names[:2])
    browser.run(f"{reset}.click()")
    browser.until(f"{reset}.hidden")
    assert {name: picture(browser, name) for name in names} == before


def test_a_plot_is_read_with_the_keyboard_alone(browser, page):
    browser.open(page)
    plot = """document.querySelector('figure[data-plot="curve"]')"""
    browser.run(f"{plot}.querySelector('.chart').focus()")
    said = f"{plot}.querySelector('[aria-live]').textContent"
    levels = RunFolder(EXAMPLE).levels
    for key, level in zip(("ArrowRight", "ArrowRight", "ArrowLeft"), (0, 1, 0), strict=True):
        browser.press(key)
        p50 = levels[level].figure("ttft.p50") * 1e3
        browser.until(f"{said}.startsWith('TTFT p50 {p50:.4g}, TTFT p99 ')")
    browser.press("+")
    browser.until(f"!{plot}.querySelector('.tools button').hidden")
    browser.press("0")
    browser.until(f"{plot}.querySelector('.tools button').hidden")


def test_a_series_is_hidden_and_shown_and_the_data_stands_behind_it(browser, page):
    browser.open(page)
    before = picture(browser, "curve")
    key = """document.querySelector('figure[data-plot="curve"] .key')"""
    browser.run(f"{key}.click()")
    browser.until(f"""{key}.getAttribute("aria-pressed") === "false" """)
    hidden = picture(browser, "curve")
    assert hidden != before
    browser.run(f"{key}.click()")
    browser.until(f"""{key}.getAttribute("aria-pressed") === "true" """)
    assert picture(browser, "curve") == before
    details = """document.querySelector('figure[data-plot="curve"] details')"""
    browser.run(f"{details}.open = true")
    browser.until(f"{details}.querySelector('td')")
    levels = RunFolder(EXAMPLE).levels
    shown = browser.run(f"[...{details}.querySelectorAll('td')].map((one) => one.textContent)")
    assert shown[:3] == [
        f"{level.figure(figure) * 1e3:.4g}"
        for level in levels[:1]
        for figure in ("ttft.p50", "ttft.p99", "e2e.p99")
    ]


def test_the_switch_changes_the_colours_of_the_page_and_of_its_plots(browser, page):
    browser.open(page)
    before = picture(browser, "curve")
    browser.run("document.getElementById('theme-dark').click()")
    paper = "getComputedStyle(document.body).backgroundColor"
    assert browser.run(paper) == "rgb(20, 23, 26)"
    assert picture(browser, "curve") != before
    browser.run("document.getElementById('theme-auto').click()")
    assert browser.run(paper) == "rgb(255, 255, 255)"
    assert picture(browser, "curve") == before


def test_paper_is_light_whatever_the_screen_is(browser, page):
    browser.open(page)
    light = picture(browser, "curve")
    drawn = """document.querySelector('figure[data-plot="curve"] canvas').toDataURL()"""
    browser.prefer("dark")
    browser.until(f"{drawn} !== {light!r}")
    browser.prefer("dark", "print")
    assert browser.run("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    browser.until(f"{drawn} === {light!r}")
    assert browser.run("getComputedStyle(document.querySelector('.rows')).display") == "none"


BODY = "document.querySelector('#request-table tbody')"


def column(head):
    """Return the texts of a column of the table of requests, as far as its rows are in view."""
    return f"""(() => {{
      const heads = [...document.querySelectorAll('#request-table thead th')];
      const at = heads.findIndex((one) => one.textContent.startsWith({head!r}));
      return [...{BODY}.querySelectorAll('tr[data-at]')].map((one) => one.children[at].textContent);
    }})()"""


def test_the_table_has_every_request_and_sorts_and_filters_them(browser, page):
    browser.open(page)
    rows = rows_of(EXAMPLE)
    count = "document.querySelector('.count').textContent"
    assert browser.run(count) == f"{len(rows)} of {len(rows)} requests"
    # Only what is in view is there, and the rest is a scroll away.
    assert browser.run(f"{BODY}.querySelectorAll('tr[data-at]').length") < 60
    browser.run("document.querySelector('.rows').scrollTop = 1e9")
    browser.until(f"{BODY}.querySelector('tr[data-at=\"{len(rows) - 1}\"]')")
    ends = [(row["last_token_seconds"] or row["done_seconds"], row) for row in rows]
    took = [float(end) - float(row["sent_seconds"]) for end, row in ends if end]
    e2e = sorted(took, reverse=True)
    head = "[...document.querySelectorAll('.sort')].find((one) => one.textContent === 'e2e ms')"
    browser.run(f"{head}.click()")
    shown = [float(value.replace(",", "")) for value in browser.run(column("e2e"))[:5]]
    assert shown == pytest.approx([value * 1e3 for value in e2e[:5]], rel=1e-3)
    heads = "document.querySelectorAll('#request-table th[aria-sort]')"
    assert browser.run(f"[...{heads}].map((one) => one.ariaSort)") == ["descending"]

    def search(words):
        browser.run(
            "{ const input = document.querySelector('#request-table input');"
            f"input.value = {words!r}; input.dispatchEvent(new Event('input')); }}"
        )
        return browser.run(count)

    slow = sum(value * 1e3 > 100 for value in e2e)
    assert search("e2e>100") == f"{slow} of {len(rows)} requests"
    level = "document.querySelector('#request-table select')"
    browser.run(f"{level}.value = 'c8'; {level}.dispatchEvent(new Event('change'))")
    eight = sum(row["level"] == "c8" for row in rows)
    assert search("") == f"{eight} of {len(rows)} requests"
    assert search("WINDOW") == (
        f"{sum(row['level'] == 'c8' and row['stage'] == 'window' for row in rows)} "
        f"of {len(rows)} requests"
    )
    assert search("nothing>5").startswith("nothing>5: limits are on index, planned,")


def test_a_click_shows_the_parts_of_a_request_and_arrows_go_on(browser, page):
    browser.open(page)
    first, second = rows_of(EXAMPLE)[:2]
    detail = "document.querySelector('#request-table .detail')"
    assert browser.run(f"{detail}.hidden") is True
    browser.run(f"{BODY}.querySelector('tr').click()")
    assert browser.run(f"{detail}.querySelector('h3').textContent") == "Request 0, level c1"

    def parts():
        lines = f"[...{detail}.querySelectorAll('tbody tr')]"
        told = browser.run(f"{lines}.map((one) => [...one.children].map((x) => x.innerText))")
        return {line[0].split("\n")[0].lstrip("■ "): float(line[1]) for line in told}

    for row in (first, second):
        found = parts()
        took = (float(row["done_seconds"]) - float(row["scheduled_seconds"])) * 1e3
        decode = (float(row["last_token_seconds"]) - float(row["first_token_seconds"])) * 1e3
        assert found["together"] == pytest.approx(took, rel=1e-3)
        assert found["decode"] == pytest.approx(decode, rel=1e-3)
        browser.press("ArrowDown")
        browser.until(f"{detail}.querySelector('h3').textContent !== 'Request 0, level c1'")
