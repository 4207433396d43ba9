"""Sample CSV: a `summary.csv` of a server that nobody has to start, for trying dashboards.

The figures are not drawn: chats are read, answered and batched by the simulator itself, only that
its clock is virtual and nothing goes over a wire; what it says on /metrics is read as a run reads
it, and everything else is computed as of a real run. So the figures agree with each other: counts
add up, percentiles rise, throughput levels off where the batch is full and the time to first token
grows from there on.
"""

from __future__ import annotations

import heapq
import itertools
import math
import tempfile
from collections.abc import Sequence as Several
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from benchcore.base.clock import NS
from benchcore.base.errors import ConfigError
from benchcore.base.seeds import derive, stream
from benchcore.client.records import FAILED, Outcome, Record, Usage
from benchcore.config.climb import Arrival
from benchcore.config.limits import Slo, check_climbs
from benchcore.load.open_loop import offsets_ns
from benchcore.metrics.level import count_tokens, latencies, rates
from benchcore.metrics.validity import Evidence, judge
from benchcore.observe.scraper import SCRAPE_EVERY_SECONDS
from benchcore.observe.server import Sample, columns, parse
from benchcore.runs.run import Level, Run
from benchcore.runs.sinks import SinkOptions
from benchcore.runs.tables import SummaryCsvSink
from benchcore.sim.answer import Answer, BabbleAnswerer, Kind, sequences_of
from benchcore.sim.batching import Batch, Sequence, State
from benchcore.sim.options import SimProfile
from benchcore.sim.requests import read_chat
from benchcore.sim.telemetry import Metrics
from benchcore.sim.vocabulary import ENGLISH

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
_MARKERS: Final = 3
"""Of each prompt, the marks of its roles."""
_SYSTEM: Final = "".join(itertools.islice(itertools.cycle(ENGLISH), _SHARED_TOKENS))
_LONGEST: Final = 4
"""No answer is longer than so many medians: such is its `max_tokens`."""
_WAY_NS: Final = 100_000
_SEND_NS: Final = 40_000
_LAG_NS: Final = 60_000
_REFUSAL_NS: Final = 2_000_000
_PAUSE_NS: Final = NS // 10
"""How long a user waits after a refusal."""
_GPU_BYTES: Final = 72 * 2**30
_START_NS: Final = NS
_SCRAPE_NS: Final = round(SCRAPE_EVERY_SECONDS * NS)
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
            raise ConfigError(
                f"{part.strip()!r} is not a level; give levels such as c1,c8,c64,r2.5"
            )
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
    run = Run.begun("sample", _DAY, target={"kind": "simulator", "model": profile.model})
    for repeat in range(1, repeats + 1):
        for level in levels:
            run.add(sample_level(profile, level, repeat, seed))
    run.status = "complete"
    # The sink itself writes it, so that it is what a real run has to the last digit.
    with tempfile.TemporaryDirectory() as name:
        sink = SummaryCsvSink()
        sink.open(run, Path(name), SinkOptions())
        sink.close(run)
        return (Path(name) / "summary.csv").read_bytes()


def sample_level(profile: SimProfile, level: SampleLevel, repeat: int, seed: int) -> Level:
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
    return Level.measured(
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
        judged=judge(Evidence(ok=len(measured) - failed, failed=failed)),
        evidence=Evidence(),
        findings=[],
        notes=[],
        server=virtual.server(),
        start_ns=_START_NS,
        records=measured,
    )


