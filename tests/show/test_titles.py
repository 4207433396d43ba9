"""One name for each figure: ITL and ICL are spelt one way wherever people read them."""

import json
import re
import shutil
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from benchcore.cli.main import cli
from benchcore.config.catalogue import LATENCIES as TITLES
from benchcore.config.catalogue import title
from benchcore.config.metric_map import LATENCIES
from benchcore.metrics.figures import METRICS
from benchcore.publish.prometheus import run_metrics
from benchcore.runs.run import Run
from tests.show.test_page import Read
from tests.test_documentation import PAGES, READMES, prose

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "results" / "examples" / "simulator"
NAMES = {"itl": "ITL", "icl": "ICL", "token": "inter-token latency", "chunk": "inter-chunk latency"}
SPELLING = re.compile(
    r"\b(?:(itl|icl)s?|inter[\s_-]*(token|chunk)s?(?:[\s_-]*latenc(?:y|ies))?)\b", re.IGNORECASE
)


def misspelt(text):
    """What stands in a text for ITL or ICL, and is not its name."""
    return [
        match[0]
        for match in SPELLING.finditer(text)
        if match[0] not in (name := NAMES[(match[1] or match[2]).lower()], name.capitalize())
    ]


def named(text):
    return {(match[1] or match[2]).lower() for match in SPELLING.finditer(text)}


@pytest.fixture
def run(tmp_path):
    """Runs a command on the example, an imported run beside it; returns what it prints."""
    runs = {"ours": tmp_path / "results" / "ours", "theirs": tmp_path / "results" / "theirs"}
    shutil.copytree(EXAMPLE, runs["ours"])
    runs["theirs"].mkdir()
    other = json.loads((EXAMPLE / "run.json").read_text())
    other["run_id"] = "theirs"
    for level in other["levels"]:
        # As of another tool: it has the gaps between chunks and none between tokens.
        del level["metrics"]["itl"]
    (runs["theirs"] / "run.json").write_text(json.dumps(other))

    def call(*args):
        words = [str(runs.get(arg, arg)).replace("RESULTS", str(tmp_path)) for arg in args]
        result = CliRunner().invoke(cli, words, catch_exceptions=False, standalone_mode=False)
        assert not result.return_value
        page = tmp_path / "page.html"
        return Read(page.read_text()).text if page.exists() else result.output

    return call


@pytest.mark.parametrize(
    ("args", "names"),
    [
        (("report", "ours"), {"itl"}),
        (("report", "ours", "--format", "markdown"), {"itl"}),
        (("report", "ours", "--format", "html", "--output", "RESULTS/page.html"), {"itl", "token"}),
        (("compare", "ours", "ours"), {"itl"}),
        (("compare", "ours", "ours", "--format", "markdown"), {"itl"}),
        (("compare", "ours", "theirs"), {"icl"}),
        (("compare", "ours", "theirs", "--format", "markdown"), {"icl"}),
        (
            ("compare", "ours", "theirs", "--format", "html", "--output", "RESULTS/page.html"),
            {"icl", "itl"},
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_a_command_shows_has_the_names(run, args, names):
    shown = run(*args)
    assert misspelt(shown) == []
    assert named(shown) == names


def helps(command, name=()):
    yield " ".join(name), command.get_help(click.Context(command, info_name=" ".join(name)))
    if isinstance(command, click.Group):
        context = click.Context(command)
        for word in command.list_commands(context):
            yield from helps(command.get_command(context, word), (*name, word))


def test_help_texts_have_the_names():
    texts = dict(helps(cli))
    assert len(texts) > 20
    assert {name: misspelt(text) for name, text in texts.items() if misspelt(text)} == {}


def test_prometheus_has_the_names():
    from prometheus_client import generate_latest

    run = json.loads((EXAMPLE / "run.json").read_text())
    told = dict(
        re.findall(
            r"# HELP (\S+) (.*)", generate_latest(run_metrics(Run.model_validate(run))).decode()
        )
    )
    latencies = {name: told[f"benchcore_{name}"] for name in LATENCIES}
    assert latencies == LATENCIES
    assert latencies["itl_seconds"] == "Inter-token latency (ITL)."
    assert misspelt(" ".join(told.values())) == []


def test_the_dashboard_has_the_names():
    board = json.loads((ROOT / "grafana" / "benchcore.json").read_text())
    titles = [panel["title"] for panel in board["panels"]]
    assert "Inter-token latency (ITL), at $quantile" in titles
    assert misspelt(" ".join(titles)) == []


@pytest.mark.parametrize("page", [*READMES, *PAGES], ids=lambda page: page.name)
def test_the_documentation_has_the_names(page):
    # A link's own target is no text.
    assert misspelt(re.sub(r"\]\([^)]*\)", "]", prose(page))) == []


def test_one_page_explains_both_and_the_readmes_lead_to_it():
    explained = [page.name for page in PAGES if "### ICL and ITL" in page.read_text()]
    assert explained == ["figures.md"]
    for page in READMES:
        assert "docs/figures.md#icl-and-itl" in page.read_text()


def test_every_latency_has_a_title_and_no_two_have_the_same():
    assert set(TITLES) == set(METRICS)
    names = [(TITLES[key].short, TITLES[key].long) for key in ("itl", "icl")]
    assert names == [(NAMES["itl"], NAMES["token"]), (NAMES["icl"], NAMES["chunk"])]
    assert len({one.short for one in TITLES.values()}) == len(TITLES)


@pytest.mark.parametrize(
    ("figure", "expected"),
    [
        ("itl.p99", "ITL p99"),
        ("icl.p50", "ICL p50"),
        ("ttft_from_schedule.p999", "TTFT from schedule p999"),
        ("e2e", "e2e"),
        ("request_throughput", "request throughput"),
        ("accuracy.score", "accuracy.score"),
    ],
)
def test_a_figure_has_its_title(figure, expected):
    assert title(figure) == expected
