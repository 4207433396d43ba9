"""What the rows of a level tell of its objectives, and what a certificate says in words."""

import math

import pytest

from benchcore.config.limits import Objective
from benchcore.judge.attainment import Drift
from benchcore.judge.capacity import Capacity, SearchRule
from benchcore.judge.certificate import Attainments, says, visit_of
from benchcore.runs.certificates import Attained
from benchcore.runs.reading import read_requests
from benchcore.runs.run import Level

HEAD = (
    "level,repeat,stage,request_id,outcome,phase,scheduled_seconds,sent_seconds,"
    "first_token_seconds,last_token_seconds,done_seconds,turn\n"
)
TTFT, ITL, FAILURES = map(Objective.parse, ("ttft:p90:100ms", "itl:p90:50ms", "failures:10%"))


def level(**more):
    facts = {
        "level": "r4",
        "repeat": 1,
        "mode": "open",
        "rate": 4.0,
        "failure_rate": 0.0,
        "validity": "valid",
        "metrics": {},
        "window_seconds": 10.0,
        "warmup_seconds": 1.0,
    }
    return Level.model_validate(facts | more)


def row(place, outcome="ok", *, stage="window", phase="", ttft=0.05, turn=1):
    """A row of a request that is due in its turn, a quarter of a second after the last."""
    at = place / 4
    times = [at, at, at + ttft, at + ttft + 1, at + ttft + 1]
    if outcome != "ok":
        times = [at, at, None, None, at + 1]
    cells = ["" if one is None else f"{one:.9f}" for one in times]
    return ",".join(["r4", "1", stage, f"id-{place}", outcome, phase, *cells, str(turn)]) + "\n"


def told(tmp_path, rows, objectives=(TTFT, FAILURES), attained=(), **facts):
    path = tmp_path / "requests.csv"
    path.write_text(HEAD + "".join(rows))
    requests = read_requests(path).get(("r4", 1))
    return visit_of(level(**facts), requests, objectives, Attainments(attained))


def test_latencies_are_of_measured_requests_that_ended_ok(tmp_path):
    rows = [row(0, stage="warmup", ttft=9), *(row(place) for place in range(1, 9))]
    rows += [row(9, ttft=0.1), row(10, ttft=0.100000001), row(11, "timeout")]
    visit = told(tmp_path, rows)
    share = visit.shares["ttft:p90:100ms"]
    assert (share.count, share.within) == (10, 9)  # to the nanosecond
    assert (visit.level, visit.requests, visit.seconds, visit.valid) == (4.0, 12, 11.0, True)


def test_what_fails_is_dropped_or_outlasts_the_drain_failed_and_what_was_stopped_tells_nothing(
    tmp_path,
):
    rows = [
        *(row(place) for place in range(6)),
        row(6, "http_error"),
        row(7, "dropped"),
        row(8, "cancelled", phase="drain"),
        row(9, "cancelled"),
    ]
    share = told(tmp_path, rows).shares["failures:10%"]
    assert (share.count, share.within) == (9, 6)


def test_gaps_come_from_beside_the_rows_by_the_id_of_the_request(tmp_path):
    text = str(ITL)
    attained = [
        Attained("r4", 1, "id-0", text, 10, 9),
        Attained("r4", 1, "id-1", text, 20, 20),
        Attained("r4", 1, "id-2", text, 30, 0),  # it failed
        Attained("r4", 2, "id-0", text, 40, 0),
        Attained("r4", 1, "id-0", "itl:p90:9ms", 10, 1),
    ]
    visit = told(tmp_path, [row(0), row(1), row(2, "truncated")], (ITL,), attained)
    share = visit.shares[text]
    assert (share.count, share.within) == (30, 29)


@pytest.mark.parametrize(
    ("facts", "valid"),
    [
        ({}, True),
        ({"validity": "suspect"}, False),
        ({"validity": "invalid"}, False),
        ({"interrupted": True}, False),
    ],
)
def test_only_a_valid_level_that_was_not_interrupted_votes(tmp_path, facts, valid):
    assert told(tmp_path, [row(0), row(1)], **facts).valid is valid


def test_a_level_without_rows_has_no_vote(tmp_path):
    visit = told(tmp_path, [])
    assert not visit.valid
    assert visit.shares["ttft:p90:100ms"].count == 0


def test_a_queue_that_grows_is_told_by_first_turns_or_by_the_level_itself(tmp_path):
    slower = [0.05 * (1 + place / 20) for place in range(200)]
    rows = [row(place, ttft=ttft) for place, ttft in enumerate(slower)]
    assert told(tmp_path, rows).grows
    later = [row(place, ttft=ttft, turn=2) for place, ttft in enumerate(slower)]
    assert not told(tmp_path, later).grows  # conversations grow
    assert not told(tmp_path, rows, mode="closed", concurrency=4).grows
    even = [row(place) for place in range(200)]
    assert not told(tmp_path, even).grows
    found = ["server_saturated: in-flight grew from 1.0 to 9.0"]
    assert told(tmp_path, even, findings=found).grows


RULE = SearchRule({"ttft:p99:500ms": 0.99}, 1, 64, whole=True)
KNOWN = (Drift(1, 1.0, 0.9),)


def verdict(at_least, refuted, edge=None, why="", *, unmeasured=(), drifts=KNOWN):
    return Capacity(at_least, refuted, edge, why, unmeasured, (), drifts, 0)


@pytest.mark.parametrize(
    ("found", "ended", "words"),
    [
        (
            verdict(48, 50, "slope", "at 50 still 97.1% keep ttft:p99:500ms"),
            "settled",
            (
                "capacity ≥ 48 users at 95 % confidence, ≤ 50 users refuted "
                "(slope: at 50 still 97.1% keep ttft:p99:500ms)"
            ),
        ),
        (
            verdict(64, None),
            "settled",
            "capacity ≥ 64 users at 95 % confidence, nothing above was tried: --to ends there",
        ),
        (
            verdict(8, None, unmeasured=(16.0,)),
            "settled",
            (
                "capacity ≥ 8 users at 95 % confidence, nothing refuted up to 16 users; "
                "never valid, and so without a vote: 16"
            ),
        ),
        (
            verdict(None, 1, "slope", "at 1 still 20.0% keep ttft:p99:500ms"),
            "settled",
            (
                "no capacity: 1 user, the lowest level, refuted "
                "(slope: at 1 still 20.0% keep ttft:p99:500ms)"
            ),
        ),
        (
            verdict(None, None),
            "interrupted",
            (
                "capacity unknown: no level is held at 95 % confidence; "
                "the search ended early: interrupted"
            ),
        ),
        (
            verdict(8, 9, drifts=(Drift(1, math.exp(0.2), 1e-6),)),
            "settled",
            (
                "capacity ≥ 8 users at 95 % confidence, ≤ 9 users refuted; the server drifted: "
                "1 user took 22.1% longer when it came again, and only what came after that counts"
            ),
        ),
    ],
)
def test_the_verdict_in_words(found, ended, words):
    assert says(RULE, found, ended, [1, 2, 4, 8, 16]) == words
