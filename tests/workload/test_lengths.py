import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from benchcore.base.errors import ConfigError
from benchcore.base.seeds import stream
from benchcore.config.values import Length

whole = st.integers(1, 10_000_000)


@st.composite
def lengths(draw):
    kind = draw(st.sampled_from(["fixed", "uniform", "normal", "lognormal"]))
    if kind == "fixed":
        return str(draw(whole))
    low, high = sorted((draw(whole), draw(whole)))
    if kind == "uniform":
        return f"uniform:{low}:{high}"
    centre = draw(st.integers(10, 10_000_000)) / 10
    spread = draw(st.integers(0, 10_000)) / 1000
    bounds = draw(st.sampled_from(["", f":{low}:{high}"]))
    return f"{kind}:{centre}:{spread}{bounds}"


@given(lengths())
def test_a_length_is_written_as_it_is_read(text):
    length = Length.parse(text)
    assert Length.parse(str(length)) == length


@given(lengths(), st.integers(0, 2**64))
def test_a_draw_is_a_whole_number_within_the_bounds(text, seed):
    length = Length.parse(text)
    drawn = length.draw(stream(seed, "test"))
    assert type(drawn) is int
    if length.kind == "fixed":
        assert drawn == int(text)
    else:
        assert length.low <= drawn <= length.high


@given(st.text(max_size=30))
def test_any_text_is_a_length_or_a_config_error(text):
    try:
        length = Length.parse(text)
    except ConfigError:
        return
    assert length.draw(stream(0)) >= 1


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is not a number of tokens"),
        ("12.5", "is not a number of tokens"),
        ("-3", "is not a number of tokens"),
        ("gauss:1:2", "is not a number of tokens"),
        ("uniform:10", "is not a number of tokens"),
        ("uniform:1:2:3", "is not a number of tokens"),
        ("normal:5:x", "is not a number of tokens"),
        ("normal:5:nan", "is not a number of tokens"),
        ("9" * 400, "is not a number of tokens"),
        ("0", "tokens start at 1"),
        ("normal:5:-1", "a spread cannot be negative"),
        ("uniform:9:3", "the lower end lies above"),
        ("normal:50:5:0:9", "or below 1"),
        ("uniform:1.5:3", "the ends must be whole numbers"),
        ("10000001", "more than 10000000 tokens"),
        ("uniform:1:10000001", "more than 10000000 tokens"),
        ("lognormal:200:800", "sigma is of the logarithm, 10 at most"),
    ],
)
def test_what_is_no_length_is_refused_with_the_reason(text, says):
    with pytest.raises(ConfigError, match=says):
        Length.parse(text)


def draws(text, count=40_000):
    length, random = Length.parse(text), stream(1, "moments")
    return [length.draw(random) for _ in range(count)]


def test_uniform_draws_reach_both_ends_equally_often():
    drawn = draws("uniform:10:13")
    for value in range(10, 14):
        # 10,000 expected, standard deviation 87.
        assert abs(drawn.count(value) - 10_000) < 350
    assert set(drawn) == {10, 11, 12, 13}
    assert Length.parse("uniform:10:13").mean == 11.5


def test_normal_draws_have_the_mean_and_the_spread():
    drawn = draws("normal:500:50")
    assert abs(statistics.mean(drawn) - 500) < 1
    assert abs(statistics.pstdev(drawn) - 50) < 0.8
    assert Length.parse("normal:500:50").mean == 500


def test_lognormal_draws_have_the_median_and_the_mean():
    drawn = draws("lognormal:1000:0.5")
    assert abs(statistics.median(drawn) / 1000 - 1) < 0.015
    expected = 1000 * math.exp(0.125)
    assert Length.parse("lognormal:1000:0.5").mean == pytest.approx(expected)
    assert abs(statistics.mean(drawn) / expected - 1) < 0.015


def test_draws_outside_the_bounds_are_put_on_them():
    drawn = draws("normal:100:50:90:110", 2000)
    assert (min(drawn), max(drawn)) == (90, 110)


def test_a_model_reads_numbers_and_texts_and_writes_texts():
    class Model(BaseModel):
        tokens: Length

    assert Model(tokens=128).model_dump(mode="json") == {"tokens": "128"}
    model = Model.model_validate({"tokens": "uniform:1000000:2000001"})
    assert model.model_dump_json() == '{"tokens":"uniform:1000000:2000001"}'
    assert Model(tokens=model.tokens).tokens is model.tokens


@pytest.mark.parametrize("value", [True, 1.5, None, "x", [1]])
def test_a_model_refuses_what_is_no_length(value):
    class Model(BaseModel):
        tokens: Length

    with pytest.raises(ValidationError, match="a number of tokens"):
        Model.model_validate({"tokens": value})
