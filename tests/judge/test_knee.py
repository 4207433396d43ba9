import pytest

from benchcore.judge.levels import knee
from benchcore.runs.run import Level


def levels(*rates, ttft=None, **fields):
    return [
        Level.model_validate(
            {
                "level": f"c{2**place}",
                "repeat": 1,
                "mode": "closed",
                "validity": "valid",
                "failure_rate": 0.0,
                "output_token_throughput": rate,
                "request_throughput": rate,
                "metrics": {"ttft": {"p99": (ttft or [0.1] * 9)[place]}},
                **fields,
            }
        )
        for place, rate in enumerate(rates)
    ]


def test_the_knee_is_the_last_level_that_brought_more():
    found = knee(levels(100, 190, 300, 303, ttft=[0.1, 0.1, 0.2, 0.4]))
    assert (found.level, found.beyond) == ("c4", "c8")
    assert str(found) == "c4 reaches 300 tokens/s; c8 brings +1.0 % for +100 % TTFT p99"


def test_a_dip_before_more_throughput_is_no_knee():
    assert knee(levels(100, 98, 200)).level == "c4"


def test_throughput_that_still_grows_has_none():
    assert str(knee(levels(100, 200))) == (
        "c2 reaches 200 tokens/s, and throughput still grew: the knee lies beyond what was climbed"
    )


def test_without_tokens_requests_are_counted():
    found = knee(levels(10, 10.1, output_token_throughput=None))
    assert (found.level, found.unit) == ("c1", "requests")


@pytest.mark.parametrize("found", [levels(), levels(5), levels(5, 9, validity="invalid")])
def test_of_fewer_than_two_levels_there_is_none(found):
    assert knee(found) is None
