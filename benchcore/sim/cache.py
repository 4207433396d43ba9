"""KV-cache blocks with reuse of equal prefixes."""

from __future__ import annotations

import hashlib
from array import array
from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def block_digests(token_ids: Sequence[int], block_tokens: int) -> list[bytes]:
    """Names every full block of a sequence by all the tokens up to its end.

    Two sequences share the digest of a block exactly when they agree on everything before
    and inside it, which is what makes the block's keys and values reusable.

    Args:
        token_ids: the tokens, prompt first.
        block_tokens: tokens per block.

    Returns:
        One digest per full block, in order; a partly filled last block has none.
    """
    packed = memoryview(array("I", token_ids)).cast("B")
    width = block_tokens * array("I").itemsize
    digests: list[bytes] = []
    parent = b""
    for start in range(0, len(packed) - width + 1, width):
        parent = hashlib.blake2b(
            parent + packed[start : start + width].tobytes(), digest_size=16
        ).digest()
        digests.append(parent)
    return digests


class BlockPool:
    """A fixed number of blocks, counted by reference, the free ones in order of last use.

    A released block keeps its digest until it is handed out again, so that a later sequence
    with the same prefix finds it; the least recently released block goes first.
    """

    __slots__ = ("_by_digest", "_digests", "_free", "_references", "blocks")

    def __init__(self, blocks: int) -> None:
        self.blocks = blocks
        self._free: OrderedDict[int, None] = OrderedDict.fromkeys(range(blocks))
        self._references = [0] * blocks
        self._digests: list[bytes | None] = [None] * blocks
        self._by_digest: dict[bytes, int] = {}

    @property
    def free(self) -> int:
        """Blocks that no sequence holds."""
        return len(self._free)

    @property
    def usage(self) -> float:
        """Held blocks as a fraction of all, 0 to 1."""
        return 1.0 - len(self._free) / self.blocks

    def match(self, digests: Sequence[bytes], limit: int) -> list[int]:
        """Returns the blocks of the longest known prefix, at most ``limit``; takes none."""
        found: list[int] = []
        for digest in digests[:limit]:
            block = self._by_digest.get(digest)
            if block is None:
                break
            found.append(block)
        return found

    def take(self, cached: Sequence[int], fresh: int) -> list[int] | None:
        """Takes matched blocks and new ones together, or nothing.

        Args:
            cached: blocks that ``match`` returned.
            fresh: how many new blocks to add.

        Returns:
            The blocks, the cached ones first, or None where there is no room.
        """
        revived = sum(1 for block in cached if self._references[block] == 0)
        if fresh > len(self._free) - revived:
            return None
        for block in cached:
            if self._references[block] == 0:
                del self._free[block]
            self._references[block] += 1
        taken = list(cached)
        for _ in range(fresh):
            block, _nothing = self._free.popitem(last=False)
            self._forget(block)
            self._references[block] = 1
            taken.append(block)
        return taken

    def commit(self, block: int, digest: bytes) -> None:
        """Makes a filled block findable; the first of several equal blocks wins."""
        if self._digests[block] is None and digest not in self._by_digest:
            self._digests[block] = digest
            self._by_digest[digest] = block

    def release(self, blocks: Sequence[int]) -> None:
        """Gives blocks back, the last first, so that a prefix outlives what follows it."""
        for block in reversed(blocks):
            self._references[block] -= 1
            if self._references[block] == 0:
                self._free[block] = None

    def reset(self) -> None:
        """Forgets every digest; blocks that are held stay held."""
        self._by_digest.clear()
        self._digests = [None] * self.blocks

    def _forget(self, block: int) -> None:
        digest = self._digests[block]
        if digest is not None:
            self._digests[block] = None
            del self._by_digest[digest]