class _VirtualLevel:
    """One level in virtual time: its load on one side, the simulator's model on the other."""

    def __init__(self, profile: SimProfile, level: SampleLevel, repeat: int, seed: int) -> None:
        path = ("sample", level.name, repeat)
        users = int(level.load) if level.mode == "closed" else 0
        self._profile = profile
        self._level = level
        self._draw = stream(seed, *path)
        self._arrivals = stream(seed, *path, "arrivals")
        # Every level asks the same questions in the same order, as those of a real run do.
        self._questions = stream(seed, "sample", "questions", repeat)
        self._answerer = BabbleAnswerer(profile, derive(seed, "sample", "answers", repeat))
        self._batch = Batch(profile, derive(seed, *path, "jitter"))
        self._metrics = Metrics(self._batch, profile)
        self._coming: list[tuple[int, int, int]] = []  # arrival at the server, number, schedule
        self._numbers = itertools.count()
        self._serving: dict[Sequence, tuple[Record, Answer]] = {}
        # The users begin all at once: what waited in that crowd is not measured.
        self._first = max(3 * users, FEWEST // 4)
        self._last = self._first + (max(FEWEST, ROUNDS * users) if users else OF_ARRIVALS)
        self._left = self._last - self._first
        self._records: list[Record] = []
        self._samples: list[tuple[int, Sample]] = []
        self._busy_ns = 0

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

    def server(self) -> dict[str, float]:
        """Return the server-side columns: what is read from its metrics, and of a made-up GPU."""
        start_ns, end_ns = self.window_ns
        inside = [sample for at_ns, sample in self._samples if start_ns <= at_ns <= end_ns]
        return columns(inside) | {
            "gpu_memory_bytes_max": float(_GPU_BYTES),
            "gpu_utilization_avg": min(self._busy_ns / (end_ns - start_ns), 1.0),
        }

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
        now_ns = scrape_ns = _START_NS
        while self._left:
            while self._coming and self._coming[0][0] <= now_ns:
                self._arrive(*heapq.heappop(self._coming))
            step = self._batch.schedule(now_ns)
            if step is None:
                now_ns = self._coming[0][0]
                continue
            if self._first < len(self._records) <= self._last:
                self._busy_ns += step.duration_ns
            if now_ns >= scrape_ns:
                self._samples.append((now_ns, parse(self._metrics.exposition())))
                scrape_ns = now_ns + _SCRAPE_NS
            now_ns += step.duration_ns
            emitted = self._batch.complete(step, now_ns)
            self._metrics.step(step, emitted, now_ns)
            for sequence in emitted:
                self._token(sequence, now_ns)

    def _ask(self, scheduled_ns: int) -> None:
        lag_ns = round(_LAG_NS * (0.5 + self._draw.random()))
        arrives_ns = scheduled_ns + lag_ns + _WAY_NS
        heapq.heappush(self._coming, (arrives_ns, next(self._numbers), scheduled_ns))

    def _arrive(self, at_ns: int, number: int, scheduled_ns: int) -> None:
        request = read_chat(self._body())
        (prompt,), limit = request.prompts, request.max_tokens or 1
        record = Record(
            f"sample-{number}",
            scheduled_ns=scheduled_ns,
            index=len(self._records),
            sent_ns=at_ns - _WAY_NS,
            send_end_ns=at_ns - _WAY_NS + _SEND_NS,
            asked_input_tokens=len(prompt),
            asked_output_tokens=limit,
        )
        self._records.append(record)
        if self._batch.waiting and self._draw.random() < REFUSED:
            record.status, record.outcome = 503, Outcome.HTTP_ERROR
            record.first_byte_ns = record.done_ns = at_ns + _REFUSAL_NS
            self._ended(record, record.done_ns + _PAUSE_NS)
            return
        record.status = 200
        answer = self._answerer.answer(request, prompt, 0, limit)
        (sequence,) = sequences_of(request, [answer], self._profile.block_tokens)
        self._serving[sequence] = (record, answer)
        self._batch.add(sequence, at_ns)

    def _token(self, sequence: Sequence, now_ns: int) -> None:
        record, answer = self._serving[sequence]
        at_ns = now_ns + _WAY_NS
        record.stamps.append(at_ns)
        record.token_events += 1
        record.last_token_ns = at_ns
        if not record.first_token_ns:
            record.first_byte_ns = record.first_token_ns = at_ns
        if not record.first_output_ns and answer.kind(sequence.generated - 1) is Kind.CONTENT:
            record.first_output_ns = at_ns
        if sequence.state is State.FINISHED:
            del self._serving[sequence]
            self._metrics.finished(sequence, answer.finish)
            record.outcome, record.finish_reason = Outcome.OK, answer.finish
            record.done_ns = at_ns
            record.usage = Usage(
                sequence.prompt_tokens, sequence.generated, sequence.cached_tokens, None
            )
            self._ended(record, record.done_ns)

    def _ended(self, record: Record, next_ns: int) -> None:
        self._left -= self._first <= record.index < self._last
        if self._level.mode == "closed":
            self._ask(next_ns)

    def _body(self) -> dict[str, Any]:
        """Return a chat: a system prompt that all share, and a question of its own."""
        profile, draw = self._profile, self._questions
        low, high = _PROMPT_TOKENS
        words = low + int(draw.random() * (high - low + 1)) - _SHARED_TOKENS
        words = max(1, min(words, profile.max_model_len // 2 - _SHARED_TOKENS - _MARKERS))
        question = "".join([ENGLISH[int(draw.random() * len(ENGLISH))] for _ in range(words)])
        room = profile.max_model_len - words - _SHARED_TOKENS - _MARKERS
        longest = math.ceil(_LONGEST * profile.answer_tokens_median) + profile.reasoning_tokens
        return {
            "messages": [
                {"role": "system", "content": _SYSTEM},
                {"role": "user", "content": question},
            ],
            "max_tokens": max(1, min(longest, room)),
        }
