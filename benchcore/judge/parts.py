"""Parts: what the time of each request was spent on, so that its latency adds up.

From when a request was due until its last token had been read, in this order: a late departure,
connecting, sending, the network, the server's queue, prefill, decode, and the reader. What is known
comes from benchcore's own stamps, from the kernel (`TCP_INFO`), and from what the server says of
each request in its answer. Whatever none of them explains is the residual, which is shown and never
spread over the others.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchcore.observe.known import KNOWN
from benchcore.runs.reading import Requests, RunFolder
from benchcore.runs.run import Level
from benchcore.runs.server_metrics import SERVER_METRICS, sums_at

Floats = NDArray[np.float64]

_STATES: Final = {
    "waiting": "requests waiting at the server at departure",
    "running": "requests running at the server at departure",
}
"""What the server's metrics say, by the key of `observe.known`."""


class Until(StrEnum):
    """Up to where the time of a request is looked at."""

    FIRST_TOKEN = "first token"
    END = "end"


@dataclass(frozen=True, slots=True)
class TimePart:
    """One part of a request's time.

    Args:
        key: its name in files.
        title: its name in tables.
        verb: what a request did in it, for sentences, such as `waited in the server's queue`.
        is_work: whether it is what the server is there for, so that it is no fault that it takes
            most of the time.
    """

    key: str
    title: str
    verb: str
    is_work: bool = False


LATE: Final = TimePart("late", "late departure", "left late")
CONNECT: Final = TimePart("connect", "connect", "waited for a connection")
SEND: Final = TimePart("send", "send", "were being sent")
NETWORK: Final = TimePart("network", "network", "were on the network")
QUEUE: Final = TimePart("queue", "queue", "waited in the server's queue")
PREFILL: Final = TimePart("prefill", "prefill", "were in prefill", is_work=True)
WAIT: Final = TimePart(
    "wait", "queue or prefill", "waited for their first token, in queue or prefill", is_work=True
)
SERVER: Final = TimePart("server", "server", "were at the server", is_work=True)
DECODE: Final = TimePart("decode", "decode", "were being decoded", is_work=True)
READER: Final = TimePart("reader", "reader", "waited to be read by benchcore")
RESIDUAL: Final = TimePart("residual", "unexplained", "spent time that nothing explains")
PARTS: Final = (
    *(LATE, CONNECT, SEND, NETWORK, QUEUE, PREFILL),
    *(WAIT, SERVER, DECODE, READER, RESIDUAL),
)


FEWEST: Final = 40
"""Requests of a level; with fewer there is no telling what is usual."""
FEWEST_SLOW: Final = 5
_SLOWEST: Final = 0.01


