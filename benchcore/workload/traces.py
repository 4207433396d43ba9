"""Traces: requests that were really made, by their times, lengths and prefixes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, PrivateAttr, model_validator

from benchcore.base.errors import ConfigError
from benchcore.base.seeds import stream
from benchcore.workload.files import BadRowError, Row, RowsAgain, rows
from benchcore.workload.kinds import FileKind
from benchcore.workload.linked import Linked, RowColumns, RowIndex
from benchcore.workload.sessions import Recipe, Session, Turn
from benchcore.workload.trace_rows import (
    Asked,
    blocks_of,
    check_order,
    count_of,
    field_of,
    id_of,
    instant_of,
    number_of,
    object_of,
)

_NS = 1e9


class Trace(FileKind):
    """The base of the kinds of traces.

    A kind says how a row is read. Rows that are not linked are read as they are replayed. Of linked
    ones, and of those that are to be sorted, it is first read which of them belong together.
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
    sort: bool = Field(False, description="sort it by time before it is replayed")

    _index: RowIndex | None = PrivateAttr(default=None)

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

    def reader(self) -> Callable[[Row], Asked | None]:
        """Return what reads the rows of the file in order; see `read`."""
        return self.read

    def sessions(self, *path: str | int) -> Iterator[Session]:
        """Yield sessions in the order of their times; see `SessionKind`."""
        del path
        self._dropped, self._faults = 0, []
        measured = 0
        for session in self._sessions():
            if not session.warms_up:
                if measured == self.limit:
                    return
                measured += 1
            yield session
        if not measured:
            end = "its end" if self.stop is None else f"{self.stop:g} s"
            raise ConfigError(f"{self.path}: holds no request between {self.start:g} s and {end}")

    def _sessions(self) -> Iterator[Session]:
        """Yield the sessions of the window, those that warm up first."""
        return self._linked() if self.linked or self.sort else self._unlinked(self._asked())

    # Rows.

    def _asked(self) -> Iterator[Asked]:
        """Yield the requests of the file in order, by their times from the first."""
        zero = None
        for _, one in self._rows():
            zero = one.at if zero is None else zero
            one.at -= zero
            yield one
        if zero is None:
            raise ConfigError(f"{self.path}: holds no request")

    def _rows(self) -> Iterator[tuple[Row, Asked]]:
        """Yield the rows of the file, and what they ask by its own clock."""
        last = None
        on_bad = self._drop if self.drop_bad else None
        read = self.reader()
        for row in rows(Path(self.path), on_bad=on_bad):
            try:
                one = read(row)
                if one is None:
                    continue
                if not one.guessed:
                    if not self.sort:
                        check_order(one.at, last)
                    last = one.at
            except BadRowError as error:
                self._bad(f"{row.at(self.path)}: {error}")
                continue
            one.line = row.line
            yield row, one

    def _bad(self, told: str) -> None:
        """Drop what cannot be used, or refuse the file."""
        if not self.drop_bad:
            raise ConfigError(told) from None
        self._drop(told)

    def _recipe(self, one: Asked) -> Recipe:
        output = one.output_tokens
        if self.output_tokens is not None:
            output = self.output_tokens.draw(stream(self.seed, "output", one.line, one.place))
        return Recipe(
            input_tokens=one.input_tokens,
            output_tokens=output,
            blocks=one.blocks,
            block_tokens=one.block_tokens or self.block_tokens,
            key=("row", one.line, one.place) if one.place else ("row", one.line),
            exact_output=self.ignore_eos,
        )

    def _unlinked(self, asked: Iterator[Asked]) -> Iterator[Session]:
        start, stop = self.start, self.stop
        seen: set[Any] = set()
        for one in asked:
            if one.name is not None:
                if one.name in seen:
                    raise ConfigError(
                        f"{self.path}:{one.line}: is a later turn of a session, and the first row "
                        "of the file belongs to none; give each row its session"
                    )
                seen.add(one.name)
            if one.at < start:
                continue
            if stop is not None and one.at >= stop:
                return
            turn = Turn(self._recipe(one), kind=one.kind)
            yield Session((turn,), round((one.at - start) * _NS))

    def _linked(self) -> Iterator[Session]:
        """Yield sessions of rows that wait for one another.

        The file is read once for what belongs together, and each row again when its session begins.
        """
        index = self._indexed()
        with RowsAgain(Path(self.path)) as file:

            def asked(_session: Sequence[int], wanted: Sequence[int]) -> list[Asked]:
                return [self._again(file, index, row) for row in wanted]

            yield from self._cut(Linked(index.at, index.session, asked))

    def _indexed(self) -> RowIndex:
        """Return where the rows of the file stand; it is read where it has not been."""
        stat = Path(self.path).stat() if Path(self.path).exists() else None
        source = None if stat is None else (stat.st_size, stat.st_mtime_ns, self.drop_bad)
        known = self._index
        if known is None or known.source != source:
            columns = RowColumns()
            for row, one in self._rows():
                columns.add(one, row)
            if not len(columns):
                raise ConfigError(f"{self.path}: holds no request")
            known = self._index = columns.index(sort=self.sort, source=source)
            known.dropped, known.faults = self._dropped, self._faults
        self._dropped, self._faults = known.dropped, known.faults
        return known

    def _again(self, file: RowsAgain, index: RowIndex, place: int) -> Asked:
        """Return what a row asks that has been read before."""
        line = int(index.line[place])
        one = self.read(file.row(line, int(index.begin[place]), int(index.size[place])))
        assert one is not None
        one.at, one.line = float(index.at[place]), line
        return one

    def _cut(self, linked: Linked) -> Iterator[Session]:
        """Yield the sessions of a window, those that warm up first."""
        stop = float("inf") if self.stop is None else self.stop
        if self.warm:
            kept = linked.sessions(self.start, stop)
            for session, _, before in itertools.islice(kept, self.limit):
                if before >= 0:
                    (last,) = linked.asked(session, [before])
                    yield Session((Turn(self._recipe(last), kind=last.kind),), 0, warms_up=True)
        for session, inside, _ in linked.sessions(self.start, stop):
            yield self._session(linked.asked(session, inside))

    def _session(self, group: list[Asked]) -> Session:
        """Return the turns of one session, each waiting for those before it that are in it."""
        first = min(one.at for one in group)
        places: dict[Any, int] = {}
        turns: list[Turn] = []
        for place, one in enumerate(group):
            after = tuple(places[name] for name in one.after if name in places)
            if one.name is not None:
                places[one.name] = place
            delay = one.delay if after else None
            turns.append(
                Turn(
                    self._recipe(one),
                    after=after,
                    wait_ns=0 if delay is None else round(delay * _NS),
                    at_ns=round((one.at - first) * _NS) if delay is None else 0,
                    kind=one.kind,
                )
            )
        return Session(tuple(turns), round((first - self.start) * _NS))


