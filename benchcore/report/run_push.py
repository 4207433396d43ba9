"""Run push: the figures of a run folder, sent to a Pushgateway."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchcore.report.run_folder import RunFolder
from benchcore.sinks.pushgateway import Pushgateway
from benchcore.sinks.run_metrics import GROUPING, run_labels, run_metrics

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry


@dataclass(frozen=True, slots=True)
class RunPush:
    """What of a run is pushed.

    Args:
        registry: its metrics.
        grouping: the key that they are kept under, besides `job`.
    """

    registry: CollectorRegistry
    grouping: dict[str, str]

    @classmethod
    def of(cls, folder: RunFolder, prefix: str = "benchcore_") -> RunPush:
        """Return what of a folder is pushed: its levels, its checks and its eval.

        Args:
            folder: of the run.
            prefix: of every metric's name; may be empty.

        Raises:
            ConfigError: the prefix cannot begin a name, or a file of the folder is no JSON.
        """
        registry = run_metrics(
            folder.run, folder.json("functional.json"), folder.json("accuracy.json"), prefix
        )
        labels = run_labels(folder.run)
        return cls(registry, {name: labels[name] for name in GROUPING})

    @property
    def series(self) -> int:
        """How many values there are."""
        return sum(len(metric.samples) for metric in self.registry.collect())

    def send(self, gateway: Pushgateway) -> None:
        """Push.

        Raises:
            ConfigError: the gateway's address or certificates are wrong.
            TargetError: it does not take it.
        """
        gateway.push(self.registry, self.grouping)
