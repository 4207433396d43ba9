"""What makes slow requests slow is named, with its size, and nothing else is."""

import gzip
import math
from itertools import combinations
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchcore.judge.explain import _score_interval, _superiority, explain
from benchcore.judge.parts import (
    DECODE,
    RESIDUAL,
    SERVER,
    WAIT,
    Until,
    parts,
    server_at_departure,
)
from benchcore.show.explanation import sentences, to_json
from tests.judge.spent import NATURAL, PARTS, requests, some

INJECTED = 0.08
"""A quarter of the typical request's time."""
RUNS = 20
FEWEST_RIGHT = 19


def names(explanation):
    return {stands.part.key for stands in explanation.named}


def is_right(explanation, injected):
    """Return whether the injected parts, and no other, are named, each with its size."""
    sizes = {stands.part.key: stands.excess for stands in explanation.named}
    return sizes.keys() == injected and all(
        abs(size - INJECTED) <= 0.1 * INJECTED for size in sizes.values()
    )


@pytest.mark.parametrize("part", PARTS)
def test_a_part_that_some_requests_spend_longer_in_is_named_with_its_size(part):
    right = 0
    for seed in range(RUNS):
        rows, _ = requests(seed, injected={part: (some(seed), INJECTED)})
        right += is_right(explain(rows), {part})
    assert right >= FEWEST_RIGHT


@pytest.mark.parametrize("pair", list(combinations(PARTS, 2)), ids="-".join)
@pytest.mark.parametrize("together", [True, False], ids=["same", "others"])
def test_two_parts_are_named_whether_the_same_requests_suffer_both_or_others(pair, together):
    first, second = pair
    masks = some(1), some(1 if together else 2)
    rows, _ = requests(7, injected={first: (masks[0], INJECTED), second: (masks[1], INJECTED)})
    assert is_right(explain(rows), {first, second})


def test_of_requests_that_differ_by_nature_alone_nothing_is_named():
    clean = [explain(requests(seed)[0], until) for seed in range(RUNS) for until in Until]
    assert sum(not explanation.named for explanation in clean) >= len(clean) - 1


def test_what_slow_requests_take_longer_is_what_their_parts_take_longer():
    rows, _ = requests(3, injected={"queue": (some(3), INJECTED)})
    explanation = explain(rows)
    spent = parts(rows)
    order = np.argsort(spent.total)
    longer = spent.total[order[-10:]].mean() - spent.total[order[250:750]].mean()
    assert sum(stands.slowest for stands in explanation.parts) == pytest.approx(longer, abs=1e-9)


@pytest.mark.parametrize("in_band", [True, False])
@pytest.mark.parametrize("until", list(Until))
def test_the_parts_of_each_request_add_up_to_its_time(until, in_band):
    rows, spent = requests(1, in_band=in_band)
    found = parts(rows, until)
    whole = np.sum([np.nan_to_num(values) for values in found.of.values()], axis=0)
    assert whole == pytest.approx(found.total)
    residual = spent["residual"] if in_band else np.zeros(len(rows))
    assert found.of[RESIDUAL] == pytest.approx(residual, abs=1e-12)


def test_without_the_server_s_word_queue_and_prefill_are_one_part():
    rows, spent = requests(1, in_band=False)
    found = parts(rows)
    told = spent["queue"] + spent["prefill"] + spent["residual"]
    assert found.of[WAIT] == pytest.approx(told)
    assert found.of[DECODE] == pytest.approx(spent["decode"])
    assert {part.key for part in found.how} == {
        *("late", "send", "network", "wait", "decode", "reader", "residual")
    }


def test_a_plain_answer_is_at_the_server_all_the_while():
    rows, spent = requests(1, in_band=False)
    rows.seconds["first_token_seconds"][:] = np.nan
    found = parts(rows)
    told = spent["queue"] + spent["prefill"] + spent["residual"] + spent["decode"]
    assert found.of[SERVER] == pytest.approx(told)
    assert WAIT not in found.how
    assert DECODE not in found.how


