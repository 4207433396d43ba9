"""Requests: every request of a run as columns that a page can hold, and the parts of each.

A page of 100,000 requests must stay small. Numbers are whole multiples of a step, each as many
bytes as the largest needs; the bytes of a column lie by significance, which packs best; and all of
it is packed (RFC 1951) and written in base64, which browsers undo by themselves.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np

from benchcore.base.text import printable
from benchcore.runs.reading import Floats, RunFolder
from benchcore.runs.tables import REQUESTS
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
_NEEDED: Final = ("level", "repeat", "stage", "outcome", "scheduled_seconds", "sent_seconds")
_TEXTS: Final = (
    *("level", "stage", "outcome", "phase", "status", "request_id"),
    *("finish_reason", "error", "class", "worker"),
)
_COUNTS: Final = (
    *("index", "prompt_tokens", "output_tokens", "cached_tokens", "reasoning_tokens"),
    *("session", "turn"),
)
_SPANS: Final = {
    "ttft": ("sent_seconds", "first_token_seconds"),
    "e2e": ("sent_seconds", "end_seconds"),
}
_LATE: Final = "late departure"
_CONNECT: Final = "connect"
_INSTANTS: Final = (
    ("send_end", "send"),
    ("first_byte", "wait for the first byte"),
    ("first_token", "wait for the first token"),
    ("last_token", "decode"),
    ("done", "end of the answer"),
)
PARTS: Final = {
    _LATE: "from the planned instant until the request left, without connecting",
    _CONNECT: "name look-up, TCP and TLS, where the request waited for them",
    "send": "until the socket had taken the last byte, or the first byte of the answer came",
    "wait for the first byte": "until the first byte of the answer: network, queue, and prefill "
    "where the server sends its headers late",
    "wait for the first token": "from the first byte to the first token: queue and prefill where "
    "the server sends its headers at once",
    "decode": "from the first token to the last",
    "end of the answer": "until the body was whole; of an answer without a stream, all of its body",
}
"""The parts of a request in the order in which they come, and what each is."""


def parts_of(row: Mapping[str, str]) -> dict[str, float]:
    """Return how long each part of a request took, in seconds, as its instants tell.

    Together they are the time from the planned instant to the last one that is known.

    Args:
        row: of `requests.csv`, a text for each column; an empty one: not known.
    """

    def seconds(name: str) -> float | None:
        cell = row.get(f"{name}_seconds", "")
        return float(cell) if cell else None

    scheduled, sent, send = seconds("scheduled"), seconds("sent"), seconds("send")
    if scheduled is None or sent is None:
        return {}
    parts = {}
    connect = min(seconds("connect") or 0.0, max(sent - scheduled, 0.0))
    parts[_LATE] = sent - scheduled - connect
    if connect:
        parts[_CONNECT] = connect
    instants = {name: seconds(name) for name, _ in _INSTANTS}
    if send is not None:
        # The kernel may have stamped the answer before the send had returned.
        first_byte = instants["first_byte"]
        send_end = sent + send
        instants["send_end"] = send_end if first_byte is None else min(send_end, first_byte)
    known = [("", sent)] + [
        (part, at) for name, part in _INSTANTS if (at := instants[name]) is not None
    ]
    for (_, begin), (part, end) in pairwise(known):
        parts[part] = end - begin
    return parts


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
    path = folder.path / "requests.csv"
    if not path.is_file():
        return None
    table = _Columns()
    for row in REQUESTS.cells(path, _NEEDED):
        table.add(row)
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
        "parts": PARTS,
        "packed": base64.b64encode(packed).decode(),
    }
    return Block(data_block("requests", data), len(kept), total, steps[0], without)


class _Columns:
    """Columns that grow row by row, each as small as it can be while it does."""

    def __init__(self) -> None:
        self._texts: dict[str, list[int]] = {name: [] for name in _TEXTS}
        self._words: dict[str, dict[str, int]] = {name: {"": 0} for name in _TEXTS}
        self._numbers: dict[str, list[float]] = {
            name: [] for name in (*_COUNTS, "scheduled", *_SPANS, *PARTS)
        }

    def __len__(self) -> int:
        return len(self._texts["level"])

    def add(self, row: Mapping[str, str]) -> None:
        """Take a row of `requests.csv`."""
        for name, codes in self._texts.items():
            cell = row.get(name) or ""
            if name == "level" and row["repeat"] != "1":
                cell = f"{cell} #{row['repeat']}"
            words = self._words[name]
            codes.append(words.setdefault(cell, len(words)))
        for name in _COUNTS:
            self._numbers[name].append(_float(row.get(name)))
        self._numbers["scheduled"].append(_float(row["scheduled_seconds"]))
        for name, (begin, end) in _SPANS.items():
            self._numbers[name].append(_float(_at(row, end)) - _float(row.get(begin)))
        parts = parts_of(row)
        for name in PARTS:
            self._numbers[name].append(parts.get(name, np.nan))

    def kept(self) -> np.ndarray:
        """Return the places of the rows that a page holds, in their order."""
        total = len(self)
        if total <= MOST:
            return np.arange(total)
        ok = self._words["outcome"].get("ok", -1)
        first = np.array(self._texts["outcome"]) != ok
        e2e = np.nan_to_num(np.array(self._numbers["e2e"]), nan=-1.0)
        first[np.argsort(-e2e, kind="stable")[: MOST // 10]] = True
        certain = np.flatnonzero(first)[:MOST]
        others = np.flatnonzero(~first)
        chosen = others[spaced(len(others), MOST - len(certain))]
        return np.sort(np.concatenate([certain, chosen]))

    def packed(
        self, kept: np.ndarray, step: float, without: Sequence[str] = ()
    ) -> tuple[list[dict[str, Any]], bytes]:
        """Return what is said of each column that holds anything, and all of them packed.

        Args:
            kept: places of the rows.
            step: to which times are told, in seconds.
            without: columns that are left out.
        """
        columns = [one for one in self._columns(kept, step) if one[0]["name"] not in without]
        packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
        content = b"".join(data for _, data in columns)
        return [said for said, _ in columns], packer.compress(content) + packer.flush()

    def _columns(self, kept: np.ndarray, step: float) -> Iterator[tuple[dict[str, Any], bytes]]:
        for name, codes in self._texts.items():
            words = list(self._words[name])
            if len(words) > 1:
                yield _text_column(name, np.array(codes)[kept], words)
        for name, values in self._numbers.items():
            numbers = np.array(values)[kept]
            if not np.isnan(numbers).all():
                yield _number_column(name, numbers, 1.0 if name in _COUNTS else step)


def _float(cell: str | None) -> float:
    return float(cell) if cell else np.nan


def _at(row: Mapping[str, str], name: str) -> str | None:
    # A plain answer has no last token: it ends with its body.
    if name == "end_seconds":
        return row.get("last_token_seconds") or row.get("done_seconds")
    return row.get(name)


def _text_column(
    name: str, codes: np.ndarray, words: Sequence[str]
) -> tuple[dict[str, Any], bytes]:
    used, codes = np.unique(codes, return_inverse=True)
    spoken = [word if (word := words[code]).isprintable() else printable(word) for code in used]
    if len(spoken) * 2 < len(codes) or len(codes) < 256:
        width, data = _packed_whole(codes)
        return {"name": name, "kind": "words", "words": spoken, "width": width}, data
    # Nearly every row has its own, such as an id.
    data = "\n".join(spoken[code] for code in codes.tolist()).encode()
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
