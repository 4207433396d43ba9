"""The catalogue of figures: what each is called, what it means, and who may ask for it.

A figure is one entry here and one formula in `benchcore.metrics.figures` or
`benchcore.metrics.level`. SLOs, gates, comparisons, histories, tables, pages, Prometheus' names and
its help all derive from it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

TableName = Literal["brief", "wide", "page"]
"""A table of a level's figures: that of a narrow terminal and of Markdown, that of a wide terminal,
that of a page."""
EVERYWHERE: Final[tuple[TableName, ...]] = ("brief", "wide", "page")


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
        columns: tables in which a percentile has a column, by percentile.
        grouped: percentiles in the table by turn and class.
        span: the instants of a request that it is between, where its row tells it: the later one
            and the earlier one.
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
    columns: Mapping[str, tuple[TableName, ...]] = field(default_factory=dict)
    grouped: tuple[str, ...] = ()
    span: tuple[str, str] | None = None
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
        unit: per second, a share from 0 to 1, or of energy or money.
        help: Prometheus'; empty: it does not get it.
        exported: its name there, where that is another.
        compared: whether a comparison shows it.
        tracked: whether a history tells its changes.
        head: over its columns.
        broken: the same over two lines, for a terminal; empty: it is short enough.
        columns: tables in which it has one.
        place: where its column stands: 0 before the latencies, else behind them, in this order.
    """

    key: str
    better: Literal["higher", "lower"] = "higher"
    unit: Literal["per second", "share", "per joule", "joules", "price"] = "per second"
    help: str = ""
    exported: str = ""
    compared: bool = False
    tracked: bool = False
    head: str = ""
    broken: str = ""
    columns: tuple[TableName, ...] = ()
    place: int = 0

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
        columns={"p50": EVERYWHERE, "p99": EVERYWHERE},
        grouped=("p50", "p99"),
        span=("first_token", "sent"),
    ),
    Latency(
        "ttft_from_schedule",
        "TTFT from schedule",
        "time to first token from the planned time",
        slo=True,
        exported=True,
        span=("first_token", "scheduled"),
    ),
    Latency(
        "ttfo",
        "TTFO",
        "time to first output that is not reasoning",
        span=("first_output", "sent"),
    ),
    Latency(
        "first_byte",
        "first byte",
        "time to first byte",
        plain=True,
        span=("first_byte", "sent"),
    ),
    Latency(
        "first_byte_from_schedule",
        "first byte from schedule",
        "time to first byte from the planned time",
        plain=True,
        appended=True,
        span=("first_byte", "scheduled"),
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
        columns={"p50": ("wide", "page"), "p99": EVERYWHERE},
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
        columns={"p50": ("page",), "p99": EVERYWHERE},
        grouped=("p50", "p99"),
        span=("end", "sent"),
    ),
    Latency(
        "e2e_from_schedule",
        "e2e from schedule",
        "end-to-end latency from the planned time",
        plain=True,
        slo=True,
        span=("end", "scheduled"),
    ),
    Latency(
        "dispatch_lag",
        "dispatch lag",
        "lateness of the load generator",
        span=("sent", "scheduled"),
    ),
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
        head="req/s",
        columns=EVERYWHERE,
    ),
    Rate(
        "output_token_throughput",
        help="Output tokens, per second.",
        compared=True,
        tracked=True,
        head="tok/s",
        columns=EVERYWHERE,
    ),
    Rate("input_token_throughput"),
    Rate("total_token_throughput"),
    Rate(
        "goodput",
        help="Requests that met every SLO, per second.",
        compared=True,
        head="goodput req/s",
        broken="goodput\nreq/s",
        columns=("wide",),
        place=2,
    ),
    Rate("goodput_ratio", unit="share", help="Share of requests that met every SLO."),
    Rate(
        "failure_rate",
        "lower",
        "share",
        "Share of requests that failed.",
        "failure_ratio",
        compared=True,
        tracked=True,
        head="failed",
        columns=EVERYWHERE,
        place=1,
    ),
    Rate(
        "tokens_per_second_per_user",
        head="tok/s/user",
        broken="tok/s\nper user",
        columns=("wide", "page"),
    ),
    Rate("tokens_per_joule", unit="per joule", help="Output tokens per joule of the GPUs."),
    Rate(
        "joules_per_request", "lower", "joules", "Joules of the GPUs per request that ended well."
    ),
    Rate(
        "cost_per_million_tokens",
        "lower",
        "price",
        "Price of a million output tokens, in the currency of the GPUs' price.",
    ),
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


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the tables of levels.

    Args:
        figure: such as `goodput` or `ttft.p99`.
        head: over it, without a unit.
        broken: the same over two lines, for a terminal, with its unit.
        tables: it is of.
    """

    figure: str
    head: str
    broken: str
    tables: tuple[TableName, ...]

    @property
    def latency(self) -> bool:
        """Whether it is in seconds, and shown in milliseconds."""
        return "." in self.figure

    @property
    def share(self) -> bool:
        """Whether it is shown in per cent."""
        return not self.latency and RATES[self.figure].unit == "share"

    @property
    def with_unit(self) -> str:
        """The head with the unit that a table must name."""
        return f"{self.head} ms" if self.latency else self.head


def _columns() -> Iterator[Column]:
    rates = [
        (rate.place, Column(rate.key, rate.head, rate.broken or rate.head, rate.columns))
        for rate in sorted(_RATES, key=lambda rate: rate.place)
    ]
    yield from (column for place, column in rates if not place)
    for latency in _LATENCIES:
        for name, tables in latency.columns.items():
            figure = f"{latency.key}.{name}"
            yield Column(figure, title(figure), f"{latency.short} ms\n{name}", tables)
    yield from (column for place, column in rates if place)


def columns_of(table: TableName) -> tuple[Column, ...]:
    """Return the columns of a table of levels, from left to right."""
    return tuple(column for column in _columns() if table in column.tables)


GROUPED: Final = tuple((latency.key, name) for latency in _LATENCIES for name in latency.grouped)
"""The latencies in the table by turn and class, and their percentiles."""
SPANS: Final = {latency.key: latency.span for latency in _LATENCIES if latency.span is not None}
"""The later and the earlier instant of the figures that the row of a request tells."""


def higher_is_better(figure: str) -> bool:
    """Whether more of a figure is better; of a latency, such as `ttft.p99`, less is."""
    return figure in RATES and RATES[figure].better == "higher"


def title(figure: str) -> str:
    """Return what a figure is called: `ITL p99` of `itl.p99`, `request throughput` of its key."""
    key, dot, statistic = figure.partition(".")
    if key in LATENCIES:
        return f"{LATENCIES[key].short} {statistic}".rstrip()
    return f"{key}{dot}{statistic}".replace("_", " ")
