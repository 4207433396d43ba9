from hypothesis import given
from hypothesis import strategies as st

from benchcore.load.closed_loop import InFlight

SECOND = 1_000_000_000


def test_the_count_is_integrated_over_time():
    in_flight = InFlight(100)
    in_flight.change(150, 1)
    in_flight.change(250, 2)
    assert in_flight.now == 3
    assert in_flight.area(150 + 100) == 100
    assert in_flight.area(260) == 100 + 30
    assert in_flight.area(200) == 130, "the past is integrated once"


def test_seconds_are_counted_from_the_start_and_only_whole_ones():
    in_flight = InFlight(SECOND // 2)
    in_flight.change(SECOND, 4)
    in_flight.change(3 * SECOND, -4)
    assert in_flight.second_means(3 * SECOND) == [2.0, 4.0]
    assert in_flight.second_means(3 * SECOND + SECOND // 2) == [2.0, 4.0, 2.0]
    assert in_flight.second_means(2 * SECOND) == [2.0]
    assert in_flight.mean_of_second(1) == 4.0
    assert in_flight.mean_of_second(99) == 0.0


@given(
    changes=st.lists(
        st.tuples(st.integers(0, 3 * SECOND), st.sampled_from([-2, -1, 0, 1, 2])), max_size=30
    ),
    start=st.integers(0, 5 * SECOND),
    rest=st.integers(0, 3 * SECOND),
)
def test_area_and_means_are_those_of_a_slow_oracle(changes, start, rest):
    in_flight = InFlight(start)
    steps, at, count = [], start, 0
    for wait, wanted in changes:
        by = max(wanted, -count)
        at += wait
        count += by
        steps.append((at, count))
        in_flight.change(at, by)
    end = at + rest

    def area(begin, until):
        """Sum up, for each stretch of a constant count, its overlap with [begin, until)."""
        total = 0
        for (since, level), (to, _) in zip([(start, 0), *steps], [*steps, (end, 0)], strict=True):
            total += level * max(0, min(to, until) - max(since, begin))
        return total

    assert in_flight.area(end) == area(start, end)
    whole = (end - start) // SECOND
    expected = [area(start + n * SECOND, start + (n + 1) * SECOND) / SECOND for n in range(whole)]
    assert in_flight.second_means(end) == expected
    assert [in_flight.mean_of_second(n) for n in range(whole)] == expected
