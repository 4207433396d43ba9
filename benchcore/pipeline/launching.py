"""Launching: the stages that bring a server up and take it down."""

from __future__ import annotations

from collections.abc import Mapping

from benchcore.client.client import Client
from benchcore.client.prompt import Prompt
from benchcore.config.stage import StageSettings
from benchcore.errors import ResultsError, TargetError
from benchcore.launch.health import wait_until_up
from benchcore.launch.labels import RUN, SCENARIO
from benchcore.launch.local import LocalServer
from benchcore.launch.protocol import Launcher
from benchcore.pipeline.simulator import SimulatorServer
from benchcore.sinks.folder import replace_file
from benchcore.stages.perf.probe import RefusedError, find_model, try_prompt
from benchcore.stages.protocol import BaseStage, StageContext, StagePlan

LOGS = "logs"
KEPT = "launch"
_OWN_LIMIT = 24 * 3600.0
"""Of stages that the scenario gives a limit of their own."""


def launcher_of(context: StageContext) -> Launcher | None:
    """Return what starts a scenario's server; `None`: it is running already.

    Raises:
        ConfigError: the scenario's launch will not do.
    """
    launch = context.scenario.launch
    if launch is None:
        return None
    if launch.simulator is not None:
        return SimulatorServer(launch.simulator)
    logs = context.folder / LOGS
    if launch.local is not None:
        return LocalServer(
            launch.local,
            base=context.base,
            logs=logs,
            tell=context.tell,
            environ=context.environ,
            secrets=context.secrets,
        )
    assert launch.kubernetes is not None
    from benchcore.launch.kubernetes import KubernetesServer  # heavy, and an extra

    labels = {RUN: context.run_id, SCENARIO: context.scenario.id}
    return KubernetesServer(
        launch.kubernetes, base=context.base, logs=logs, labels=labels, tell=context.tell
    )


class LaunchStage(BaseStage[StageSettings]):
    """Starts the server, where the scenario says how."""

    name = "launch"
    position = 0
    limit_seconds = _OWN_LIMIT
    wanted = True
    essential = True
    warnable = frozenset()

    def plan(self, context: StageContext) -> StagePlan:
        """Return what would be started."""
        launch = context.scenario.launch
        if launch is None:
            return StagePlan([f"the server at {context.base_url} is running already"], 0.0)
        launcher = launcher_of(context)
        assert launcher is not None
        files = launcher.kept()
        kind = next(name for name, value in launch if value is not None)
        if launch.local is not None:
            line = f"local: {' '.join(launch.local.command)}"
        elif launch.kubernetes is not None:
            line = (
                f"kubernetes: {', '.join(launch.kubernetes.manifests)} to namespace "
                f"{launch.kubernetes.namespace}, asked by {launch.kubernetes.address}"
            )
        else:
            assert launch.simulator is not None
            line = f"simulator: profile {launch.simulator.profile}"
        return StagePlan([line], facts={"kind": kind, "kept": sorted(files), "base_url": None})

    async def run(self, context: StageContext) -> None:
        """Start it.

        Raises:
            ConfigError: what the scenario says cannot be started.
            TargetError: it did not come up.
        """
        launcher = launcher_of(context)
        if launcher is None:
            self.facts = {"kind": "running", "base_url": context.base_url}
            return
        launch = context.scenario.launch
        assert launch is not None
        kind = next(name for name, value in launch if value is not None)
        _keep(context, launcher.kept())
        context.launcher = launcher
        if launch.simulator is not None:
            context.kind = "simulator"
            context.tell("SIMULATOR: these are the figures of the built-in simulated server")
        served = await launcher.start()
        context.base_url = served.base_url
        self.facts = {"kind": kind, "base_url": served.base_url, **served.facts}
        self.notes = list(served.notes)
        context.tell(f"the server is at {served.base_url}")


def _keep(context: StageContext, files: Mapping[str, bytes]) -> None:
    folder = context.folder / KEPT
    try:
        folder.mkdir(exist_ok=True)
        for name, data in files.items():
            replace_file(folder / name, data)
    except OSError as error:
        raise ResultsError(f"{folder}: cannot be written ({error.strerror})") from None


class HealthStage(BaseStage[StageSettings]):
    """Waits until the server is up: its health endpoint answers, and then one real request."""

    name = "health"
    position = 10
    limit_seconds = _OWN_LIMIT
    wanted = True
    essential = True
    warnable = frozenset()

    def plan(self, context: StageContext) -> StagePlan:
        """Return how long it would wait."""
        health = context.scenario.health
        request = ", then one real request" if health.request else ""
        line = f"{health.path}{request}; gives up after {health.limit_seconds:g} s"
        return StagePlan([line], facts={"seconds": None, "tries": None})

    async def run(self, context: StageContext) -> None:
        """Wait.

        Raises:
            TargetError: it did not come up; the last lines of its log are in the facts.
        """
        target = context.target()
        launcher = context.launcher

        async def request() -> str | None:
            asked = target.model_copy(update={"allow_empty": True})
            try:
                async with Client(asked) as client:
                    found = await find_model(client)
                    client.target = client.target.model_copy(update={"model": found.model})
                    await try_prompt(client, Prompt("Say hello.", output_tokens=4), found)
            except RefusedError:
                raise
            except TargetError as error:
                return str(error)
            self.facts["model"] = client.target.shown_model
            return None

        try:
            self.facts |= await wait_until_up(
                target,
                context.scenario.health,
                request,
                ended=(lambda: None) if launcher is None else launcher.ended,
                tell=context.tell,
            )
        except TargetError:
            if launcher is not None:
                self.facts["last_lines"] = launcher.last_lines()
                for line in self.facts["last_lines"]:
                    context.tell(f"| {line}")
            raise


class CleanUpStage(BaseStage[StageSettings]):
    """Takes down what was launched, whatever happened before."""

    name = "cleanup"
    position = 100
    wanted = True
    always = True
    warnable = frozenset()

    def plan(self, context: StageContext) -> StagePlan:
        """Return whether there would be anything to take down."""
        line = "nothing: the server was running before"
        return StagePlan(["what was launched" if context.scenario.launch else line], 0.0)

    async def run(self, context: StageContext) -> None:
        """Take it down.

        Raises:
            TargetError: something of it is left.
        """
        if context.launcher is None:
            return
        left = await context.launcher.stop()
        self.facts = {"left": left}
        if left:
            raise TargetError(f"not everything could be taken down: {'; '.join(left)}")

    def interrupt(self) -> bool:
        """Go on: what is not taken down now stays."""
        return True
