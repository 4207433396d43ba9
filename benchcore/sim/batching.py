"""The model of continuous batching: which sequences share a step and how long it lasts.

Pure: time goes in as nanoseconds, steps come out. The rules are those of vLLM's V1 scheduler
(vllm/v1/core/sched/scheduler.py): running sequences first, prompts read in chunks, waiting
sequences first come first served, the youngest running sequence preempted and recomputed when
blocks run out. KV-cache blocks are reused where prefixes are equal.
"""

from __future__ import annotations

import hashlib
import random
from array import array
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence as Many

    from benchcore.sim.options import SimProfile


def block_digests(token_ids: Many[int], block_tokens: int) -> list[bytes]:
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

    def match(self, digests: Many[bytes], limit: int) -> list[int]:
        """Returns the blocks of the longest known prefix, at most ``limit``; takes none."""
        found: list[int] = []
        for digest in digests[:limit]:
            block = self._by_digest.get(digest)
            if block is None:
                break
            found.append(block)
        return found

    def take(self, cached: Many[int], fresh: int) -> list[int] | None:
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

    def release(self, blocks: Many[int]) -> None:
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


class Owner(Protocol):
    """Whoever a sequence's tokens are for."""

    def emit(self, choice: int) -> None:
        """One more token of this choice exists."""
        ...


class State(Enum):
    """Where a sequence is."""

    NEW = "new"
    WAITING = "waiting"
    RUNNING = "running"
    FINISHED = "finished"
    ABORTED = "aborted"


@dataclass(slots=True, eq=False)
class Sequence:
    """One answer in the making: a prompt of known length and an output of known length."""

    prompt_tokens: int
    output_tokens: int
    digests: list[bytes] = field(default_factory=list)
    owner: Owner | None = None
    choice: int = 0
    paused: bool = False
    """Left out of steps while true; its blocks stay."""
    queue_ns: int = 0
    """How long it stays in the queue at least; others pass it there."""
    prefill_ns: int = 0
    """How long it is left out of steps once it is in the batch."""
    held_until_ns: int = 0

    state: State = State.NEW
    generated: int = 0
    computed: int = 0
    """Tokens whose keys and values are in the cache."""
    prefill_until: int = 0
    """Tokens to read before the next one can be generated; grows when preempted."""
    blocks: list[int] = field(default_factory=list)
    committed: int = 0
    cached_tokens: int = 0
    preemptions: int = 0

    arrived_ns: int = 0
    scheduled_ns: int = 0
    first_token_ns: int = 0
    last_token_ns: int = 0
    finished_ns: int = 0

    @property
    def tokens(self) -> int:
        """Prompt and answer so far."""
        return self.prompt_tokens + self.generated


@dataclass(slots=True, frozen=True)
class Step:
    """One pass of the engine: who takes part with how many tokens, and for how long."""

    duration_ns: int
    work: tuple[tuple[Sequence, int], ...]
    prefill_tokens: int


