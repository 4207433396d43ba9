"""Spans: calls to models as OpenTelemetry saw them, and which of them waited for which."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Final

from benchcore.base.errors import ConfigError
from benchcore.workload.files import BadRowError, Row, rows
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
    specification, section JSON Protobuf encoding. The file is read whole.
    """

    kind: ClassVar = "otel"
    signs: ClassVar = (frozenset({"resourceSpans"}), frozenset({"scopeSpans"}))
    linked: ClassVar = True

    def _sessions(self) -> Iterator[Session]:
        """See `Trace`."""
        spans: dict[Any, _Span] = {}
        for row in rows(Path(self.path), on_bad=self._drop if self.drop_bad else None):
            where = row.at(self.path)
            try:
                raw_spans = list(_spans_of(object_of(row)))
            except BadRowError as error:
                self._bad(f"{where}: {error}")
                continue
            for raw in raw_spans:
                try:
                    name, span = _read_span(raw, row, len(spans))
                except BadRowError as error:
                    self._bad(f"{where}: span {str(raw.get('name'))[:60]!r}: {error}")
                    continue
                spans[name] = span
        groups = _sessions_of(spans)
        if not groups:
            raise ConfigError(
                f"{self.path}: holds no request; a request is a span with gen_ai.usage.input_tokens"
            )
        zero_ns = min(group[0].begin_ns for group in groups)
        yield from self._cut([_group(group, zero_ns) for group in groups])


def _spans_of(value: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the spans of an export, or of one of its `resourceSpans`."""
    exports = value.get("resourceSpans", [value] if "scopeSpans" in value else None)
    if exports is None:
        raise BadRowError("has no resourceSpans")
    for resource in _objects(exports, "resourceSpans"):
        for scope in _objects(resource.get("scopeSpans", []), "scopeSpans"):
            yield from _objects(scope.get("spans", []), "spans")


def _objects(value: Any, name: str) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise BadRowError(f"{name} is not a list of objects")
    return value


def _read_span(raw: dict[str, Any], row: Row, place: int) -> tuple[Any, _Span]:
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
                span.asked = Asked(
                    0.0, count_of(facts, *_INPUT), output, kind=str(model), line=row.line
                )
                span.asked.place = place
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
            for kind in ("stringValue", "intValue", "doubleValue", "boolValue"):
                if kind in value:
                    found[key] = value[kind]
    return found


def _sessions_of(spans: dict[Any, _Span]) -> list[list[_Span]]:
    """Return the requests of each session by their begin, each with those that it waits for."""
    around = _ancestors(spans)
    seen_twice = {id(outer) for span, above in around for outer in above}
    by_session: dict[str, list[tuple[_Span, list[_Span]]]] = {}
    for span, above in around:
        if id(span) not in seen_twice:
            by_session.setdefault(span.session, []).append((span, above))
    return [_ordered(members) for members in by_session.values()]


def _ancestors(spans: dict[Any, _Span]) -> list[tuple[_Span, list[_Span]]]:
    """Return each request with the spans that it is in, the innermost first."""
    found = []
    for span in spans.values():
        if span.asked is None:
            continue
        above: list[_Span] = []
        inside = {id(span)}
        outer = spans.get(span.parent)
        while outer is not None and id(outer) not in inside:
            above.append(outer)
            inside.add(id(outer))
            outer = spans.get(outer.parent)
        found.append((span, above))
    return found


def _ordered(members: list[tuple[_Span, list[_Span]]]) -> list[_Span]:
    """Return the requests of a session by their begin, and say what each waits for."""
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
    return sorted((span for span, _ in members), key=lambda span: span.begin_ns)


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


def _group(spans: list[_Span], zero_ns: int) -> list[Asked]:
    """Return what a session asked, by times from the first request of the trace."""
    group = []
    for span in spans:
        assert span.asked is not None
        span.asked.at = (span.begin_ns - zero_ns) / 1e9
        group.append(span.asked)
    return group
