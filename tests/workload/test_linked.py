"""Links: found in columns, they are those that a dictionary finds."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from benchcore.workload.linked import NOBODY, first_of_each, key_of, places_of, topmost
from benchcore.workload.spans import _chain, _innermost

KEYS = st.sampled_from([NOBODY, -5, 0, 1, 2, 3, 1 << 61])
PAIRS = st.lists(st.tuples(KEYS, KEYS), min_size=1, max_size=30)


@given(PAIRS)
def test_the_last_place_of_a_name_before_one_is_that_of_a_dictionary(pairs):
    names, wanted = (np.array(some, dtype=np.int64) for some in zip(*pairs, strict=True))
    known, expected = {}, []
    for place, (name, asked) in enumerate(pairs):
        expected.append(place if asked == NOBODY else known.get(asked, place))
        known[name] = place
    assert places_of(wanted, names, before=True).tolist() == expected
    expected = [
        place if asked == NOBODY else known.get(asked, place)
        for place, (_, asked) in enumerate(pairs)
    ]
    assert places_of(wanted, names, before=False).tolist() == expected


@given(st.lists(KEYS, min_size=1, max_size=30))
def test_the_first_of_each_key(keys):
    assert first_of_each(np.array(keys)).tolist() == [keys.index(key) for key in keys]


@given(st.lists(st.integers(0, 40), min_size=1, max_size=40))
def test_the_top_is_where_one_comes_by_going_up(raw):
    above = [min(up, place) for place, up in enumerate(raw)]
    expected = []
    for place in range(len(above)):
        top = place
        while above[top] != top:
            top = above[top]
        expected.append(top)
    assert topmost(np.array(above)).tolist() == expected


@given(st.lists(st.tuples(st.integers(0, 12), st.booleans()), min_size=1, max_size=12))
def test_requests_that_others_are_in_are_left_out_circles_or_not(raw):
    above = np.array([up % len(raw) for up, _ in raw])
    requests = np.array([one for _, one in raw])
    outer = {up for place in np.flatnonzero(requests) for up in _chain(int(place), above)}
    expected = [bool(one) and place not in outer for place, one in enumerate(requests)]
    assert _innermost(requests, above).tolist() == expected


def test_names_are_numbers_and_texts_apart():
    names = [None, 0, -1, -2, "0", "a", 1 << 70, (1, "a"), -(1 << 62)]
    assert len({key_of(name) for name in names}) == len(names)
