"""Stop rules: when a climb goes no higher. Pure: figures in, a reason out."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LevelFigures:
    """What the rules look at.

    Args:
        name: the level.
        failure_rate: between 0 and 1; `None`: nothing was scheduled.
        throughput: output tokens per second, or requests per second; `None`: unknown.
        broken_slos: the SLOs that its own percentiles break, as text.
    """

    name: str
    failure_rate: float | None
    throughput: float | None
    broken_slos: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StopRules:
    """When to stop before the next level.

    Args:
        failures: stop where the failure rate passes this share.
        slo: stop where an SLO is broken.
        flat: stop where throughput no longer grows.
        gain: what growth is: this share over the last level that grew.
        patience: stop after so many levels in a row without it.
    """

    failures: float | None = None
    slo: bool = False
    flat: bool = False
    gain: float = 0.05
    patience: int = 1

    def reason(self, levels: Sequence[LevelFigures]) -> str | None:
        """Return why the climb ends after these levels, or `None` to go on."""
        if not levels:
            return None
        last = levels[-1]
        if (
            self.failures is not None
            and last.failure_rate is not None
            and last.failure_rate > self.failures
        ):
            return (
                f"{last.name}: {last.failure_rate:.1%} of the requests failed, "
                f"more than {self.failures:.1%}"
            )
        if self.slo and last.broken_slos:
            return f"{last.name}: {', '.join(last.broken_slos)}"
        if self.flat:
            return self._flat_reason(levels)
        return None

    def _flat_reason(self, levels: Sequence[LevelFigures]) -> str | None:
        grown: float | None = None
        without = 0
        for level in levels:
            if level.throughput is None:
                continue
            # Not over the best level: one that creeps up by less each time would never grow.
            if grown is None or level.throughput > grown * (1 + self.gain):
                grown, without = level.throughput, 0
            else:
                without += 1
        if without >= self.patience:
            return (
                f"throughput grew by less than {self.gain:.0%} over {without} level(s), "
                f"up to {levels[-1].name}"
            )
        return None
