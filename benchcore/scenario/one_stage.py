"""One stage: a scenario that a command makes of its options and runs as any other."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchcore.base.clock import stamp_of, utc_now
from benchcore.base.errors import BenchcoreError
from benchcore.base.files import make_folder
from benchcore.config.scenario import RunType, StageSettings
from benchcore.scenario.simulator import SimulatorStage
from benchcore.scenario.stage import BaseStage, ServerStage, StageContext, StageFaultError
from benchcore.scenario.stages import CleanUpStage, LoadedScenario, StagesRun

if TYPE_CHECKING:
    from benchcore.config.target import Target
    from benchcore.sim.options import SimOptions

ONE_STAGE: Final = RunType("pr", {}, warns=frozenset(), continues=False, pushes=False)
"""Nothing is laid below what the options say, and whatever fails fails the run."""


class OneStageRun(StagesRun):
    """Runs one stage on a server that is there or on the simulator.

    The folder is made as the stage begins; where nothing is written into it, it is removed.

    Args:
        stage: what is run.
        context: what there is to know of it; `alone` is set. Its scenario names the run, and its
            `results` is where the folder is made.
        simulator: how the simulator is started, where there is no address.
        folder: that is gone on with, instead of a new one.
        begins: told of the server as the stage begins, before the folder is made.
    """

    def __init__(
        self,
        stage: ServerStage[Any],
        context: StageContext,
        *,
        simulator: SimOptions | None = None,
        folder: Path | None = None,
        begins: Callable[[Target], None] = lambda _target: None,
    ) -> None:
        launch = [] if simulator is None else [SimulatorStage(simulator)]
        stages: list[BaseStage[Any]] = [*launch, stage, CleanUpStage(StageSettings())]
        loaded = LoadedScenario(
            context.scenario,
            context.base,
            context.run_type,
            stages,
            dict.fromkeys((one.name for one in stages), StageSettings()),
            context.asking,
            context.base_url,
            context.environ,
        )
        super().__init__(loaded, context)
        self._stage = stage
        self._told = begins
        self._given_folder = folder
        self.folder: Path | None = None
        """Of the run, once it has begun and as long as anything is in it."""
        # What is wrong with the options is said before anything is started.
        self.target = stage.target(context)

    @property
    def error(self) -> BaseException | None:
        """What ended the run; `None`: nothing did."""
        for part in self.context.parts.values():
            if part.error is not None:
                return part.error
            if part.exit_code:
                return StageFaultError(part.message)
        return None

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

    def _begins(self, stage: BaseStage[Any]) -> None:
        if not stage.phase.measures:
            return
        self._told(self._stage.target(self.context))
        context = self.context
        context.started_at = utc_now()
        self.folder = context.folder = self._given_folder or make_folder(
            context.results, stamp_of(context.started_at), context.scenario.id
        )
        context.run_id = context.folder.name