class Mooncake(Trace):
    """Mooncake's JSONL: `timestamp` in ms, `input_length`, `output_length`, `hash_ids`.

    Blocks are of 512 tokens unless a row's `block_size` says otherwise. Rows of one `session_id`
    are turns, each of which waits for the one before and is due `delay` ms after its end. This is
    also what `benchcore record` writes.
    """

    kind: ClassVar = "mooncake"
    signs: ClassVar = (
        frozenset({"timestamp", "input_length", "output_length", "hash_ids"}),
        frozenset({"input_length", "output_length", "session_id"}),
    )

    block_size: int | None = Field(None, ge=1, description="tokens of a block; 512 by default")

    def _sessions(self) -> Iterator[Session]:
        """See `Trace`; whether rows are linked is seen by the first."""
        if not self.sort:
            asked = self._asked()
            first = next(asked)
            if first.name is None:
                return self._unlinked(itertools.chain([first], asked))
            self._dropped, self._faults = 0, []
        return self._linked()

    def read(self, row: Row) -> Asked | None:
        """See `Trace`; a row without a time comes after the one before it in its session."""
        value = object_of(row)
        session = id_of(value, "session_id")
        delay = None
        if value.get("delay") is not None or value.get("delay_ms") is not None:
            delay = number_of(value, "delay", "delay_ms") / 1e3
            if delay < 0:
                raise BadRowError(f"delay {delay * 1e3:g} is less than 0")
        guessed = delay is not None and value.get("timestamp") is None and session is not None
        at = 0.0 if guessed else number_of(value, "timestamp", "created_time") / 1e3
        size = self.block_size
        if size is None and value.get("block_size") is not None:
            size = count_of(value, "block_size")
        return Asked(
            at,
            count_of(value, "input_length", "input_tokens"),
            count_of(value, "output_length", "output_tokens"),
            blocks_of(value),
            name=session,
            after=() if session is None else (session,),
            delay=delay,
            kind=str(value.get("class") or ""),
            block_tokens=size,
            guessed=guessed,
        )

    def reader(self) -> Callable[[Row], Asked | None]:
        """See `Trace`."""
        times: dict[Any, float] = {}

        def read(row: Row) -> Asked | None:
            one = self.read(row)
            if one is not None and one.name is not None:
                if one.guessed:
                    before = times.get(one.name)
                    if before is None:
                        one.at = number_of(row.value, "timestamp", "created_time") / 1e3
                        one.guessed = False
                    else:
                        one.at = before + (one.delay or 0.0)
                times[one.name] = one.at
            return one

        return read


