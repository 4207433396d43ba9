"""Stage: one step of a scenario, found by its entry point in the group `benchcore.stages`."""

from __future__ import annotations

import os
import platform
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, TypeVar

from pydantic import ValidationError

from benchcore.base.errors import BenchcoreError, ConfigError, ResultsError
from benchcore.base.secrets import secret_values
from benchcore.config.scenario import (
    Asked,
    RunType,
    Scenario,
    StageSettings,
)
from benchcore.config.servers import Asking
from benchcore.runs.facts import TargetFacts
from benchcore.runs.run_json import write_head
from benchcore.runs.scenarios import StageResult
from benchcore.show.progress import Progress, Silent

if TYPE_CHECKING:
    from benchcore.base.stored import Status
    from benchcore.config.target import Target
    from benchcore.servers.health import Launcher

S = TypeVar("S", bound=StageSettings)


class StagePhase(StrEnum):
    """When a stage runs: the phases of a scenario, in their order.

    Of several stages of one phase, benchcore's own goes first, then the others by their names.
    """

    LAUNCH = "launch"
    HEALTH = "health"
    CHECK = "check"
    LOAD = "load"
    SCORE = "score"
    JUDGE = "judge"
    """From here on, what the phases before have written is read."""
    PUBLISH = "publish"
    CLEAN_UP = "clean-up"

    @property
    def place(self) -> int:
        """Where it stands among the others."""
        return list(StagePhase).index(self)

    @property
    def measures(self) -> bool:
        """Whether its stages ask a server that is up."""
        return self in (StagePhase.CHECK, StagePhase.LOAD, StagePhase.SCORE)


NOWHERE: Final = "http://127.0.0.1"
"""Stands for the address of a server that has not been launched, where only the rest counts."""


class StageSkippedError(Exception):
    """There is nothing for a stage to do; says why."""


class StageFaultError(BenchcoreError):
    """A stage does something that no stage may: a bug in it."""


@dataclass(slots=True)
class StagePlan:
    """What a stage would do.

    Args:
        lines: for people.
        seconds: it would take at most; `None`: that cannot be told.
        facts: its part of the result, what is to be found out left `None`.
    """

    lines: list[str] = field(default_factory=list)
    seconds: float | None = None
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class StageContext:
    """What the stages of one run share.

    Args:
        scenario: that is run.
        run_type: how thoroughly.
        base: the folder of the scenario's file: names of files in it are relative to that.
        folder: of this run; every stage writes its files there.
        results: where the folders of runs are.
        run_id: of this run.
        started_at: UTC, ISO 8601.
        command: how benchcore was called.
        asking: how the server may be asked.
        base_url: where it is; `None`: it has not been started.
        kind: `server` or `simulator`.
        environ: variables, for keys.
        secret_names: variables that the stages name for keys of their own.
        allow_simulator: push and judge runs of the simulator too.
        tell: takes a line for people.
        progress: told how the climb goes.
        launcher: what has started the server.
        parts: of the stages before, by name.
        alone: the scenario is one stage that a command was given as options: what the stage writes
            is all that the folder holds, and the labels are the user's alone.
        option_fault: says what is wrong with such options; `None`: a file said them.
        launched_key: the key of a server that benchcore has started for itself.
        launched_pid: of a server that was launched on this machine.
    """

    scenario: Scenario
    run_type: RunType
    base: Path
    folder: Path
    results: Path
    run_id: str
    started_at: str
    command: list[str]
    asking: Asking
    base_url: str | None = None
    kind: str = "server"
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    secret_names: tuple[str, ...] = ()
    allow_simulator: bool = False
    tell: Callable[[str], None] = lambda _line: None
    progress: Progress = field(default_factory=Silent)
    launcher: Launcher | None = None
    parts: dict[str, StageResult] = field(default_factory=dict)
    alone: bool = False
    option_fault: Callable[[ValidationError], Exception] | None = None
    launched_key: str | None = None
    launched_pid: int | None = None

    @property
    def labels(self) -> dict[str, str]:
        """The labels of the run: those of the scenario, and what it is."""
        scenario = self.scenario
        if self.alone:
            return scenario.labels
        own = {
            "scenario": scenario.id,
            "run_type": self.run_type.name,
            "quant": scenario.quant,
            "model": scenario.model or "",
            "gpus": "" if scenario.gpus is None else str(scenario.gpus),
        }
        # Runs of several machines would else replace one another where they are pushed.
        here = {"instance": platform.node()}
        return {**here, **scenario.labels, **{name: value for name, value in own.items() if value}}

    @property
    def secrets(self) -> list[str]:
        """The values that no file and no line may show, longest first."""
        asking = self.asking
        named = ["BENCHCORE_API_KEY", *asking.header_envs.values(), *self.secret_names]
        named += [asking.api_key_env] if asking.api_key_env is not None else []
        values = [self.environ.get(name, "") for name in named]
        if asking.api_key_file is not None:
            with suppress(OSError, UnicodeDecodeError):  # whoever needs the key says so
                values.append((self.base / asking.api_key_file).read_text().strip())
        return secret_values(self.environ, values)

    def key(self) -> str | None:
        """Return the key for the server.

        Raises:
            ConfigError: a variable or file that the scenario names holds none.
        """
        asking = self.asking
        if self.launched_key is not None:
            return self.launched_key
        if asking.api_key_file is not None:
            path = self.base / asking.api_key_file
            try:
                return path.read_text().strip()
            except OSError as error:
                raise ConfigError(f"api_key_file: {path}: {error.strerror}") from None
            except UnicodeDecodeError:
                raise ConfigError(f"api_key_file: {path}: is not text") from None
        if asking.api_key_env is None:
            return self.environ.get("BENCHCORE_API_KEY")
        return self.variable(asking.api_key_env, "api_key_env")

    def variable(self, name: str, where: str) -> str:
        """Return a variable that the scenario names.

        Raises:
            ConfigError: it is not set.
        """
        value = self.environ.get(name)
        if not value:
            raise ConfigError(f"{where}: the variable {name} is not set")
        return value

    def beside(self, name: str) -> str:
        """Return the path of a file that is named relative to the scenario's own."""
        return name if self.alone else str(self.base / name)

    def write_head(self, status: Status, target: TargetFacts) -> None:
        """Write `run.json` as it is of every run, without levels.

        Args:
            status: how far the run has come.
            target: whom it asks, as `target_facts` has it.

        Raises:
            ResultsError: it cannot be written.
        """
        try:
            write_head(
                self.folder,
                self.started_at,
                status,
                name=self.scenario.id,
                command=self.command,
                target=target,
                labels=self.labels,
            )
        except OSError as error:
            raise ResultsError(
                f"{self.folder / 'run.json'}: cannot be written ({error.strerror})"
            ) from None

    def target(self, extra_body: Mapping[str, Any] | None = None, **fields: Any) -> Target:
        """Return the server as a target.

        Args:
            extra_body: fields of every request body, besides those of the scenario's target.
            **fields: other fields of it.

        Raises:
            ConfigError: what the scenario says of it will not do, or it has no address yet.
        """
        if self.base_url is None and not self.alone:
            raise ConfigError("the server has no address: it has not been launched")
        return self.target_at(self.base_url or NOWHERE, extra_body, **fields)

    def target_at(
        self, base_url: str, extra_body: Mapping[str, Any] | None = None, **fields: Any
    ) -> Target:
        """Return the server as a target, wherever it is; see `target`."""
        asking = self.asking
        secret = {
            name: self.variable(variable, f"header_envs.{name}")
            for name, variable in asking.header_envs.items()
        }
        try:
            return asking.target(
                base_url,
                model=self.scenario.model,
                key=self.key(),
                ca_file=None if asking.ca_file is None else self.beside(asking.ca_file),
                headers=secret,
                extra_body=extra_body or {},
                **fields,
            )
        except ValidationError as error:
            if self.option_fault is not None:
                raise self.option_fault(error) from None
            faults = [
                f"target.{fault['loc'][0] if fault['loc'] else ''}: "
                + fault["msg"].removeprefix("Value error, ")
                for fault in error.errors(include_url=False, include_input=False)
            ]
            raise ConfigError("; ".join(faults)) from None


