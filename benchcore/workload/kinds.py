"""Kinds: what a workload is, and those that are installed."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, ClassVar, Final, Protocol, Self

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr

from benchcore.base.errors import ConfigError
from benchcore.base.plugins import Group
from benchcore.client.request import Prompt
from benchcore.config.limits import Slo
from benchcore.config.values import Length
from benchcore.workload.language import LanguageName
from benchcore.workload.sessions import Recipe, Session, single
from benchcore.workload.texts import Texts
from benchcore.workload.token_costs import TokenCounter


class Workload(Protocol):
    """What the requests of a load ask."""

    @property
    def name(self) -> str:
        """What the workload is called in tables and files."""
        ...

    async def prepare(self, counter: TokenCounter | None) -> None:
        """Fit the lengths to the target; `None`: nobody can count its tokens."""
        ...

    def prompt(self, index: int, *path: str | int) -> Prompt:
        """Return one prompt; the same arguments give the same prompt in every process.

        Args:
            index: which prompt of the stream, from 0.
            path: which stream, such as a level and an epoch.
        """
        ...

    def describe(self) -> dict[str, Any]:
        """Return the workload for `run.json`: kind, parameters, seed, how lengths were fitted."""
        ...


class SessionKind(BaseModel):
    """The base of the kinds whose sessions come from a file or have several turns.

    A kind is a pydantic model: its fields are the keys of a workload file, of
    `--workload KIND,key=value` and the arguments in Python. It overrides `sessions`, `facts` and,
    where it knows better, `usual_tokens`.
    """

    model_config = ConfigDict(extra="forbid", validate_default=True)

    kind: ClassVar[str]
    """The name of its entry point."""
    timed: ClassVar[bool] = False
    """Whether its sessions have times of their own, at which they can be replayed."""

    name: str = Field("", description="what it is called in tables and files; its kind by default")
    seed: int = Field(0, description="the same seed gives the same prompts")
    language: LanguageName = Field("en", description="of made-up text: en, zh or mixed")
    output_tokens: Length | None = Field(
        None, description="the most tokens of an answer, instead of what the data say"
    )
    ignore_eos: bool = Field(False, description="ask for exactly output_tokens")

    _texts: Texts = PrivateAttr()

    def model_post_init(self, _context: Any) -> None:
        """Make what makes its texts."""
        self.name = self.name or self.kind
        self._texts = Texts(self.language, self.seed)

    def sessions(self, *path: str | int) -> Iterator[Session]:
        """Yield sessions in order; the same path gives the same ones in every process.

        They are made or read as they are asked for, so that a large file does not sit in memory;
        they may come to an end.

        Args:
            path: which stream, such as a level and a repeat.

        Raises:
            ConfigError: a row of the file cannot be used; with file and line.
        """
        raise NotImplementedError

    def facts(self) -> dict[str, Any]:
        """Return what `describe` says of this kind beside its fields."""
        return {}

    def class_slos(self) -> dict[str, list[Slo]]:
        """Return the limits of a good request by class, of those that have limits of their own."""
        return {}

    def files(self) -> list[str]:
        """Return the files and folders that its sessions are read from while they are sent.

        They have to be the same on each host of a fleet.
        """
        path = getattr(self, "path", None)
        return [] if path is None or str(path).startswith("hf:") else [str(path)]

    @property
    def usual_tokens(self) -> int:
        """The usual length of a prompt, for which lengths are fitted where tokens do not add up."""
        return 512

    async def prepare(self, counter: TokenCounter | None) -> None:
        """Fit the lengths to the target; `None`: nobody can count its tokens."""
        await self._texts.prepare(counter, self.usual_tokens)

    def with_ignore_eos(self, ignore_eos: bool) -> Self:
        """Return the same workload, fit and all, that asks for exact output lengths or does not."""
        return self.model_copy(update={"ignore_eos": ignore_eos})

    def made(self, ask: Prompt | Recipe) -> Prompt:
        """Return what a turn asks as a prompt: the text of a recipe is made here."""
        return self._texts.prompt(ask) if isinstance(ask, Recipe) else ask

    def prompt(self, index: int, *path: str | int) -> Prompt:
        """Return the first turn of one session; the same arguments give the same prompt.

        Args:
            index: which session of the stream, from 0; beyond the last, the first again.
            path: which stream.
        """
        count = 0
        for session in self.sessions(*path):
            if count == index:
                ask = session.turns[0].ask
                if isinstance(ask, Recipe) and path[:1] == ("probe",):
                    # A prefix that the load has would be in the server's cache before its time.
                    ask = replace(ask, blocks=(), key=(*path, index))
                return self.made(ask)
            count += 1
        if not count:
            raise ConfigError(f"workload {self.name}: has no sessions")
        return self.prompt(index % count, *path)

    def describe(self) -> dict[str, Any]:
        """Return the workload for `run.json`: kind, fields, how lengths were fitted."""
        fields = self.model_dump(mode="json", exclude={"name"}, exclude_none=True)
        return {
            "name": self.name,
            "kind": self.kind,
            **fields,
            **self.facts(),
            "lengths": self._texts.describe(),
        }


_FAULTS_TOLD: Final = 5
"""Rows that were left out of which `describe` says why."""


class FileKind(SessionKind):
    """The base of the kinds that read a file, row by row.

    A row that cannot be used is told of by `_drop` where `drop_bad` is set, and else ends it.
    """

    signs: ClassVar[tuple[frozenset[str], ...]] = ()
    """Keys or columns by which its rows are known: a row that has all of any set may be its own."""

    path: str = Field(description="the file")
    drop_bad: bool = Field(False, description="go on without rows that cannot be used")

    _dropped: int = PrivateAttr(default=0)
    _faults: list[str] = PrivateAttr(default_factory=list)
    _listener: Callable[[str], None] | None = PrivateAttr(default=None)

    @classmethod
    def likeness(cls, row: Mapping[str, Any]) -> int:
        """Return how many keys of a row are signs of this kind; 0: it is not of this kind."""
        return max((len(keys) for keys in cls.signs if keys <= row.keys()), default=0)

    def tell(self, listener: Callable[[str], None]) -> None:
        """Have each row that cannot be used told, with its place and the reason, and left out."""
        self.drop_bad, self._listener = True, listener

    def facts(self) -> dict[str, Any]:
        """See `SessionKind`."""
        return {"dropped": self._dropped, "faults": self._faults} if self._dropped else {}

    def _drop(self, told: str) -> None:
        self._dropped += 1
        if len(self._faults) < _FAULTS_TOLD:
            self._faults.append(told)
        if self._listener is not None:
            self._listener(told)


def sessions_of(workload: Workload, *path: str | int) -> Iterator[Session]:
    """Yield the sessions of any workload; of one that has prompts alone, each is a session."""
    if isinstance(workload, SessionKind):
        yield from workload.sessions(*path)
        return
    for index in itertools.count():
        yield single(workload.prompt(index, *path))


def is_timed(workload: Workload) -> bool:
    """Return whether a workload has times of its own, at which it can be replayed."""
    return isinstance(workload, SessionKind) and workload.timed


def made_of(workload: Workload, ask: Prompt | Recipe) -> Prompt:
    """Return what a turn of a workload asks as a prompt."""
    if isinstance(ask, Recipe):
        assert isinstance(workload, SessionKind)
        return workload.made(ask)
    return ask


KINDS = Group("benchcore.workloads", "kind")

Kind = Callable[..., Workload]


def find_kind(name: str) -> Kind:
    """Return what makes a workload of a kind.

    Raises:
        ConfigError: there is no such kind, or its package does not load.
    """
    kind: Kind = KINDS.load(name)
    if not callable(kind):
        raise ConfigError(f"kind {name!r}: {KINDS.points()[name].value} is not callable")
    return kind


def parameters(kind: Kind) -> tuple[dict[str, bool], bool]:
    """Return the names that a kind takes, each with whether it must be given; and if any other."""
    named, open_ended = {}, False
    for name, parameter in inspect.signature(kind).parameters.items():
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            open_ended = True
        elif parameter.kind is not inspect.Parameter.VAR_POSITIONAL:
            named[name] = parameter.default is inspect.Parameter.empty
    return named, open_ended


def is_model(kind: Kind) -> bool:
    """Return whether a kind is a pydantic model, whose fields are keys beside the usual ones."""
    return isinstance(kind, type) and issubclass(kind, BaseModel)
