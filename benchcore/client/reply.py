"""Reply: an answer as it came over the wire, for those who judge bytes and not figures."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field

from benchcore.secrets import masked_bytes, masked_text


@dataclass(slots=True)
class Reply:
    """An answer, whatever its status and however far it came.

    Args:
        status: of the final answer; 0: its head never came whole.
        headers: names in lower case and values as Latin-1, in their order; of the final answer.
        trailers: what came behind a chunked body.
        pieces: the body as it was read, without the chunking of HTTP.
        stamps: when each piece arrived, in ns of CLOCK_MONOTONIC.
    """

    status: int = 0
    headers: list[tuple[str, str]] = field(default_factory=list)
    trailers: list[tuple[str, str]] = field(default_factory=list)
    pieces: list[bytes] = field(default_factory=list)
    stamps: array[int] = field(default_factory=lambda: array("q"))

    def mask(self, secrets: tuple[str, ...]) -> None:
        """Take out secrets that the server repeats.

        A secret may be cut in two by the pieces, so that the body is masked as a whole: where there
        is one in it, the whole body stands in the first piece.
        """
        for lines in (self.headers, self.trailers):
            lines[:] = [(name, masked_text(value, secrets)) for name, value in lines]
        body = self.body
        shown = masked_bytes(body, secrets)
        if shown != body:
            self.pieces[:] = [shown, *[b""] * (len(self.pieces) - 1)]

    @property
    def body(self) -> bytes:
        """The whole body."""
        return b"".join(self.pieces)

    def header(self, name: str) -> str | None:
        """Return the value of a header, several joined by commas (RFC 9110, 5.3)."""
        found = [value for key, value in self.headers if key == name.lower()]
        return ", ".join(found) if found else None
