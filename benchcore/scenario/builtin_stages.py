"""Built-in stages around the measuring ones: launch, health, gate and sinks."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from benchcore.base.errors import ConfigError, ResultsError, TargetError, VerdictError
from benchcore.base.files import replace_file
from benchcore.client.client import Client
from benchcore.client.request import Prompt
from benchcore.climbs.probe import RefusedError, find_model, try_prompt
from benchcore.config.limits import GateFile
from benchcore.config.scenario import GateSettings, SinksSettings, StageSettings
from benchcore.judge.baselines import earlier_like, find_baseline, forbidding
from benchcore.judge.gate import gate
from benchcore.publish.pushgateway import URL, Pushgateway, RunPush
from benchcore.runs.reading import RunFolder
from benchcore.scenario.simulator import SimulatorServer
from benchcore.scenario.stage import (
    BaseStage,
    StageContext,
    StagePhase,
    StagePlan,
    StageSkippedError,
)
from benchcore.servers.health import Launcher, wait_until_up
from benchcore.servers.kubernetes.resources import RUN, SCENARIO
from benchcore.servers.local import LocalServer

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
    from benchcore.servers.kubernetes.server import KubernetesServer  # heavy, and an extra

    labels = {RUN: context.run_id, SCENARIO: context.scenario.id}
    return KubernetesServer(
        launch.kubernetes, base=context.base, logs=logs, labels=labels, tell=context.tell
    )


class LaunchStage(BaseStage[StageSettings]):
    """Starts the server, where the scenario says how."""

    name = "launch"
    phase = StagePhase.LAUNCH
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
        context.launched_pid = served.facts.get("pid")
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
    phase = StagePhase.HEALTH
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


class GateStage(BaseStage[GateSettings]):
    """Holds the run against a baseline, rule by rule."""

    name = "gate"
    phase = StagePhase.JUDGE
    settings_model = GateSettings
    wanted = True

    def plan(self, context: StageContext) -> StagePlan:  # noqa: ARG002
        """Return the rules."""
        settings = self.settings
        against = settings.baseline or "the latest valid run of the same"
        rules = ", ".join(dict.fromkeys(rule.metric for rule in settings.rules))
        facts: dict[str, Any] = {"baseline": None, "rules": []}
        return StagePlan([f"against {against}: {rules}"], 0.0, facts)

    async def run(self, context: StageContext) -> None:
        """Judge.

        Raises:
            StageSkippedError: there is nothing to hold it against.
            VerdictError: a rule does not hold, or the baseline is damaged.
        """
        settings = self.settings
        run = RunFolder(context.folder)
        if context.kind == "simulator" and not context.allow_simulator:
            raise StageSkippedError(
                "a run of the simulator says nothing about a server; see --allow-simulator"
            )
        try:
            baseline = find_baseline(run, context.results, settings.baseline)
        except ConfigError as error:
            if settings.required or settings.baseline is not None:
                raise VerdictError(str(error)) from None
            raise StageSkippedError(str(error)) from None
        different = forbidding(baseline.run, run.run)
        if different and not settings.anyway:
            raise VerdictError(f"{baseline.name}: was asked different things: {different[0]}")
        rules = GateFile(rules=settings.rules, false_alarms=settings.false_alarms)
        try:
            nights = earlier_like(run, context.results)
            result = gate(run, baseline, rules, nights)
        except ConfigError as error:
            # What is damaged is a file of results and not the scenario: a daily run only warns.
            raise VerdictError(str(error)) from None
        self.facts = {
            "baseline": str(baseline.path),
            "passed": result.passed,
            "rules": [line.to_json() for line in result.lines],
        }
        self.notes = [*map(str, different), *result.notes]
        bad = [line for line in result.lines if not line.passed]
        if not result.lines:
            raise VerdictError("no rule found anything to judge, which does not count as a pass")
        if bad:
            first = f"{bad[0].level + ': ' if bad[0].level else ''}{bad[0].rule}: {bad[0].found}"
            raise VerdictError(f"{len(bad)} of {len(result.lines)} rules failed: {first}")


class SinksStage(BaseStage[SinksSettings]):
    """Pushes the run to the Pushgateway, where the run type does."""

    name = "sinks"
    phase = StagePhase.PUBLISH
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
