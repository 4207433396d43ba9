import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from benchcore.base.errors import ConfigError
from benchcore.config.climb import ClimbConfig
from benchcore.config.limits import Slo, parse_duration_ns


def faults(**fields):
    with pytest.raises(ValidationError) as caught:
        ClimbConfig(**fields)
    return {
        ".".join(str(part) for part in fault["loc"]): fault["msg"].removeprefix("Value error, ")
        for fault in caught.value.errors()
    }


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"concurrency": (1,), "rate": (1,)},
        {"concurrency": ()},
        {"rate": (1,), "speed": (1,)},
        {"shape": "hold:1/1s", "user_shape": "hold:1/1s"},
    ],
)
def test_a_climb_has_levels_of_one_kind(fields):
    assert faults(**fields) == {
        "": "a climb has levels of concurrency or of rate, or a speed, a shape or a user_shape: "
        "give one of them"
    }


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"concurrency": (8, 1, 64)}, "concurrency 8,1,64 does not climb; did you mean 1,8,64?"),
        ({"concurrency": (4, 4)}, "concurrency 4,4 does not climb; did you mean 4?"),
        ({"rate": (2.5, 0.5)}, "rate 2.5,0.5 does not climb; did you mean 0.5,2.5?"),
    ],
)
def test_levels_that_do_not_climb_come_with_those_that_do(fields, message):
    assert faults(**fields) == {"": message}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("concurrency", (0,)),
        ("concurrency", (1.5,)),
        ("rate", (0,)),
        ("rate", (-1,)),
        ("rate", (math.inf,)),
        ("rate", (math.nan,)),
        ("max_inflight", 0),
        ("requests", 0),
        ("duration_seconds", 0),
        ("duration_seconds", math.inf),
        ("duration_seconds", math.nan),
        ("warmup_requests", -1),
        ("warmup_seconds", -0.1),
        ("warmup_seconds", math.nan),
        ("drain_seconds", 0),
        ("grace_seconds", -1),
        ("repeats", 0),
        ("ramp_seconds", -1),
        ("think_time_seconds", -1),
        ("stop_on_failures", 1.1),
        ("flat_gain", 0),
        ("flat_patience", 0),
        ("idle_seconds", -1),
        ("arrival", "gamma:x"),
        ("slos", ("ttft",)),
        ("colour", "red"),
    ],
)
def test_a_value_that_cannot_be_is_refused_where_it_stands(field, value):
    fields = {"rate" if field == "concurrency" else "concurrency": (), field: value}
    if field not in ("concurrency", "rate"):
        fields["concurrency"] = (1,)
    assert [name.split(".")[0] for name in faults(**fields)] == [field]


def test_a_climb_keeps_what_it_is_given():
    config = ClimbConfig(rate=(0.5, 2), arrival="gamma:0.5", slos=["ttft:1s", "itl:20ms"])
    assert (config.rate, config.arrival) == ((0.5, 2.0), "gamma:0.5")
    assert config.slos == ("ttft:1s", "itl:20ms")


def test_all_that_is_wrong_is_told_at_once():
    told = faults(
        concurrency=(1,), requests=0, arrival="gamma:0", slos=("ttft:1s", "x:1s", "tpot:y")
    )
    assert set(told) == {"requests", "arrival", "slos"}
    assert told["arrival"].startswith("arrival 'gamma:0' is not constant, poisson or gamma:SHAPE")
    assert "'x:1s'" in told["slos"]
    assert "'y'" in told["slos"]


@pytest.mark.parametrize(
    ("fields", "users", "expected"),
    [
        ({}, 1, (500, 120.0)),
        ({}, 125, (500, 120.0)),
        ({}, 126, (504, 120.0)),
        ({}, 512, (2048, 120.0)),
        ({"requests": 10}, 512, (10, None)),
        ({"duration_seconds": 30}, 512, (None, 30.0)),
        ({"requests": 10, "duration_seconds": 30}, 1, (10, 30.0)),
    ],
)
def test_a_window_is_long_enough_for_its_p99_where_nothing_is_said(fields, users, expected):
    assert ClimbConfig(concurrency=(1,), **fields).window(users) == expected


@pytest.mark.parametrize(
    ("fields", "rate", "expected"),
    [
        ({}, 500.0, (None, 10.0)),
        ({}, 50.0, (None, 10.0)),
        ({}, 10.0, (None, 50.0)),
        ({}, 0.5, (None, 120.0)),
        ({"requests": 10}, 500.0, (10, None)),
        ({"duration_seconds": 3}, 500.0, (None, 3.0)),
    ],
)
def test_an_open_loop_is_long_enough_for_a_queue_to_show(fields, rate, expected):
    assert ClimbConfig(rate=(1.0,), **fields).window(rate) == expected


@pytest.mark.parametrize(
    ("text", "expected_ns"),
    [
        ("500ms", 500_000_000),
        ("2s", 2_000_000_000),
        ("2", 2_000_000_000),
        (".5", 500_000_000),
        ("1.", 1_000_000_000),
        ("1.5m", 90_000_000_000),
        ("2min", 120_000_000_000),
        ("1h", 3_600_000_000_000),
        ("250us", 250_000),
        ("250µs", 250_000),
        ("7ns", 7),
        (" 3 ms ", 3_000_000),
        ("0", 0),
    ],
)
def test_a_duration_is_a_number_and_a_unit(text, expected_ns):
    assert parse_duration_ns(text) == expected_ns


@pytest.mark.parametrize("text", ["", "ms", "-1s", "1e3", "1 2s", "1d", "inf", "nan", "1s1s", "."])
def test_any_other_duration_is_refused(text):
    with pytest.raises(ConfigError, match=r"is not a duration such as 500ms, 2s or 1\.5m"):
        parse_duration_ns(text)


@given(st.integers(0, 10**9), st.sampled_from([("ms", 10**6), ("s", 10**9), ("us", 1000)]))
def test_whole_numbers_of_a_unit_are_exact_up_to_the_precision_of_a_float(number, unit):
    name, scale = unit
    assert parse_duration_ns(f"{number}{name}") == pytest.approx(number * scale, rel=1e-15)


def test_an_slo_is_a_metric_and_a_limit():
    slo = Slo.parse("ttft:500ms")
    assert slo == Slo("ttft", 500_000_000)
    assert str(slo) == "ttft:500ms"
    assert Slo.parse(str(Slo("e2e_from_schedule", 1_500_000))) == Slo(
        "e2e_from_schedule", 1_500_000
    )


@pytest.mark.parametrize("text", ["", "ttft", "ttft:", "TTFT:1s", "latency:1s", "ttft=1s"])
def test_any_other_slo_is_refused_and_says_what_there_is(text):
    with pytest.raises(ConfigError, match="METRIC one of ttft, ttft_from_schedule, tpot, e2e"):
        Slo.parse(text)


@pytest.mark.parametrize("text", ["ttft:0", "ttft:0ms", "itl:0.1ns"])
def test_an_slo_of_nothing_is_refused(text):
    with pytest.raises(ConfigError, match="a limit must be above 0"):
        Slo.parse(text)


def test_an_slo_with_a_bad_limit_says_so():
    with pytest.raises(ConfigError, match="'soon' is not a duration"):
        Slo.parse("ttft:soon")
