"""Limits as users write them: what a level must hold."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchcore.base.errors import ConfigError
from benchcore.config.catalogue import SLO_LATENCIES
from benchcore.config.limits import Objective

MS = 1_000_000


@pytest.mark.parametrize(
    ("text", "objective"),
    [
        ("ttft:p99:500ms", Objective("ttft", 0.99, 500 * MS)),
        ("ttft:500ms", Objective("ttft", 0.99, 500 * MS)),
        ("e2e:p99.9:2s", Objective("e2e", 0.999, 2000 * MS)),
        ("itl:p5:50ms", Objective("itl", 0.05, 50 * MS)),
        ("failures:1%", Objective("failures", 0.99, None)),
        ("failures:0.05", Objective("failures", 0.95, None)),
    ],
)
def test_an_objective_is_read(text, objective):
    read = Objective.parse(text)
    assert (read.metric, read.limit_ns) == (objective.metric, objective.limit_ns)
    assert read.share == pytest.approx(objective.share)


@given(
    st.sampled_from(SLO_LATENCIES),
    st.integers(1, 999),
    st.integers(1, 10**8),
)
def test_an_objective_is_read_back_as_it_is_shown(metric, permille, milliseconds):
    shown = str(Objective(metric, permille / 1000, milliseconds * MS))
    read = Objective.parse(shown)
    assert str(read) == shown
    assert read.limit_ns == milliseconds * MS
    assert read.share == pytest.approx(permille / 1000)


@pytest.mark.parametrize(
    "text",
    [
        *("", "ttft", "ttft:", "ttft:p99", "ttft:p99:", "ttft:p0:1s", "ttft:p100:1s", "ttft:q:1s"),
        *("ttft:p99:500", "ttft:p99:0ms", "nothing:p99:1s", "ttft:p99:1s:2s", "failures"),
        *("failures:", "failures:0%", "failures:100%", "failures:p99:1s", "failures:-1%"),
    ],
)
def test_what_is_no_objective_is_told(text):
    with pytest.raises(ConfigError):
        Objective.parse(text)
