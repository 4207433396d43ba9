"""SSE: server-sent events out of a byte stream, by the WHATWG rules (HTML standard, 9.2.6)."""

from collections.abc import Callable

MAX_EVENT_BYTES = 16 * 1024 * 1024
"""An event, or a line, that grows beyond this is not one."""

_BOM = b"\xef\xbb\xbf"


class EventTooLargeError(ValueError):
    """An event grew beyond the limit."""


class SSEParser:
    """Splits a stream into events, wherever the stream was cut.

    Args:
        on_event: called with the data and the type (empty: `message`) of each event that has data.
        limit: how many bytes one event may have.
    """

    __slots__ = (
        "_data",
        "_fresh",
        "_kind",
        "_on_event",
        "_pending",
        "_size",
        "_skip_lf",
        "last_event_id",
        "limit",
        "retry_ms",
    )

    def __init__(
        self, on_event: Callable[[bytes, bytes], None], limit: int = MAX_EVENT_BYTES
    ) -> None:
        self._on_event = on_event
        self.limit = limit
        self._pending: bytes | bytearray = b""  # the beginning of a line whose end has not come
        self._data: list[bytes] = []
        self._size = 0
        self._kind = b""
        self._fresh = True  # a byte order mark may still come
        self._skip_lf = False  # the last piece ended in CR: an LF that follows belongs to it
        self.last_event_id = b""
        self.retry_ms: int | None = None

    @property
    def waits(self) -> bool:
        """Whether all that came is done with, so that the next piece stands for itself."""
        return not (self._pending or self._data or self._kind or self._fresh or self._skip_lf)

    def feed(self, piece: bytes) -> None:
        """Take the next piece of the stream.

        Raises:
            EventTooLargeError: an event, or a line without end, passes the limit.
        """
        # Nearly every piece of a token stream is one event with one line, whole and alone.
        if (
            piece[:6] == b"data: "
            and piece[-2:] == b"\n\n"
            and not self._pending
            and not self._data
            and not self._kind
            and piece.find(b"\n") == len(piece) - 2
            and b"\r" not in piece
        ):
            self._fresh = self._skip_lf = False
            if len(piece) > self.limit:
                raise EventTooLargeError
            self._on_event(piece[6:-2], b"")
            return
        self._feed(piece)

    def _feed(self, piece: bytes) -> None:
        if not piece:
            return
        if self._skip_lf:
            self._skip_lf = False
            if piece[:1] == b"\n":
                piece = piece[1:]
        if self._fresh:
            piece = bytes(self._pending) + piece
            self._pending = b""
            if len(piece) < 3 and _BOM.startswith(piece):
                self._pending = piece
                return
            self._fresh = False
            piece = piece.removeprefix(_BOM)
        # A line may come in a thousand pieces: look for its end only in what is new.
        if self._pending:
            if b"\n" not in piece and b"\r" not in piece:
                if not isinstance(self._pending, bytearray):
                    self._pending = bytearray(self._pending)
                self._pending += piece
                self._check(len(self._pending))
                return
            piece = bytes(self._pending) + piece
            self._pending = b""
        start = 0
        end = len(piece)
        lf = piece.find(b"\n")
        while start < end:
            if 0 <= lf < start:
                lf = piece.find(b"\n", start)
            cr = piece.find(b"\r", start, lf if lf >= 0 else end)
            if cr >= 0:
                line = piece[start:cr]
                start = cr + 1
                if start == end:
                    self._skip_lf = True
                elif piece[start] == 0x0A:
                    start += 1
            elif lf >= 0:
                line = piece[start:lf]
                start = lf + 1
            else:
                self._pending = piece[start:]
                self._check(len(self._pending))
                return
            self._line(line)

    def _check(self, pending: int) -> None:
        if pending + self._size > self.limit:
            raise EventTooLargeError

    def _line(self, line: bytes) -> None:
        if not line:
            if self._data:
                data = b"\n".join(self._data)
                kind, self._kind = self._kind, b""
                self._data = []
                self._size = 0
                self._on_event(data, kind)
            else:
                self._kind = b""
            return
        name, colon, value = line.partition(b":")
        if not name and colon:
            return  # a comment
        if value[:1] == b" ":
            value = value[1:]
        if name == b"data":
            self._size += len(value) + 1
            self._check(0)
            self._data.append(value)
        elif name == b"event":
            self._kind = value
        elif name == b"id":
            if b"\0" not in value:
                self.last_event_id = value
        elif name == b"retry" and value.isdigit():
            self.retry_ms = int(value[:12])