class Batch:
    """The scheduler: a waiting queue, the running batch and the blocks they hold."""

    __slots__ = (
        "_base_ns",
        "_block_tokens",
        "_chunk_tokens",
        "_jitter",
        "_max_running",
        "_ns_per_prefill_token",
        "_per_sequence_ns",
        "_prefix_cache",
        "_random",
        "pool",
        "preemptions",
        "prefix_hits",
        "prefix_queries",
        "running",
        "waiting",
    )

    def __init__(self, profile: SimProfile, seed: int = 0) -> None:
        self._base_ns = round(profile.decode_base_seconds * 1e9)
        self._per_sequence_ns = round(profile.decode_per_sequence_seconds * 1e9)
        self._ns_per_prefill_token = 1e9 / profile.prefill_tokens_per_second
        self._chunk_tokens = profile.prefill_chunk_tokens
        self._block_tokens = profile.block_tokens
        self._max_running = profile.max_running
        self._prefix_cache = profile.prefix_cache
        self._jitter = profile.step_jitter
        self._random = random.Random(seed)
        self.pool = BlockPool(profile.blocks)
        self.waiting: deque[Sequence] = deque()
        self.running: list[Sequence] = []
        self.preemptions = 0
        self.prefix_queries = 0
        self.prefix_hits = 0

    def add(self, sequence: Sequence, now_ns: int) -> None:
        """Puts a new sequence at the end of the queue."""
        sequence.state = State.WAITING
        sequence.arrived_ns = now_ns
        sequence.held_until_ns = now_ns + sequence.queue_ns if sequence.queue_ns else 0
        sequence.prefill_until = sequence.prompt_tokens
        self.waiting.append(sequence)

    def abort(self, sequence: Sequence) -> None:
        """Takes a sequence out, wherever it is, and frees its blocks at once."""
        if sequence.state is State.WAITING:
            self.waiting.remove(sequence)
        elif sequence.state is State.RUNNING:
            self.running.remove(sequence)
            self._release(sequence)
        elif sequence.state is not State.NEW:
            return
        sequence.state = State.ABORTED

    def schedule(self, now_ns: int) -> Step | None:
        """Decides the next step, or returns None when there is nothing to do.

        Args:
            now_ns: when the step begins; recorded on sequences that enter the batch.
        """
        work: list[tuple[Sequence, int]] = []
        budget = self._chunk_tokens
        preempted = False
        index = 0
        # Victims are taken from the end, so the list may shrink while it is walked.
        while index < len(self.running):
            sequence = self.running[index]
            index += 1
            if sequence.paused or now_ns < sequence.held_until_ns:
                continue
            remaining = sequence.prefill_until - sequence.computed
            tokens = min(remaining, budget) if remaining > 0 else 1
            if tokens == 0:
                continue
            while not self._grow(sequence, tokens):
                preempted = True
                victim = self.running.pop()
                self._preempt(victim)
                if victim is sequence:
                    break
            if sequence.state is not State.RUNNING:
                break
            work.append((sequence, tokens))
            if remaining > 0:
                budget -= tokens
        if not preempted:
            budget = self._admit(work, budget, now_ns)
        if not work:
            return None
        prefill_tokens = self._chunk_tokens - budget
        duration = (
            self._base_ns
            + self._per_sequence_ns * len(work)
            + round(self._ns_per_prefill_token * prefill_tokens)
        )
        if self._jitter:
            duration = round(duration * max(0.2, self._random.gauss(1.0, self._jitter)))
        return Step(duration, tuple(work), prefill_tokens)

    def held_until(self, now_ns: int) -> int:
        """Returns when the first sequence that is held may go on, in ns; 0: none is held."""
        held = [
            sequence.held_until_ns
            for sequences in (self.waiting, self.running)
            for sequence in sequences
            if sequence.held_until_ns > now_ns
        ]
        return min(held, default=0)

    def complete(self, step: Step, now_ns: int) -> list[Sequence]:
        """Applies a step's work and returns the sequences that got a token, in batch order.

        Args:
            step: what ``schedule`` returned last; sequences aborted since are passed over.
            now_ns: when the step ended; recorded as first-token and finish times.
        """
        emitted: list[Sequence] = []
        finished = False
        for sequence, tokens in step.work:
            if sequence.state is not State.RUNNING:
                continue
            sequence.computed += tokens
            self._commit(sequence)
            if sequence.computed < sequence.tokens:
                continue
            sequence.generated += 1
            if sequence.generated == 1:
                sequence.first_token_ns = now_ns
            if sequence.generated >= sequence.output_tokens:
                sequence.state = State.FINISHED
                sequence.finished_ns = now_ns
                self._release(sequence)
                finished = True
            emitted.append(sequence)
        if finished:
            self.running = [one for one in self.running if one.state is State.RUNNING]
        return emitted

    def _admit(self, work: list[tuple[Sequence, int]], budget: int, now_ns: int) -> int:
        while budget > 0 and len(self.running) < self._max_running:
            sequence = next((one for one in self.waiting if one.held_until_ns <= now_ns), None)
            if sequence is None:
                break
            # One token at least must be computed, or there is nothing to sample from.
            limit = (sequence.tokens - 1) // self._block_tokens if self._prefix_cache else 0
            cached = self.pool.match(sequence.digests, limit)
            cached_tokens = len(cached) * self._block_tokens
            tokens = min(sequence.tokens - cached_tokens, budget)
            fresh = self._blocks_for(cached_tokens + tokens) - len(cached)
            blocks = self.pool.take(cached, fresh)
            if blocks is None:
                break
            self.waiting.remove(sequence)
            self.running.append(sequence)
            sequence.held_until_ns = 0
            sequence.state = State.RUNNING
            sequence.blocks = blocks
            sequence.computed = cached_tokens
            sequence.committed = len(cached)
            sequence.prefill_until = sequence.tokens
            if sequence.preemptions == 0:
                # A step is taken to begin where the one before it ended, which is by a little past.
                sequence.scheduled_ns = max(now_ns, sequence.arrived_ns)
                sequence.cached_tokens = cached_tokens
                if self._prefix_cache:
                    self.prefix_queries += sequence.prompt_tokens
                    self.prefix_hits += cached_tokens
                if sequence.prefill_ns:
                    sequence.held_until_ns = now_ns + sequence.prefill_ns
                    continue
            work.append((sequence, tokens))
            budget -= tokens
        return budget

    def _blocks_for(self, tokens: int) -> int:
        return -(-tokens // self._block_tokens)

    def _grow(self, sequence: Sequence, tokens: int) -> bool:
        fresh = self._blocks_for(sequence.computed + tokens) - len(sequence.blocks)
        if fresh <= 0:
            return True
        blocks = self.pool.take((), fresh)
        if blocks is None:
            return False
        sequence.blocks.extend(blocks)
        return True

    def _commit(self, sequence: Sequence) -> None:
        if not self._prefix_cache:
            return
        full = min(sequence.computed // self._block_tokens, len(sequence.digests))
        while sequence.committed < full:
            index = sequence.committed
            self.pool.commit(sequence.blocks[index], sequence.digests[index])
            sequence.committed += 1

    def _preempt(self, sequence: Sequence) -> None:
        self._release(sequence)
        sequence.state = State.WAITING
        sequence.computed = 0
        sequence.preemptions += 1
        self.preemptions += 1
        self.waiting.appendleft(sequence)

    def _release(self, sequence: Sequence) -> None:
        self.pool.release(sequence.blocks)
        sequence.blocks = []
        sequence.committed = 0
