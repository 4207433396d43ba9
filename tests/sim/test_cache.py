from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from benchcore.sim.cache import BlockPool, block_digests

IDS = st.lists(st.integers(0, 3), max_size=24)


@given(IDS, IDS, st.integers(1, 5))
def test_two_sequences_share_exactly_the_digests_of_their_common_full_blocks(left, right, width):
    common = 0
    while common < min(len(left), len(right)) and left[common] == right[common]:
        common += 1
    ours, theirs = block_digests(left, width), block_digests(right, width)
    assert len(ours) == len(left) // width
    for index in range(min(len(ours), len(theirs))):
        assert (ours[index] == theirs[index]) == ((index + 1) * width <= common)


def test_digests_are_the_same_in_every_process():
    assert block_digests([1, 2, 3, 4, 5], 2)[1].hex() == "66ca1890a7b0edaee5b40586c64fbba2"


def test_a_pool_hands_out_all_its_blocks_and_no_more():
    pool = BlockPool(3)
    assert pool.take((), 2) == [0, 1]
    assert pool.take((), 2) is None
    assert pool.free == 1
    assert pool.take((), 1) == [2]
    assert pool.usage == 1.0


def test_a_released_block_is_found_again_until_it_is_handed_out():
    pool = BlockPool(2)
    (block,) = pool.take((), 1)
    pool.commit(block, b"a")
    pool.release([block])
    assert pool.match([b"a", b"b"], 2) == [block]
    assert pool.take([block], 0) == [block]
    assert pool.free == 1
    pool.release([block])
    pool.take((), 2)
    assert pool.match([b"a"], 1) == []


def test_the_least_recently_released_block_is_evicted_first():
    pool = BlockPool(3)
    for block, digest in zip(pool.take((), 3), (b"a", b"b", b"c"), strict=True):
        pool.commit(block, digest)
    pool.release([1])
    pool.release([0])
    pool.release([2])
    pool.take((), 1)
    assert [bool(pool.match([digest], 1)) for digest in (b"a", b"b", b"c")] == [True, False, True]


def test_the_tail_of_a_released_sequence_is_evicted_before_its_head():
    pool = BlockPool(2)
    blocks = pool.take((), 2)
    pool.commit(blocks[0], b"head")
    pool.commit(blocks[1], b"tail")
    pool.release(blocks)
    pool.take((), 1)
    assert pool.match([b"head", b"tail"], 2) == [blocks[0]]


def test_a_shared_block_is_free_only_when_the_last_holder_releases_it():
    pool = BlockPool(2)
    (block,) = pool.take((), 1)
    pool.take([block], 0)
    pool.release([block])
    assert pool.free == 1
    pool.release([block])
    assert pool.free == 2


def test_matched_free_blocks_do_not_count_as_room_for_new_ones():
    pool = BlockPool(2)
    blocks = pool.take((), 2)
    pool.commit(blocks[0], b"a")
    pool.release(blocks)
    assert pool.take([blocks[0]], 2) is None
    assert pool.free == 2
    assert pool.take([blocks[0]], 1) == blocks


def test_the_first_of_two_equal_blocks_is_the_one_that_is_found():
    pool = BlockPool(2)
    first, second = pool.take((), 2)
    pool.commit(first, b"a")
    pool.commit(second, b"a")
    assert pool.match([b"a"], 1) == [first]


def test_reset_forgets_what_was_cached():
    pool = BlockPool(1)
    pool.commit(*pool.take((), 1), b"a")
    pool.reset()
    assert pool.match([b"a"], 1) == []
    assert pool.usage == 1.0
