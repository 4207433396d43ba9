"""The log of what was really sent, and when."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import orjson

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(slots=True)
class Account:
    """What happened to one request; times are CLOCK_MONOTONIC nanoseconds.

    ``writes_ns`` has one stamp per token event, taken immediately before the write that
    carried it; events of one write share their stamp. ``worth`` is what the answer to a question
    is worth, ``batch`` how many requests were in hand.
    """

    request_id: str
    received_ns: int
    endpoint: str
    status: int = 200
    first_write_ns: int | None = None
    writes_ns: list[int] = field(default_factory=list)
    completion_tokens: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    preemptions: int = 0
    finish: str | None = None
    worth: str = ""
    batch: int = 0

    def line(self) -> bytes:
        """The account as one line of JSON."""
        return (
            orjson.dumps(
                {
                    "request_id": self.request_id,
                    "endpoint": self.endpoint,
                    "status": self.status,
                    "received_ns": self.received_ns,
                    "first_write_ns": self.first_write_ns,
                    "writes_ns": self.writes_ns,
                    "events": len(self.writes_ns),
                    "completion_tokens": self.completion_tokens,
                    "prompt_tokens": self.prompt_tokens,
                    "cached_tokens": self.cached_tokens,
                    "preemptions": self.preemptions,
                    "finish": self.finish,
                    "worth": self.worth or None,
                    "batch": self.batch,
                }
            )
            + b"\n"
        )


class TruthLog:
    """Appends accounts to a file, each as one whole line as soon as its request ends.

    Raises:
        OSError: the file cannot be opened.
    """

    __slots__ = ("_file",)

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab", buffering=0)

    def write(self, account: Account) -> None:
        """Appends one account."""
        self._file.write(account.line())

    def close(self) -> None:
        """Closes the file."""
        self._file.close()
