"""Requests: prepared ahead of their time, and counted once they have ended."""

from __future__ import annotations

import asyncio
import itertools
from array import array
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, Protocol

from benchcore.base.errors import ConfigError
from benchcore.client.client import Client
from benchcore.client.exchange import Request
from benchcore.client.records import Outcome, Phase, Record
from benchcore.client.request import Prompt
from benchcore.metrics.figures import count_output, unbilled_texts
from benchcore.runs.run import LevelScore
from benchcore.runs.sinks import FanOut, RequestRow
from benchcore.workload.kinds import SessionKind, Workload, is_timed, made_of, sessions_of
from benchcore.workload.reuse import PrefixReuse
from benchcore.workload.sessions import WHOLE, LiveSession, Session, Share, single


class Grader(Protocol):
    """Takes the requests of a level once it is over; their texts are kept until then."""

    async def grade(
        self, level: str, repeat: int, asked: Sequence[tuple[int, Record]]
    ) -> LevelScore:
        """Return what the answers of a level were worth.

        Args:
            level: its name.
            repeat: of the climb.
            asked: its measured requests, each with the number of its prompt.
        """
        ...


@dataclass(slots=True)
class Sent:
    """What is known of what was sent in a level, beside how it ended.

    Args:
        rounds: how often the sessions have begun again.
        unprepared: requests that had to be made at the moment they were due.
        tokens: of the prompts of the sessions that were begun; 0: unknown.
        hits: how many of them a perfect prefix cache would have held.
        reuse_is_cut: whether there were too many different blocks to remember them all.
        block_tokens: those are in whole blocks of so many, the server's; `None`: unknown.
        judged: of each answer that was judged when it was scheduled, in ns, and what was wrong.
        fault: why there were no more sessions: a row of the workload's file cannot be used.
    """

    rounds: int = 0
    unprepared: int = 0
    tokens: float = 0.0
    hits: float = 0.0
    reuse_is_cut: bool = False
    block_tokens: int | None = None
    judged: list[tuple[int, str]] = field(default_factory=list)
    fault: ConfigError | None = None

    def add(self, other: Sent) -> None:
        """Add what another worker has sent."""
        self.rounds = max(self.rounds, other.rounds)
        self.unprepared += other.unprepared
        self.tokens += other.tokens
        self.hits += other.hits
        self.reuse_is_cut |= other.reuse_is_cut
        self.judged += other.judged
        self.fault = self.fault or other.fault


MADE_AHEAD = 8
"""Requests that could leave at once: several may fall due together."""
AHEAD_BYTES = 64 * 1024 * 1024
"""Prepared requests take no more memory than about this."""


