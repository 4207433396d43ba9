"""The search for a capacity, on servers that are known, without one request being sent."""

import math
from dataclasses import replace
from statistics import NormalDist, median

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from benchcore.judge.attainment import Pace, Visit, drift_of, grows, share_of, share_of_gaps
from benchcore.judge.capacity import Search, SearchRule
from benchcore.judge.shares import (
    Share,
    better_p,
    evidence_of,
    interval,
    isotonic,
    look_error,
    worse_p,
)
from tests.bench.capacity import KINDS, searched

RULE = SearchRule({"ttft": 0.9}, 1, 1024, whole=True)


def kept(share, count=2000):
    return Share(count, round(share * count), float(count))


def visit(level, share, *, valid=True, seconds=1.0, pace=0.0, **more):
    shares = more.pop("shares", {"ttft": kept(share)})
    told = Pace(pace, 0.001, 19.0)
    return Visit(level, valid, shares, pace=told, requests=500, seconds=seconds, **more)


def run(rule, measure, most=200):
    """Search with a function from a level to what a visit of it measures."""
    search = Search(rule)
    while (level := search.next()) is not None:
        search.visits.append(measure(level))
        assert len(search.visits) < most
    return search


def levels(search):
    return [one.level for one in search.visits]


# Statistics.


@pytest.mark.parametrize(
    ("looks", "z"), [(1, 1.645), (2, 1.875), (3, 1.992), (4, 2.067), (5, 2.122)]
)
def test_the_error_of_a_look_is_that_of_pocock(looks, z):
    # Jennison and Turnbull 2000, table 2.1, two-sided 0.1.
    assert NormalDist().inv_cdf(1 - look_error(0.05, looks)) == pytest.approx(z, abs=5e-4)


@given(st.integers(1, 60), st.data(), st.floats(0.05, 0.95))
def test_a_share_is_judged_by_the_binomial_tail_of_which_its_own_value_counts_half(n, data, target):
    within = data.draw(st.integers(0, n))

    def chance(count):
        return math.comb(n, count) * target**count * (1 - target) ** (n - count)

    share = Share(n, within, float(n))
    more = sum(map(chance, range(within + 1, n + 1))) + chance(within) / 2
    assert better_p(share, target) == pytest.approx(more, abs=1e-9)
    assert worse_p(share, target) == pytest.approx(1 - more, abs=1e-9)


def test_fewer_independent_values_tell_less():
    many, few = Share(500, 500, 500.0), Share(500, 500, 100.0)
    assert better_p(many, 0.99) == pytest.approx(0.99**500 / 2)
    assert better_p(few, 0.99) == pytest.approx(0.99**100 / 2)
    estimated = Share(500, 500, 100.0, freedom=19.0)
    assert better_p(estimated, 0.99) > better_p(few, 0.99)


def test_an_interval_holds_the_shares_that_are_not_told_from_it():
    low, high = interval(Share(100, 90, 100.0), 0.025)
    assert better_p(Share(100, 90, 100.0), low) == pytest.approx(0.025, abs=1e-6)
    assert worse_p(Share(100, 90, 100.0), high) == pytest.approx(0.025, abs=1e-6)
    assert interval(Share(0, 0, 0.0), 0.025) is None


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0.1, 10)), min_size=1, max_size=12))
@example([(0.5, 1.0), (1.0, 1.0), (1.0, 1.0)])
def test_the_isotonic_model_is_the_min_max_formula(points):
    values, weights = zip(*points, strict=True)

    def mean(begin, end):
        return np.average(values[begin:end], weights=weights[begin:end])

    # Robertson, Wright and Dykstra 1988, theorem 1.4.4, for values that never rise.
    size = len(values)
    expected = [
        min(max(mean(low, high) for high in range(at + 1, size + 1)) for low in range(at + 1))
        for at in range(size)
    ]
    blocks = isotonic(values, weights)
    fitted = [value for begin, end, value in blocks for _ in range(begin, end)]
    assert fitted == pytest.approx(expected)
    assert [begin for begin, _, _ in blocks[1:]] == [end for _, end, _ in blocks[:-1]]


def test_levels_in_the_wrong_order_speak_for_one_another():
    told = evidence_of({1.0: [kept(0.8, 100)], 2.0: [kept(0.9, 100)], 4.0: [kept(0.2, 100)]})
    assert told[1.0].above == Share(200, 170, 200.0)  # what holds at 2 holds at 1
    assert told[1.0].below == told[1.0].own == Share(100, 80, 100.0)
    assert told[2.0].below == Share(200, 170, 200.0)  # what fails at 1 fails at 2
    assert told[2.0].above == told[2.0].own == Share(100, 90, 100.0)
    assert told[4.0].above == told[4.0].below == told[4.0].own


# What the requests of a level tell.


