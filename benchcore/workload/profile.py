"""Profile: what a workload asks, in figures: lengths, turns, arrivals, prefixes."""

from __future__ import annotations

from array import array
from collections.abc import Sequence, Sized
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from benchcore.client.openai import asked_tokens, plain_text
from benchcore.client.request import Prompt
from benchcore.metrics.percentiles import nearest_rank
from benchcore.workload.kinds import FileKind, Workload, sessions_of
from benchcore.workload.language import nominal_length
from benchcore.workload.reuse import PrefixReuse
from benchcore.workload.sessions import Recipe, Session, Turn

USUAL_LIMIT: Final = 10_000
"""Sessions that are read of a workload that may have no end."""
_STREAM: Final = ("c1", 1)
"""The stream that is read: what the first repeat of the level `c1` asks."""
_MOST_BARS: Final = 20
_NS: Final = 1e9


class Counter(Protocol):
    """Counts the tokens of a text."""

    def tokens(self, text: str) -> int:
        """Return how many a text has."""
        ...


@dataclass(frozen=True, slots=True)
class Spread:
    """How a figure is spread.

    Args:
        count: of values.
        mean: of them.
        low: the least.
        p50: of them in order, as `p90` and `p99`, by nearest rank.
        high: the most.
    """

    count: int
    mean: float
    low: float
    p50: float
    p90: float
    p99: float
    high: float

    @classmethod
    def of(cls, values: Sequence[int] | NDArray[np.int64], scale: float = 1.0) -> Spread | None:
        """Return how values are spread; `None`: there are none.

        Args:
            values: whole numbers.
            scale: what each is divided by.
        """
        if len(values) == 0:
            return None
        ordered = np.sort(np.asarray(values, dtype=np.int64))
        p50, p90, p99 = (nearest_rank(ordered, one) / scale for one in (0.5, 0.9, 0.99))
        low, high = int(ordered[0]) / scale, int(ordered[-1]) / scale
        return cls(len(ordered), float(ordered.mean()) / scale, low, p50, p90, p99, high)