def test_one_that_was_sent_again_connected_behind_its_departure():
    rows, _ = requests(1)
    again = 17
    rows.numbers["retried"][again] = 1
    rows.seconds["connect_seconds"][again] = 0.05
    rows.seconds["send_seconds"][again] += 0.05
    for name in ("first_token", "last_token", "end", "done"):
        rows.seconds[f"{name}_seconds"][again] += 0.05
    found = parts(rows)
    told = {part.key: float(found.of[part][again]) for part in found.how}
    assert told["connect"] == 0.05
    assert told["late"] < 0.001
    assert told["send"] < 0.001
    assert told["residual"] < 0.001


def test_a_send_that_comes_back_after_the_server_has_begun_is_not_counted_twice():
    rows, spent = requests(1)
    late = 23
    before = spent["send"][late] + spent["residual"][late]
    rows.seconds["send_seconds"][late] = before + 0.009
    found = parts(rows)
    told = {part.key: float(found.of[part][late]) for part in found.how}
    assert told["send"] == pytest.approx(before)
    assert told["residual"] == pytest.approx(0.0, abs=1e-12)


def test_what_every_request_waits_for_is_told_though_none_stands_out():
    rows, _ = requests(5, injected={"network": (np.ones(1000, dtype=bool), INJECTED)})
    (stands,) = explain(rows).named
    assert (stands.part.key, stands.always, stands.concerned) == ("network", True, 0)
    assert stands.middle == pytest.approx(INJECTED + NATURAL["network"][0])
    assert "Network: typically requests were on the network 80.2 ms" in " ".join(
        sentences(explain(rows))
    )


def test_a_queue_that_a_third_stands_in_is_told_by_the_slowest():
    mask = some(5, share=0.33)
    rows, _ = requests(5, injected={"queue": (mask, 0.2)})
    (stands,) = explain(rows).named
    assert (stands.part.key, stands.leads) == ("queue", True)
    middle = np.argsort(parts(rows).total)[250:750]
    assert stands.slowest == pytest.approx(0.2 * (1 - mask[middle].mean()), abs=0.002)


def test_a_longer_answer_is_no_slower_decode():
    tokens = np.where(some(1), 128.0, 32.0)
    rows, _ = requests(1, output_tokens=tokens)
    for name in ("last_token", "end", "done"):
        rows.seconds[f"{name}_seconds"] += (tokens - 1) * 0.01
    rows.seconds["server_decode_seconds"] += (tokens - 1) * 0.01
    explanation = explain(rows)
    assert "decode" not in {stands.part.key for stands in explanation.parts if stands.concerned}
    assert explanation.companions[0].name == "output tokens"


def test_what_the_slow_ones_have_in_common_is_told_with_its_interval():
    mask = some(4)
    prompt = np.where(mask, 4096.0, 128.0)
    rows, _ = requests(4, injected={"prefill": (mask, INJECTED)}, prompt_tokens=prompt)
    explanation = explain(rows)
    companion = explanation.companions[0]
    assert (companion.name, companion.slow, companion.middle) == ("prompt tokens", 4096.0, 128.0)
    assert companion.probability == 1.0
    assert 0.8 < companion.interval[0] < companion.interval[1] == 1.0
    assert names(explanation) == {"prefill"}


METRICS = '''time,source,name,labels,value
999.0,http://a,vllm:num_requests_waiting,"engine=""0""",0
1009.5,http://a,vllm:num_requests_waiting,"engine=""0""",30
1009.5,http://b,vllm:num_requests_waiting,"engine=""0""",10
1009.5,http://b,vllm:num_requests_running,"engine=""0""",7
1011.2,http://a,vllm:num_requests_waiting,"engine=""0""",0
1011.2,http://b,vllm:num_requests_waiting,"engine=""0""",
'''


