"""Weka: conversations with coding agents, whose requests fan out and come together again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final

from benchcore.base.errors import ConfigError
from benchcore.workload.files import BadRowError, rows
from benchcore.workload.linked import of_groups
from benchcore.workload.sessions import Session
from benchcore.workload.trace_rows import (
    Asked,
    blocks_of,
    check_order,
    count_of,
    field_of,
    id_of,
    number_of,
    object_of,
)
from benchcore.workload.traces import Trace

MAIN: Final = "main"
"""The class of the requests that no subagent made."""
_SCOPES: Final = ("local", "global", "per_context")
_NEAR: Final = 1.0
"""Seconds by which the times of one conversation, which are often whole seconds, may differ."""


class Weka(Trace):
    """Weka's agentic JSON: conversations of `requests`, with subagents in them.

    A file holds a conversation, an array of them, or one in each line; a folder holds such files. A
    request (`t`, `type` `s` or `n`, `in`, `out`, `hash_ids`, `think_time`) waits for the one before
    it and is due `think_time` after its end; where that is missing, at its own time `t`. A
    `subagent` has requests of its own: they begin after the request before it, beside those of
    other subagents there, and the request after it waits for the last of each. Requests without
    output, which nobody answered, are left out. The class is that of the subagent
    (`subagent_type`), or `main`.

    Blocks are of `block_size` tokens. An id names the same text in the whole file
    (`hash_id_scope` `global`), in a conversation (`local`), or in each subagent by itself
    (`per_context`, also where nothing is said). Conversations begin at their `start`, as
    `benchcore record` writes it; others have no time but their own, and all begin at once.

    Conversations are read as they are replayed; all at once for a window or with `sort`.

    Source: the trace format of `callanjfox/kv-cache-tester`. A marker's `t` is documented as the
    begin of the subagent, and in the published traces it is the end: where `duration_ms` fits
    between the request before and `t`, it is taken as the end.
    """

    kind: ClassVar = "weka"
    signs: ClassVar = (frozenset({"requests", "block_size"}),)
    block_tokens: ClassVar = 64
    linked: ClassVar = True

    def _sessions(self) -> Iterator[Session]:
        """See `Trace`."""
        groups = self._groups()
        if self.sort or self.start or self.stop is not None:
            return self._cut(of_groups(list(groups)))
        return map(self._session, groups)

    def _groups(self) -> Iterator[list[Asked]]:
        """Yield the requests of one conversation after the other, by times from the first."""
        conversations: Iterable[list[Asked]] = self._conversations()
        if self.sort:
            conversations = sorted(conversations, key=_begin)
        zero = None
        for group in conversations:
            zero = _begin(group) if zero is None else zero
            for one in group:
                one.at -= zero
            yield group
        if zero is None:
            raise ConfigError(f"{self.path}: holds no request")

    def _conversations(self) -> Iterator[list[Asked]]:
        last = None
        line = 0
        for path in _files(Path(self.path)):
            for row in rows(path, on_bad=self._drop if self.drop_bad else None):
                line += 1
                try:
                    group = _Conversation(object_of(row), line).requests()
                    if not group:
                        continue
                    begin = _begin(group)
                    if not self.sort:
                        check_order(begin, last)
                    last = begin
                except BadRowError as error:
                    self._bad(f"{row.at(path)}: {error}")
                    continue
                yield group


def _begin(group: list[Asked]) -> float:
    return min(one.at for one in group)


def _files(path: Path) -> list[Path]:
    """Return the files of a path: of a folder, those of traces in it, by name."""
    if not path.is_dir():
        return [path]
    found = sorted(one for one in path.iterdir() if one.suffix in (".json", ".jsonl"))
    if not found:
        raise ConfigError(f"{path}: holds no .json or .jsonl files")
    return found


@dataclass(slots=True)
class _Lane:
    """Where a chain of requests stands: which one is last, and when its end was recorded."""

    last: tuple[Any, ...] = ()
    end: float | None = None


class _Conversation:
    """Reads one conversation.

    Args:
        value: its fields.
        line: number of the conversation in the trace.

    Raises:
        BadRowError: it cannot be used.
    """

    def __init__(self, value: dict[str, Any], line: int) -> None:
        self._line = line
        self._raw = _requests(value)
        self._start = number_of(value, "start") if value.get("start") is not None else 0.0
        self._block_tokens = count_of(value, "block_size")
        scope = value.get("hash_id_scope") or "per_context"
        if scope not in _SCOPES:
            raise BadRowError(f"hash_id_scope {str(scope)[:40]!r} is not {', '.join(_SCOPES)}")
        self._scope = scope
        name = id_of(value, "id")
        self._name = f"row {line}" if name is None else name
        # By context and id what a block is called, so that each name is in memory once.
        self._names: dict[tuple[str, int | str], str] = {}
        self._found: list[Asked] = []
        self._absolute = self._are_absolute(self._raw)

    def requests(self) -> list[Asked]:
        """Return its requests, each after those that it waits for."""
        self._chain(self._raw, _Lane(), 0.0, MAIN, "", ())
        for place, one in enumerate(self._found):
            one.place = place
            one.line = self._line
            one.at += self._start
        return self._found

    def _are_absolute(self, raw: list[Any]) -> bool:
        """Return whether the times in subagents count from the conversation's begin.

        Published traces have them from the subagent's; others, from the conversation's.
        """
        begins, firsts = [], []
        before = 0.0
        for one in raw:
            try:
                if one["type"] != "subagent":
                    before = number_of(one, "t")
                    continue
                begin = _begin_and_end(one, before)[0]
                firsts.append(number_of(one["requests"][0], "t"))
                begins.append(begin)
            except (BadRowError, LookupError, TypeError, AttributeError):
                continue  # empty, or told of where it is read
        return max(begins, default=0.0) > _NEAR and all(
            first >= begin - _NEAR for first, begin in zip(firsts, begins, strict=True)
        )

    def _chain(
        self, raw: list[Any], lane: _Lane, zero: float, kind: str, context: str, at: tuple[int, ...]
    ) -> _Lane:
        """Read a chain of requests; returns where it stands at its end.

        Args:
            raw: requests and subagents.
            lane: what the first of them waits for.
            zero: what is added to their times.
            kind: their class.
            context: of their blocks.
            at: the places of the subagents that they are in.
        """
        apart: list[_Lane] = []  # subagents under way
        before = zero
        first = True
        for place, value in enumerate(raw):
            where = (*at, place)
            told = "".join(f"requests[{one}]." for one in where)[:-1]
            if not isinstance(value, dict):
                raise BadRowError(f"{told} is not an object")
            try:
                if value.get("type") == "subagent":
                    apart.append(self._subagent(value, lane, before, where))
                    continue
                asked = self._request(value, zero, kind, context)
                if asked is None:
                    continue
                asked.name = (self._line, *where)
                self._wait(asked, value, lane, apart, first=first and bool(at))
                took = number_of(value, "api_time") if value.get("api_time") is not None else None
            except BadRowError as error:
                text = str(error)
                raise BadRowError(
                    text if text.startswith("requests[") else f"{told}: {text}"
                ) from None
            self._found.append(asked)
            before = asked.at
            end = None if took is None else asked.at + took
            lane, apart, first = _Lane((asked.name,), end), [], False
        return _together([lane, *apart])

    def _request(self, value: dict[str, Any], zero: float, kind: str, context: str) -> Asked | None:
        if value.get("type") not in ("s", "n"):
            raise BadRowError(f"type {str(value.get('type'))[:40]!r} is not s, n or subagent")
        output = count_of(value, "out", least=0)
        if not output:
            return None
        return Asked(
            zero + number_of(value, "t"),
            count_of(value, "in"),
            output,
            self._blocks(value, context),
            kind=kind,
            block_tokens=self._block_tokens,
        )

    def _blocks(self, value: dict[str, Any], context: str) -> tuple[int | str, ...]:
        ids = blocks_of(value)
        if self._scope == "global":
            return ids
        if self._scope == "local":
            context = ""
        names = self._names
        prefix = f"{self._name}/{context}"
        return tuple(
            names.get((context, one)) or names.setdefault((context, one), f"{prefix}{one}")
            for one in ids
        )

    def _wait(
        self,
        asked: Asked,
        value: dict[str, Any],
        lane: _Lane,
        apart: list[_Lane],
        *,
        first: bool,
    ) -> None:
        """Say what a request waits for, and how long.

        Args:
            asked: the request.
            value: its fields.
            lane: the request before it.
            apart: where the subagents stand that it waits for, too.
            first: of a subagent.
        """
        thinks = None
        if value.get("think_time") is not None:
            thinks = number_of(value, "think_time")
            if thinks < 0:
                raise BadRowError(f"think_time {thinks:g} is less than 0")
        joined = [one for one in apart if one.last]
        if not joined and not first:
            asked.after, asked.delay = lane.last, thinks
            return
        # The think time counts from the request before, and this one waits for others, too: what
        # is left of it when the last of them has ended.
        end = lane.end if first or thinks is None else asked.at - thinks
        all_of = _together([_Lane(lane.last, end), *joined])
        asked.after = all_of.last
        asked.delay = None if all_of.end is None else max(asked.at - all_of.end, 0.0)

    def _subagent(
        self, value: dict[str, Any], lane: _Lane, before: float, at: tuple[int, ...]
    ) -> _Lane:
        """Read a subagent; returns where it stands at its end."""
        inner = _requests(value)
        begin, end = _begin_and_end(value, before)
        name = str(value.get("subagent_type") or "subagent")
        context = "/".join(map(str, at)) + "/"
        zero = 0.0 if self._absolute else begin
        last = self._chain(inner, lane, zero, name, context, at)
        if last.last == lane.last:
            return _Lane()  # nothing in it was answered
        return _Lane(last.last, last.end if end is None else end)


def _together(lanes: list[_Lane]) -> _Lane:
    """Return where several lanes stand when all have ended."""
    lanes = [one for one in lanes if one.last]
    ends = [one.end for one in lanes if one.end is not None]
    last = tuple(name for one in lanes for name in one.last)
    return _Lane(last, max(ends) if lanes and len(ends) == len(lanes) else None)


def _requests(value: dict[str, Any]) -> list[Any]:
    found = field_of(value, "requests")
    if not isinstance(found, list):
        raise BadRowError("requests is not a list")
    return found


def _begin_and_end(value: dict[str, Any], before: float) -> tuple[float, float | None]:
    """Return when a subagent began, and when it ended where that is known."""
    at = number_of(value, "t")
    if value.get("duration_ms") is None:
        return at, None
    took = number_of(value, "duration_ms") / 1e3
    return (at - took, at) if at - took >= before - _NEAR else (at, at + took)
