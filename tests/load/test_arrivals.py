import hashlib
import math
import os
import subprocess
import sys
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchcore.base.clock import NS
from benchcore.base.errors import ConfigError
from benchcore.base.seeds import stream
from benchcore.load.open_loop import Arrival, offsets_ns


class Constantly:
    """A stream of random numbers that says the same ones over and over."""

    def __init__(self, *values):
        self.values = values
        self.count = 0

    def random(self):
        self.count += 1
        return self.values[(self.count - 1) % len(self.values)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("constant", Arrival("constant")),
        ("poisson", Arrival("poisson")),
        (" poisson ", Arrival()),
        ("gamma:0.5", Arrival("gamma", 0.5)),
        ("gamma:3", Arrival("gamma", 3.0)),
        ("gamma:0.01", Arrival("gamma", 0.01)),
    ],
)
def test_an_arrival_is_read_from_its_name_and_shape(text, expected):
    arrival = Arrival.parse(text)
    assert arrival == expected
    assert Arrival.parse(str(arrival)) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "uniform",
        "constant:2",
        "poisson:1",
        "gamma",
        "gamma:",
        "gamma:x",
        "gamma:0",
        "gamma:-1",
        "gamma:0.001",
        "gamma:inf",
        "gamma:nan",
    ],
)
def test_any_other_arrival_is_refused_and_says_what_there_is(text):
    with pytest.raises(ConfigError, match="constant, poisson or gamma:SHAPE") as caught:
        Arrival.parse(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize(
    ("rate", "horizon_seconds", "expected_us"),
    [
        (4, 1.0, [0, 250_000, 500_000, 750_000]),
        (3, 1.0, [0, 333_333, 666_667]),
        (3, 1.000001, [0, 333_333, 666_667, 1_000_000]),
        (0.5, 6.0, [0, 2_000_000, 4_000_000]),
        (10, 0.05, [0]),
        (7, 0.0, []),
    ],
)
def test_constant_arrivals_are_a_table(rate, horizon_seconds, expected_us):
    drawn = offsets_ns(Arrival("constant"), rate, round(horizon_seconds * NS), Constantly(math.nan))
    assert drawn == [offset * 1000 for offset in expected_us]


def test_constant_arrivals_do_not_drift_over_a_million():
    drawn = offsets_ns(Arrival("constant"), 3000.0, 100 * NS, Constantly(math.nan))
    assert len(drawn) == 300_000
    assert drawn[299_997] == 99_999_000_000


def test_poisson_gaps_are_minus_the_logarithm_of_what_is_drawn():
    drawn = offsets_ns(Arrival("poisson"), 2.0, NS, Constantly(0.5))
    gap = math.log(2) / 2
    assert drawn == [round(n * gap * 1e6) * 1000 for n in (1, 2)]


def test_an_offset_that_rounds_up_to_the_horizon_is_not_in_the_schedule():
    just_below = 1 - math.exp(-0.9999999)
    assert offsets_ns(Arrival("poisson"), 1.0, NS, Constantly(just_below)) == []
    assert offsets_ns(Arrival("constant"), 1 / 0.9999999, NS, Constantly(0.0)) == [0]


@pytest.mark.parametrize("rate", [0, -1, math.inf, math.nan])
def test_a_rate_that_is_no_positive_number_is_refused(rate):
    with pytest.raises(ValueError, match="is not a positive number"):
        offsets_ns(Arrival(), rate, NS, stream(0))


def gamma_cdf(shape, x):
    """Regularised lower incomplete gamma function, by its series (Abramowitz & Stegun 6.5.29)."""
    if x <= 0:
        return 0.0
    term = math.exp(shape * math.log(x) - x - math.lgamma(shape + 1))
    total, n = 0.0, 0
    while term > 1e-16 * total or n < x:
        total += term
        n += 1
        term *= x / (shape + n)
    return min(total, 1.0)


def test_the_oracle_of_gamma_knows_the_exponential():
    for x in (0.1, 1.0, 5.0, 30.0):
        assert gamma_cdf(1.0, x) == pytest.approx(1 - math.exp(-x), abs=1e-12)


@pytest.mark.parametrize(
    ("arrival", "shape"),
    [
        (Arrival("poisson"), 1.0),
        (Arrival("gamma", 1.0), 1.0),
        (Arrival("gamma", 0.25), 0.25),
        (Arrival("gamma", 2.5), 2.5),
        (Arrival("gamma", 40.0), 40.0),
    ],
)
def test_random_gaps_have_the_mean_the_variance_and_the_distribution_they_should(arrival, shape):
    rate = 0.01  # gaps of 100 s: whole microseconds do not show
    drawn = offsets_ns(arrival, rate, 1_000_000 * NS, stream(5, "arrivals", str(arrival)))
    gaps = sorted((after - before) * rate / NS for before, after in pairwise([0, *drawn]))
    count = len(gaps)
    deviation = 1 / math.sqrt(shape)
    assert abs(count - 10_000) < 3.3 * deviation * math.sqrt(10_000)
    mean = sum(gaps) / count
    assert abs(mean - 1) < 3.3 * deviation / math.sqrt(count)
    variance = sum((gap - mean) ** 2 for gap in gaps) / count
    fourth = (3 + 6 / shape) / shape**2
    assert abs(variance - 1 / shape) < 3.3 * math.sqrt((fourth - 1 / shape**2) / count)
    # Kolmogorov and Smirnov's distance, whose 99.9 % point is 1.95/√n.
    wholes = [gamma_cdf(shape, gap * shape) for gap in gaps]
    distance = max(
        max((place + 1) / count - whole, whole - place / count)
        for place, whole in enumerate(wholes)
    )
    assert distance < 1.95 / math.sqrt(count)


@given(
    kind=st.sampled_from(["constant", "poisson", "gamma:0.05", "gamma:0.7", "gamma:1", "gamma:9"]),
    rate=st.floats(0.001, 5000),
    arrivals=st.floats(0, 300),
    seed=st.integers(0, 1000),
)
def test_offsets_ascend_below_the_horizon_in_whole_microseconds(kind, rate, arrivals, seed):
    arrival = Arrival.parse(kind)
    horizon_ns = int(arrivals / rate * NS)
    drawn = offsets_ns(arrival, rate, horizon_ns, stream(seed))
    assert drawn == sorted(drawn)
    assert all(0 <= offset < horizon_ns and offset % 1000 == 0 for offset in drawn)
    assert drawn == offsets_ns(arrival, rate, horizon_ns, stream(seed))
    if kind == "constant":
        assert abs(len(drawn) - arrivals) <= 1 + rate * 1e-6  # offsets are whole microseconds


@given(horizon=st.integers(1, 200), longer=st.integers(1, 200), seed=st.integers(0, 99))
@settings(max_examples=50)
def test_a_longer_horizon_only_adds_to_a_schedule(horizon, longer, seed):
    short = offsets_ns(Arrival(), 1.0, horizon * NS, stream(seed))
    long = offsets_ns(Arrival(), 1.0, (horizon + longer) * NS, stream(seed))
    assert long[: len(short)] == short
    assert all(offset >= horizon * NS for offset in long[len(short) :])


GOLDEN = [
    [11_576_000, 12_907_000, 19_092_000],
    [14_172_000, 21_812_000, 24_944_000],
    [29_527_000, 50_816_000, 79_809_000],
]
DIGEST = """
import hashlib
from benchcore.load.open_loop import Arrival, offsets_ns
from benchcore.base.seeds import stream
text = [offsets_ns(Arrival.parse(kind), 50.0, 20 * 10**9, stream(0, "arrivals", "r50", 1))
        for kind in ("constant", "poisson", "gamma:0.5", "gamma:4")]
print(hashlib.sha256(repr(text).encode()).hexdigest())
"""


def test_a_schedule_is_the_same_in_every_process_and_on_every_machine():
    digests = {
        subprocess.run(
            [sys.executable, "-c", DIGEST],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for hash_seed in ("1", "2")
    }
    drawn = [
        offsets_ns(Arrival.parse(kind), 50.0, 20 * NS, stream(0, "arrivals", "r50", 1))
        for kind in ("constant", "poisson", "gamma:0.5", "gamma:4")
    ]
    assert digests == {hashlib.sha256(repr(drawn).encode()).hexdigest()}
    assert [offsets[:3] for offsets in drawn[1:]] == GOLDEN
