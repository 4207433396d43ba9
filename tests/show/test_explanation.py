"""The sentences that say why slow requests are slow."""

import pytest

from benchcore.judge.explain import Explanation
from benchcore.judge.parts import Until
from benchcore.show.explanation import sentences


@pytest.mark.parametrize(
    ("gathered", "said"),
    [
        ((0.318, 0.3204), "at 0.32 s."),
        ((1.5, 12.25), "between 1.50 and 12.25 s."),
    ],
)
def test_slow_requests_that_come_together_are_told_when(gathered, said):
    explained = Explanation(Until.END, 100, 5, 0.1, 0.2, 0.0, (), (), gathered)
    assert sentences(explained)[-1] == f"Over half of the slow ones were due {said}"
