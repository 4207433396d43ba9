"""EventTemplate: the bytes around the content of a stream's token events."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchcore.client.sse import SSEParser
    from benchcore.client.stream import StreamReader

ATTEMPTS = 3
"""How often a template is looked for in one stream: a server may change every event."""

CONTENT, SAID, OTHER = range(3)
"""What stands in a hole of a template: a string; the output tokens so far; another count."""

LEAST_LIMIT = 1 << 16
"""Where an event may have fewer bytes than these, no template is told: nobody would look."""
_COUNTS = {SAID: b"completion_tokens", OTHER: b"total_tokens"}
_NONE: tuple[()] = ()  # nothing starts with one of none
_PLAIN = bytes(byte for byte in range(0x20, 0x80) if byte not in b'"\\')
# Possessive, so that what is none is found out in one pass. A half of a pair of UTF-16 that stands
# alone is an error.
_is_string = re.compile(
    rb'(?:[^"\\\x00-\x1f]++|\\(?:["\\/bfnrt]|u(?:(?![dD][89a-fA-F])[0-9a-fA-F]{4}'
    rb"|[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})))++"
).fullmatch


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """A template for the reader in C: literals, and between each two of them a hole.

    Args:
        holes: what stands in each.
        literals: one more than holes.
        usage: what the events say of usage; counts in holes have other values there.
    """

    holes: tuple[int, ...]
    literals: tuple[bytes, ...]
    usage: dict[str, Any] | None = None


class EventTemplate:
    r"""Takes the body of an answer; a token event that fits the stream's template is only counted.

    The events of a stream mostly differ in their content alone. The template is what stands before
    and behind it, `data: {…"content":"` and `"…}\n\n`, learnt from a piece of the body that was
    one whole event. It is kept only if that event, with a string of our own in the content's
    place, parses to the same message with our string as its content. That proves that the two
    quotes at the place are where the value of the content begins and ends. Between them any
    well-formed inside of a string leaves a JSON parser in the same state, so it means the same
    message with another content; and the reader says of the message that it is one token event
    and nothing else, whatever its content. Whatever does not fit is parsed.

    Args:
        reader: counts the token events.
        otherwise: takes the pieces until a stream begins.
    """

    __slots__ = (
        "_attempts",
        "_end",
        "_learnt",
        "_limit",
        "_otherwise",
        "_parser",
        "_prefix",
        "_reader",
        "_shape",
        "_start",
        "_suffix",
    )

    _parser: SSEParser

    def __init__(self, reader: StreamReader, otherwise: Callable[[bytes], None]) -> None:
        self._reader = reader
        self._otherwise = otherwise
        self._prefix: bytes | tuple[()] = _NONE  # in force, as long as the SSE parser waits
        self._learnt: bytes | tuple[()] = _NONE
        self._suffix = b""
        self._shape: Shape | None = None
        self._start = self._end = 0
        self._limit = 0
        self._attempts = ATTEMPTS

    def feed(self, piece: bytes) -> None:
        """Take the next piece of the body."""
        if (
            piece.startswith(self._prefix)
            and piece.endswith(self._suffix)
            and (content := piece[self._start : self._end])  # empty too where the two overlap
            and (not content.lstrip(_PLAIN) or _is_utf8_string(content))
            and len(piece) <= self._limit
        ):
            self._reader.pending += 1
        else:
            self._otherwise(piece)

    def follow(self, parser: SSEParser) -> None:
        """Begin a stream: `parser` takes what fits no template."""
        self._parser = parser
        self._limit = parser.limit
        self._otherwise = self._parse if self._reader.content_key else parser.feed

    def stop(self) -> None:
        """Ignore all that follows, and let go of what took it."""
        self._prefix = _NONE
        self._shape = None
        self._otherwise = _ignore

    @property
    def shape(self) -> Shape | None:
        """The template, if the next piece may be an event of it."""
        # One read of it holds less than any event that passes a usual limit.
        if self._shape is None or self._limit < LEAST_LIMIT or not self._parser.waits:
            return None
        return self._shape

    def _parse(self, piece: bytes) -> None:
        parser, reader = self._parser, self._reader
        whole = (
            parser.waits
            and piece[:6] == b"data: "
            and piece.find(b"\n") == len(piece) - 2
            and piece[-1:] == b"\n"
            and b"\r" not in piece
        )
        pending = reader.pending
        self._prefix = _NONE
        parser.feed(piece)
        if not reader.single:
            self._give_up()
            return
        if (
            reader.pending > pending
            and reader.speaks
            and (whole or self._learnt is _NONE)
            and not (piece.startswith(self._learnt) and piece.endswith(self._suffix))
        ):
            if not self._attempts:
                self._give_up()
                return
            self._attempts -= 1
            if whole:
                self._learn(piece)
        if parser.waits:
            self._prefix = self._learnt

    def _give_up(self) -> None:
        if self._shape is not None and self._shape.usage is None:
            self._shape = None
        self._otherwise = self._parser.feed

    def _learn(self, event: bytes) -> None:
        """Take the template of `event`, a piece that was one, if it can be proven."""
        key = self._reader.content_key
        place = re.search(rb'"%b"\s*:\s*"((?:[^"\\]|\\.)*+)"' % key.encode(), event)
        message = orjson.loads(event[6:-2])
        usage = message.get("usage") if isinstance(message, dict) else None
        # Of a running usage the reader in C knows the place; here such an event is parsed.
        running = bool(usage) and isinstance(usage, dict)
        holder = self._reader.only_token({**message, "usage": None} if running else message)
        if place is None or holder is None:
            return
        if running:
            holder[key] = "x" * len(event)
            self._learn_running(event, place.span(1), message, holder[key])
            return
        prefix, suffix = event[: place.start(1)], event[place.end(1) :]
        content = "x" * len(event)  # so long that it stands nowhere else in the event
        holder[key] = content
        try:
            proven = orjson.loads(prefix[6:] + content.encode() + suffix[:-2]) == message
        except (orjson.JSONDecodeError, RecursionError):
            return
        if proven:
            self._learnt, self._suffix = prefix, suffix
            self._start, self._end = len(prefix), -len(suffix)
            self._shape = Shape((CONTENT,), (prefix, suffix))

    def _learn_running(
        self, event: bytes, place: tuple[int, int], message: dict[str, Any], content: str
    ) -> None:
        """Take the template of an event that tells how many tokens there are so far.

        It is proven as one without: with values of our own in the places of the counts too.

        Args:
            event: a piece that was one.
            place: of its content.
            message: the event, with `content` as its content already.
            content: a string of our own.
        """
        usage = message["usage"]
        said = dict(usage)
        places = [(*place, CONTENT, content.encode())]
        for hole, name in _COUNTS.items():
            if name.decode() not in usage:
                continue
            found = list(re.finditer(rb'"%b"\s*:\s*(0|[1-9][0-9]*)' % name, event))
            if len(found) != 1:
                return
            usage[name.decode()] = value = 123_456_789 + hole
            places.append((*found[0].span(1), hole, str(value).encode()))
        places.sort()
        literals, told, at = [], b"", 0
        for begin, end, _, ours in places:
            literals.append(event[at:begin])
            told += event[at:begin] + ours
            at = end
        literals.append(event[at:])
        try:
            proven = orjson.loads((told + event[at:])[6:-2]) == message
        except (orjson.JSONDecodeError, RecursionError):
            return
        if proven and SAID in (hole for _, _, hole, _ in places):
            self._shape = Shape(tuple(hole for _, _, hole, _ in places), tuple(literals), said)
            self._attempts = 0


def _is_utf8_string(content: bytes) -> bool:
    """Whether `content` may stand between the quotes of a string in JSON."""
    if not _is_string(content):
        return False
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True


def _ignore(_piece: bytes) -> None:
    return
