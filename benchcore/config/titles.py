"""Titles: what each figure is called wherever people read it. Files and options have its key.

A figure has one name, and this table is the only place that has it: tables, pages, comparisons,
Prometheus' help and the dashboard all ask here.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Title(NamedTuple):
    """The names of a latency figure.

    Args:
        short: in tables, such as `ITL`.
        long: in a sentence, such as `inter-token latency`.
    """

    short: str
    long: str

    @property
    def full(self) -> str:
        """Both, as the beginning of a sentence: `Inter-token latency (ITL)`."""
        first = self.long[0].upper() + self.long[1:]
        return f"{first} ({self.short})"


TITLES: Final = {
    "ttft": Title("TTFT", "time to first token"),
    "ttft_from_schedule": Title("TTFT from schedule", "time to first token from the planned time"),
    "ttfo": Title("TTFO", "time to first output that is not reasoning"),
    "first_byte": Title("first byte", "time to first byte"),
    "icl": Title("ICL", "inter-chunk latency"),
    "itl": Title("ITL", "inter-token latency"),
    "tpot": Title("TPOT", "time per output token after the first"),
    "e2e": Title("e2e", "end-to-end latency"),
    "e2e_from_schedule": Title("e2e from schedule", "end-to-end latency from the planned time"),
    "dispatch_lag": Title("dispatch lag", "lateness of the load generator"),
    "send": Title("send", "time to send the request"),
    "connect": Title("connect", "time to connect"),
}
"""The latency figures by their keys in `run.json`."""


def title(figure: str) -> str:
    """Return what a figure is called: `ITL p99` of `itl.p99`, `request throughput` of its key."""
    key, dot, statistic = figure.partition(".")
    if key in TITLES:
        return f"{TITLES[key].short} {statistic}".rstrip()
    return f"{key}{dot}{statistic}".replace("_", " ")
