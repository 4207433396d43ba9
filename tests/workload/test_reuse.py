import pytest

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
