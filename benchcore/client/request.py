"""Request: what is asked, what it is called, and the lines before its body."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from benchcore.version import __version__

if TYPE_CHECKING:
    from benchcore.config.target import Target


def request_ids(seed: int) -> Iterator[str]:
    """Yield UUIDs that count up: some servers refuse a request whose id is none.

    Version 4 (RFC 9562, 5.4), whose first 60 free bits are `seed` and whose last 62 count.
    """
    prefix = f"{seed >> 28 & 0xFFFFFFFF:08x}-{seed >> 12 & 0xFFFF:04x}-4{seed & 0xFFF:03x}"
    for number in itertools.count():
        yield f"{prefix}-{0x8000 | number >> 48:04x}-{number & 0xFFFFFFFFFFFF:012x}"


@dataclass(frozen=True, slots=True)
class Prompt:
    """What one request asks.

    Args:
        text: the text of a single user turn; ignored where `messages` is given.
        messages: a whole conversation in the chat form.
        input_tokens: the length the workload meant it to have in tokens; `None`: it does not know.
        output_tokens: the most tokens the answer may have; `None`: the server decides.
        extra: fields of the request body, over everything else.
    """

    text: str = ""
    messages: Sequence[Mapping[str, Any]] | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    def chat(self) -> list[Mapping[str, Any]]:
        """Return the prompt in the chat form."""
        if self.messages is not None:
            return list(self.messages)
        return [{"role": "user", "content": self.text}]


def head_lines(
    target: Target, method: str, path: str, over: Mapping[str, str | None] | None = None
) -> bytes:
    """Return the request line and the headers that do not change from request to request.

    Args:
        target: whom it is for, with the key and the headers that go with each request.
        method: of HTTP.
        path: as the API's specification has it, `/v1/…`, or one beside the API.
        over: headers that replace the usual ones, names in lower case; `None` leaves one out.
    """
    lines: dict[str, str | None] = {
        "host": target.authority,
        "user-agent": f"benchcore/{__version__}",
        "accept": "text/event-stream" if method == "POST" else "application/json",
        "accept-encoding": "identity",
        "content-type": "application/json",
    }
    if target.api_key is not None:
        lines["authorization"] = f"Bearer {target.api_key.get_secret_value()}"
    lines.update({name.lower(): value for name, value in target.headers.items()})
    lines.update(over or {})
    text = "".join(f"{name}: {value}\r\n" for name, value in lines.items() if value is not None)
    return f"{method} {target.place(path)} HTTP/1.1\r\n{text}".encode()


def head_end(request_id: str, length: int) -> bytes:
    """Return the headers that are each request's own, and the empty line."""
    return b"x-request-id: %b\r\ncontent-length: %d\r\n\r\n" % (request_id.encode(), length)


class Heads:
    """Heads of requests: what does not change is made once for each target."""

    def __init__(self) -> None:
        self._target: Target | None = None
        self._lines: dict[tuple[str, str], bytes] = {}

    def head(self, target: Target, method: str, path: str, request_id: str, length: int) -> bytes:
        """Return all of a request before its body; see `head_lines` and `head_end`."""
        if self._target is not target:
            self._target, self._lines = target, {}
        lines = self._lines.get((method, path))
        if lines is None:
            lines = self._lines[method, path] = head_lines(target, method, path)
        return lines + head_end(request_id, length)
