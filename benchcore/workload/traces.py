"""Traces: requests that were really made, by their times, lengths and prefixes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, PrivateAttr, model_validator

from benchcore.base.errors import ConfigError
from benchcore.config.values import MOST_TOKENS
from benchcore.workload.files import Row, rows
from benchcore.workload.kinds import SessionKind
from benchcore.workload.sessions import WARM_UP, Recipe, Session, Turn

_NS = 1e9
_FAULTS_TOLD = 5


class BadRowError(ValueError):
    """A row cannot be used; says why."""


@dataclass(slots=True)
class Asked:
    """One request of a trace.

    Args:
        at: when it was made, in seconds of the trace's own clock.
        input_tokens: of its prompt.
        output_tokens: of its answer.
        blocks: ids of the blocks that its prompt begins with.
        name: what others call it that wait for it; `None`: nobody does.
        parent: the name of the one that it waits for; `None`: it waits for none.
        delay: seconds from the end of that one; `None`: its own time alone counts.
        kind: its class.
        block_tokens: the length of a block; `None`: as the kind has it.
        guessed: its time is not in the trace, and is what it would be if its parent took no time.
        line: where it stands in the file.
    """

    at: float
    input_tokens: int
    output_tokens: int
    blocks: tuple[int | str, ...] = ()
    name: Any = None
    parent: Any = None
    delay: float | None = None
    kind: str = ""
    block_tokens: int | None = None
    guessed: bool = False
    line: int = 0


class Trace(SessionKind):
    """The base of the kinds of traces.

    A kind says how a row is read. Rows that are not linked are read as they are replayed, in
    constant memory; linked ones are read whole before the first session.
    """

    timed: ClassVar = True
    block_tokens: ClassVar = 512
    linked: ClassVar = False
    """Whether rows may belong to one another."""

    path: str = Field(description="the file of the trace")
    ignore_eos: bool = Field(True, description="ask for exactly the recorded output lengths")
    start: float = Field(0.0, ge=0, description="seconds of the trace that are passed over")
    stop: float | None = Field(None, gt=0, description="seconds of the trace at which it ends")
    warm: bool = Field(
        False, description="send the last turn before start of each session as a warm-up"
    )
    limit: int | None = Field(None, ge=1, description="the most sessions")
    sort: bool = Field(False, description="read it whole and sort it by time")
    drop_bad: bool = Field(False, description="go on without rows that cannot be used")

    _dropped: int = PrivateAttr(default=0)
    _faults: list[str] = PrivateAttr(default_factory=list)

    @model_validator(mode="after")
    def _window_makes_sense(self) -> Self:
        if self.stop is not None and self.stop <= self.start:
            raise ValueError("stop lies no later than start")
        return self

    def read(self, row: Row) -> Asked | None:
        """Return what a row asks; `None`: nothing that was answered.

        Raises:
            BadRowError: it cannot be used.
        """
        raise NotImplementedError

    def facts(self) -> dict[str, Any]:
        """See `SessionKind`."""
        return {"dropped": self._dropped, "faults": self._faults} if self._dropped else {}

    def sessions(self, *path: str | int) -> Iterator[Session]:
        """Yield sessions in the order of their times; see `SessionKind`."""
        del path
        self._dropped, self._faults = 0, []
        asked = self._asked()
        if self.sort:
            asked = iter(sorted(asked, key=lambda one: one.at))
        made = self._linked(asked) if self.linked else self._unlinked(asked)
        for count, session in enumerate(made):
            if self.limit is not None and count >= self.limit:
                return
            yield session

    # Rows.

    def _asked(self) -> Iterator[Asked]:
        """Yield the requests of the file, by their times from its first."""
        zero = last = None
        on_bad = self._drop if self.drop_bad else None
        for row in rows(Path(self.path), on_bad=on_bad):
            try:
                one = self.read(row)
                if one is None:
                    continue
                if not self.sort and not one.guessed:
                    _check_order(one.at, last)
            except BadRowError as error:
                told = f"{row.at(self.path)}: {error}"
                if on_bad is None:
                    raise ConfigError(told) from None
                on_bad(told)
                continue
            if not one.guessed:
                last = one.at
            zero = one.at if zero is None else zero
            one.at -= zero
            one.line = row.line
            yield one
        if zero is None:
            raise ConfigError(f"{self.path}: holds no request")

    def _drop(self, told: str) -> None:
        self._dropped += 1
        if len(self._faults) < _FAULTS_TOLD:
            self._faults.append(told)

    def _recipe(self, one: Asked) -> Recipe:
        return Recipe(
            input_tokens=one.input_tokens,
            output_tokens=one.output_tokens,
            blocks=one.blocks,
            block_tokens=one.block_tokens or self.block_tokens,
            key=("row", one.line),
            exact_output=self.ignore_eos,
        )

    def _unlinked(self, asked: Iterator[Asked]) -> Iterator[Session]:
        start, stop = self.start, self.stop
        for one in asked:
            if one.at < start:
                continue
            if stop is not None and one.at >= stop:
                if self.sort:
                    continue
                return
            turn = Turn(self._recipe(one), kind=one.kind)
            yield Session((turn,), round((one.at - start) * _NS))

    def _linked(self, asked: Iterator[Asked]) -> Iterator[Session]:
        """Yield sessions of rows that wait for one another."""
        groups: dict[int, list[Asked]] = {}
        root: dict[Any, int] = {}
        for number, one in enumerate(asked):
            group = root.get(one.parent, number) if one.parent is not None else number
            groups.setdefault(group, []).append(one)
            if one.name is not None:
                root[one.name] = group
        yield from self._cut(list(groups.values()))

    def _cut(self, groups: list[list[Asked]]) -> Iterator[Session]:
        """Yield the sessions of a window, those that warm up first."""
        kept: list[list[Asked]] = []
        for group in groups:
            before = [one for one in group if one.at < self.start]
            inside = [
                one
                for one in group
                if one.at >= self.start and (self.stop is None or one.at < self.stop)
            ]
            if inside:
                kept.append(inside)
                if self.warm and before:
                    yield Session((Turn(self._recipe(before[-1]), kind=WARM_UP),), 0)
        kept.sort(key=lambda group: group[0].at)
        for group in kept:
            yield self._session(group)

    def _session(self, group: list[Asked]) -> Session:
        """Return the turns of one session, each waiting for its parent where that is in it."""
        first = group[0].at
        places: dict[Any, int] = {}
        turns: list[Turn] = []
        for place, one in enumerate(group):
            parent = None if one.parent is None else places.get(one.parent)
            if one.name is not None:
                places[one.name] = place
            delayed = parent is not None and one.delay is not None
            turns.append(
                Turn(
                    self._recipe(one),
                    after=() if parent is None else (parent,),
                    wait_ns=round((one.delay or 0.0) * _NS) if delayed else 0,
                    at_ns=0 if delayed else round((one.at - first) * _NS),
                    kind=one.kind,
                )
            )
        return Session(tuple(turns), round((first - self.start) * _NS))


# What rows hold.


def _check_order(at: float, last: float | None) -> None:
    if last is not None and at < last:
        raise BadRowError(
            f"its time, {at:.12g}, lies before that of the row above, {last:.12g}; sort the file, "
            "or set sort=true"
        )


def _object(row: Row) -> dict[str, Any]:
    if not isinstance(row.value, dict):
        raise BadRowError("is not an object")
    return row.value


def _get(value: dict[str, Any], *names: str) -> Any:
    """Return the first of several fields that is there.

    Raises:
        BadRowError: none is.
    """
    for name in names:
        found = value.get(name)
        if found is not None and found != "":
            return found
    raise BadRowError(f"has no {names[0]}")


def _number(value: dict[str, Any], *names: str) -> float:
    raw = _get(value, *names)
    if type(raw) is float or type(raw) is int:
        return raw
    try:
        number = float(str(raw))
    except ValueError:
        number = float("nan")
    if isinstance(raw, bool) or not abs(number) < 1e18:
        raise BadRowError(f"{names[0]} {str(raw)[:40]!r} is not a number")
    return number


def _count(value: dict[str, Any], *names: str, least: int = 1) -> int:
    raw = _get(value, *names)
    if type(raw) is not int:
        number = _number(value, *names)
        if number != int(number):
            raise BadRowError(f"{names[0]} {number:g} is not a whole number")
        raw = int(number)
    if not least <= raw <= MOST_TOKENS:
        raise BadRowError(f"{names[0]} {raw} is not {least} to {MOST_TOKENS}")
    return raw


def _blocks(value: dict[str, Any]) -> tuple[int | str, ...]:
    ids = value.get("hash_ids")
    if ids is None:
        return ()
    if not isinstance(ids, list) or any(type(one) not in (int, str) for one in ids):
        raise BadRowError("hash_ids is not a list of numbers")
    return tuple(ids)


class Mooncake(Trace):
    """Mooncake's JSONL: `timestamp` in ms, `input_length`, `output_length`, `hash_ids`.

    Blocks are of 512 tokens unless a row's `block_size` says otherwise. Rows of one `session_id`
    are turns, each of which waits for the one before and is due `delay` ms after its end. This is
    also what `benchcore record` writes.
    """

    kind: ClassVar = "mooncake"

    block_size: int | None = Field(None, ge=1, description="tokens of a block; 512 by default")

    # Of each session how many turns it has had, and the time of the last.
    _last_of: dict[Any, tuple[int, float]] = PrivateAttr(default_factory=dict)

    def sessions(self, *path: str | int) -> Iterator[Session]:
        """See `Trace`; whether rows are linked is seen by the first."""
        self._last_of = {}
        yield from super().sessions(*path)

    def _unlinked(self, asked: Iterator[Asked]) -> Iterator[Session]:
        first = next(asked, None)
        if first is None:
            return

        def again() -> Iterator[Asked]:
            yield first
            yield from asked

        yield from (
            super()._linked(again()) if first.name is not None else super()._unlinked(again())
        )

    def read(self, row: Row) -> Asked | None:
        """See `Trace`."""
        value = _object(row)
        session = value.get("session_id")
        turn, before = self._last_of.get(session, (0, 0.0)) if session is not None else (0, 0.0)
        delay = None
        if turn and any(value.get(key) is not None for key in ("delay", "delay_ms")):
            delay = _number(value, "delay", "delay_ms") / 1e3
        guessed = delay is not None and value.get("timestamp") is None
        at = (
            before + (delay or 0.0)
            if guessed
            else _number(value, "timestamp", "created_time") / 1e3
        )
        size = self.block_size
        if size is None and value.get("block_size") is not None:
            size = _count(value, "block_size")
        asked = Asked(
            at,
            _count(value, "input_length", "input_tokens"),
            _count(value, "output_length", "output_tokens"),
            _blocks(value),
            None if session is None else (session, turn),
            (session, turn - 1) if turn else None,
            delay,
            str(value.get("class") or ""),
            size,
            guessed,
        )
        if session is not None:
            self._last_of[session] = (turn + 1, at)
        return asked


class Bailian(Trace):
    """Bailian's JSONL: `chat_id`, `parent_chat_id`, `timestamp` in s, lengths, `hash_ids`.

    Blocks are of 16 tokens. A row whose parent is in the file is due at its own time, but not
    before its parent has ended. Its class is its `type`.
    """

    kind: ClassVar = "bailian"
    block_tokens: ClassVar = 16
    linked: ClassVar = True

    def read(self, row: Row) -> Asked | None:
        """See `Trace`."""
        value = _object(row)
        parent = value.get("parent_chat_id")
        return Asked(
            _number(value, "timestamp"),
            _count(value, "input_length"),
            _count(value, "output_length"),
            _blocks(value),
            value.get("chat_id"),
            None if parent in (None, -1) else parent,
            None,
            str(value.get("type") or ""),
        )


class BurstGPT(Trace):
    """BurstGPT's CSV: `Timestamp` in s, `Model`, `Request tokens`, `Response tokens`.

    Rows without response tokens are requests that failed: they are left out.
    """

    kind: ClassVar = "burstgpt"

    model: str | None = Field(None, description="only the requests to this model, such as GPT-4")

    def read(self, row: Row) -> Asked | None:
        """See `Trace`."""
        value = _object(row)
        model = str(value.get("Model") or "")
        if self.model is not None and model != self.model:
            return None
        output = _count(value, "Response tokens", least=0)
        if not output:
            return None
        return Asked(
            _number(value, "Timestamp"), _count(value, "Request tokens"), output, kind=model
        )


class Azure(Trace):
    """Azure's LLM inference CSV, 2023 and 2024: `TIMESTAMP, ContextTokens, GeneratedTokens`."""

    kind: ClassVar = "azure"

    def read(self, row: Row) -> Asked | None:
        """See `Trace`."""
        value = _object(row)
        return Asked(
            _instant(str(_get(value, "TIMESTAMP"))),
            _count(value, "ContextTokens"),
            _count(value, "GeneratedTokens"),
        )


def _instant(text: str) -> float:
    """Return a date and time, with or without a zone, as seconds; both have up to 7 decimals."""
    whole, dot, fraction = text.partition(".")
    digits = len(fraction) - len(fraction.lstrip("0123456789"))
    try:
        when = datetime.fromisoformat(whole + fraction[digits:]).timestamp()
        return when + (float(f"0.{fraction[:digits]}") if dot and digits else 0.0)
    except ValueError:
        raise BadRowError(f"TIMESTAMP {text[:40]!r} is not a date and time") from None


class Plain(Trace):
    """Any CSV or JSONL with a time, an input length and an output length."""

    kind: ClassVar = "trace"

    time: str = Field("timestamp", description="the column of the time")
    input: str = Field("input", description="the column of the input length, in tokens")
    output: str = Field("output", description="the column of the output length, in tokens")
    unit: Literal["s", "ms", "us", "ns"] = Field("s", description="of the times")

    def read(self, row: Row) -> Asked | None:
        """See `Trace`."""
        value = _object(row)
        scale = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}[self.unit]
        return Asked(
            _number(value, self.time) * scale,
            _count(value, self.input, "input_length", "input_tokens"),
            _count(value, self.output, "output_length", "output_tokens"),
        )
