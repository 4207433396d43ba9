import math

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from benchcore.base.errors import ConfigError
from benchcore.base.seeds import stream
from benchcore.config.climb import Arrival
from benchcore.config.shapes import Hold, Ramp, Shape, Sine
from benchcore.load.open_loop import shaped_offsets_ns

CONSTANT, POISSON = Arrival.parse("constant"), Arrival.parse("poisson")
rates = st.floats(0, 200).map(lambda value: round(value, 3))
times = st.floats(0.1, 60).map(lambda value: round(value, 3))
pieces = st.one_of(
    st.builds(Hold, rates, times),
    st.builds(Ramp, rates, rates, times),
    st.builds(lambda a, b, p, t: Sine(min(a, b), max(a, b), p, t), rates, rates, times, times),
)
shapes = st.lists(pieces, min_size=1, max_size=4).map(lambda some: Shape("drawn", tuple(some)))


def slow_area(value, seconds, steps=20_000):
    """Simpson's rule."""
    h = seconds / steps
    inner = sum((4 if n % 2 else 2) * value(n * h) for n in range(1, steps))
    return h / 3 * (value(0) + inner + value(seconds))


@given(pieces)
def test_the_area_is_the_integral_of_the_value(piece):
    for share in (0.3, 1.0):
        t = piece.seconds * share
        assert piece.area(t) == pytest.approx(slow_area(piece.value, t, 2000), rel=1e-4, abs=1e-3)


@given(pieces, st.floats(0, 1))
def test_when_the_area_is_reached_is_its_inverse(piece, share):
    whole = piece.area(piece.seconds)
    assume(whole > 0.01)
    t = piece.when(whole * share)
    assert 0 <= t <= piece.seconds
    assert piece.area(t) == pytest.approx(whole * share, rel=1e-6, abs=1e-5)


@given(pieces, rates)
@example(Sine(4.688, 5.0, 1.0, 1.0), 5.0)
def test_the_stretches_above_a_level_are_where_the_value_is(piece, level):
    stretches = list(piece.above(level))
    for n in range(200):
        t = piece.seconds * (n + 0.5) / 200
        if abs(piece.value(t) - level) > 1e-6 * (1 + level):
            inside = any(begin <= t <= end for begin, end in stretches)
            assert inside == (piece.value(t) >= level), t


@given(shapes)
def test_constant_arrivals_are_as_many_as_the_area(shape):
    assume(0 < shape.area < 3000)
    assume(abs(shape.area - round(shape.area)) > 1e-6)
    at = shaped_offsets_ns(CONSTANT, shape, stream(0))
    assert len(at) == math.ceil(shape.area)
    assert at == sorted(at)
    assert at[0] >= 0
    assert at[-1] <= shape.seconds * 1e9 + 1000
    # Each comes when the integral has reached its number: what the slow way adds up to.
    for number in (0, len(at) // 2, len(at) - 1):
        left, area = at[number] / 1e9, 0.0
        for piece in shape.pieces:
            area += piece.area(min(left, piece.seconds))
            left = max(left - piece.seconds, 0)
        # Whole microseconds, at a rate that may be high there.
        assert area == pytest.approx(number, abs=1e-3)


def test_a_ramp_of_the_readme_sends_what_its_area_says():
    shape = Shape.parse("ramp:1..20/60s,hold:20/5m")
    assert (shape.seconds, shape.area, shape.highest, shape.last) == (360, 630 + 6000, 20, 20)
    at = shaped_offsets_ns(CONSTANT, shape, stream(0))
    assert len(at) == 6630
    assert sum(one < 60 * 10**9 for one in at) == 630


def test_random_arrivals_of_a_shape_have_its_mean_and_spread():
    shape = Shape.parse("ramp:0..40/10s,sine:5..35/4s/10s")
    counts = [len(shaped_offsets_ns(POISSON, shape, stream(seed))) for seed in range(400)]
    mean = sum(counts) / len(counts)
    variance = sum((one - mean) ** 2 for one in counts) / (len(counts) - 1)
    assert shape.area == pytest.approx(400, abs=0.5)
    assert mean == pytest.approx(shape.area, abs=4 * math.sqrt(400 / 400))
    assert 0.75 < variance / 400 < 1.3  # of a Poisson process both are the area


def test_random_arrivals_fall_where_the_rate_is_high():
    shape = Shape.parse("spike:1..100/2s/10s")
    at = [one / 1e9 for one in shaped_offsets_ns(POISSON, shape, stream(3))]
    inside = sum(4 <= one < 6 for one in at)
    assert 160 < inside < 240
    assert len(at) - inside < 25


def test_after_its_end_a_shape_goes_on_with_its_last_rate():
    shape = Shape.parse("hold:10/1s,hold:20/1s")
    at = shaped_offsets_ns(CONSTANT, shape, stream(0), after_ns=2 * 10**9)
    assert len(at) == 10 + 20 + 40


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("hold:5/10s", [5, 5, 5]),
        ("ramp:0..10/10s", [0, 5, 9.9]),
        ("steps:5..20/4/8s", [5, 15, 20]),
        ("sine:2..8/10s/10s", [2, 8, 2 + 3 * (1 - math.cos(2 * math.pi * 0.99))]),
        ("spike:1..9/2s/10s", [1, 9, 1]),
    ],
)
def test_each_kind_has_its_value_at_begin_middle_and_end(text, values):
    shape = Shape.parse(text)
    t = shape.seconds
    assert [shape.value(at) for at in (0, t / 2, t * 0.99)] == pytest.approx(values)
    assert str(shape) == text


