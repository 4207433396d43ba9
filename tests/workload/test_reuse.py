import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchcore.client.request import Prompt
from benchcore.workload import reuse
from benchcore.workload.reuse import PrefixReuse
from benchcore.workload.sessions import Recipe, Session, Turn, chain, single


def asked(tokens, *blocks, size=16, output=0):
    return single(Recipe(tokens, output or None, blocks=blocks, block_tokens=size))


def test_leading_blocks_that_came_before_are_hits():
    found = PrefixReuse()
    assert found.share is None
    assert found.add(asked(40, 1, 2, 3)) == (40, 0)
    assert found.add(asked(40, 1, 2, 4)) == (40, 32)
    assert found.add(asked(40, 1, 2, 3)) == (40, 40)  # the third block has eight tokens
    assert found.add(asked(32, 5, 2)) == (32, 0)  # the same block behind another is another
    assert found.share == pytest.approx(72 / 152)


def test_a_miss_ends_the_prefix():
    found = PrefixReuse()
    found.add(asked(48, 1, 2, 3))
    assert found.add(asked(48, 1, 9, 3)) == (48, 16)


def test_texts_share_their_first_whole_blocks():
    found = PrefixReuse()
    text = "".join(chr(97 + n % 26) for n in range(640))
    found.add(single(Prompt(text + "x" * 200)))
    tokens, hits = found.add(single(Prompt(text + "y" * 200)))
    assert tokens == pytest.approx((len("user\n") + 841) / 4)
    assert hits == 640 / 4


def test_a_later_turn_repeats_its_conversation():
    found = PrefixReuse()
    turn = Turn(Recipe(100, 20))
    tokens, hits = found.add(Session(chain([turn, turn, turn])))
    assert (tokens, hits) == (100 + 220 + 340, 120 + 240)


def test_of_a_prefix_whole_blocks_of_the_server_s_size_are_hits():
    # What vLLM 0.32 reported with blocks of 32: 288 of a prefix of 300, 192 of a message of 200.
    found = PrefixReuse(32)
    found.add(asked(360, "a", size=300))
    assert found.add(asked(360, "a", size=300)) == (360, 288)
    turn = Turn(Recipe(200, 8))
    assert found.add(Session(chain([turn, turn]))) == (200 + 408, 192)


def test_the_last_token_of_an_answer_is_no_hit_where_blocks_are_known():
    found = PrefixReuse(16)
    for output, hits in [(27, 112), (28, 112), (29, 128)]:
        turn = Turn(Recipe(100, output))
        assert found.add(Session(chain([turn, turn])))[1] == hits


def test_the_last_token_of_a_prompt_is_never_a_hit_where_blocks_are_known():
    found = PrefixReuse(32)
    found.add(asked(64, 1, 2, size=32))
    assert found.add(asked(64, 1, 2, size=32)) == (64, 32)
    assert found.add(asked(65, 1, 2, size=32)) == (65, 64)
    assert found.add(asked(20, 1, size=32)) == (20, 0)


def test_what_it_remembers_has_a_bound_and_it_says_so(monkeypatch):
    monkeypatch.setattr(reuse, "MOST_BLOCKS", 10)
    found = PrefixReuse()
    for number in range(10):
        found.add(asked(16, number))
    assert not found.full
    found.add(asked(16, 10))
    assert found.full
    assert found.add(asked(16, 10))[1] == 0
    assert found.add(asked(16, 3))[1] == 16


@given(st.lists(st.tuples(st.integers(1, 200), st.lists(st.integers(0, 4), max_size=6))))
def test_hits_are_those_of_a_set_of_prefixes(prompts):
    found = PrefixReuse()
    seen = set()
    for tokens, blocks in prompts:
        hits = 0
        for end in range(1, len(blocks) + 1):
            if (end - 1) * 16 < tokens and tuple(blocks[:end]) in seen:
                hits = min(end * 16, tokens)
        seen |= {
            tuple(blocks[:end]) for end in range(1, len(blocks) + 1) if (end - 1) * 16 < tokens
        }
        assert found.add(asked(tokens, *blocks)) == (tokens, hits)


def test_names_that_fall_on_one_place_are_told_apart(monkeypatch):
    monkeypatch.setattr(reuse, "_SLOTS", (4, 8, 16))
    names = reuse._Names()
    taken = [16 * n for n in range(1, 8)] + [15, 31, 7]
    for name in taken:
        assert name not in names
        names.add(name)
        assert name in names
    assert all(name in names for name in taken)
    assert len(names) == len(taken)
    assert 256 not in names


def test_there_is_room_for_as_many_blocks_as_are_remembered():
    assert sum(slots // 2 for slots in reuse._SLOTS) >= reuse.MOST_BLOCKS
