"""Sample CSV: a `summary.csv` of a server that nobody has to start, for trying dashboards.

The figures are not drawn: requests go through the simulator's model of continuous batching
(`benchcore.sim.batching`) in virtual time, and everything said of them is computed as of a real
run. So they agree with each other: counts add up, percentiles rise, throughput levels off where
the batch is full and the time to first token grows from there on.
"""

from __future__ import annotations

import heapq
import itertools
import math
import tempfile
from collections.abc import Iterable
from collections.abc import Sequence as Several
from dataclasses import dataclass, field
from pathlib import Path
from statistics import NormalDist
from typing import Final, Literal

from benchcore.client.records import FAILED, Outcome, Record, Usage
from benchcore.clock import NS
from benchcore.config.arrival import Arrival
from benchcore.config.levels import check_climbs
from benchcore.config.slo import Slo
from benchcore.errors import ConfigError
from benchcore.load.arrivals import offsets_ns
from benchcore.metrics.level import LevelResult, count_tokens, latencies, rates
from benchcore.metrics.run import RunResult
from benchcore.metrics.validity import Evidence, judge
from benchcore.observe.server import COLUMNS, UNKNOWN
from benchcore.seeds import derive, stream
from benchcore.sim.batching import Batch, Sequence, State
from benchcore.sim.options import SimProfile
from benchcore.sinks.protocol import SinkOptions
from benchcore.sinks.summary_csv import SummaryCsvSink

FEWEST: Final = 60
"""Measured requests of a level."""
OF_ARRIVALS: Final = 300
"""Measured requests of a level of an open loop, whose mean rate is as good as they are many."""
ROUNDS: Final = 4
"""Measured requests for each user, where that is more."""
SLO: Final = "ttft:200ms"
"""What a good request meets."""
REFUSED: Final = 0.02
"""Share of the requests that find others waiting and are answered 503."""

_PROMPT_TOKENS: Final = (256, 768)
_SHARED_TOKENS: Final = 64
"""Of each prompt, its first tokens are the same: a system prompt."""
_LONGEST: Final = 4
"""No answer is longer than so many medians."""
_WAY_NS: Final = 100_000
_SEND_NS: Final = 40_000
_LAG_NS: Final = 60_000
_REFUSAL_NS: Final = 2_000_000
_PAUSE_NS: Final = NS // 10
"""How long a user waits after a refusal."""
_GPU_BYTES: Final = 72 * 2**30
_START_NS: Final = NS
_DAY: Final = "2026-01-01T00:00:00Z"


@dataclass(frozen=True, slots=True)
class SampleLevel:
    """A level: users of a closed loop, or requests per second of an open one."""

    mode: Literal["closed", "open"]
    load: float

    @property
    def name(self) -> str:
        """Return `c64` or `r4`."""
        return f"{'c' if self.mode == 'closed' else 'r'}{self.load:.12g}"


def parse_levels(text: str) -> tuple[SampleLevel, ...]:
    """Read `c1,c8,r2.5`.

    Raises:
        ConfigError: it is no such list, or does not climb.
    """
    found = []
    for part in text.split(","):
        kind, number = part.strip()[:1], part.strip()[1:]
        try:
            load = float(int(number)) if kind == "c" else float(number)
        except ValueError:
            load = 0.0
        if kind not in ("c", "r") or not 0 < load <= 10_000:
            raise ConfigError(f"{part.strip()!r} is no level; give such as c1,c8,c64,r2.5")
        found.append(SampleLevel("closed" if kind == "c" else "open", load))
    for mode in ("closed", "open"):
        check_climbs([level.load for level in found if level.mode == mode])
    return tuple(found)


def sample_csv(
    profile: SimProfile, levels: Several[SampleLevel], repeats: int = 1, seed: int = 0
) -> bytes:
    """Return a whole `summary.csv`.

    Args:
        profile: how fast and large the server is.
        levels: in order.
        repeats: how often each.
        seed: of lengths, arrivals and refusals.
    """
    run = RunResult(
        run_id="sample",
        started_at=_DAY,
        facts={"target": {"kind": "simulator", "model": profile.model}},
        levels=[
            sample_level(profile, level, repeat, seed)
            for repeat in range(1, repeats + 1)
            for level in levels
        ],
        status="complete",
    )
    # The sink itself writes it, so that it is what a real run has to the last digit.
    with tempfile.TemporaryDirectory() as name:
        sink = SummaryCsvSink()
        sink.open(run, Path(name), SinkOptions())
        sink.close(run)
        return (Path(name) / "summary.csv").read_bytes()


