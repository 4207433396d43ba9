"""Windows: what a source of metrics says of the window of a level, by the meanings of `known`.

Counters and histograms are what they have grown by, from the last page before the window to the
first after it. A counter that has fallen means a restart: then growth is unknown, and that is said.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from pydantic import Field

from benchcore.base.clock import NS
from benchcore.base.stored import Count, Flag, Number, Stored
from benchcore.observe.families import UNKNOWN, PageReader, Series
from benchcore.observe.known import KNOWN, LORA_INFO, REPLICA_LABELS, Kind, Place

_BUCKET, _SUM, _COUNT = "_bucket", "_sum", "_count"
_LORA_LABELS: Final = ("running_lora_adapters", "waiting_lora_adapters", "max_lora")


class GaugeFigures(Stored):
    """A gauge inside the window, by the pages that came in it."""

    max: Number
    avg: Number
    """Of the pages, each as long as it was the last one."""


class HistogramFigures(Stored):
    """What was added to a histogram, in its own unit, which is seconds."""

    count: Number
    avg: Number | None = None
    p50: tuple[Number, Number | None] | None = None
    """The bounds of the bucket that the percentile lies in; without an upper one: `None`."""
    p99: tuple[Number, Number | None] | None = None


class SourceFigures(Stored):
    """What one source, or one replica behind it, says of the window of a level."""

    SPARSE = frozenset({"replica", "missed", "lora", "by_label", "histograms", "ratios"})

    source: str
    """Its address."""
    replica: str | None = None
    """Whom of several it speaks of, as its labels name it."""
    servers: list[str] = Field(default_factory=list)
    """Whose names it has."""
    from_seconds: Number | None = None
    """When its last page before the window came, in seconds from the window's begin."""
    to_seconds: Number | None = None
    """When its first page after the window came, in seconds from the window's end."""
    restarted: Flag | None = None
    """Whether a counter fell in between: then it is not known what any has grown by."""
    missed: Count | None = None
    """Pages that did not come."""
    gauges: dict[str, GaugeFigures] = Field(default_factory=dict)
    counters: dict[str, Number] = Field(default_factory=dict)
    by_label: dict[str, dict[str, Number]] | None = None
    """Gauges (their highest) and counters by the values of the label that tells them apart."""
    ratios: dict[str, Number] | None = None
    histograms: dict[str, HistogramFigures] | None = None
    lora: dict[str, str] | None = None
    """Adapters in use and the most there can be, at the last page of the window."""


def remarks(told: Iterable[SourceFigures]) -> Iterator[str]:
    """Yield what is to be known before the figures of sources are read, a line each."""
    for figures in told:
        name = f"{figures.source} ({figures.replica})" if figures.replica else figures.source
        if figures.restarted:
            yield (
                f"metrics_restarted: {name} was started anew, as its counters show: what they grew "
                "by is unknown"
            )
        if figures.missed:
            yield f"metrics_missing: {name} gave no page {figures.missed} time(s)"


class _Shelf:
    """The series of one meaning and one replica, all of one name.

    Args:
        place: of the name in the table.
    """

    def __init__(self, place: Place) -> None:
        self.place = place
        self.values: list[tuple[int, str]] = []
        """Place of a series and the value of the label that tells them apart."""
        self.buckets: dict[float, list[int]] = {}
        self.sums: list[int] = []
        self.counts: list[int] = []

    def add(self, series: Series, place: int, part: str) -> None:
        if part == _BUCKET:
            bound = _number(series.labels.get("le", ""))
            if not math.isnan(bound):
                self.buckets.setdefault(bound, []).append(place)
        elif part == _SUM:
            self.sums.append(place)
        elif part == _COUNT:
            self.counts.append(place)
        else:
            self.values.append((place, series.labels.get(self.place.label, "")))


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return UNKNOWN


def _known(name: str) -> tuple[Place, str] | None:
    """Return the place of a sample's name in the table, and which part of a histogram it is."""
    if (place := KNOWN.get(name)) is not None:
        return (place, "") if place.meaning.kind is not Kind.HISTOGRAM else None
    for end in (_BUCKET, _SUM, _COUNT):
        if name.endswith(end):
            place = KNOWN.get(name.removesuffix(end))
            return (
                None if place is None or place.meaning.kind is not Kind.HISTOGRAM else (place, end)
            )
    place = KNOWN.get(name.removesuffix("_total"))
    return None if place is None or place.meaning.kind is Kind.HISTOGRAM else (place, "")


