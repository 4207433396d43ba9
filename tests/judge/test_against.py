"""What has changed from one run to another is named, with its size, and nothing else is."""

import numpy as np
import pytest

from benchcore.judge.against import differences
from benchcore.judge.parts import Until
from benchcore.show.explanation import difference_sentences
from tests.judge.spent import NATURAL, requests, some

EVERY = np.ones(1000, dtype=bool)


def named(found):
    return {difference.of: {part.part.key for part in difference.named} for difference in found}


@pytest.mark.parametrize("part", sorted(NATURAL))
def test_a_part_that_every_request_spends_longer_in_is_named_with_its_size(part):
    before, _ = requests(1)
    now, _ = requests(2, injected={part: (EVERY, 0.05)})
    found = differences(before, now)
    assert named(found) == {"typical": {part}, "slowest": {part}}
    (change,) = found[0].named
    assert change.change == pytest.approx(0.05, rel=0.1)
    low, high = change.interval
    assert low - 1e-9 <= 0.05 <= high + 1e-9


def test_what_only_the_slowest_spend_longer_in_is_named_for_them_alone():
    before, _ = requests(1)
    now, _ = requests(2, injected={"queue": (some(2), 0.1)})
    assert named(differences(before, now)) == {"typical": set(), "slowest": {"queue"}}


def test_two_runs_that_differ_by_nature_alone_differ_in_nothing():
    quiet = sum(
        named(differences(requests(seed)[0], requests(seed + 100)[0], until))
        == {"typical": set(), "slowest": set()}
        for seed in range(15)
        for until in Until
    )
    assert quiet >= 29


def test_changes_of_the_parts_add_up_to_that_of_the_whole():
    before, _ = requests(1)
    now, _ = requests(2, injected={"queue": (some(2), 0.1), "decode": (EVERY, 0.03)})
    for difference in differences(before, now):
        change = sum(part.change for part in difference.parts)
        assert change == pytest.approx(difference.now - difference.before, abs=1e-9)


def test_what_one_run_does_not_tell_apart_is_told_together():
    before, _ = requests(1, in_band=False)
    now, _ = requests(2, injected={"queue": (EVERY, 0.05)})
    typical, _ = differences(before, now)
    keys = {part.part.key for part in typical.parts}
    assert "wait" in keys
    assert not keys & {"queue", "prefill"}
    assert {part.part.key for part in typical.named} == {"wait"}


@pytest.mark.parametrize("in_band", [True, False])
def test_what_an_older_run_does_not_tell_is_no_time_of_0(in_band):
    before, _ = requests(1, in_band=in_band)
    for name in ("rtt", "reader"):
        del before.seconds[f"{name}_seconds"]
    now, spent = requests(1, in_band=in_band)
    for difference in differences(before, now):
        keys = {part.part.key for part in difference.parts}
        assert not keys & {"network", "reader"}
        assert difference.now == pytest.approx(difference.before)
        for part in difference.parts:
            assert part.now == pytest.approx(part.before, abs=1e-12)
    assert spent["network"].mean() > 0


def test_it_is_said_in_sentences():
    before, _ = requests(1)
    now, _ = requests(2, injected={"network": (EVERY, 0.05)})
    typical, slowest = difference_sentences(differences(before, now), "yesterday")
    assert typical.startswith("A typical request takes 368 ms to the end, +5")
    assert "against 317 in yesterday: network +50.0 ms (95 %: +50.0 to +50.0)." in typical
    assert slowest.startswith("The slowest hundredth take ")
    assert difference_sentences(None, "yesterday") == [
        "Fewer than 40 requests have this latency in one of the runs."
    ]
    assert differences(requests(1, count=39)[0], now) is None
