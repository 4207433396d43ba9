"""Publishing: the stage that sends a run's figures on."""

from __future__ import annotations

import asyncio

from benchcore.config.stage import SinksSettings
from benchcore.errors import TargetError
from benchcore.report.run_folder import RunFolder
from benchcore.report.run_push import RunPush
from benchcore.sinks.pushgateway import URL, Pushgateway
from benchcore.stages.protocol import BaseStage, StageContext, StagePlan, StageSkippedError


class SinksStage(BaseStage[SinksSettings]):
    """Pushes the run to the Pushgateway, where the run type does."""

    name = "sinks"
    position = 60
    settings_model = SinksSettings
    wanted = True
    # An outage of the gateway loses nothing: the run is on disk.
    warnable = frozenset({3, 4, 5})

    def plan(self, context: StageContext) -> StagePlan:
        """Return whether it would push, and where to."""
        reason = self._reason(context)
        line = reason or f"push to {context.environ[URL]}"
        return StagePlan([line], 0.0, {"url": None, "series": None})

    async def run(self, context: StageContext) -> None:
        """Push.

        Raises:
            StageSkippedError: nothing is pushed; says why.
            TargetError: the gateway does not take it; the run is on disk all the same.
        """
        reason = self._reason(context)
        if reason:
            raise StageSkippedError(reason)
        settings = self.settings
        found = RunPush.of(RunFolder(context.folder), settings.prefix)
        gateway = Pushgateway.of_environment(
            context.environ,
            context.environ[URL],
            job=settings.job,
            user_env=settings.user_env,
            password_env=settings.password_env,
            ca_file=None if settings.ca_file is None else str(context.base / settings.ca_file),
        )
        self.facts = {"url": gateway.url, "grouping": found.grouping, "series": None}
        try:
            await asyncio.to_thread(found.send, gateway)
        except TargetError as error:
            raise TargetError(f"{error}: benchcore push {context.folder}") from None
        self.facts["series"] = found.series

    def _reason(self, context: StageContext) -> str:
        """Return why nothing is pushed; empty where something is."""
        if not context.run_type.pushes or self.settings.push is False:
            return f"nothing is pushed of a run of type {context.run_type.name}"
        if context.kind == "simulator" and not context.allow_simulator:
            return "nothing is pushed of the simulator; see --allow-simulator"
        if not context.environ.get(URL):
            return f"nothing is pushed: {URL} is not set"
        return ""
