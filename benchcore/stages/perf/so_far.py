"""So far: what the live line shows of a level that runs."""

from __future__ import annotations

from collections import deque

from benchcore.client.records import FAILED, Outcome, Record
from benchcore.clock import NS
from benchcore.load.level import Level
from benchcore.metrics.figures import ttft_ns
from benchcore.metrics.percentiles import nearest_rank
from benchcore.report.progress import Live
from benchcore.stages.perf import remarks

RECENT = 4096


class SoFar:
    """Counts the requests of a level as they end; remembers the latest times to first token.

    Args:
        name: of the level.
        level: that runs.
        failures: tells of those that failed.
    """

    def __init__(self, name: str, level: Level, failures: remarks.Failures) -> None:
        self._name = name
        self._level = level
        self._failures = failures
        self._ttfts_ns: deque[int] = deque(maxlen=RECENT)
        self._ok = 0
        self._failed = 0
        self.token_reads = 0
        """Reads that held token events."""

    def note(self, record: Record) -> None:
        """Take a request that has ended."""
        self.token_reads += len(record.stamps)
        if record.outcome is Outcome.OK:
            self._ok += 1
            ttft = ttft_ns(record)
            if ttft is not None:
                self._ttfts_ns.append(ttft)
        elif record.outcome in FAILED:
            self._failed += 1
            self._failures.note(self._name, record)

    def live(self, now_ns: int, tokens_per_second: float | None) -> Live:
        """Return how it stands.

        Args:
            now_ns: what time it is.
            tokens_per_second: of the last second that is over.
        """
        level = self._level
        share, eta = remarks.how_far(level, now_ns)
        ttfts = sorted(self._ttfts_ns)
        return Live(
            level=self._name,
            stage=level.stage.value,
            elapsed_seconds=(now_ns - level.result.start_ns) / NS,
            done_share=share,
            eta_seconds=eta,
            in_flight=level.in_flight.now,
            tokens_per_second=tokens_per_second,
            ttft_p50_seconds=nearest_rank(ttfts, 0.5) / NS if ttfts else None,
            ttft_p99_seconds=nearest_rank(ttfts, 0.99) / NS if ttfts else None,
            ok=self._ok,
            failed=self._failed,
        )