def middle_of(total: Floats) -> NDArray[np.int64]:
    """Return the places of the typical requests: the middle half by their time."""
    order = np.argsort(total, kind="stable")
    return order[len(total) // 4 : len(total) - len(total) // 4]


def slowest_of(total: Floats) -> NDArray[np.int64]:
    """Return the places of the slowest hundredth of requests, five at least."""
    return np.argsort(total, kind="stable")[-max(math.ceil(len(total) * _SLOWEST), FEWEST_SLOW) :]


@dataclass(frozen=True, slots=True)
class Parts:
    """The measured `ok` requests of a level, each with its parts, in the order of scheduling.

    Args:
        rows: shape (n,), the place of each among the level's requests.
        total: shape (n,), from when it was due, in seconds.
        of: by part, shape (n,), in seconds; NaN: not known. The residual makes each sum complete.
        how: by part, how it is known; a part that is known of no request is not there.
    """

    rows: NDArray[np.int64]
    total: Floats
    of: Mapping[TimePart, Floats]
    how: Mapping[TimePart, str]

    def __len__(self) -> int:
        """How many requests there are."""
        return len(self.rows)


_STAMPS: Final = "by benchcore's stamps"
_IN_BAND: Final = "said by the server in each answer"
_KERNEL: Final = "the smallest round trip that the kernel saw"


def parts(requests: Requests, until: Until = Until.END) -> Parts:
    """Return what the time of each measured `ok` request was spent on.

    Args:
        requests: of one level.
        until: its end, or its first token; plain answers have no first token and are left out
            there.
    """
    first = requests.second("first_token_seconds")
    end = requests.second("end_seconds") if until is Until.END else first
    scheduled, sent = requests.second("scheduled_seconds"), requests.second("sent_seconds")
    kept = requests.measured & requests.ok & ~np.isnan(end) & ~np.isnan(sent)
    rows = np.flatnonzero(kept)

    def column(name: str) -> Floats:
        return requests.second(f"{name}_seconds")[rows]

    def known(values: Floats) -> Floats:
        return np.nan_to_num(values, nan=0.0)

    end, first, scheduled, sent = (values[rows] for values in (end, first, scheduled, sent))
    is_plain = np.isnan(first)
    connect, send, network = column("connect"), column("send"), column("rtt")
    # One that was sent again on a new connection keeps its first `sent`: it connected behind that.
    again = requests.number("retried")[rows] == 1
    late = sent - scheduled - np.where(again, 0.0, known(connect))
    send = send - np.where(again, known(connect), 0.0)
    queue, prefill = column("server_queue"), column("server_prefill")
    decode = column("server_decode")
    # A process that waits for a processor comes back late from its own send: the server may have
    # begun by then, and what it says of itself is not to be counted twice.
    left = np.where(is_plain, end, first) - sent - known(network) - known(queue) - known(prefill)
    if until is Until.END:
        left = np.minimum(left, end - sent - known(network) - known(queue + prefill + decode))
    late_return = ~np.isnan(queue) & ~np.isnan(prefill) & (send > left)
    send = np.where(late_return, np.maximum(left, 0.0), send)
    begun = known(send) + known(np.where(again, connect, 0.0)) + sent
    # Where the answer is not streamed, waiting for the first token is waiting for all of it.
    waited = np.where(is_plain, end, first) - begun - known(network)
    told = known(queue) + known(prefill) + np.where(is_plain, known(decode), 0.0)
    whole = ~np.isnan(queue) & ~np.isnan(prefill) & ~(is_plain & np.isnan(decode))
    # Where only the sum of queue and prefill is said, what is left of the waiting is unexplained.
    both = np.where(is_plain, np.nan, column("server_ttft"))
    wait = np.where(whole, np.nan, np.where(np.isnan(both), waited, both) - told)
    by_server = ~np.isnan(decode)
    if until is Until.END:
        decode = np.where(by_server | is_plain, decode, end - first)
    else:
        decode = np.full(len(rows), np.nan)
    reader = column("reader") if until is Until.END else np.full(len(rows), np.nan)
    total = end - scheduled + known(reader)
    of = {
        LATE: late,
        CONNECT: connect,
        SEND: send,
        NETWORK: network,
        QUEUE: queue,
        PREFILL: prefill,
        WAIT: np.where(is_plain, np.nan, wait),
        SERVER: np.where(is_plain, wait, np.nan),
        DECODE: decode,
        READER: reader,
    }
    of[RESIDUAL] = total - np.sum([known(values) for values in of.values()], axis=0)
    how = {
        LATE: _STAMPS,
        CONNECT: _STAMPS,
        SEND: _STAMPS,
        NETWORK: _KERNEL,
        QUEUE: _IN_BAND,
        PREFILL: _IN_BAND,
        WAIT: f"{_STAMPS}; the server does not tell queue and prefill apart",
        SERVER: f"{_STAMPS}; of a plain answer the server does not tell them apart",
        DECODE: _IN_BAND if by_server.any() else _STAMPS,
        READER: f"{_STAMPS}, behind the last token",
        RESIDUAL: "what the others leave of the whole",
    }
    return Parts(
        rows=rows,
        total=total,
        of=of,
        how={part: said for part, said in how.items() if not np.isnan(of[part]).all()},
    )


def server_at_departure(folder: RunFolder, level: Level, requests: Requests) -> dict[str, Floats]:
    """Return how the server stood when each request left, by the last page of its metrics.

    Args:
        folder: of the run.
        level: which.
        requests: of it.

    Returns:
        By what is known, such as `requests waiting at the server`, shape (n,) of all requests; NaN:
        not known. Empty where the run kept no metrics.

    Raises:
        ConfigError: they cannot be read.
    """
    path = folder.path / SERVER_METRICS
    if level.start_unix_seconds is None or not path.is_file():
        return {}
    wanted = {
        title: [name for name, place in KNOWN.items() if place.meaning.key == key]
        for key, title in _STATES.items()
    }
    sent = requests.second("sent_seconds")
    return sums_at(path, wanted, level.start_unix_seconds + sent)