class Shelves:
    """The known series of a source, by replica and meaning; grows with its pages.

    Args:
        reader: of its pages.
    """

    def __init__(self, reader: PageReader) -> None:
        self._reader = reader
        self._seen = 0
        self.of: dict[str, dict[str, _Shelf]] = {}
        self.gauges: list[int] = []
        """Places of the series that are gauges."""
        self.lora: list[int] = []

    def update(self) -> None:
        """Take the series that are new."""
        series = self._reader.series
        while self._seen < len(series):
            self._take(self._seen, series[self._seen])
            self._seen += 1

    def _take(self, number: int, series: Series) -> None:
        if series.name == LORA_INFO:
            self.lora.append(number)
        known = _known(series.name)
        if known is None:
            return
        place, part = known
        replica = next((series.labels[key] for key in REPLICA_LABELS if key in series.labels), "")
        shelves = self.of.setdefault(replica, {})
        key = place.meaning.key
        shelf = shelves.get(key)
        if shelf is None or place.rank < shelf.place.rank:
            shelf = shelves[key] = _Shelf(place)
        elif place.rank > shelf.place.rank:
            return
        shelf.add(series, number, part)
        if place.meaning.kind in (Kind.GAUGE, Kind.SHARE):
            self.gauges.append(number)


class _Snapshot:
    """The values of a source at one instant."""

    __slots__ = ("at_ns", "restarts", "values")

    def __init__(self, at_ns: int, reader: PageReader) -> None:
        self.at_ns = at_ns
        self.values = list(reader.values)
        self.restarts = reader.restarts

    def value(self, place: int) -> float:
        """Return a value; NaN: it was not there, or was infinite, which is no measurement."""
        value = self.values[place] if place < len(self.values) else UNKNOWN
        return value if math.isfinite(value) else UNKNOWN


class SourceWindow:
    """Follows one source through the window of a level.

    Args:
        source: its name.
        reader: of its pages.
        read_ns: when the last page before came; `None`: there was none.
    """

    def __init__(self, source: str, reader: PageReader, read_ns: int | None) -> None:
        self.missed = 0
        self._source = source
        self._reader = reader
        self._shelves = Shelves(reader)
        self._shelves.update()
        self._before = None if read_ns is None else _Snapshot(read_ns, reader)
        self._last: _Snapshot | None = None
        self._after: _Snapshot | None = None
        self._inside: list[tuple[int, dict[int, float]]] = []

    def read(self, at_ns: int, opened_ns: int | None, closed_ns: int | None) -> None:
        """Take note of a page that has been read.

        Args:
            at_ns: when it came.
            opened_ns: when the window opened; `None`: it has not yet.
            closed_ns: when it closed, likewise.
        """
        self._shelves.update()
        if opened_ns is None or at_ns < opened_ns:
            self._before = _Snapshot(at_ns, self._reader)
        elif closed_ns is None or at_ns <= closed_ns:
            values = self._reader.values
            self._inside.append((at_ns, {place: values[place] for place in self._shelves.gauges}))
            self._last = _Snapshot(at_ns, self._reader)
        elif self._after is None:
            self._after = _Snapshot(at_ns, self._reader)

    def figures(self, opened_ns: int, closed_ns: int) -> Iterator[SourceFigures]:
        """Yield what it says of the window, for each replica that it speaks of.

        Args:
            opened_ns: when the window opened.
            closed_ns: when it closed.
        """
        begin, end = self._before, self._after or self._last
        spans = self._spans(closed_ns)
        for replica, shelves in self._shelves.of.items():
            figures = SourceFigures.complete(
                source=self._source,
                servers=list(dict.fromkeys(shelf.place.server for shelf in shelves.values())),
                from_seconds=None if begin is None else (begin.at_ns - opened_ns) / NS,
                to_seconds=None if end is None else (end.at_ns - closed_ns) / NS,
            )
            if replica:
                figures.replica = replica
            if self.missed:
                figures.missed = self.missed
            _gauges(figures, shelves, spans)
            if begin is not None and end is not None:
                figures.restarted = end.restarts != begin.restarts
                if not figures.restarted:
                    _growths(figures, shelves, begin, end)
            self._lora(figures)
            yield figures

    def _spans(self, closed_ns: int) -> list[tuple[float, dict[int, float]]]:
        """Return for how many seconds each page of the window was the last one."""
        ends = [at_ns for at_ns, _ in self._inside[1:]] + [closed_ns]
        return [
            (max(end_ns - at_ns, 0) / NS, values)
            for (at_ns, values), end_ns in zip(self._inside, ends, strict=False)
        ]

    def _lora(self, figures: SourceFigures) -> None:
        """Take the adapters from the labels of the newest series."""
        present = [
            place for place in self._shelves.lora if self._last and self._last.value(place) > 0
        ]
        if present and self._last is not None:
            last = self._last
            newest = self._reader.series[max(present, key=last.value)].labels
            figures.lora = {key: newest[key] for key in _LORA_LABELS if key in newest}


