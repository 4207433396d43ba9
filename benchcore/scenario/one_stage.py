"""One stage: a scenario that a command makes of its options and runs as any other."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchcore.base.clock import stamp_of, utc_now
from benchcore.base.errors import BenchcoreError
from benchcore.base.files import make_folder
from benchcore.config.scenario import RunType, Scenario, StageSettings
from benchcore.config.servers import Asking
from benchcore.scenario.simulator import SimulatorStage
from benchcore.scenario.stage import LoadedScenario, ServerStage, Stage, StageContext
from benchcore.scenario.stages import CleanUpStage, StagesRun
from benchcore.show.progress import Progress, Silent

if TYPE_CHECKING:
    from pydantic import ValidationError

    from benchcore.config.target import Target
    from benchcore.sim.options import SimOptions

_RUN_TYPE: Final = RunType("pr", {}, warns=frozenset(), continues=False, pushes=False)
"""Nothing is laid below what the options say, and whatever fails fails the run."""


@dataclass(slots=True)
class Aim:
    """Whom a command asks, and how.

    Args:
        asking: how the server may be asked.
        base_url: where it is; `None`: the simulator is started.
        model: to ask for; `None`: the first that the server lists.
        kind: `server` or `simulator`.
        simulator: how the simulator is started, where there is no address.
        fault: says what is wrong with the options of the command.
    """

    asking: Asking
    base_url: str | None
    model: str | None
    kind: str
    simulator: SimOptions | None = None
    fault: Callable[[ValidationError], Exception] | None = None


@dataclass(slots=True)
class Place:
    """Where a command leaves what it finds.

    Args:
        output: where folders of runs are made.
        name: of the run, and of the folder that is made.
        folder: that is gone on with, instead of a new one.
        labels: the user's own facts.
        command: how benchcore was called.
    """

    output: Path
    name: str
    folder: Path | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    command: Sequence[str] = ()


class OneStageRun(StagesRun):
    """Runs one stage on a server that is there or on the simulator.

    The folder is made as the stage begins; where nothing is written into it, it is removed.

    Args:
        stage: what is run.
        aim: whom it asks.
        place: where it writes.
        begins: told of the server as the stage begins, before the folder is made.
        tell: takes a line for people.
        progress: told how a climb goes.
        allow_simulator: let the figures of the simulator out of the folder.
    """

    def __init__(
        self,
        stage: ServerStage[Any],
        aim: Aim,
        place: Place,
        *,
        begins: Callable[[Target], None] = lambda _target: None,
        tell: Callable[[str], None] = lambda _line: None,
        progress: Progress | None = None,
        allow_simulator: bool = False,
    ) -> None:
        launch = [] if aim.simulator is None else [SimulatorStage(aim.simulator)]
        stages: list[Stage] = [*launch, stage, CleanUpStage(StageSettings())]
        # A name that only stands in files need not be one that tells scenarios apart.
        scenario = Scenario.model_construct(
            id=place.name, model=aim.model, labels=dict(place.labels)
        )
        loaded = LoadedScenario(
            scenario,
            Path(),
            _RUN_TYPE,
            stages,
            dict.fromkeys((one.name for one in stages), StageSettings()),
            aim.asking,
            aim.base_url,
            os.environ,
        )
        context = StageContext(
            scenario=scenario,
            run_type=_RUN_TYPE,
            base=Path(),
            folder=place.folder or place.output,
            results=place.output,
            run_id="",
            started_at="",
            command=list(place.command),
            asking=aim.asking,
            base_url=aim.base_url,
            kind=aim.kind,
            allow_simulator=allow_simulator,
            tell=tell,
            progress=progress or Silent(),
            alone=True,
            option_fault=aim.fault,
        )
        super().__init__(loaded, context)
        self._stage = stage
        self._place = place
        self._tell_of = begins
        self.folder: Path | None = None
        """Of the run, once it has begun and as long as anything is in it."""
        # What is wrong with the options is said before anything is started.
        self.target = stage.target(context)

    @property
    def error(self) -> BaseException | None:
        """What ended the run; `None`: nothing did."""
        return next((part.error for part in self.context.parts.values() if part.error), None)

    def end(self) -> int:
        """Return the exit code of a run whose results are shown.

        Raises:
            BaseException: what ended it, unless a signal did, which what is left then only echoes.
        """
        error = self.error
        ours = isinstance(error, BenchcoreError) and error.exit_code != 1
        if error is not None and not (self.signal and ours):
            raise error
        return 128 + self.signal if self.signal else 0

    async def __call__(self) -> None:
        """Run it; what ends it is in `error`.

        Raises:
            ConfigError: the folder cannot be made.
        """
        try:
            await self.run_stages()
        finally:
            if self.folder is not None:
                with suppress(OSError):  # it is empty only where the run never came to begin
                    self.folder.rmdir()
                    self.folder = None

    def _begins(self, stage: Stage) -> None:
        if not stage.phase.measures:
            return
        self._tell_of(self._stage.target(self.context))
        context, place = self.context, self._place
        context.started_at = utc_now()
        folder = place.folder or make_folder(place.output, stamp_of(context.started_at), place.name)
        self.folder = context.folder = folder
        context.run_id = folder.name
