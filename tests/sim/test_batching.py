"""The model of continuous batching and its KV cache."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchcore.sim.batching import Batch, BlockPool, Sequence, State, block_digests
from benchcore.sim.options import SimProfile

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


MS = 1_000_000


def profile(**fields) -> SimProfile:
    """1 ms a token read, 10 ms a step, 1 ms for each sequence in it, blocks of 4 tokens."""
    figures = {
        "max_model_len": 64,
        "max_running": 4,
        "prefill_tokens_per_second": 1000,
        "prefill_chunk_tokens": 8,
        "decode_base_seconds": 0.010,
        "decode_per_sequence_seconds": 0.001,
        "block_tokens": 4,
        "blocks": 64,
    }
    return SimProfile.model_validate({**figures, **fields})


def run(batch: Batch, arrivals: dict[int, list[Sequence]], until: int = 10_000):
    """Plays arrivals (ms to sequences) on virtual time; returns (end in ms, who) per step."""
    names = {
        one: f"{ms}.{index}" for ms, many in arrivals.items() for index, one in enumerate(many)
    }
    waiting = sorted(arrivals.items())
    now, table = 0, []
    while now <= until * MS:
        while waiting and waiting[0][0] * MS <= now:
            for one in waiting.pop(0)[1]:
                batch.add(one, now)
        step = batch.schedule(now)
        if step is None:
            times = [ms * MS for ms, _ in waiting[:1]] + [batch.held_until(now)] * bool(
                batch.held_until(now)
            )
            if not times:
                return table
            now = min(times)
            continue
        now += step.duration_ns
        table.append((now / MS, [names[one] for one in batch.complete(step, now)]))
    raise AssertionError("the batch never came to rest")


def test_one_sequence_reads_its_prompt_and_then_emits_a_token_a_step():
    one = Sequence(prompt_tokens=5, output_tokens=3)
    assert run(Batch(profile()), {0: [one]}) == [
        (16, ["0.0"]),  # 10 + 1 + 5
        (27, ["0.0"]),
        (38, ["0.0"]),
    ]
    assert one.state is State.FINISHED
    assert (one.first_token_ns, one.finished_ns) == (16 * MS, 38 * MS)


def test_a_sequence_that_is_held_in_the_queue_is_passed_by_others():
    held = Sequence(prompt_tokens=5, output_tokens=1, queue_ns=100 * MS)
    other = Sequence(prompt_tokens=5, output_tokens=2)
    assert run(Batch(profile()), {0: [held, other]}) == [
        (16, ["0.1"]),
        (27, ["0.1"]),
        (116, ["0.0"]),
    ]
    assert (held.arrived_ns, held.scheduled_ns) == (0, 100 * MS)


def test_a_sequence_that_is_held_in_prefill_is_in_the_batch_and_in_no_step():
    held = Sequence(prompt_tokens=5, output_tokens=1, prefill_ns=100 * MS)
    other = Sequence(prompt_tokens=5, output_tokens=2)
    assert run(Batch(profile()), {0: [held, other]}) == [
        (16, ["0.1"]),
        (27, ["0.1"]),
        (116, ["0.0"]),
    ]
    assert (held.scheduled_ns, held.first_token_ns) == (0, 116 * MS)


def test_a_long_prompt_is_read_in_chunks_and_emits_after_the_last():
    one = Sequence(prompt_tokens=20, output_tokens=1)
    assert run(Batch(profile()), {0: [one]}) == [(19, []), (38, []), (53, ["0.0"])]


def test_prompts_share_the_budget_of_a_step_in_order_of_arrival():
    first = Sequence(prompt_tokens=6, output_tokens=2)
    second = Sequence(prompt_tokens=6, output_tokens=1)
    assert run(Batch(profile()), {0: [first, second]}) == [
        (20, ["0.0"]),  # 6 of the first and 2 of the second: 10 + 2 + 8
        (36, ["0.0", "0.1"]),  # one decoded, 4 read: 10 + 2 + 4
    ]


def test_a_late_arrival_joins_the_next_step_and_slows_the_others_down():
    first = Sequence(prompt_tokens=1, output_tokens=4)
    second = Sequence(prompt_tokens=8, output_tokens=1)
    assert run(Batch(profile()), {0: [first], 13: [second]}) == [
        (12, ["0.0"]),
        (23, ["0.0"]),
        (43, ["0.0", "13.0"]),
        (54, ["0.0"]),
    ]
    assert second.scheduled_ns == 23 * MS


def test_waiting_sequences_enter_first_come_first_served_as_places_fall_free():
    many = [Sequence(prompt_tokens=1, output_tokens=tokens) for tokens in (1, 2, 1, 1)]
    table = run(Batch(profile(max_running=2)), {0: many})
    assert [who for _, who in table] == [["0.0", "0.1"], ["0.1", "0.2"], ["0.3"]]


def test_every_token_takes_its_place_in_the_cache_and_leaves_it_at_the_end():
    batch = Batch(profile(blocks=16))
    one = Sequence(prompt_tokens=4, output_tokens=6)
    batch.add(one, 0)
    held = []
    while (step := batch.schedule(0)) is not None:
        held.append(16 - batch.pool.free)
        batch.complete(step, 0)
    # The last token is emitted and never read back: 4 + 5 tokens in blocks of 4.
    assert held == [1, 2, 2, 2, 2, 3]
    assert batch.pool.free == 16


def test_a_prompt_for_which_there_are_no_blocks_waits_until_an_older_sequence_ends():
    batch = Batch(profile(blocks=4, max_model_len=16, prefix_cache=False))
    old = Sequence(prompt_tokens=8, output_tokens=4)
    young = Sequence(prompt_tokens=8, output_tokens=2)
    table = run(batch, {0: [old, young]})
    assert table == [
        (19, ["0.0"]),  # the old prompt fills the step's budget
        # The old one needs a third block: 3 + 2 is more than 4, so the young one waits.
        (30, ["0.0"]),
        (41, ["0.0"]),
        (52, ["0.0"]),
        (71, ["0.1"]),
        (82, ["0.1"]),
    ]
    assert batch.preemptions == 0


def test_when_blocks_run_out_the_youngest_is_preempted_and_computed_again():
    batch = Batch(profile(blocks=4, max_model_len=16, prefix_cache=False, prefill_chunk_tokens=16))
    old = Sequence(prompt_tokens=7, output_tokens=4)
    young = Sequence(prompt_tokens=7, output_tokens=4)
    table = run(batch, {0: [old, young]})
    assert table == [
        (26, ["0.0", "0.1"]),  # 10 + 2 + 14
        (38, ["0.0", "0.1"]),  # both blocks of each are full now
        (49, ["0.0"]),  # the young one is preempted
        (60, ["0.0"]),
        (80, ["0.1"]),  # 7 + 2 tokens read again: 10 + 1 + 9
        (91, ["0.1"]),
    ]
    assert (old.preemptions, young.preemptions, batch.preemptions) == (0, 1, 1)
    assert young.generated == 4
    assert batch.pool.free == 4


def test_a_preempted_sequence_is_the_first_to_come_back():
    batch = Batch(profile(blocks=4, max_model_len=16, prefix_cache=False, prefill_chunk_tokens=16))
    table = run(
        batch,
        {
            0: [Sequence(7, 4), Sequence(7, 4)],
            1: [Sequence(1, 1)],
        },
    )
    # A place is free at 26 ms but no block; at 60 ms the preempted one goes before the newcomer.
    assert [who for _, who in table][-2:] == [["0.1", "1.0"], ["0.1"]]


def with_ids(ids: list[int], output_tokens: int = 1) -> Sequence:
    return Sequence(len(ids), output_tokens, block_digests(ids, 4))


def test_an_equal_prefix_is_read_once():
    batch = Batch(profile(prefill_chunk_tokens=32))
    first, second = with_ids([1] * 8 + [2] * 4), with_ids([1] * 8 + [3] * 4)
    assert run(batch, {0: [first], 100: [second]}) == [(23, ["0.0"]), (115, ["100.0"])]
    assert (first.cached_tokens, second.cached_tokens) == (0, 8)
    assert (batch.prefix_queries, batch.prefix_hits) == (24, 8)


def test_of_a_wholly_cached_prompt_the_last_block_is_read_again():
    batch = Batch(profile(prefill_chunk_tokens=32))
    first, second = with_ids([1] * 8), with_ids([1] * 8)
    assert run(batch, {0: [first], 100: [second]}) == [(19, ["0.0"]), (115, ["100.0"])]
    assert second.cached_tokens == 4


def test_without_a_prefix_cache_nothing_is_found_and_nothing_is_counted():
    batch = Batch(profile(prefix_cache=False))
    second = with_ids([1] * 8)
    run(batch, {0: [with_ids([1] * 8)], 100: [second]})
    assert second.cached_tokens == 0
    assert (batch.prefix_queries, batch.prefix_hits) == (0, 0)


def test_the_cache_keeps_a_prefix_while_its_blocks_are_not_needed_and_loses_it_then():
    for other_tokens, hit in ((8, 4), (16, 0)):
        batch = Batch(profile(blocks=4, max_model_len=16))
        last = with_ids([1] * 8)
        run(batch, {0: [with_ids([1] * 8)], 100: [with_ids([2] * other_tokens)], 200: [last]})
        assert last.cached_tokens == hit


def test_a_paused_sequence_sits_out_and_holds_its_blocks():
    batch = Batch(profile())
    one, other = Sequence(4, 9), Sequence(4, 9)
    batch.add(one, 0)
    batch.add(other, 0)
    batch.complete(batch.schedule(0), 1)
    one.paused = True
    step = batch.schedule(1)
    assert [sequence for sequence, _ in step.work] == [other]
    batch.complete(step, 2)
    assert len(one.blocks) == 1
    other.paused = True
    assert batch.schedule(2) is None


@pytest.mark.parametrize("when", ["waiting", "running", "in a step"])
def test_an_aborted_sequence_leaves_nothing_behind(when):
    batch = Batch(profile())
    one = Sequence(4, 5)
    batch.add(one, 0)
    step = None if when == "waiting" else batch.schedule(0)
    if when == "running":
        batch.complete(step, 1)
    batch.abort(one)
    if when == "in a step":
        assert batch.complete(step, 1) == []
    assert one.state is State.ABORTED
    assert (batch.pool.free, len(batch.running), len(batch.waiting)) == (64, 0, 0)
    batch.abort(one)
    assert batch.schedule(2) is None


def test_jitter_is_drawn_from_the_seed():
    def durations(seed: int) -> list[int]:
        batch = Batch(profile(step_jitter=0.1), seed)
        batch.add(Sequence(1, 5), 0)
        found = []
        while (step := batch.schedule(0)) is not None:
            found.append(step.duration_ns)
            batch.complete(step, 0)
        return found

    assert durations(1) == durations(1) != durations(2)
    assert len(set(durations(1))) > 1


def test_throughput_grows_up_to_max_running_and_time_to_first_token_after_it():
    """Closed loop on virtual time: the default profile has its knee at its batch size."""

    def climb(users: int) -> tuple[float, float]:
        figures = SimProfile.named("default", prefix_cache=False)
        batch = Batch(figures)
        waits, tokens, now = [], 0, 0
        for _ in range(users):
            batch.add(Sequence(128, 64), now)
        while now < 20_000 * MS:
            step = batch.schedule(now)
            now += step.duration_ns
            for one in batch.complete(step, now):
                tokens += 1
                if one.generated == 1:
                    waits.append(one.first_token_ns - one.arrived_ns)
                if one.state is State.FINISHED:
                    batch.add(Sequence(128, 64), now)
        waits.sort()
        return tokens / 20, waits[len(waits) // 2] / MS

    (alone, _), (few, few_ttft), (full, full_ttft), (over, over_ttft) = map(climb, (1, 8, 48, 64))
    assert 190 < alone < 198
    assert few > 6 * alone
    assert full > 3 * few
    assert over < 1.1 * full
    assert full_ttft < 10 * few_ttft
    assert over_ttft > 4 * few_ttft
    assert over_ttft > 50


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.integers(1, 20), st.integers(1, 20), st.integers(0, 300)), max_size=12),
    st.integers(10, 20),
    st.integers(1, 9),
    st.integers(1, 5),
)
def test_whatever_arrives_is_answered_in_full_and_no_block_is_lost(asks, blocks, chunk, places):
    batch = Batch(
        profile(blocks=blocks, max_model_len=40, prefill_chunk_tokens=chunk, max_running=places)
    )
    arrivals: dict[int, list[Sequence]] = {}
    for prompt, output, ms in asks:
        ids = [7] * prompt + list(range(output))
        arrivals.setdefault(ms, []).append(Sequence(prompt, output, block_digests(ids, 4)))
    table = run(batch, arrivals, until=100_000)
    assert sum(len(who) for _, who in table) == sum(output for _, output, _ in asks)
    for many in arrivals.values():
        for one in many:
            assert one.state is State.FINISHED
            assert one.arrived_ns <= one.scheduled_ns < one.first_token_ns <= one.finished_ns
    assert batch.pool.free == blocks
