"""One stage: a scenario that a command makes of its options and runs as any other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from benchcore.base.clock import stamp_of, utc_now
from benchcore.base.errors import BenchcoreError
from benchcore.base.files import make_folder
from benchcore.config.scenario import RunType, Scenario, StageSettings
from benchcore.config.servers import Asking
from benchcore.scenario.simulator import SimulatorStage
from benchcore.scenario.stage import ServerStage, Stage, StageContext
from benchcore.scenario.stages import CleanUpStage, LoadedScenario, StagesRun
from benchcore.show.progress import Progress, Silent

if TYPE_CHECKING:
    from pydantic import ValidationError

    from benchcore.config.target import Target
    from benchcore.sim.options import SimOptions

_RUN_TYPE: Final = RunType("pr", {}, warns=frozenset(), continues=False, pushes=False)
"""Nothing is laid below what the options say, and whatever fails fails the run."""


class OneStageRun(StagesRun):
    """Runs one stage on a server that is there or on the simulator.

    The folder is made as the stage begins; where nothing is written into it, it is removed.

    Args:
        stage: what is run.
        asking: how the server may be asked.
        name: of the run, and of the folder that is made.
        output: where it is made.
        model: to ask for; `None`: the first that the server lists.
        base_url: where it is.
        kind: `server` or `simulator`.
        simulator: how the simulator is started, instead of an address.
        folder: that is gone on with, instead of a new one.
        labels: the user's own facts.
        command: how benchcore was called.
        allow_simulator: let the figures of the simulator out of the folder.
        option_fault: says what is wrong with the options.
        begins: told of the server as the stage begins, before the folder is made.
        tell: takes a line for people.
        progress: told how a climb goes.
    """

    def __init__(
        self,
        stage: ServerStage[Any],
        asking: Asking,
        *,
        name: str,
        output: Path,
        model: str | None = None,
        base_url: str | None = None,
        kind: str = "server",
        simulator: SimOptions | None = None,
        folder: Path | None = None,
        labels: Mapping[str, str] = MappingProxyType({}),
        command: Sequence[str] = (),
        allow_simulator: bool = False,
        option_fault: Callable[[ValidationError], Exception] | None = None,
        begins: Callable[[Target], None] = lambda _target: None,
        tell: Callable[[str], None] = lambda _line: None,
        progress: Progress | None = None,
    ) -> None:
        launch = [] if simulator is None else [SimulatorStage(simulator)]
        stages: list[Stage] = [*launch, stage, CleanUpStage(StageSettings())]
        # A name that only stands in files need not be one that tells scenarios apart.
        scenario = Scenario.model_construct(id=name, model=model, labels=dict(labels))
        context = StageContext(
            scenario=scenario,
            run_type=_RUN_TYPE,
            base=Path(),
            folder=folder or output,
            results=output,
            run_id="",
            started_at="",
            command=list(command),
            asking=asking,
            base_url=None if simulator is not None else base_url,
            kind=kind,
            allow_simulator=allow_simulator,
            tell=tell,
            progress=progress or Silent(),
            alone=True,
            option_fault=option_fault,
        )
        settings = dict.fromkeys((one.name for one in stages), StageSettings())
        super().__init__(
            LoadedScenario(
                scenario, Path(), _RUN_TYPE, stages, settings, asking, base_url, context.environ
            ),
            context,
        )
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
        self._told(self._stage.target(self.context))
        context = self.context
        context.started_at = utc_now()
        self.folder = context.folder = self._given_folder or make_folder(
            context.results, stamp_of(context.started_at), context.scenario.id
        )
        context.run_id = context.folder.name