@dataclass(frozen=True, slots=True)
class Arrivals:
    """When the sessions of a trace begin.

    Args:
        seconds: from the first to the last.
        per_second: the mean rate; `None`: all begin at once.
        variation: standard deviation ÷ mean of the gaps between them, 1 for a Poisson process.
        width: of the stretches of time of `counts`, in seconds.
        counts: how many begin in each stretch.
    """

    seconds: float
    per_second: float | None
    variation: float | None
    width: float
    counts: list[int]

    @classmethod
    def of(cls, times: Sequence[int]) -> Arrivals | None:
        """Return it for instants in ns; `None`: there are fewer than two."""
        if len(times) < 2:
            return None
        at = np.sort(np.asarray(times, dtype=np.int64))
        seconds = int(at[-1] - at[0]) / _NS
        gaps = np.diff(at)
        mean = float(gaps.mean())
        bars = min(_MOST_BARS, len(gaps)) if seconds else 1
        places = np.minimum((at - at[0]) * bars // max(int(at[-1] - at[0]), 1), bars - 1)
        return cls(
            seconds,
            len(gaps) / seconds if seconds else None,
            float(gaps.std()) / mean if mean else None,
            seconds / bars,
            np.bincount(places, minlength=bars).tolist(),
        )


@dataclass(slots=True)
class ClassProfile:
    """The requests of one class: how many, and the sums of their lengths as far as known."""

    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    without_output: int = 0


@dataclass(slots=True)
class Profile:
    """What a workload asks.

    Args:
        name: of the workload.
        kind: of it.
        sessions: that were read.
        whole: that is all of them.
        warm_ups: requests that come before the load, counted in nothing else.
        counted_by: by who says how long prompts are (`workload`, `tokenizer`, or `words` where
            words and marks were counted) of how many.
        input_tokens: what each request adds to its conversation; a single one is all of it.
        prompt_tokens: of requests that go on with a conversation, all that they send, if each
            answer is as long as it may be.
        output_tokens: the most of each answer.
        without_output: requests that leave that to the server.
        turns: requests of each session.
        waits_ns: think and tool times.
        times_ns: when sessions begin, where they have times of their own.
        classes: by class, where there are any.
        reuse: what a perfect prefix cache would hold.
    """

    name: str
    kind: str
    sessions: int = 0
    whole: bool = True
    warm_ups: int = 0
    counted_by: dict[str, int] = field(default_factory=dict)
    input_tokens: array[int] = field(default_factory=lambda: array("q"))
    prompt_tokens: array[int] = field(default_factory=lambda: array("q"))
    output_tokens: array[int] = field(default_factory=lambda: array("q"))
    without_output: int = 0
    turns: array[int] = field(default_factory=lambda: array("q"))
    waits_ns: array[int] = field(default_factory=lambda: array("q"))
    times_ns: array[int] = field(default_factory=lambda: array("q"))
    classes: dict[str, ClassProfile] = field(default_factory=dict)
    reuse: PrefixReuse = field(default_factory=PrefixReuse)

    @property
    def requests(self) -> int:
        """Of all sessions."""
        return len(self.input_tokens)

    @property
    def arrivals(self) -> Arrivals | None:
        """See `Arrivals`."""
        return Arrivals.of(self.times_ns)

    def spreads(self) -> dict[str, Spread | None]:
        """Return how each figure is spread, by name; seconds for waits."""
        return {
            "input_tokens": Spread.of(self.input_tokens),
            "prompt_tokens": Spread.of(self.prompt_tokens),
            "output_tokens": Spread.of(self.output_tokens),
            "turns": Spread.of(self.turns),
            "wait_seconds": Spread.of(self.waits_ns, _NS),
        }

    def to_json(self) -> dict[str, Any]:
        """Return it for `--json`; what is not known, or not there, is `null`."""
        arrivals = self.arrivals
        return {
            "name": self.name,
            "kind": self.kind,
            "sessions": self.sessions,
            "requests": self.requests,
            "whole": self.whole,
            "warm_ups": self.warm_ups,
            "tokens_counted_by": self.counted_by,
            **{name: None if one is None else asdict(one) for name, one in self.spreads().items()},
            "without_output": self.without_output,
            "classes": {name: asdict(one) for name, one in self.classes.items()},
            "arrivals": None if arrivals is None else asdict(arrivals),
            "ideal_prefix_cache": self.reuse.share,
            "ideal_is_lower_bound": self.reuse.full,
        }


def profile(
    workload: Workload, *, limit: int | None = None, counter: Counter | None = None
) -> Profile:
    """Read a workload and return what it asks.

    Args:
        workload: prepared.
        limit: the most sessions; `None`: all of a file, and 10,000 of what may have no end.
        counter: counts the tokens of texts whose length the workload does not know; `None`: words
            and marks are counted.

    Raises:
        ConfigError: a row of its file cannot be used.
    """
    found = Profile(workload.name, str(workload.describe().get("kind", "")))
    prompts = len(workload) if isinstance(workload, Sized) else None  # a file that begins again
    if limit is None and not isinstance(workload, FileKind):
        limit = USUAL_LIMIT if prompts is None else prompts
    lengths = _Lengths(counter, found.counted_by)
    for session in sessions_of(workload, *_STREAM):
        if session.warms_up:
            found.warm_ups += len(session.turns)
            continue
        if found.sessions == limit:
            found.whole = limit == prompts
            break
        _add(found, session, lengths)
    return found


class _Lengths:
    """Says how long prompts and answers are.

    Args:
        counter: counts texts; `None`: by words and marks.
        counted_by: takes note of who said it.
    """

    def __init__(self, counter: Counter | None, counted_by: dict[str, int]) -> None:
        self._counter = counter
        self._counted_by = counted_by

    def asked(self, ask: Prompt | Recipe) -> int:
        if ask.input_tokens is not None:
            self._note("workload")
            return ask.input_tokens
        assert isinstance(ask, Prompt)
        text = "\n".join(plain_text(one.get("content")) for one in ask.chat())
        self._note("words" if self._counter is None else "tokenizer")
        return self.of_text(text)

    def of_text(self, text: str) -> int:
        return nominal_length(text) if self._counter is None else self._counter.tokens(text)

    def _note(self, who: str) -> None:
        self._counted_by[who] = self._counted_by.get(who, 0) + 1


def _add(found: Profile, session: Session, lengths: _Lengths) -> None:
    found.sessions += 1
    found.turns.append(len(session.turns))
    if session.at_ns is not None:
        found.times_ns.append(session.at_ns)
    # By turn the lengths of the turns of its conversation, itself included; `None`: not known.
    said: list[list[int] | None] = []
    for turn in session.turns:
        tokens, output = lengths.asked(turn.ask), _output(turn.ask)
        found.input_tokens.append(tokens)
        if output is None:
            found.without_output += 1
        else:
            found.output_tokens.append(output)
        if turn.wait_ns:
            found.waits_ns.append(turn.wait_ns)
        if turn.kind:
            _count_class(found.classes, turn.kind, tokens, output)
        before = [] if turn.follows is None else said[turn.follows]
        if turn.follows is not None and before is not None:
            limit = session.context_tokens
            kept = before if limit is None else _cut(before, limit - tokens)
            found.prompt_tokens.append(sum(kept) + tokens)
        said.append(_with(before, tokens, _reply(turn, output, lengths)))
    found.reuse.add(session)


def _with(before: list[int] | None, tokens: int, reply: int | None) -> list[int] | None:
    return None if before is None or reply is None else [*before, tokens + reply]


def _reply(turn: Turn, output: int | None, lengths: _Lengths) -> int | None:
    return output if turn.reply is None else lengths.of_text(turn.reply)


def _output(ask: Prompt | Recipe) -> int | None:
    if ask.output_tokens is not None or isinstance(ask, Recipe):
        return ask.output_tokens
    return asked_tokens(ask.extra)


def _cut(before: list[int], room: int) -> list[int]:
    """Return what is left of a history by whole turns, from the oldest on."""
    first = 0
    total = sum(before)
    while first < len(before) and total > room:
        total -= before[first]
        first += 1
    return before[first:]


def _count_class(
    classes: dict[str, ClassProfile], name: str, tokens: int, output: int | None
) -> None:
    one = classes.setdefault(name, ClassProfile())
    one.requests += 1
    one.input_tokens += tokens
    if output is None:
        one.without_output += 1
    else:
        one.output_tokens += output