def test_a_file_of_rates_holds_each_until_the_next(tmp_path):
    path = tmp_path / "rates.csv"
    path.write_bytes(b"\xef\xbb\xbfseconds,rate\r\n0,5\r\n10,20\r\n\r\n12,0\r\n")
    shape = Shape.parse(f"csv:{path}")
    assert shape.pieces == (Hold(5, 10), Hold(20, 2))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("0,1\n", "needs two rows of seconds,value or more"),
        ("0,1\n5,x\n", ":2: is not seconds,value"),
        ("0,1\n5,-1\n", ":2: is not seconds,value"),
        ("0,1\n0,2\n", ":2: 0 s does not come after the row before"),
        ("0,1\nnan,2\n", ":2: nan s does not come after the row before"),
        ("0,1\n5\n", ":2: is not seconds,value"),
    ],
)
def test_a_file_of_rates_that_is_none_is_refused_by_its_line(tmp_path, content, says):
    path = tmp_path / "rates.csv"
    path.write_text(content)
    with pytest.raises(ConfigError) as caught:
        Shape.parse(f"csv:{path}")
    assert says in str(caught.value)
    with pytest.raises(ConfigError, match="No such file"):
        Shape.parse("csv:/nowhere.csv")


@pytest.mark.parametrize(
    "text",
    [
        *("", "hold", "hold:5", "hold:/5s", "hold:x/5s", "hold:5/0s", "hold:-1/5s", "hold:nan/5s"),
        *("ramp:1/5s", "ramp:1..x/5s", "steps:1..2/0/5s", "steps:1..2/5s", "sine:1..2/5s"),
        *("hold:5/1s,", "wave:1..2/5s", "hold:1e9/1s", "ramp:1..2/1s/2s", "csv:"),
    ],
)
def test_what_is_no_shape_is_refused_with_what_there_is(text):
    with pytest.raises(ConfigError, match="is not hold:RATE/TIME, ramp:FROM"):
        Shape.parse(text)


def test_a_shape_that_sends_nothing_or_never_ends_is_refused():
    with pytest.raises(ConfigError, match="zero all the time"):
        Shape.parse("hold:0/5s")
    with pytest.raises(ConfigError, match="longer than a year"):
        Shape.parse("hold:1/9000h")
    with pytest.raises(ConfigError, match="no shorter than its piece"):
        Shape.parse("spike:1..5/10s/10s")


def test_users_of_a_shape_work_while_its_value_is_their_number():
    shape = Shape.parse("ramp:0..4/4s,hold:1/2s,hold:3/1s")
    assert [shape.above(user) for user in (1, 2, 3, 4, 5)] == [
        [(1.0, math.inf)],
        [(2.0, 4.0), (6.0, math.inf)],
        [(3.0, 4.0), (6.0, math.inf)],
        [(4.0, 4.0)],
        [],
    ]
