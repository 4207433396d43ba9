"""Spans: calls to models as OpenTelemetry saw them, and which of them waited for which."""

from __future__ import annotations

import heapq
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from benchcore.base.errors import ConfigError
from benchcore.workload.files import BadRowError, rows
from benchcore.workload.linked import (
    NOBODY,
    Integers,
    Linked,
    first_of_each,
    key_of,
    places_of,
    topmost,
)
from benchcore.workload.sessions import Session
from benchcore.workload.trace_rows import (
    Asked,
    count_of,
    field_of,
    id_of,
    object_of,
)
from benchcore.workload.traces import Trace

_INFERENCE: Final = ("chat", "text_completion", "generate_content")
"""Values of `gen_ai.operation.name` of calls that generate."""
_INPUT: Final = ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens")
_OUTPUT: Final = ("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens")
"""The names of today's conventions, and those before version 1.28."""
_MOST_NS: Final = 1 << 63
_OBJECT: Final = frozenset({dict})
_VALUES: Final = ("stringValue", "intValue", "doubleValue", "boolValue")


@dataclass(slots=True, eq=False)
class _Span:
    """A span.

    Args:
        begin_ns: when it began.
        end_ns: when it had ended; later than `begin_ns`.
        parent: the id of the span that it is in.
        asked: what it asked; `None`: it is no call that was answered.
        session: what it belongs to.
    """

    begin_ns: int
    end_ns: int
    parent: Any = None
    asked: Asked | None = None
    session: str = ""


@dataclass(slots=True, eq=False)
class _Branch:
    """What one session has in one span: a request, or all that is in it.

    Args:
        begin_ns: when the first of that began.
        end_ns: when all of it had ended.
        request: the span of the request; `None`: it holds others.
        parts: those.
        last: the requests in it that no other in it comes after.
        waits: the requests that all in it come after.
    """

    begin_ns: int
    end_ns: int
    request: _Span | None = None
    parts: list[_Branch] = field(default_factory=list)
    last: list[_Span] = field(default_factory=list)
    waits: list[_Span] = field(default_factory=list)


class Otel(Trace):
    """OpenTelemetry's GenAI spans as OTLP/JSON: exports of `resourceSpans`, in lines or alone.

    A request is a span whose `gen_ai.operation.name` is `chat`, `text_completion` or
    `generate_content` (or that has none, and usage), by its begin, `gen_ai.usage.input_tokens` and
    `output_tokens`. Spans that failed or have no output are left out; of such spans within one
    another, which are the same call seen twice, the inner one counts. Its class is its model.

    Spans of one `gen_ai.conversation.id`, else of one trace, are a session. A request waits for
    those that had ended when it began, and is due as long after the last of them as it was. Whether
    one had ended is judged where the two part: of two subagents at the same time, no request of
    one waits for a request of the other. The prompts of a session have nothing in common, since
    spans do not say what their texts begin with.

    Source: the OpenTelemetry semantic conventions for generative AI spans, and the OTLP
    specification, section JSON Protobuf encoding.
    """

    kind: ClassVar = "otel"
    signs: ClassVar = (frozenset({"resourceSpans"}), frozenset({"scopeSpans"}))
    linked: ClassVar = True

    def _linked(self) -> Iterator[Session]:
        """See `Trace`; what is asked is kept in columns, since spans cannot be read one by one."""
        columns = _Columns()
        for row in rows(Path(self.path), on_bad=self._drop if self.drop_bad else None):
            where = row.at(self.path)
            try:
                raw_spans = list(_spans_of(object_of(row)))
            except BadRowError as error:
                self._bad(f"{where}: {error}")
                continue
            for raw in raw_spans:
                try:
                    name, span = _read_span(raw)
                except BadRowError as error:
                    self._bad(f"{where}: span {str(raw.get('name'))[:60]!r}: {error}")
                    continue
                columns.add(name, span, row.line)
        spans = columns.spans() if len(columns) else None
        if spans is None or not spans.requests.any():
            raise ConfigError(
                f"{self.path}: holds no request; a request is a span with gen_ai.usage.input_tokens"
            )
        yield from self._cut(spans.linked())