def test_requests_that_resemble_their_neighbours_count_less():
    at = np.arange(1000) / 10
    draw = np.random.default_rng(1)
    alone = share_of(draw.random(1000), at, 0.9, 0.9)
    assert alone.within == int((np.random.default_rng(1).random(1000) <= 0.9).sum())
    assert alone.effective > 500
    waves = np.repeat(np.random.default_rng(2).random(20), 50)
    together = share_of(waves, at, 0.9, 0.9)
    assert together.effective < 60
    # Where all keep within the limit, what they have in common still shows.
    assert share_of(waves, at, 2.0, 0.99).effective < 60


def test_gaps_that_all_keep_within_tell_as_much_as_their_requests():
    at = np.arange(100) / 10
    gaps = np.full(100, 50)
    told = share_of_gaps(gaps, gaps, at)
    assert (told.count, told.within, told.effective) == (5000, 5000, 100.0)
    assert share_of_gaps(gaps, gaps - (np.arange(100) % 3 == 0), at).effective > 100
    assert share_of_gaps(np.zeros(3, int), np.zeros(3, int), at[:3]).share is None


def test_a_queue_that_grows_is_seen():
    at = np.arange(400) / 40
    noise = np.random.default_rng(1).lognormal(0, 0.2, 400)
    assert grows(0.1 * noise * (1 + at), at)
    assert not grows(0.1 * noise, at)
    assert not grows(0.1 * noise * (11 - at), at)


# The search.


@given(st.integers(1, 900))
def test_without_noise_it_finds_the_capacity(capacity):
    search = run(RULE, lambda level: visit(level, 1.0 if level <= capacity else 0.5))
    found = search.verdict()
    assert found.at_least <= capacity < found.refuted
    assert found.refuted - found.at_least <= max(1, 0.05 * found.at_least)
    assert search.ended == "settled"
    assert search.stray() is None
    # Doublings, halvings of the gap, and the first level again.
    assert len(search.visits) <= math.log2(capacity) + 2 + 5 + 1


def test_levels_double_then_the_gap_is_halved_and_the_first_comes_again():
    search = run(RULE, lambda level: visit(level, 1.0 if level <= 11 else 0.5))
    assert levels(search) == [1, 2, 4, 8, 16, 11, 13, 12, 1]
    assert (search.verdict().at_least, search.verdict().refuted) == (11, 12)


def test_rates_need_not_be_whole():
    rule = replace(RULE, whole=False, lowest=0.5)
    search = run(rule, lambda level: visit(level, 1.0 if level <= 3.3 else 0.5))
    found = search.verdict()
    assert found.at_least <= 3.3 < found.refuted <= 1.05 * found.at_least


def test_what_is_not_valid_never_votes_and_is_run_again_once():
    search = run(RULE, lambda level: visit(level, 1.0, valid=level < 8))
    found = search.verdict()
    assert levels(search) == [1, 2, 4, 8, 8, 6, 7, 1]
    assert found.at_least == 7
    assert found.refuted is None
    assert found.unmeasured == (8,)


def test_a_level_that_is_valid_the_second_time_votes():
    answers = iter([False])
    search = run(
        replace(RULE, highest=8),
        lambda level: visit(level, 1.0, valid=level != 4 or next(answers, True)),
    )
    assert levels(search) == [1, 2, 4, 4, 8, 1]
    assert search.verdict().at_least == 8
    assert search.verdict().unmeasured == ()


def test_what_cannot_be_told_is_looked_at_three_times():
    def measure(level):
        share = 0.9 if level == 8 else 1.0 if level < 8 else 0.2
        return visit(level, share, shares={"ttft": kept(share, 400)})

    search = run(RULE, measure)
    found = search.verdict()
    assert levels(search).count(8) == 3
    assert found.at_least == 7
    assert found.refuted == 9
    assert found.open == (8,)


@given(st.randoms(use_true_random=False), st.booleans())
def test_it_ends_whatever_levels_say(random, whole):
    def measure(level):
        return visit(
            level,
            random.choice([1.0, 0.9, 0.5]),
            shares={"ttft": kept(random.choice([1.0, 0.9, 0.9, 0.5]), random.choice([20, 400]))},
            valid=random.random() < 0.6,
            grows=random.random() < 0.2,
            pace=random.choice([0.0, 0.3]),
        )

    search = run(replace(RULE, whole=whole), measure, most=150)
    assert search.ended in ("settled", "drift")
    assert search.stray() is None


def test_a_level_that_is_no_longer_valid_is_not_looked_at_for_ever():
    answers = iter([True])

    def measure(level):
        share = 0.9 if level == 8 else 1.0 if level < 8 else 0.2
        valid = level != 8 or next(answers, False)
        return visit(level, share, shares={"ttft": kept(share, 400)}, valid=valid)

    search = run(RULE, measure)
    assert levels(search).count(8) == 4
    assert search.verdict().at_least == 7


def test_every_objective_must_hold():
    rule = replace(RULE, targets={"ttft": 0.9, "failures": 0.99})

    def measure(level):
        shares = {
            "ttft": kept(1.0 if level <= 20 else 0.5),
            "failures": kept(1.0 if level <= 5 else 0.9),
        }
        return visit(level, 0, shares=shares)

    found = run(rule, measure).verdict()
    assert (found.at_least, found.refuted) == (5, 6)
    assert "failures" in found.edge_why


