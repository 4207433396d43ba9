"""Backoff: waits that grow with each failure in a row."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchcore.base.backoff import Backoff


def test_waits_grow_by_the_factor_up_to_the_longest():
    backoff = Backoff(first_seconds=0.5, most_seconds=3.0)
    assert [backoff.seconds(failures) for failures in (1, 2, 3, 4, 5)] == [0.5, 1.0, 2.0, 3.0, 3.0]


@given(st.integers(1, 10**9), st.floats(0, 1), st.floats(1, 3))
def test_a_drawn_wait_is_a_half_to_all_of_the_wait(failures, draw, factor):
    backoff = Backoff(first_seconds=0.1, most_seconds=10.0, factor=factor)
    whole = min(10.0, 0.1 * factor ** min(failures - 1, 100))
    assert backoff.seconds(failures) == whole
    assert backoff.seconds(failures, lambda: draw) == pytest.approx(whole * (0.5 + draw / 2))
