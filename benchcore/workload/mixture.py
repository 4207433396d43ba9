"""Mixture: sessions of several workloads, drawn by weight, each with its class."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import replace
from itertools import accumulate, count
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, field_validator

from benchcore.base.errors import ConfigError
from benchcore.base.seeds import stream
from benchcore.client.request import Prompt
from benchcore.config.limits import Slo, check_slos
from benchcore.workload.kinds import SessionKind, Workload, is_timed, made_of, sessions_of
from benchcore.workload.named import load_workload
from benchcore.workload.sessions import Recipe, Session, Turn
from benchcore.workload.synthetic import Synthetic
from benchcore.workload.token_costs import TokenCounter


class Share(BaseModel):
    """One workload of a mixture."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    workload: str = Field(description="a name, a file beside this one, or a kind with its keys")
    weight: float = Field(1.0, gt=0, allow_inf_nan=False, description="how often, against others")
    name: str = Field("", alias="class", description="its class; the workload's name by default")
    slos: tuple[str, ...] = Field((), description="limits of its own, as METRIC:LIMIT")

    @field_validator("slos")
    @classmethod
    def _slos_are_some(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return check_slos(value)


class Mixture(SessionKind):
    """Sessions of several workloads, each session of one of them, drawn by weight.

    Every session has the class of its workload, and figures are told apart by it.
    """

    kind: ClassVar = "mixture"

    mix: list[Share] = Field(min_length=2, description="the workloads, with weights and classes")
    folder: str = Field(".", exclude=True, description="where relative files are")

    _parts: list[tuple[str, Workload]] = PrivateAttr(default_factory=list)

    def model_post_init(self, context: Any) -> None:
        """Load the workloads."""
        super().model_post_init(context)
        for share in self.mix:
            spec = load_workload(self._beside(share.workload))
            if len(spec.parts) > 1:
                raise ConfigError(
                    f"mix: {share.workload} is a union of {len(spec.parts)} workloads; name them"
                )
            name = share.name or spec.parts[0].name
            if any(name == other for other, _ in self._parts):
                raise ConfigError(f"mix: class {name!r} appears twice; give each its own class")
            workload = spec.parts[0].workload
            if is_timed(workload):
                raise ConfigError(f"mix: {share.workload} is a trace, which has times of its own")
            self._parts.append((name, workload))

        self.ignore_eos = any(getattr(one, "ignore_eos", False) for _, one in self._parts)

    def with_ignore_eos(self, ignore_eos: bool) -> Self:
        """See `SessionKind`."""
        other = super().with_ignore_eos(ignore_eos)
        other._parts = [
            (name, one.with_ignore_eos(ignore_eos and one.ignore_eos))
            if isinstance(one, (Synthetic, SessionKind))
            else (name, one)
            for name, one in self._parts
        ]
        return other

    def _beside(self, text: str) -> str:
        path = Path(self.folder) / text
        return str(path) if path.is_file() else text

    def files(self) -> list[str]:
        """See `SessionKind`."""
        return [
            path for _, one in self._parts if isinstance(one, SessionKind) for path in one.files()
        ]

    def class_slos(self) -> dict[str, list[Slo]]:
        """See `SessionKind`."""
        return {
            name: [Slo.parse(text) for text in share.slos]
            for (name, _), share in zip(self._parts, self.mix, strict=True)
            if share.slos
        }

    async def prepare(self, counter: TokenCounter | None) -> None:
        """Fit each workload to the target; see `SessionKind`."""
        for _, workload in self._parts:
            await workload.prepare(counter)

    def sessions(self, *path: str | int) -> Iterator[Session]:
        """Yield sessions; those of a workload that ends begin again. See `SessionKind`."""
        below = list(accumulate(share.weight for share in self.mix))
        streams = [
            self._endless(workload, *path, f"part {place}")
            for place, (_, workload) in enumerate(self._parts)
        ]
        for number in count():
            drawn = stream(self.seed, "mixture", *path, number).random() * below[-1]
            place = bisect_right(below, drawn)
            session = next(streams[place], None)
            if session is None:
                return
            turns = tuple(self._as_part(place, turn) for turn in session.turns)
            yield replace(session, turns=turns)

    def _as_part(self, place: int, turn: Turn) -> Turn:
        ask = turn.ask
        if isinstance(ask, Recipe):
            ask = replace(ask, part=(place, *ask.part))
        return replace(turn, kind=self._parts[place][0], ask=ask)

    def _endless(self, workload: Workload, *path: str | int) -> Iterator[Session]:
        for round_ in count():
            empty = True
            for session in sessions_of(workload, *path, *([f"again {round_}"] if round_ else [])):
                empty = False
                yield session
            if empty:
                return

    def made(self, ask: Prompt | Recipe) -> Prompt:
        """Let the workload that asks make the text; see `SessionKind`."""
        if isinstance(ask, Recipe) and ask.part:
            place, *inner = ask.part
            return made_of(self._parts[place][1], replace(ask, part=tuple(inner)))
        return super().made(ask)

    def facts(self) -> dict[str, Any]:
        """See `SessionKind`."""
        return {"mixed": [workload.describe() for _, workload in self._parts]}