class _Columns:
    """Takes spans one after the other."""

    def __init__(self) -> None:
        self._names, self._parents, self._sessions = array("q"), array("q"), array("q")
        self._begins, self._ends = array("q"), array("q")
        self._inputs, self._outputs = array("i"), array("i")
        self._lines, self._kinds = array("i"), array("i")
        self._codes: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._begins)

    def add(self, name: Any, span: _Span, line: int) -> None:
        """Take a span that stands in a line."""
        asked = span.asked
        self._names.append(key_of(name))
        self._parents.append(key_of(span.parent))
        self._begins.append(span.begin_ns)
        self._ends.append(span.end_ns)
        self._lines.append(line)
        self._sessions.append(NOBODY if asked is None else key_of(span.session))
        self._inputs.append(0 if asked is None else asked.input_tokens)
        self._outputs.append(0 if asked is None else asked.output_tokens)
        kind = "" if asked is None else asked.kind
        self._kinds.append(self._codes.setdefault(kind, len(self._codes)))

    def spans(self) -> _Spans:
        """Return the spans; of those with the same name, the last in the place of the first."""
        names, parents, begins, ends, sessions = (
            np.frombuffer(one, dtype=np.int64)
            for one in (self._names, self._parents, self._begins, self._ends, self._sessions)
        )
        inputs, outputs, lines, kinds = (
            np.frombuffer(one, dtype=np.int32)
            for one in (self._inputs, self._outputs, self._lines, self._kinds)
        )
        first = first_of_each(names)
        is_first = first == np.arange(len(names))
        # How many there were before each: that tells the requests of one line apart.
        places = (np.cumsum(is_first) - is_first).astype(np.int32)
        keep: Integers | slice = slice(None)
        if not is_first.all():
            last = np.zeros(len(names), dtype=np.int64)
            np.maximum.at(last, first, np.arange(len(names)))
            keep = last[is_first]
        del first, is_first
        above = places_of(parents[keep], names[keep], before=False)
        del names, parents
        self._names, self._parents = array("q"), array("q")
        return _Spans(
            begin_ns=begins[keep],
            end_ns=ends[keep],
            above=above,
            session=sessions[keep],
            input_tokens=inputs[keep],
            output_tokens=outputs[keep],
            line=lines[keep],
            place=places[keep],
            kind=kinds[keep],
            kinds=list(self._codes),
            requests=_innermost(outputs[keep] > 0, above),
        )


def _innermost(requests: NDArray[np.bool_], above: Integers) -> NDArray[np.bool_]:
    """Return which requests no other request is in: the others are the same call seen twice."""
    outer = np.zeros(len(requests), dtype=bool)
    inner = np.flatnonzero(requests)
    top = topmost(above)
    # Spans that are in one another in a circle come to no end: those are looked at one by one.
    circles = above[top[inner]] != top[inner]
    for span in inner[circles].tolist():
        outer[_chain(span, above)] = True
    reached = inner[~circles]
    seen = np.zeros(len(requests), dtype=bool)
    while len(reached):
        higher = above[reached]
        reached = np.unique(higher[higher != reached])
        reached = reached[~seen[reached]]
        seen[reached] = True
    return requests & ~outer & ~seen


def _chain(span: int, above: Integers) -> list[int]:
    """Return the spans that one is in, the innermost first."""
    found: list[int] = []
    inside = {span}
    outer = int(above[span])
    while outer not in inside:
        found.append(outer)
        inside.add(outer)
        outer = int(above[outer])
    return found


@dataclass(frozen=True, slots=True)
class _Spans:
    """The spans of a trace, in columns of shape (n,).

    Args:
        begin_ns: see `_Span`.
        end_ns: see `_Span`.
        above: which span each is in; itself, if in none.
        session: a number for what it belongs to.
        input_tokens: of a request.
        output_tokens: of a request.
        line: of the file.
        place: tells the requests of a line apart.
        kind: the number of its class.
        kinds: those classes.
        requests: whether it is a request that counts.
    """

    begin_ns: Integers
    end_ns: Integers
    above: Integers
    session: Integers
    input_tokens: NDArray[np.int32]
    output_tokens: NDArray[np.int32]
    line: NDArray[np.int32]
    place: NDArray[np.int32]
    kind: NDArray[np.int32]
    kinds: list[str]
    requests: NDArray[np.bool_]

    def linked(self) -> Linked:
        """Return the requests by sessions, each session's by their begin."""
        every = np.flatnonzero(self.requests)
        session = first_of_each(self.session[every])
        begin_ns = self.begin_ns[every]
        order = np.lexsort((begin_ns, session))
        zero_ns = int(begin_ns.min())
        spans = every[order]

        def asked(group: Sequence[int], wanted: Sequence[int]) -> list[Asked]:
            return self._asked(spans[list(group)], [spans[one] for one in wanted], zero_ns)

        return Linked((begin_ns[order] - zero_ns) / 1e9, session[order], asked)

    def _asked(self, group: Integers, wanted: list[int], zero_ns: int) -> list[Asked]:
        """Return what some requests of a session ask, each with those that it waits for."""
        known: dict[int, _Span] = {}

        def made(place: int) -> _Span:
            if place not in known:
                known[place] = _Span(int(self.begin_ns[place]), int(self.end_ns[place]))
            return known[place]

        members = []
        for place in np.sort(group).tolist():
            span = made(place)
            span.asked = Asked(
                (span.begin_ns - zero_ns) / 1e9,
                int(self.input_tokens[place]),
                int(self.output_tokens[place]),
                kind=self.kinds[self.kind[place]],
                line=int(self.line[place]),
                place=int(self.place[place]),
            )
            members.append((span, [made(outer) for outer in _chain(place, self.above)]))
        _link(members)
        return [one for place in wanted if (one := known[place].asked) is not None]


