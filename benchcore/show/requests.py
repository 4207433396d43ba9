"""Requests: every request of a run, with its parts, as columns that a page can hold.

A page of 100,000 requests must stay small. Numbers are whole multiples of a step, each as many
bytes as the largest needs; the bytes of a column lie by significance, which packs best; and all of
it is packed (RFC 1951) and written in base64, which browsers undo by themselves.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchcore.base.text import printable
from benchcore.judge.parts import PARTS, TimePart, parts
from benchcore.runs.reading import Floats, Requests, RunFolder
from benchcore.runs.run import Level
from benchcore.show.charts import spaced
from benchcore.show.document import data_block

MOST: Final = 100_000
"""Requests that a page holds."""
FINE: Final = 20_000
"""Up to so many are told to the microsecond, more to ten of them."""
LARGEST: Final = 1_900_000
"""Bytes of the packed columns: base64 makes them a third more, and a page has 3 MB."""
_STEPS: Final = (1e-6, 1e-5, 1e-4, 1e-3)
_WIDTHS: Final = (1, 2, 4)
_TEXTS: Final = ("stage", "outcome", "phase", "request_id", "finish_reason", "error", "class")
_COUNTS: Final = (
    *("index", "status", "prompt_tokens", "output_tokens", "cached_tokens", "reasoning_tokens"),
    *("session", "turn", "worker", "retried"),
)
_SPANS: Final = {
    "ttft": ("sent_seconds", "first_token_seconds"),
    "e2e": ("sent_seconds", "end_seconds"),
}


def parts_of(requests: Requests) -> tuple[Mapping[TimePart, Floats], Mapping[TimePart, str]]:
    """Return the parts of every request of a level, and how each part is known.

    Those of warm-up and drain are taken apart like measured ones, and those that failed up to
    where they ended.

    Returns:
        By part, shape (n,), in seconds; NaN: not known.
    """
    every = np.ones(len(requests), bool)
    spent = parts(replace(requests, measured=every, ok=every))
    spread = {}
    for part, values in spent.of.items():
        spread[part] = np.full(len(requests), np.nan)
        spread[part][spent.rows] = values
    return spread, spent.how


@dataclass(frozen=True, slots=True)
class Block:
    """The requests of a run as a page holds them.

    Args:
        element: of HTML.
        kept: how many there are.
        total: how many the run has.
        step: to which times are told, in seconds.
        without: columns that would have made the page too large.
    """

    element: str
    kept: int
    total: int
    step: float
    without: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return what must be said of the table."""
        told = f"{self.total:,} requests, unmeasured ones of warm-up and drain included"
        if self.kept < self.total:
            told = (
                f"{self.kept:,} of {told}: all that failed, the slowest, and every so many of the "
                "others"
            )
        told += f"; times to {self.step * 1e3:g} ms"
        if self.without:
            told += f"; without {', '.join(name.replace('_', ' ') for name in self.without)}"
        short = self.kept < self.total or self.without
        return f"{told}. requests.csv has everything." if short else f"{told}."


def requests_block(folder: RunFolder) -> Block | None:
    """Return the requests of a run for its page; `None`: the folder has none.

    Where there are more than a page holds, all that failed and the slowest are kept, and of the
    others every so many. What is too large goes without texts of which every row has its own, and
    then with coarser times.

    Raises:
        ConfigError: `requests.csv` cannot be read.
    """
    table = _Columns()
    for level in folder.levels:
        requests = folder.requests(level.level, level.repeat)
        if requests is not None:
            table.add(level, requests)
    total = len(table)
    if not total:
        return None
    kept = table.kept()
    steps = _STEPS[0 if len(kept) <= FINE else 1 :]
    said, packed = table.packed(kept, steps[0])
    without: tuple[str, ...] = ()
    if len(packed) > LARGEST:
        without = tuple(column["name"] for column in said if column["kind"] == "lines")
        said, packed = table.packed(kept, steps[0], without)
    while len(packed) > LARGEST and len(steps) > 1:
        steps = steps[1:]
        said, packed = table.packed(kept, steps[0], without)
    data = {
        "rows": len(kept),
        "columns": said,
        "parts": table.parts,
        "packed": base64.b64encode(packed).decode(),
    }
    return Block(data_block("requests", data), len(kept), total, steps[0], without)