def test_a_level_of_which_one_objective_cannot_be_told_is_open():
    rule = replace(RULE, targets={"ttft": 0.9, "failures": 0.99})
    shares = {"ttft": kept(1.0), "failures": kept(0.99)}
    standing = Search(rule, [visit(1, 0, shares=shares)]).standings()[0]
    assert standing.decision == "open"


def test_objectives_share_the_error_of_refuting_and_not_that_of_holding():
    rule = replace(RULE, targets={"ttft": 0.9, "failures": 0.99})
    assert Search(rule).error_refuted == look_error(0.025, 3)
    assert Search(rule).error_held == look_error(0.05, 3)


def test_a_server_that_does_not_hold_the_lowest_level_holds_nothing():
    search = run(RULE, lambda level: visit(level, 0.1))
    assert levels(search) == [1]
    assert search.verdict().at_least is None
    assert search.verdict().refuted == 1


def test_it_ends_at_the_highest_level():
    search = run(replace(RULE, highest=6), lambda level: visit(level, 1.0))
    assert levels(search) == [1, 2, 4, 6, 1]
    assert search.verdict().at_least == 6
    assert search.verdict().refuted is None


@pytest.mark.parametrize("budget", [{"most_requests": 3500}, {"most_seconds": 7.0}])
def test_a_budget_is_kept_with_the_first_level_again(budget):
    search = run(replace(RULE, **budget), lambda level: visit(level, 1.0 if level < 100 else 0.2))
    assert levels(search) == [1, 2, 4, 8, 16, 32, 1]
    assert search.ended == "budget"
    assert search.verdict().at_least == 32


@pytest.mark.parametrize(
    ("above", "grown", "edge"),
    [(0.85, False, "slope"), (0.1, False, "cliff"), (0.95, True, "cliff")],
)
def test_a_cliff_is_told_from_a_slope(above, grown, edge):
    search = run(
        RULE, lambda level: visit(level, 1.0 if level < 12 else above, grows=grown and level >= 12)
    )
    assert (search.verdict().at_least, search.verdict().refuted) == (11, 12)
    assert search.verdict().edge == edge


def test_a_queue_that_grows_is_not_held_however_many_keep_within():
    search = run(RULE, lambda level: visit(level, 1.0, grows=level >= 8))
    assert search.verdict().at_least == 7
    assert search.verdict().refuted == 8
    assert levels(search).count(8) == 2  # it is looked at once more


def test_a_queue_that_grew_once_alone_refutes_nothing():
    answers = iter([True])
    search = run(
        replace(RULE, highest=8),
        lambda level: visit(level, 1.0, grows=level == 8 and next(answers, False)),
    )
    assert levels(search).count(8) == 3
    assert search.verdict().refuted is None
    assert search.verdict().open == (8,)
    assert search.verdict().at_least == 7


def test_drift_is_noticed_and_what_came_before_it_has_no_vote():
    def slower(level, visits):
        # From the first return of c1 on, it takes 20 % longer and holds half.
        late = len(visits) >= 8
        return visit(level, 1.0 if level <= (5 if late else 11) else 0.5, pace=0.2 * late)

    search = Search(RULE)
    while (level := search.next()) is not None:
        search.visits.append(slower(level, search.visits))
    found = search.verdict()
    assert levels(search)[:9] == [1, 2, 4, 8, 16, 11, 13, 12, 1]
    assert levels(search)[9] == 11  # what was a bound comes first
    assert [one.noticed for one in found.drifts] == [True, False]
    assert found.drifts[0].ratio == pytest.approx(math.exp(0.2))
    assert found.since == 8
    assert (found.at_least, found.refuted) == (5, 6)


def test_a_small_or_uncertain_difference_is_no_drift():
    first = visit(1, 1.0)
    assert not drift_of(first, visit(1, 1.0, pace=0.04)).noticed
    wide = replace(visit(1, 1.0), pace=Pace(0.2, 0.1, 19.0))
    assert not drift_of(first, wide).noticed
    assert drift_of(first, visit(1, 1.0, pace=0.2)).noticed
    assert drift_of(first, replace(first, pace=None)) is None


def test_a_level_that_was_never_asked_for_is_a_stray():
    search = run(RULE, lambda level: visit(level, 1.0 if level <= 11 else 0.5))
    search.visits[3] = replace(search.visits[3], level=7)
    assert search.stray() == 3


def test_bounds_hold_on_simulated_servers():
    """A part of `tests/bench/capacity.py`, whose figures the documentation has."""
    found = [searched(kind, 10_000 + place) for kind in KINDS for place in range(15)]
    assert sum(one.low for one in found) >= 71
    assert sum(one.high is not False for one in found) >= 71
    assert median(one.requests for one in found) <= 1.5
    assert sum(one.edge == "cliff" for one in found if one.kind in ("cliff", "queue")) >= 27
    assert sum(one.edge == "cliff" for one in found if one.kind == "slope") == 0