def _gauges(
    figures: SourceFigures,
    shelves: Mapping[str, _Shelf],
    spans: list[tuple[float, dict[int, float]]],
) -> None:
    for key, shelf in shelves.items():
        kind = shelf.place.meaning.kind
        if kind not in (Kind.GAUGE, Kind.SHARE):
            continue
        seen: list[tuple[float, float]] = []
        highest: dict[str, float] = {}
        for seconds, values in spans:
            now = [
                (label, value)
                for place, label in shelf.values
                if math.isfinite(value := values.get(place, UNKNOWN))
            ]
            if now:
                amounts = [value for _, value in now]
                seen.append((seconds, max(amounts) if kind is Kind.SHARE else sum(amounts)))
            if shelf.place.label:
                for label, value in _summed(now).items():
                    highest[label] = max(value, highest.get(label, value))
        if not seen:
            continue
        whole = sum(seconds for seconds, _ in seen)
        figures.gauges[key] = GaugeFigures.complete(
            max=max(value for _, value in seen),
            avg=sum(seconds * value for seconds, value in seen) / whole
            if whole
            else sum(value for _, value in seen) / len(seen),
        )
        if highest:
            figures.by_label = {**(figures.by_label or {}), key: highest}


def _summed(pairs: Iterable[tuple[str, float]]) -> dict[str, float]:
    sums: dict[str, float] = {}
    for label, value in pairs:
        sums[label] = sums.get(label, 0.0) + value
    return sums


def _growths(
    figures: SourceFigures, shelves: Mapping[str, _Shelf], begin: _Snapshot, end: _Snapshot
) -> None:
    def grown(place: int) -> float | None:
        """Return what a series has grown by; one that was not there began at zero."""
        after, before = end.value(place), begin.value(place)
        return None if math.isnan(after) else after - (0.0 if math.isnan(before) else before)

    def total(places: Iterable[int]) -> float | None:
        amounts = [amount for place in places if (amount := grown(place)) is not None]
        return sum(amounts) if amounts else None

    histograms = {}
    for key, shelf in shelves.items():
        kind = shelf.place.meaning.kind
        if kind is Kind.COUNTER:
            amount = total(place for place, _ in shelf.values)
            if amount is None:
                continue
            figures.counters[key] = amount
            if shelf.place.label:
                pairs = ((label, grown(place)) for place, label in shelf.values)
                by_label = _summed((label, growth) for label, growth in pairs if growth)
                if by_label:
                    figures.by_label = {**(figures.by_label or {}), key: by_label}
        elif kind is Kind.HISTOGRAM:
            grown_by = {bound: total(places) for bound, places in shelf.buckets.items()}
            made = histogram(
                {bound: count for bound, count in grown_by.items() if count is not None},
                total(shelf.sums),
                total(shelf.counts),
            )
            if made is not None:
                histograms[key] = made
    if histograms:
        figures.histograms = histograms
    ratios = dict(_ratios(figures.counters))
    if ratios:
        figures.ratios = ratios


RATIOS: Final = {
    "prefix_hit": ("prefix_hits", "prefix_queries"),
    "external_prefix_hit": ("external_prefix_hits", "external_prefix_queries"),
    "multimodal_hit": ("multimodal_hits", "multimodal_queries"),
    "draft_acceptance": ("accepted_tokens", "draft_tokens"),
}
"""Which counters they are of."""


def _ratios(counters: Mapping[str, float]) -> Iterator[tuple[str, float]]:
    for name, (part, whole) in RATIOS.items():
        if counters.get(whole) and part in counters:
            yield name, counters[part] / counters[whole]
    if counters.get("drafts") and "accepted_tokens" in counters:
        # With the token that the model itself adds to each draft.
        yield "acceptance_length", 1 + counters["accepted_tokens"] / counters["drafts"]


def histogram(
    buckets: Mapping[float, float], total: float | None, count: float | None
) -> HistogramFigures | None:
    """Return the figures of a histogram; `None`: it has no buckets.

    Args:
        buckets: by upper bound, how many values are up to it.
        total: the sum of the values; `None`: unknown.
        count: how many they are; `None`: as many as are up to the highest bound.
    """
    bounds = sorted(buckets)
    if not bounds:
        return None
    number = buckets[bounds[-1]] if count is None else count
    made = HistogramFigures.complete(count=number)
    if number > 0:
        made.avg = None if total is None else total / number
        made.p50, made.p99 = (_bucket_of(q, bounds, buckets, number) for q in (0.5, 0.99))
    return made


def _bucket_of(
    quantile: float, bounds: list[float], buckets: Mapping[float, float], number: float
) -> tuple[float, float | None]:
    """Return the bounds of the bucket that a percentile, the nearest rank, lies in."""
    rank = math.ceil(quantile * number)
    lower = 0.0
    for bound in bounds:
        if buckets[bound] >= rank:
            return lower, None if math.isinf(bound) else bound
        lower = bound
    return lower, None
