import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchcore.base.seeds import stream
from benchcore.workload.language import Language
from benchcore.workload.token_costs import Bank


def language(count):
    pieces = [f" w{number}" for number in range(count)]
    return Language("A", ".", {"word": pieces}, [["word"] * 3], ["word"], ["word"])


def cost_of(body, costs):
    return sum(costs[f" {word}"] for word in body.split())


def can_make(total, coins):
    """Slow and obviously right: every sum that the coins make."""
    made = {0}
    while True:
        more = made | {sum_ + coin for sum_ in made for coin in coins if sum_ + coin <= total}
        if more == made:
            return total in made
        made = more


prices = st.lists(st.integers(1, 12), min_size=1, max_size=6)


@given(prices, st.integers(1, 300), st.integers(0, 1000), st.booleans())
def test_a_body_costs_exactly_the_sum_that_nearest_gave(each, units, seed, spelled):
    costs = {f" w{number}": cost for number, cost in enumerate(each)}
    bank = Bank(language(len(each)), costs, 0)
    made = bank.nearest(units)
    body = bank.body(made, stream(seed), (seed, seed, seed, 17) if spelled else ())
    assert cost_of(body, costs) == made


@given(prices, st.integers(1, 120))
def test_nearest_is_the_nearest_sum_that_can_be_made(each, units):
    costs = {f" w{number}": cost for number, cost in enumerate(each)}
    bank = Bank(language(len(each)), costs, 0)
    sums = [total for total in range(1, units + 14) if can_make(total, set(each))]
    assert abs(bank.nearest(units) - units) == min(abs(total - units) for total in sums)


def test_below_the_cheapest_piece_nearest_is_one_piece():
    bank = Bank(language(2), {" w0": 4, " w1": 9}, 0)
    assert [bank.nearest(units) for units in (-100, 0, 3, 4)] == [4, 4, 4, 4]


def test_an_empty_body_is_empty():
    bank = Bank(language(2), {" w0": 1, " w1": 2}, 0)
    assert bank.body(0, stream(0), (1, 2, 3, 4)) == ""


def test_indexes_spelled_over_the_first_pieces_never_begin_alike():
    costs = {f" w{number}": 1 for number in range(7)}
    bank = Bank(language(7), costs, 0)
    beginnings = {bank.body(3, stream(0), (5, 3, 2, index)) for index in range(7**3)}
    assert len(beginnings) == 7**3


@pytest.mark.parametrize("units", [5, 500])
def test_pieces_without_a_price_are_not_used(units):
    bank = Bank(language(9), {" w4": 1, " w5": 1}, 0)
    assert set(bank.body(units, stream(0)).split()) == {"w4", "w5"}
