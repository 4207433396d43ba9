"""The catalogue of figures: what each is called, what it means, and who may ask for it.

A figure is one entry here and one formula in `benchcore.metrics.figures` or
`benchcore.metrics.level`. SLOs, gates, comparisons, histories, tables, pages, Prometheus' names and
its help all derive from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal


@dataclass(frozen=True, slots=True)
class Latency:
    """A latency of requests, in seconds; less is better.

    Args:
        key: in `run.json` and in options.
        short: in tables, such as `ITL`.
        long: in a sentence, such as `inter-token latency`.
        pooled: whether a request has many of it; its percentiles are of all together.
        plain: whether an answer that is not streamed has it.
        slo: whether an SLO may hold it.
        gate: whether a gate may: what the load generator itself took is no server's.
        exported: whether Prometheus gets it.
        compared: percentiles that a comparison shows.
        tracked: percentiles of which a history tells changes.
        drawn: whether a page has its percentiles.
        appended: whether its columns stand at the end of `summary.csv`: it came after the others,
            which keep their places.
    """

    key: str
    short: str
    long: str
    pooled: bool = False
    plain: bool = False
    slo: bool = False
    gate: bool = True
    exported: bool = False
    compared: tuple[str, ...] = ()
    tracked: tuple[str, ...] = ()
    drawn: bool = False
    appended: bool = False

    @property
    def full(self) -> str:
        """Both names, as the beginning of a sentence: `Inter-token latency (ITL)`."""
        return f"{self.long[0].upper()}{self.long[1:]} ({self.short})"


@dataclass(frozen=True, slots=True)
class Rate:
    """A rate or a share of a level.

    Args:
        key: in `run.json`.
        better: which direction is.
        unit: per second, or a share from 0 to 1.
        help: Prometheus'; empty: it does not get it.
        exported: its name there, where that is another.
        compared: whether a comparison shows it.
        tracked: whether a history tells its changes.
    """

    key: str
    better: Literal["higher", "lower"] = "higher"
    unit: Literal["per second", "share"] = "per second"
    help: str = ""
    exported: str = ""
    compared: bool = False
    tracked: bool = False

    @property
    def series(self) -> str:
        """What Prometheus calls it."""
        return self.exported or self.key


_LATENCIES: Final = (
    Latency(
        "ttft",
        "TTFT",
        "time to first token",
        slo=True,
        exported=True,
        compared=("p50", "p99"),
        tracked=("p99",),
        drawn=True,
    ),
    Latency(
        "ttft_from_schedule",
        "TTFT from schedule",
        "time to first token from the planned time",
        slo=True,
        exported=True,
    ),
    Latency("ttfo", "TTFO", "time to first output that is not reasoning"),
    Latency("first_byte", "first byte", "time to first byte", plain=True),
    Latency(
        "first_byte_from_schedule",
        "first byte from schedule",
        "time to first byte from the planned time",
        plain=True,
        appended=True,
    ),
    Latency("icl", "ICL", "inter-chunk latency", pooled=True, slo=True),
    Latency(
        "itl",
        "ITL",
        "inter-token latency",
        pooled=True,
        slo=True,
        exported=True,
        compared=("p50", "p99"),
        drawn=True,
    ),
    Latency(
        "tpot",
        "TPOT",
        "time per output token after the first",
        slo=True,
        exported=True,
        compared=("p50",),
    ),
    Latency(
        "e2e",
        "e2e",
        "end-to-end latency",
        plain=True,
        slo=True,
        exported=True,
        compared=("p50", "p99"),
        tracked=("p99",),
        drawn=True,
    ),
    Latency(
        "e2e_from_schedule",
        "e2e from schedule",
        "end-to-end latency from the planned time",
        plain=True,
        slo=True,
    ),
    Latency("dispatch_lag", "dispatch lag", "lateness of the load generator"),
    Latency("send", "send", "time to send the request", gate=False),
    Latency("connect", "connect", "time to connect", gate=False),
)
LATENCIES: Final = {latency.key: latency for latency in _LATENCIES}
"""The latencies by their keys."""

_RATES: Final = (
    Rate(
        "request_throughput",
        help="Requests that ended ok, per second.",
        compared=True,
        tracked=True,
    ),
    Rate("output_token_throughput", help="Output tokens, per second.", compared=True, tracked=True),
    Rate("input_token_throughput"),
    Rate("total_token_throughput"),
    Rate("goodput", help="Requests that met every SLO, per second.", compared=True),
    Rate("goodput_ratio", unit="share", help="Share of requests that met every SLO."),
    Rate(
        "failure_rate",
        "lower",
        "share",
        "Share of requests that failed.",
        "failure_ratio",
        compared=True,
        tracked=True,
    ),
    Rate("tokens_per_second_per_user"),
)
RATES: Final = {rate.key: rate for rate in _RATES}
"""The rates and shares by their keys."""

SLO_LATENCIES: Final = tuple(
    latency.key for latency in sorted(_LATENCIES, key=lambda latency: latency.pooled) if latency.slo
)
COMPARED: Final = (
    *(f"{latency.key}.{name}" for latency in _LATENCIES for name in latency.compared),
    *(rate.key for rate in _RATES if rate.compared),
)
TRACKED: Final = (
    *(f"{latency.key}.{name}" for latency in _LATENCIES for name in latency.tracked),
    *(rate.key for rate in _RATES if rate.tracked),
)
DRAWN: Final = tuple(latency.key for latency in _LATENCIES if latency.drawn)


def higher_is_better(figure: str) -> bool:
    """Whether more of a figure is better; of a latency, such as `ttft.p99`, less is."""
    return figure in RATES and RATES[figure].better == "higher"


def title(figure: str) -> str:
    """Return what a figure is called: `ITL p99` of `itl.p99`, `request throughput` of its key."""
    key, dot, statistic = figure.partition(".")
    if key in LATENCIES:
        return f"{LATENCIES[key].short} {statistic}".rstrip()
    return f"{key}{dot}{statistic}".replace("_", " ")
