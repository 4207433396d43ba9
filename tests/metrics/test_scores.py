import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchcore.metrics.scores import (
    PairedDifference,
    estimate,
    mcnemar,
    paired_difference,
    student_t,
)


def test_of_nothing_there_is_no_estimate():
    assert estimate([], []) is None


def test_single_answers_have_the_binomial_standard_error_and_wilsons_interval():
    # 7 of 10 right: by hand, Wilson's interval is 0.3968 to 0.8922.
    found = estimate([1.0] * 7 + [0.0] * 3, list(range(10)))
    assert found.score == 0.7
    assert found.stderr == pytest.approx(math.sqrt(0.7 * 0.3 / 9), rel=1e-12)
    assert (round(found.low, 4), round(found.high, 4)) == (0.3968, 0.8922)
    assert (found.n, found.questions) == (10, 10)


def test_repeats_that_all_agree_tell_no_more_than_one_answer_each():
    once = estimate([1.0, 0.0, 1.0, 1.0, 0.0, 1.0], range(6))
    four = estimate([1.0, 0.0, 1.0, 1.0, 0.0, 1.0] * 4, list(range(6)) * 4)
    assert four.score == once.score
    assert four.stderr == pytest.approx(once.stderr, rel=1e-12)
    assert (four.n, four.questions) == (24, 6)
    # The quantile is Student's now, so the interval is wider, never narrower.
    assert four.low < once.low
    assert four.high > once.high


def test_clustering_by_hand():
    # Two questions, twice each: residuals of 0.5 + 0.5 and -0.5 - 0.5, or 0 where they cancel.
    alike = estimate([1.0, 1.0, 0.0, 0.0], [0, 0, 1, 1])
    assert alike.stderr == pytest.approx(math.sqrt(2 / 1 * (1 + 1)) / 4)
    mixed = estimate([1.0, 0.0, 1.0, 0.0], [0, 0, 1, 1])
    assert mixed.stderr == 0.0
    assert mixed.low < 0.5 < mixed.high


@pytest.mark.parametrize("score", [0.0, 1.0])
def test_at_the_ends_the_interval_is_not_of_width_nothing(score):
    found = estimate([score] * 20, range(20))
    assert found.stderr == 0.0
    width = found.high - found.low
    assert width == pytest.approx(1.96**2 / (20 + 1.96**2), abs=1e-4)
    assert score in (found.low, found.high)


def test_one_question_has_no_standard_error():
    found = estimate([1.0, 0.0], [0, 0])
    assert found.stderr is None
    assert 0 <= found.low < 0.5 < found.high <= 1


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 5)), min_size=1, max_size=60))
def test_an_interval_holds_its_score_and_stays_within_0_and_1(pairs):
    scores, questions = zip(*pairs, strict=True)
    found = estimate(scores, questions)
    assert 0 <= found.low <= found.score <= found.high <= 1
    assert (found.stderr is None) == (len(set(questions)) == 1)


@pytest.mark.parametrize(
    ("freedom", "quantile", "within"),
    [
        (1, 12.7062, 1e-4),
        (2, 4.30265, 1e-5),
        (3, 3.18245, 0.005),
        (5, 2.57058, 0.0005),
        (10, 2.22814, 1e-5),
        (30, 2.04227, 1e-5),
        (1000, 1.96234, 1e-5),
    ],
)
def test_students_t(freedom, quantile, within):
    assert student_t(0.975, freedom) == pytest.approx(quantile, abs=within)
    assert student_t(0.025, freedom) == pytest.approx(-quantile, abs=within)


@pytest.mark.parametrize(
    ("first", "second", "p"),
    [(0, 0, 1.0), (1, 0, 1.0), (0, 6, 0.03125), (5, 15, 0.0414), (8, 8, 1.0), (2, 10, 0.0386)],
)
def test_mcnemars_exact_test(first, second, p):
    assert mcnemar(first, second) == pytest.approx(p, abs=5e-5)
    assert mcnemar(second, first) == mcnemar(first, second)


def test_a_paired_difference_by_hand():
    first = {"a": [1.0], "b": [1.0], "c": [0.0], "d": [0.0], "e": [1.0]}
    second = {"a": [1.0], "b": [0.0], "c": [1.0], "d": [1.0], "x": [1.0]}
    found = paired_difference(first, second)
    assert found.difference == pytest.approx(0.25)
    assert (found.questions, found.left_out, found.better, found.worse) == (4, 2, 2, 1)
    assert found.mcnemar_p == 1.0
    assert not found.significant
    # Agresti and Min: (2.5 - 1.5) / 6, with Student's t of 5 degrees.
    middle = 1 / 6
    half = student_t(0.975, 5) * math.sqrt((4 / 6 - middle**2) / 6)
    assert found.low == pytest.approx(middle - half)
    assert middle + half > 1
    assert found.high == 1.0


def test_repeats_are_compared_by_their_means_and_have_no_mcnemar():
    first = {str(n): [1.0, 1.0] for n in range(40)}
    second = {str(n): [1.0, 0.0] for n in range(40)}
    found = paired_difference(first, second)
    assert (found.difference, found.worse, found.mcnemar_p) == (-0.5, 40, None)
    assert found.significant
    assert found.high < 0


def test_runs_without_a_common_question_do_not_compare():
    assert paired_difference({"a": [1.0]}, {"b": [1.0]}) is None


def test_equal_runs_differ_by_nothing_with_room_for_chance():
    scores = {str(n): [float(n % 2)] for n in range(100)}
    found = paired_difference(scores, scores)
    assert (found.difference, found.better, found.worse, found.mcnemar_p) == (0.0, 0, 0, 1.0)
    assert -0.03 < found.low < 0 < found.high < 0.03


def test_a_significant_difference_says_so():
    first = {str(n): [1.0] for n in range(100)}
    one = paired_difference(first, first | {str(n): [0.0] for n in range(12)})
    assert one.mcnemar_p == 2 / 2**12
    assert one.significant
    assert one.to_json()["significant"] is True
    assert PairedDifference.model_validate(one.to_json()).to_json() == one.to_json()


@pytest.mark.parametrize(("questions", "repeats"), [(198, 1), (198, 4), (60, 1), (60, 2)])
def test_95_per_cent_intervals_hold_the_truth_93_to_97_per_cent_of_the_time(questions, repeats):
    held, runs = 0, 2000
    for seed in range(runs):
        draw = random.Random(seed)
        # Each run has another truth: with one, the steps of counting move the share up or down.
        ability = 0.2 + 0.65 * draw.random()
        # Questions are easy or hard, so that repeats of one resemble one another.
        easy = (ability - 0.1) / 0.8
        scores, names = [], []
        for question in range(questions):
            chance = ability if repeats == 1 else 0.9 if draw.random() < easy else 0.1
            for _ in range(repeats):
                scores.append(float(draw.random() < chance))
                names.append(question)
        found = estimate(scores, names)
        held += found.low <= ability <= found.high
    assert 0.93 <= held / runs <= 0.97