class BaseStage(ABC, Generic[S]):
    """One step of a scenario; made anew for each run.

    Attributes:
        name: of its entry point.
        phase: when it runs.
        settings_model: what a scenario may say of it.
        limit_seconds: its limit where the scenario has none.
        wanted: whether it runs where the scenario does not name it.
        always: whether it runs whatever happened before.
        essential: whether nothing after it can run where it failed.
        warnable: exit codes that the run type may turn into a warning.
        facts: its part of the result, as far as it has come.
        notes: what must be known besides.
    """

    name: ClassVar[str]
    phase: ClassVar[StagePhase]
    settings_model: ClassVar[type[StageSettings]] = StageSettings
    limit_seconds: ClassVar[float] = 600.0
    wanted: ClassVar[bool] = False
    always: ClassVar[bool] = False
    essential: ClassVar[bool] = False
    warnable: ClassVar[frozenset[int]] = frozenset({4, 5})

    def __init__(self, settings: S) -> None:
        self.settings = settings
        self.facts: dict[str, Any] = {}
        self.notes: list[str] = []

    @abstractmethod
    def plan(self, context: StageContext) -> StagePlan:
        """Return what it would do; asks nothing of the server.

        Raises:
            BenchcoreError: it could not be done.
        """

    @abstractmethod
    async def run(self, context: StageContext) -> None:
        """Do it, and leave what was found in `facts`.

        Raises:
            StageSkippedError: there is nothing to do.
            BenchcoreError: it failed; its exit code becomes that of the run.
        """

    def interrupt(self) -> bool:
        """Ask it to end soon, again: now; what it has found is kept.

        Returns:
            Whether it ends by itself; else, as here, it is cancelled.
        """
        return False


class ServerStage(BaseStage[S]):
    """A stage that asks a server which is up, by something that can be interrupted."""

    def __init__(self, settings: S) -> None:
        super().__init__(settings)
        self._interrupt: Callable[[], None] | None = None

    def target(self, context: StageContext) -> Target:
        """Return the server as this stage asks it.

        Raises:
            ConfigError: what is said of it will not do.
        """
        asked = self.settings
        if not isinstance(asked, Asked):
            return context.target()
        return context.target(
            asked.extra_body,
            endpoint=asked.asked_endpoint,
            stream=asked.stream,
            timeouts=asked.timeouts,
        )

    def interrupt(self) -> bool:
        """End early, again: now; what was found is kept."""
        if self._interrupt is None:
            return False
        self._interrupt()
        return True
