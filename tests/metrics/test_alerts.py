"""A watched figure is told once when it passes its limit, and once when it has recovered."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchcore.base.errors import ConfigError
from benchcore.config.alerts import WATCHED, Threshold
from benchcore.metrics.alerts import Alerts


def test_an_episode_is_told_once_until_it_has_recovered():
    alerts = Alerts([Threshold.parse("gpu_memory > 95 %")])
    told = [
        alerts.look(at, {"gpu_memory": value})
        for at, value in enumerate([0.5, 0.96, 0.99, None, 0.97, 0.95, 0.4, 0.951])
    ]
    assert told == [
        [],
        ["gpu_memory > 95 %: memory in use of the fullest GPU: 96.0 %"],
        [],
        [],
        [],
        ["gpu_memory > 95 %: recovered after 4.0 s; at worst 99.0 %"],
        [],
        ["gpu_memory > 95 %: memory in use of the fullest GPU: 95.1 %"],
    ]
    first, second = alerts.episodes
    assert first.to_json() == {
        "rule": "gpu_memory > 95 %",
        "figure": "gpu_memory",
        "limit": 0.95,
        "begun_seconds": 1,
        "ended_seconds": 5,
        "worst": 0.99,
    }
    assert (second.begun_seconds, second.ended_seconds) == (7, None)


def test_the_worst_of_what_is_too_low_is_the_lowest():
    alerts = Alerts([Threshold.parse("cache_hit_rate<20%")])
    for at, value in enumerate([0.1, 0.05, 0.15]):
        alerts.look(at, {"cache_hit_rate": value})
    assert alerts.episodes[0].worst == 0.05


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("gpu_memory > 95 %", 0.95),
        ("gpu_memory>=0.95", 0.95),
        ("queue > 20", 20.0),
        ("gpu_power > 1.5e3", 1500.0),
        ("  kv_cache  <  5% ", 0.05),
    ],
)
def test_a_threshold_is_read(text, limit):
    assert Threshold.parse(text).limit == pytest.approx(limit)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("gpu_memory", "is no threshold; write FIGURE > LIMIT, such as 'gpu_memory > 95 %'"),
        ("gpu_memry > 1", "gpu_memry cannot be watched; did you mean gpu_memory?"),
        ("queue > 5 %", "queue is no share; leave out the %"),
        ("kv_cache > 95", "a share is at most 100 %, or 1"),
        ("queue > 1.2.3", "1.2.3 is no number"),
        ("queue < 1e999", "1e999 is more than a number can be"),
    ],
)
def test_what_is_no_threshold_is_refused_in_one_line(text, said):
    with pytest.raises(ConfigError) as refused:
        Threshold.parse(text)
    assert said in str(refused.value)


@given(
    st.sampled_from(sorted(WATCHED)),
    st.sampled_from([">", ">=", "<", "<="]),
    st.lists(st.none() | st.floats(0, 1), max_size=40),
)
def test_episodes_are_as_a_slow_count_finds_them(figure, sign, values):
    rule = Threshold.parse(f"{figure} {sign} 0.5")
    alerts = Alerts([rule])
    lines = [line for at, one in enumerate(values) for line in alerts.look(at, {figure: one})]
    beyond = [rule.holds(value) for value in values if value is not None]
    begun = sum(now and not before for before, now in zip([False, *beyond], beyond, strict=False))
    ended = sum(before and not now for before, now in pairwise(beyond))
    assert len(alerts.episodes) == begun
    assert len(lines) == begun + ended
