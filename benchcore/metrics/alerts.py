"""Alerts: says when a watched figure passes its limit, once until it has recovered.

Pure: values and time go in, lines and episodes come out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pydantic import Field

from benchcore.base.stored import Number, Stored
from benchcore.config.alerts import WATCHED, Threshold, is_known


class Alert(Stored):
    """A time in which a watched figure was beyond its limit."""

    rule: str
    figure: str
    limit: Number
    begun_seconds: Number
    """From the start of the level."""
    ended_seconds: Number | None = Field(None)
    """Likewise; `None`: it still was when the level was over."""
    worst: Number


class Alerts:
    """Watches some figures during one level.

    Args:
        rules: what is watched.
    """

    def __init__(self, rules: Iterable[Threshold]) -> None:
        self._rules = tuple(rules)
        self._open: dict[Threshold, Alert] = {}
        self.episodes: list[Alert] = []

    def look(self, at_seconds: float, values: Mapping[str, float | None]) -> list[str]:
        """Hold values against the limits; returns what is to be told.

        A figure that is not known now neither begins an episode nor ends one.

        Args:
            at_seconds: from the start of the level.
            values: by figure.
        """
        lines = []
        for rule in self._rules:
            value = values.get(rule.figure)
            if value is None or not is_known(value):
                continue
            alert = self._open.get(rule)
            if rule.holds(value):
                if alert is not None:
                    alert.worst = rule.worst((alert.worst, value))
                    continue
                alert = Alert.complete(
                    rule=rule.text,
                    figure=rule.figure,
                    limit=rule.limit,
                    begun_seconds=at_seconds,
                    worst=value,
                )
                self._open[rule] = alert
                self.episodes.append(alert)
                what = WATCHED[rule.figure].text
                lines.append(f"{rule.text}: {what}: {rule.shown(value)}")
            elif alert is not None:
                del self._open[rule]
                alert.ended_seconds = at_seconds
                lasted = at_seconds - alert.begun_seconds
                lines.append(
                    f"{rule.text}: recovered after {lasted:.1f} s; at worst "
                    f"{rule.shown(alert.worst)}"
                )
        return lines