def test_how_the_server_stood_when_slow_requests_left_is_told(tmp_path):
    with gzip.open(tmp_path / "server_metrics.csv.gz", "wt") as file:
        file.write(METRICS)
    rows, _ = requests(6)
    due = rows.seconds["scheduled_seconds"]
    mask = (due > 10) & (due < 11)
    rows, _ = requests(6, injected={"queue": (mask, INJECTED)})
    folder, level = SimpleNamespace(path=tmp_path), SimpleNamespace(start_unix_seconds=1000.0)
    server = server_at_departure(folder, level, rows)
    waiting = server["requests waiting at the server at departure"]
    sent = rows.seconds["sent_seconds"]
    assert set(waiting[mask]) == {40.0}
    assert set(waiting[sent < 9.5]) == set(waiting[sent > 11.2]) == {0.0}
    running = server["requests running at the server at departure"]
    assert np.isnan(running[sent < 9.5]).all()
    companions = {one.name: one for one in explain(rows, Until.END, server).companions}
    told = companions["requests waiting at the server at departure"]
    assert (told.slow, told.middle) == (40.0, 0.0)


def test_without_metrics_nothing_is_known_of_the_server(tmp_path):
    folder, level = SimpleNamespace(path=tmp_path), SimpleNamespace(start_unix_seconds=1000.0)
    assert server_at_departure(folder, level, requests(1)[0]) == {}


def test_slow_requests_that_come_together_are_told_when():
    rows, _ = requests(6)
    due = rows.seconds["scheduled_seconds"]
    mask = (due > 10) & (due < 11)
    rows, _ = requests(6, injected={"queue": (mask, INJECTED)})
    begin, end = explain(rows).gathered
    assert 9.9 < begin < end < 11.1


def test_of_too_few_requests_nothing_is_said():
    assert explain(requests(1, count=39)[0]) is None
    assert sentences(None) == [
        "Fewer than 40 requests have this latency: too few to say what is usual."
    ]


def test_json_has_all_of_it():
    rows, _ = requests(2, injected={"connect": (some(2), INJECTED)})
    told = to_json(explain(rows))
    connect = next(part for part in told["parts"] if part["part"] == "connect")
    assert connect["named"]
    assert connect["concerned"] == 20
    assert connect["concerned_among_slowest"] == 10
    assert connect["excess_seconds"] == pytest.approx(INJECTED, rel=0.01)
    low, high = connect["excess_95_seconds"]
    assert low <= connect["excess_seconds"] <= high


def test_superiority_against_every_pair():
    draw = np.random.default_rng(1)
    first, second = draw.integers(0, 5, 30), draw.integers(0, 5, 40)
    pairs = [(a > b) + (a == b) / 2 for a in first for b in second]
    assert _superiority(first, second) == pytest.approx(sum(pairs) / len(pairs))


@given(st.floats(0, 1), st.integers(2, 500), st.integers(2, 5000))
def test_the_interval_encloses_the_estimate_and_its_ends_solve_the_equation(theta, first, second):
    low, high = _score_interval(theta, first, second, 1.96)
    assert 0 <= low <= theta <= high <= 1
    pairs = (first + second) / 2 - 1
    for end in (low, high):
        if end in (0.0, 1.0):
            continue
        spread = 1 + pairs * ((1 - end) / (2 - end) + end / (1 + end))
        deviation = math.sqrt(end * (1 - end) * spread / (first * second))
        assert abs(theta - end) == pytest.approx(1.96 * deviation, rel=1e-3, abs=1e-6)


def test_the_interval_of_the_probability_holds_what_it_promises():
    draw = np.random.default_rng(11)
    truth = 0.7602499  # P(X > Y) of normals one deviation apart
    held = 0
    for _ in range(400):
        theta = _superiority(draw.normal(1, 1, 12), draw.normal(0, 1, 60))
        low, high = _score_interval(theta, 12, 60, 1.959964)
        held += low <= truth <= high
    assert 0.92 <= held / 400 <= 0.985