def sample_level(profile: SimProfile, level: SampleLevel, repeat: int, seed: int) -> LevelResult:
    """Return what one level measures.

    Args:
        profile: of the server.
        level: its load.
        repeat: from 1.
        seed: of everything drawn.
    """
    virtual = _VirtualLevel(profile, level, repeat, seed)
    virtual.run()
    measured, others = virtual.measured, virtual.others
    start_ns, end_ns = virtual.window_ns
    ended = [record.outcome for record in measured]
    outcomes = {one.value: ended.count(one) for one in Outcome if one in ended}
    failed = sum(outcome in FAILED for outcome in ended)
    closed = level.mode == "closed"
    return LevelResult(
        level=level.name,
        workload="sample",
        mode=level.mode,
        concurrency=int(level.load) if closed else None,
        rate=None if closed else level.load,
        arrival=None if closed else str(Arrival()),
        repeat=repeat,
        window_seconds=(end_ns - start_ns) / NS,
        warmup_seconds=(start_ns - _START_NS) / NS,
        drain_seconds=(max(record.done_ns for record in measured) - end_ns) / NS,
        scheduled=len(measured),
        outcomes=outcomes,
        **rates(measured, others, start_ns, end_ns, [Slo.parse(SLO)]),
        metrics=latencies(measured, open_loop=not closed, failures=None),
        tokens=count_tokens([record for record in measured if record.outcome is Outcome.OK]),
        steady_state={},
        validity=judge(Evidence(ok=len(measured) - failed, failed=failed)),
        evidence=Evidence(),
        findings=[],
        notes=[],
        server=virtual.watch.columns(end_ns - start_ns),
        start_ns=_START_NS,
        records=measured,
    )


