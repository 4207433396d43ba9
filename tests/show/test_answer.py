"""The answer on top of a page: what a run can serve, and what to think of it."""

import json

import pytest

from benchcore.runs.reading import RunFolder
from benchcore.show.answer import answers
from benchcore.show.page import render_page

RATES = {1: 10.0, 8: 60.0, 64: 61.0}


@pytest.fixture
def lines_of(make_run):
    """Writes a climb of c1, c8 and c64 whose TTFT p99 are 10, 80 and 640 ms; returns its answer."""

    def lines(slos=(), changed=None, **facts):
        path = make_run("a", levels=tuple(RATES), count=60, **facts)
        run = json.loads((path / "run.json").read_text())
        run["load"]["slos"] = list(slos)
        for level in run["levels"]:
            users = level["concurrency"]
            level["request_throughput"] = RATES[users]
            level["output_token_throughput"] = RATES[users] * 10
            level["metrics"]["ttft"]["p99"] = users / 100
            level.update((changed or {}).get(users, {}))
        (path / "run.json").write_text(json.dumps(run))
        return path, {line.question: line for line in answers(RunFolder(path).run)}

    return lines


@pytest.mark.parametrize(
    ("slo", "answer", "more", "kind"),
    [
        ("ttft:100ms", "c8", "60.0 requests/s, 600 tokens/s; c64 breaks ttft:100ms", "good"),
        ("ttft:1s", "c64", "61.0 requests/s, 610 tokens/s; no higher level was measured", "good"),
        ("ttft:5ms", "no level", "even c1 breaks ttft:5ms", "bad"),
        ("icl:5ms", "unknown", "no valid level tells the p99 of these figures", "dim"),
    ],
)
def test_it_serves_the_highest_level_that_holds_the_slos(lines_of, slo, answer, more, kind):
    _, lines = lines_of([slo])
    shown = slo.replace("1s", "1000ms")
    line = lines[f"What holds {shown}?"]
    assert (line.answer, line.more, line.kind) == (answer, more, kind)


def test_every_slo_must_hold(lines_of):
    _, lines = lines_of(["ttft:1s", "e2e:1ms"])
    assert lines["What holds ttft:1000ms, e2e:1ms?"].answer == "no level"


def test_an_invalid_level_serves_nothing(lines_of):
    invalid = {"validity": "invalid", "reasons": ["late"]}
    _, lines = lines_of(["ttft:1s"], {64: invalid})
    assert lines["What holds ttft:1000ms?"].answer == "c8"
    validity = lines["Validity"]
    assert (validity.answer, validity.more, validity.kind) == ("invalid", "c64 invalid", "bad")


def test_without_slos_it_tells_the_highest_throughput(lines_of):
    _, lines = lines_of()
    line = lines["Highest throughput"]
    assert line.answer == "610 tokens/s"
    assert line.more == "c64: 61.0 requests/s, 610 tokens/s; no --slo says what it should hold"


def test_it_tells_the_knee_validity_and_failures(lines_of):
    failing = {
        "ok": 54,
        "failed": 6,
        "failure_rate": 0.1,
        "outcomes": {"ok": 54, "timeout": 4, "http_error": 2, "cancelled": 3},
    }
    path, lines = lines_of(["ttft:100ms"], {8: failing})
    assert lines["The knee"].answer == "c8"
    assert lines["The knee"].more == "reaches 600 tokens/s; c64 brings +1.7 % for +700 % TTFT p99"
    assert (lines["Validity"].answer, lines["Validity"].kind) == ("valid", "good")
    failures = lines["Failures"]
    assert failures.answer == "3.3 %"
    assert failures.more == "6 of 180 requests: 4 × timeout, 2 × http_error"
    assert lines["What holds ttft:100ms?"].more.startswith("60.0 requests/s, 600 tokens/s, 10.0 %")
    page = render_page(RunFolder(path))
    assert page.index("What holds ttft:100ms?") < page.index("Is it valid?")
    assert page.count('<div class="card">') == 4


def test_what_a_suspect_level_serves_is_suspect_and_failures_that_nobody_counted_unknown(lines_of):
    _, lines = lines_of(["ttft:1s"], {64: {"validity": "suspect", "failed": None}})
    served = lines["What holds ttft:1000ms?"]
    assert (served.answer, served.kind) == ("c64", "warn")
    assert served.more.endswith("; no higher level was measured; suspect")
    assert lines["Failures"].answer == "unknown"


def test_a_knee_that_was_not_reached_is_beyond(lines_of):
    _, lines = lines_of(changed={64: {"output_token_throughput": 900.0}})
    knee = lines["The knee"]
    assert knee.answer == "beyond c64"
    assert knee.more == "reaches 900 tokens/s, and throughput still grew"


def test_a_level_that_was_not_judged_is_not_valid(lines_of):
    _, lines = lines_of(changed={8: {"validity": None}})
    assert (lines["Validity"].answer, lines["Validity"].kind) == ("not judged", "dim")
    assert lines["Validity"].more == "1 of 3 levels"