def _spans_of(value: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the spans of an export, or of one of its `resourceSpans`."""
    exports = value.get("resourceSpans", [value] if "scopeSpans" in value else None)
    if exports is None:
        raise BadRowError("has no resourceSpans")
    for resource in _objects(exports, "resourceSpans"):
        for scope in _objects(resource.get("scopeSpans", []), "scopeSpans"):
            yield from _objects(scope.get("spans", []), "spans")


def _objects(value: Any, name: str) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not _OBJECT.issuperset(map(type, value)):
        raise BadRowError(f"{name} is not a list of objects")
    return value


def _read_span(raw: dict[str, Any]) -> tuple[Any, _Span]:
    """Return the id of a span, and the span."""
    trace = id_of(raw, "traceId") or ""
    name = field_of(raw, "spanId")
    begin_ns = _nanoseconds(raw, "startTimeUnixNano")
    # It takes some time, so that of two spans at once neither comes after the other.
    end_ns = max(_nanoseconds(raw, "endTimeUnixNano"), begin_ns + 1)
    parent = id_of(raw, "parentSpanId")
    span = _Span(begin_ns, end_ns, None if parent is None else (trace, parent))
    facts = _attributes(raw)
    operation = facts.get("gen_ai.operation.name")
    has_usage = any(name in facts for name in _INPUT)
    if operation in _INFERENCE or (operation is None and has_usage):
        span.session = str(facts.get("gen_ai.conversation.id") or trace)
        status = raw.get("status")
        failed = isinstance(status, dict) and status.get("code") in (2, "STATUS_CODE_ERROR")
        if not failed:
            output = count_of(facts, *_OUTPUT, least=0)
            if output:
                model = facts.get("gen_ai.request.model") or ""
                span.asked = Asked(0.0, count_of(facts, *_INPUT), output, kind=str(model))
    return (trace, str(name)), span


def _nanoseconds(raw: dict[str, Any], name: str) -> int:
    """Return an instant; OTLP/JSON has 64-bit numbers as decimal texts."""
    value = field_of(raw, name)
    try:
        found = int(value) if isinstance(value, str | int) else -1
    except ValueError:
        found = -1
    if not 0 <= found < _MOST_NS:
        raise BadRowError(f"{name} {str(value)[:40]!r} is no number of nanoseconds")
    return found


def _attributes(raw: dict[str, Any]) -> dict[str, Any]:
    """Return the `gen_ai` attributes that have one value."""
    found: dict[str, Any] = {}
    for one in _objects(raw.get("attributes", []), "attributes"):
        key, value = one.get("key"), one.get("value")
        if isinstance(key, str) and key.startswith("gen_ai.") and isinstance(value, dict):
            for kind in value:
                if kind in _VALUES:
                    found[key] = value[kind]
    return found


def _link(members: list[tuple[_Span, list[_Span]]]) -> None:
    """Say what each request of a session waits for.

    Args:
        members: the requests, each with the spans that it is in, the innermost first.
    """
    top = _Branch(0, 0)
    branches: dict[int, _Branch] = {}
    for span, above in members:
        branch = _Branch(span.begin_ns, span.end_ns, span, last=[span])
        for outer in above:
            known = branches.get(id(outer))
            if known is not None:
                known.parts.append(branch)
                break
            branches[id(outer)] = _Branch(outer.begin_ns, outer.end_ns, parts=[branch])
            branch = branches[id(outer)]
        else:
            top.parts.append(branch)
    outer_first = [top]
    for branch in outer_first:
        outer_first.extend(branch.parts)
    for branch in reversed(outer_first):
        _close(branch)
    for branch in outer_first:
        _let_wait(branch)


def _close(branch: _Branch) -> None:
    """Say when a branch whose parts are known begins and ends, and what is last in it."""
    if not branch.parts:
        return
    branch.parts.sort(key=lambda part: part.begin_ns)
    # What is in a span may go on after it.
    branch.begin_ns = min(branch.begin_ns, branch.parts[0].begin_ns)
    branch.end_ns = max(branch.end_ns, *(part.end_ns for part in branch.parts))
    newest_ns = branch.parts[-1].begin_ns
    branch.last = [last for part in branch.parts if newest_ns < part.end_ns for last in part.last]


def _let_wait(branch: _Branch) -> None:
    """Let each part wait for those that had ended when it began, and that no other of them follows.

    A part that none of its siblings comes before waits for what the whole branch waits for.
    """
    span = branch.request
    if span is not None:
        assert span.asked is not None
        span.asked.name = id(span)
        span.asked.after = tuple(id(one) for one in branch.waits)
        if branch.waits:
            ended_ns = max(one.end_ns for one in branch.waits)
            span.asked.delay = (span.begin_ns - ended_ns) / 1e9
    under_way: list[tuple[int, int, _Branch]] = []
    ended: list[_Branch] = []
    for place, part in enumerate(branch.parts):
        while under_way and under_way[0][0] <= part.begin_ns:
            ended.append(heapq.heappop(under_way)[2])
        newest_ns = max((one.begin_ns for one in ended), default=0)
        ended = [one for one in ended if newest_ns < one.end_ns]
        part.waits = [last for one in ended for last in one.last] or branch.waits
        heapq.heappush(under_way, (part.end_ns, place, part))