class _VirtualLevel:
    """One level in virtual time: its load on one side, the batching model on the other."""

    def __init__(self, profile: SimProfile, level: SampleLevel, repeat: int, seed: int) -> None:
        path = ("sample", level.name, repeat)
        users = int(level.load) if level.mode == "closed" else 0
        self._profile = profile
        self._level = level
        self._draw = stream(seed, *path)
        self._arrivals = stream(seed, *path, "arrivals")
        self._batch = Batch(profile, derive(seed, *path, "jitter"))
        self._coming: list[tuple[int, int, int]] = []  # arrival at the server, number, schedule
        self._numbers = itertools.count()
        self._serving: dict[Sequence, Record] = {}
        # The users begin all at once: what waited in that crowd is not measured.
        self._first = max(3 * users, FEWEST // 4)
        self._last = self._first + (max(FEWEST, ROUNDS * users) if users else OF_ARRIVALS)
        self._left = self._last - self._first
        self._records: list[Record] = []
        self.watch = _Watch()

    @property
    def measured(self) -> list[Record]:
        """The requests of the window."""
        return self._records[self._first : self._last]

    @property
    def others(self) -> list[Record]:
        """Those before it and after it, which kept the load up."""
        return [
            one for one in self._records[: self._first] + self._records[self._last :] if one.done_ns
        ]

    @property
    def window_ns(self) -> tuple[int, int]:
        """From the first measured request's instant to the last one's."""
        scheduled = [record.scheduled_ns for record in self.measured]
        return min(scheduled), max(scheduled)

    def run(self) -> None:
        """Go on until every measured request has ended; the load stays up until then."""
        if self._level.mode == "closed":
            due = [_START_NS] * int(self._level.load)
        else:
            rate, count = self._level.load, 3 * self._last
            due = offsets_ns(Arrival(), rate, 0, self._arrivals, fewest=count)
            due = [_START_NS + at_ns for at_ns in due]
        for at_ns in due:
            self._ask(at_ns)
        now_ns = _START_NS
        while self._left:
            while self._coming and self._coming[0][0] <= now_ns:
                self._arrive(*heapq.heappop(self._coming))
            step = self._batch.schedule(now_ns)
            if step is None:
                now_ns = self._coming[0][0]
                continue
            if self._first < len(self._records) <= self._last:
                self.watch.look(self._batch, step.duration_ns)
            now_ns += step.duration_ns
            for sequence in self._batch.complete(step, now_ns):
                self._token(sequence, now_ns)

    def _ask(self, scheduled_ns: int) -> None:
        lag_ns = round(_LAG_NS * (0.5 + self._draw.random()))
        arrives_ns = scheduled_ns + lag_ns + _WAY_NS
        heapq.heappush(self._coming, (arrives_ns, next(self._numbers), scheduled_ns))

    def _arrive(self, at_ns: int, number: int, scheduled_ns: int) -> None:
        prompt, answer = self._lengths()
        record = Record(
            f"sample-{number}",
            scheduled_ns=scheduled_ns,
            index=len(self._records),
            sent_ns=at_ns - _WAY_NS,
            send_end_ns=at_ns - _WAY_NS + _SEND_NS,
            asked_input_tokens=prompt,
            asked_output_tokens=answer,
        )
        self._records.append(record)
        if self._batch.waiting and self._draw.random() < REFUSED:
            record.status, record.outcome = 503, Outcome.HTTP_ERROR
            record.first_byte_ns = record.done_ns = at_ns + _REFUSAL_NS
            self._ended(record, record.done_ns + _PAUSE_NS)
            return
        record.status = 200
        sequence = Sequence(prompt, answer, digests=self._digests(number, prompt))
        self._serving[sequence] = record
        self._batch.add(sequence, at_ns)

    def _token(self, sequence: Sequence, now_ns: int) -> None:
        record, at_ns = self._serving[sequence], now_ns + _WAY_NS
        record.stamps.append(at_ns)
        record.token_events += 1
        record.last_token_ns = at_ns
        if not record.first_token_ns:
            record.first_byte_ns = record.first_token_ns = at_ns
        if not record.first_output_ns and record.token_events > self._profile.reasoning_tokens:
            record.first_output_ns = at_ns
        if sequence.state is State.FINISHED:
            del self._serving[sequence]
            record.outcome, record.finish_reason = Outcome.OK, "length"
            record.done_ns = at_ns
            record.usage = Usage(
                sequence.prompt_tokens, sequence.generated, sequence.cached_tokens, None
            )
            if self._first <= record.index < self._last:
                self.watch.finished.append(sequence)
            self._ended(record, record.done_ns)

    def _ended(self, record: Record, next_ns: int) -> None:
        self._left -= self._first <= record.index < self._last
        if self._level.mode == "closed":
            self._ask(next_ns)

    def _lengths(self) -> tuple[int, int]:
        """Draw a prompt and an answer; of the draws `random()` alone is the same everywhere."""
        profile, draw = self._profile, self._draw
        low, high = _PROMPT_TOKENS
        room = profile.max_model_len
        prompt = min(low + int(draw.random() * (high - low + 1)), room // 2)
        median = profile.answer_tokens_median
        spread = profile.answer_tokens_sigma * NormalDist().inv_cdf(draw.random() or 0.5)
        answer = round(median * min(math.exp(spread), _LONGEST)) + profile.reasoning_tokens
        return max(prompt, 1), max(1, min(answer, room - prompt))

    def _digests(self, number: int, prompt: int) -> list[bytes]:
        size = self._profile.block_tokens
        shared = _SHARED_TOKENS // size
        own = range(shared, prompt // size)
        return [b"%d" % place for place in range(min(shared, prompt // size))] + [
            b"%d/%d" % (number, place) for place in own
        ]


@dataclass(slots=True)
class _Watch:
    """What the server's own metrics would show of the window."""

    running: int = 0
    waiting: int = 0
    kv_usage: float = 0.0
    busy_ns: int = 0
    preemptions: tuple[int, int] | None = None
    finished: list[Sequence] = field(default_factory=list)

    def look(self, batch: Batch, duration_ns: int) -> None:
        """Look at a step inside the window."""
        self.running = max(self.running, len(batch.running))
        self.waiting = max(self.waiting, len(batch.waiting))
        self.kv_usage = max(self.kv_usage, 1 - batch.pool.free / batch.pool.blocks)
        self.busy_ns += duration_ns
        first = batch.preemptions if self.preemptions is None else self.preemptions[0]
        self.preemptions = (first, batch.preemptions)

    def columns(self, window_ns: int) -> dict[str, float]:
        """Return the server-side columns; there is no speculative decoding in the model."""
        count = len(self.finished)
        prompts = sum(one.prompt_tokens for one in self.finished)

        def mean(times_ns: Iterable[int]) -> float:
            return sum(times_ns) / count / NS if count else UNKNOWN

        before, after = self.preemptions or (0, 0)
        return dict.fromkeys(COLUMNS, UNKNOWN) | {
            "server_kv_cache_usage_max": self.kv_usage,
            "server_prefix_cache_hit_ratio": sum(one.cached_tokens for one in self.finished)
            / prompts
            if prompts
            else UNKNOWN,
            "server_running_max": float(self.running),
            "server_waiting_max": float(self.waiting),
            "server_preemptions": float(after - before),
            "server_queue_seconds_avg": mean(
                one.scheduled_ns - one.arrived_ns for one in self.finished
            ),
            "server_prefill_seconds_avg": mean(
                one.first_token_ns - one.scheduled_ns for one in self.finished
            ),
            "server_decode_seconds_avg": mean(
                one.finished_ns - one.first_token_ns for one in self.finished
            ),
            "gpu_memory_bytes_max": float(_GPU_BYTES),
            "gpu_utilization_avg": min(self.busy_ns / window_ns, 1.0) if window_ns else UNKNOWN,
        }
