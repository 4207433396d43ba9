import pytest

from benchcore.climbs.plan import LevelFigures, StopRules


def level(throughput=None, failure_rate=0.0, broken=(), name="c8"):
    return LevelFigures(name, failure_rate, throughput, tuple(broken))


def levels(*throughputs):
    return [level(value, name=f"c{2**n}") for n, value in enumerate(throughputs)]


def test_nothing_stops_a_climb_that_has_not_begun_or_has_no_rules():
    assert StopRules(failures=0.0, slo=True, flat=True).reason([]) is None
    assert StopRules().reason([level(0.0, 1.0, ["ttft"])]) is None


@pytest.mark.parametrize(
    ("rate", "stops"), [(0.2, False), (0.2001, True), (1.0, True), (0.0, False), (None, False)]
)
def test_a_climb_stops_past_its_failure_rate(rate, stops):
    reason = StopRules(failures=0.2).reason([level(failure_rate=rate)])
    assert (reason is not None) == stops


def test_the_failure_rate_is_named():
    reason = StopRules(failures=0.2).reason([level(failure_rate=0.253)])
    assert reason == "c8: 25.3% of the requests failed, more than 20.0%"


def test_only_the_last_level_is_looked_at_for_failures_and_slos():
    rules = StopRules(failures=0.2, slo=True)
    assert rules.reason([level(failure_rate=0.9, broken=["ttft"]), level()]) is None


def test_a_climb_stops_where_an_slo_is_broken():
    reason = StopRules(slo=True).reason([level(broken=["ttft:500ms (p99 612.0 ms)", "x"])])
    assert reason == "c8: ttft:500ms (p99 612.0 ms), x"


@pytest.mark.parametrize(
    ("throughputs", "patience", "stops"),
    [
        ((100,), 1, False),
        ((0,), 1, False),
        ((100, 106), 1, False),
        ((100, 105), 1, True),
        ((100, 104), 1, True),
        ((100, 90), 1, True),
        ((0, 0), 1, True),
        ((0, 5), 1, False),
        ((100, 104), 2, False),
        ((100, 104, 105), 2, True),
        ((100, 104, 106), 2, False),  # two small steps make one
        ((100, 104, 110), 2, False),
        ((100, 50, 104), 2, True),  # a dip does not make the old height a growth
        ((100, 90, 120, 121), 2, False),
        ((100, None), 1, False),
        ((None, 100, None, 101), 1, True),
        ((None, None), 1, False),
    ],
)
def test_a_climb_stops_where_throughput_is_flat(throughputs, patience, stops):
    rules = StopRules(flat=True, gain=0.05, patience=patience)
    reason = rules.reason(levels(*throughputs))
    assert (reason is not None) == stops, reason


def test_a_flat_climb_says_since_when():
    reason = StopRules(flat=True, patience=2).reason(levels(100, 101, 102))
    assert reason == "throughput grew by less than 5% over 2 level(s), up to c4"