class Bailian(Trace):
    """Bailian's JSONL: `chat_id`, `parent_chat_id`, `timestamp` in s, lengths, `hash_ids`.

    Blocks are of 16 tokens. A row whose parent is in the file is due at its own time, but not
    before its parent has ended. Its class is its `type`.
    """

    kind: ClassVar = "bailian"
    signs: ClassVar = (
        frozenset({"chat_id", "parent_chat_id", "timestamp", "input_length", "output_length"}),
    )
    block_tokens: ClassVar = 16
    linked: ClassVar = True

    def read(self, row: Row) -> Asked | None:
        """See `Trace`."""
        value = object_of(row)
        parent = id_of(value, "parent_chat_id")
        return Asked(
            number_of(value, "timestamp"),
            count_of(value, "input_length"),
            count_of(value, "output_length"),
            blocks_of(value),
            name=id_of(value, "chat_id"),
            after=() if parent in (None, -1) else (parent,),
            kind=str(value.get("type") or ""),
        )


class BurstGPT(Trace):
    """BurstGPT's CSV: `Timestamp` in s, `Model`, `Request tokens`, `Response tokens`.

    Rows without response tokens are requests that failed: they are left out.
    """

    kind: ClassVar = "burstgpt"
    signs: ClassVar = (frozenset({"Timestamp", "Request tokens", "Response tokens"}),)

    model: str | None = Field(None, description="only the requests to this model, such as GPT-4")

    def read(self, row: Row) -> Asked | None:
        """See `Trace`."""
        value = object_of(row)
        model = str(value.get("Model") or "")
        if self.model is not None and model != self.model:
            return None
        output = count_of(value, "Response tokens", least=0)
        if not output:
            return None
        return Asked(
            number_of(value, "Timestamp"), count_of(value, "Request tokens"), output, kind=model
        )


class Azure(Trace):
    """Azure's LLM inference CSV, 2023 and 2024: `TIMESTAMP, ContextTokens, GeneratedTokens`."""

    kind: ClassVar = "azure"
    signs: ClassVar = (frozenset({"TIMESTAMP", "ContextTokens", "GeneratedTokens"}),)

    def read(self, row: Row) -> Asked | None:
        """See `Trace`."""
        value = object_of(row)
        return Asked(
            instant_of(str(field_of(value, "TIMESTAMP"))),
            count_of(value, "ContextTokens"),
            count_of(value, "GeneratedTokens"),
        )


class Plain(Trace):
    """Any CSV or JSONL with a time, an input length and an output length."""

    kind: ClassVar = "trace"
    signs: ClassVar = (
        frozenset({"timestamp", "input", "output"}),
        frozenset({"timestamp", "input_length", "output_length"}),
        frozenset({"timestamp", "input_tokens", "output_tokens"}),
    )

    time: str = Field("timestamp", description="the column of the time")
    input: str = Field("input", description="the column of the input length, in tokens")
    output: str = Field("output", description="the column of the output length, in tokens")
    unit: Literal["s", "ms", "us", "ns"] = Field("s", description="of the times")

    def read(self, row: Row) -> Asked | None:
        """See `Trace`."""
        value = object_of(row)
        scale = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}[self.unit]
        return Asked(
            number_of(value, self.time) * scale,
            count_of(value, self.input, "input_length", "input_tokens"),
            count_of(value, self.output, "output_length", "output_tokens"),
        )