class _Columns:
    """Columns that grow level by level."""

    def __init__(self) -> None:
        self._texts: dict[str, list[str]] = {name: [] for name in ("level", *_TEXTS)}
        self._numbers: dict[str, list[Floats]] = {
            name: [] for name in (*_COUNTS, "scheduled", *_SPANS, *(part.key for part in PARTS))
        }
        self._how: dict[TimePart, str] = {}

    def __len__(self) -> int:
        return len(self._texts["level"])

    @property
    def parts(self) -> list[dict[str, str]]:
        """The parts that are known of any request: key, title, how they are known."""
        return [
            {"key": part.key, "title": part.title, "how": self._how[part]}
            for part in PARTS
            if part in self._how
        ]

    def add(self, level: Level, requests: Requests) -> None:
        """Take the requests of a level."""
        count = len(requests)
        self._texts["level"] += [level.name] * count
        for name in _TEXTS:
            self._texts[name] += requests.text(name)
        for name in _COUNTS:
            self._numbers[name].append(requests.number(name))
        self._numbers["scheduled"].append(requests.second("scheduled_seconds"))
        for name, (begin, end) in _SPANS.items():
            self._numbers[name].append(requests.second(end) - requests.second(begin))
        of, how = parts_of(requests)
        self._how = {**how, **self._how}
        for part in PARTS:
            self._numbers[part.key].append(of.get(part, np.full(count, np.nan)))

    def kept(self) -> NDArray[np.int64]:
        """Return the places of the rows that a page holds, in their order."""
        total = len(self)
        if total <= MOST:
            return np.arange(total)
        certain = np.array([outcome != "ok" for outcome in self._texts["outcome"]])
        e2e = np.nan_to_num(np.concatenate(self._numbers["e2e"]), nan=-1.0)
        certain[np.argsort(-e2e, kind="stable")[: MOST // 10]] = True
        first = np.flatnonzero(certain)[:MOST]
        others = np.flatnonzero(~certain)
        return np.sort(np.concatenate([first, others[spaced(len(others), MOST - len(first))]]))

    def packed(
        self, kept: NDArray[np.int64], step: float, without: Sequence[str] = ()
    ) -> tuple[list[dict[str, Any]], bytes]:
        """Return what is said of each column that holds anything, and all of them packed.

        Args:
            kept: places of the rows.
            step: to which times are told, in seconds.
            without: columns that are left out.
        """
        columns = [
            column for column in self._columns(kept, step) if column[0]["name"] not in without
        ]
        packer = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
        content = b"".join(data for _, data in columns)
        return [said for said, _ in columns], packer.compress(content) + packer.flush()

    def _columns(
        self, kept: NDArray[np.int64], step: float
    ) -> Iterator[tuple[dict[str, Any], bytes]]:
        for name, texts in self._texts.items():
            if any(texts):
                yield _text_column(name, [texts[place] for place in kept])
        for name, values in self._numbers.items():
            numbers = np.concatenate(values)[kept]
            if not np.isnan(numbers).all():
                yield _number_column(name, numbers, 1.0 if name in _COUNTS else step)


def _text_column(name: str, texts: Sequence[str]) -> tuple[dict[str, Any], bytes]:
    codes: dict[str, int] = {}
    coded = np.array([codes.setdefault(text, len(codes)) for text in texts])
    words = [text if text.isprintable() else printable(text) for text in codes]
    if len(words) * 2 < len(texts) or len(texts) < 256:
        width, data = _packed_whole(coded)
        return {"name": name, "kind": "words", "words": words, "width": width}, data
    # Nearly every row has its own, such as an id.
    data = "\n".join(words[code] for code in coded.tolist()).encode()
    return {"name": name, "kind": "lines", "bytes": len(data)}, data


def _number_column(name: str, values: Floats, step: float) -> tuple[dict[str, Any], bytes]:
    """Return a column of numbers; 0 stands for one that is not known.

    Args:
        name: of it.
        values: NaN: not known.
        step: of which they are multiples; a coarser one where they span too much for it.
    """
    known = ~np.isnan(values)
    low, high = float(values[known].min()), float(values[known].max())
    while (high - low) / step >= 2**32 - 2:
        step *= 10
    whole = np.zeros(len(values), np.int64)
    whole[known] = np.rint((values[known] - low) / step).astype(np.int64) + 1
    width, data = _packed_whole(whole)
    said = {"name": name, "kind": "number", "width": width, "low": low, "step": step}
    return said, data


def _packed_whole(values: np.ndarray) -> tuple[int, bytes]:
    """Return how many bytes each has, and the lowest bytes of all, then the next, and so on."""
    most = int(values.max(initial=0))
    width = next(width for width in _WIDTHS if most < 256**width)
    planes = values.astype(f"<u{width}").view(np.uint8).reshape(-1, width).T
    return width, planes.tobytes()