class SessionSender:
    """Sends the turns of one level, preparing them while nothing else is to do.

    Args:
        client: sends.
        workload: has the sessions.
        level: name of the level.
        repeat: which repeat of the climb; each has its own prompts.
        schedule_ns: takes the time of each session as it is read, where they are replayed at their
            own times; `None`: they begin again when they have come to an end.
        speed: how many times faster than they were recorded they are replayed.
        share: which of the sessions are sent from here.
        block_tokens: of the server's prefix cache; `None`: unknown.
    """

    def __init__(
        self,
        client: Client,
        workload: Workload,
        level: str,
        repeat: int,
        *,
        schedule_ns: array[int] | None = None,
        speed: float = 1.0,
        share: Share = WHOLE,
        block_tokens: int | None = None,
    ) -> None:
        self._client = client
        self._workload = workload
        self._path = (level, repeat)
        self._schedule = schedule_ns
        self._speed = speed
        self._share = share
        # A prompt of another worker is passed over; its session has to be read, as those that
        # come after it may stand behind it in a file.
        self._reads_all = isinstance(workload, SessionKind)
        self._sessions = self._begun()
        self._ready: deque[LiveSession] = deque()
        self._later: deque[tuple[LiveSession, int]] = deque()
        self._later_bytes = 0
        self._next = 0 if self._reads_all else share.worker
        self._rounds = 0
        self._reuse = PrefixReuse(block_tokens) if isinstance(workload, SessionKind) else None
        self._block_tokens = block_tokens
        self._tokens = self._hits = 0.0
        self._most = 1 << 30
        self._unjudged: deque[tuple[Record, Callable[[str], str], str]] = deque()
        self.judged: list[tuple[int, str]] = []
        """Of each answer that was judged when it was scheduled, in ns, and what was wrong."""
        self.warm_ups: list[LiveSession] = []
        """Sessions to be sent before the level, unmeasured."""
        self.unprepared = 0
        """Requests that had to be made at the moment they were due."""
        self.fault: ConfigError | None = None
        """Why there are no more sessions: a row of the workload's file cannot be used."""
        self._read_warm_ups()

    @property
    def sent(self) -> Sent:
        """What is known of all that was sent."""
        return Sent(
            rounds=self._rounds,
            unprepared=self.unprepared,
            tokens=self._tokens,
            hits=self._hits,
            reuse_is_cut=self._reuse is not None and self._reuse.full,
            block_tokens=self._block_tokens,
            judged=self.judged,
            fault=self.fault,
        )

    # Reading and preparing.

    def _read_warm_ups(self) -> None:
        if not is_timed(self._workload):
            return
        while (live := self._read()) is not None:
            if not live.session.warms_up:
                self._take(live)
                return
            self.warm_ups.append(live)

    def _begun(self, *path: str | int) -> Iterator[Session]:
        """Begin the sessions, all of them or, of prompts, those that are sent from here."""
        path = (*self._path, *path)
        if self._reads_all:
            return sessions_of(self._workload, *path)
        numbers = itertools.count(self._share.worker, self._share.of)
        return (single(self._workload.prompt(number, *path)) for number in numbers)

    def _read(self) -> LiveSession | None:
        """Read the next session that is sent from here; `None`: there are no more."""
        while (live := self._read_any()) is not None:
            if self._share.has(live.number):
                return live
        return None

    def _read_any(self) -> LiveSession | None:
        if self.fault is not None:
            return None
        try:
            session = next(self._sessions, None)
            if session is None and self._schedule is None and self._next:
                self._rounds += 1
                self._sessions = self._begun(f"again {self._rounds}")
                session = next(self._sessions, None)
                while session is not None and session.warms_up:
                    session = next(self._sessions, None)
        except ConfigError as error:
            self.fault = error
            return None
        if session is None:
            return None
        if self._speed != 1.0:
            session = faster(session, self._speed)
        live = LiveSession(session, self._next)
        if self._reuse is not None:
            # Those of others, too: a server's cache knows nothing of workers.
            live.reuse = self._reuse.add(session)
        self._next += 1 if self._reads_all else self._share.of
        return live

    def _take(self, live: LiveSession) -> None:
        """Let a session wait for its begin, its first turn prepared."""
        if self._schedule is not None:
            assert live.session.at_ns is not None
            self._schedule.append(live.session.at_ns)
        self.prepare(live, 0)
        self._ready.append(live)

    def read_on(self) -> bool:
        """Read one more session, and its time into the schedule; returns whether there is one."""
        live = self._read()
        if live is None:
            return False
        self.unprepared += 1
        self._take(live)
        return True

    def prepare(self, live: LiveSession, place: int) -> Request:
        """Make the request of a turn whose conversation so far is known."""
        session = live.session
        turn = session.turns[place]
        prompt = made_of(self._workload, turn.ask)
        if turn.follows is not None:
            prompt = self._with_history(live, place, prompt)
        request = self._client.prepare(prompt, keep=session.keeps_reply(place))
        self._most = max(16, AHEAD_BYTES // len(request.payload))
        live.ready[place] = request
        return request

    def _with_history(self, live: LiveSession, place: int, prompt: Prompt) -> Prompt:
        """Return the prompt of a turn behind the conversation that it goes on with."""
        said: list[list[Mapping[str, Any]]] = []
        lengths: list[int] = []
        for before in live.session.lineage(place):
            turn = live.session.turns[before]
            asked = made_of(self._workload, turn.ask)
            reply = live.replies.get(before, "") if turn.reply is None else turn.reply
            said.append([*asked.chat(), {"role": "assistant", "content": reply}])
            lengths.append((asked.input_tokens or 0) + live.reply_tokens.get(before, 0))
        limit = live.session.context_tokens
        if limit is not None:
            room = limit - (prompt.input_tokens or 0)
            while said and sum(lengths) > room:
                del said[0], lengths[0]
        messages = [message for turn in said for message in turn]
        return replace(prompt, text="", messages=[*messages, *prompt.chat()], input_tokens=None)

    def missing(self, ahead: int) -> int:
        """Return how many sessions are to be read, and turns made, until `ahead` are ready."""
        unread = max(min(ahead, self._most) - len(self._ready), 0)
        return unread * (self._share.of if self._reads_all else 1) + len(self._later)

    def refill(self, ahead: int, most: int) -> bool:
        """Prepare up to `most` requests until `ahead` are ready; returns whether they are.

        A session that another worker sends counts as one, too, where it has to be read.
        """
        for _ in range(most):
            if self._later:
                live, place = self._later.popleft()
                # Beyond that, turns are made when they are due: their histories may be long.
                if place not in live.ready and self._later_bytes < AHEAD_BYTES:
                    self._later_bytes += len(self.prepare(live, place).payload)
                continue
            if not self.missing(ahead):
                return True
            fresh = self._read_any()
            if fresh is None:
                return True
            if self._share.has(fresh.number):
                self._take(fresh)
        return not self.missing(ahead)

    def make_ready(self) -> None:
        """Make what starting the next ones takes."""
        for live in islice(self._ready, MADE_AHEAD):
            request = live.ready.get(0)
            if request is not None:
                self._client.make_ready(request)

    def judge(self, most: int | None = None) -> None:
        """Judge answers that wait for it.

        Args:
            most: so many; `None`: all.
        """
        while self._unjudged and most != 0:
            record, judge, text = self._unjudged.popleft()
            self.judged.append((record.scheduled_ns, judge(text)))
            most = None if most is None else most - 1

    # What a level asks for: see `Sender`.

    def next(self) -> LiveSession | None:
        """Return the next session; see `Sender`."""
        live = self._ready.popleft() if self._ready else None
        if live is None:
            live = self._read()
            if live is None:
                return None
            self.unprepared += 1
        tokens, hits = live.reuse
        self._tokens += tokens
        self._hits += hits
        return live

    def coming(self, live: LiveSession, place: int) -> None:
        """Take note of a turn that is due later; see `Sender`."""
        self._later.append((live, place))

    def start(
        self, live: LiveSession, place: int, scheduled_ns: int, on_done: Callable[[Record], None]
    ) -> Any:
        """Send a turn; see `Sender`."""
        request = live.ready.pop(place, None)
        if request is None:
            request = self.prepare(live, place)
        elif place:
            self._later_bytes -= len(request.payload)
        live.ready[place] = None  # sent: whoever comes to prepare it later does nothing
        if not request.keep:
            return self._client.start(request, scheduled_ns, on_done)

        judge = live.session.turns[place].judge

        def done(record: Record) -> None:
            live.replies[place] = record.text or ""
            live.reply_tokens[place] = record.output_tokens or 0
            if judge is not None and record.outcome is Outcome.OK:
                self._unjudged.append((record, judge, live.replies[place]))
            on_done(record)

        return self._client.start(request, scheduled_ns, done)

    def cancel(self, exchange: Any, outcome: Outcome, phase: Phase | None, error: str) -> None:
        """End a request now; see `Sender`."""
        self._client.cancel(exchange, outcome, phase, error)


def faster(session: Session, speed: float) -> Session:
    """Return a session whose times and waits are shorter by a factor."""
    at_ns = None if session.at_ns is None else round(session.at_ns / speed)
    turns = tuple(
        replace(turn, wait_ns=round(turn.wait_ns / speed), at_ns=round(turn.at_ns / speed))
        for turn in session.turns
    )
    return replace(session, turns=turns, at_ns=at_ns)


CHARACTERS_A_SLICE = 2000
"""A slice of well under a millisecond: a tokenizer takes about 0.2 µs for a character."""
ROWS_A_SLICE = 48


@dataclass(frozen=True, slots=True)
class _Uncounted:
    row: RequestRow
    texts: list[str]
    characters: int


class Tally:
    """Writes rows of requests; before that, counts the output tokens that no usage tells.

    While a level runs it counts in slices. A text cannot be cut, since the tokens at the cut would
    be others: one that is longer than a slice waits until the level is over, and so does what
    comes faster than slices take it.

    Args:
        sinks: take the rows.
        keep_text: leave texts in the records; else they are dropped once their row is written.
    """

    def __init__(self, sinks: FanOut, *, keep_text: bool) -> None:
        self._sinks = sinks
        self._keep_text = keep_text
        self._short: deque[_Uncounted] = deque()
        self._long: deque[_Uncounted] = deque()
        self.count: Callable[[str], int] | None = None
        """Returns the number of tokens of a text; `None`: there are token events alone."""
        self.passed_on: Callable[[RequestRow], None] = lambda _row: None
        """Takes each row once it has been written; its record changes no more."""

    def __len__(self) -> int:
        return len(self._short) + len(self._long)

    def write(self, rows: list[RequestRow]) -> None:
        """Write rows, but for those whose tokens are to be counted first."""
        ready = []
        for row in rows:
            texts = None if self.count is None else unbilled_texts(row.record)
            if texts is None:
                ready.append(row)
                continue
            size = sum(map(len, texts))
            queue = self._short if size <= CHARACTERS_A_SLICE else self._long
            queue.append(_Uncounted(row, texts, size))
        self._pass_on(ready)

    def slice(self) -> None:
        """Count for a moment, and write what has been counted."""
        left = CHARACTERS_A_SLICE
        rows: list[RequestRow] = []
        while self._short and self._short[0].characters <= left and len(rows) < ROWS_A_SLICE:
            left -= self._short[0].characters
            rows.append(self._counted(self._short.popleft()))
        self._pass_on(rows)

    async def finish(self) -> None:
        """Count and write all that waits; the event loop lives between two texts."""
        while self:
            self._pass_on([self._counted((self._short or self._long).popleft())])
            await asyncio.sleep(0)

    def give_up(self) -> None:
        """Write what waits as it is, and count no more: its tokens are token events."""
        self.count = None
        rows = [waiting.row for waiting in (*self._short, *self._long)]
        self._short.clear()
        self._long.clear()
        self._pass_on(rows)

    def _counted(self, waiting: _Uncounted) -> RequestRow:
        assert self.count is not None
        count_output(waiting.row.record, waiting.texts, self.count)
        return waiting.row

    def _pass_on(self, rows: list[RequestRow]) -> None:
        if not rows:
            return
        self._sinks.requests(rows)
        for row in rows:
            record = row.record
            record.texts = None
            if not self._keep_text:
                record.text = record.answer = None
            self.passed_on(row)
