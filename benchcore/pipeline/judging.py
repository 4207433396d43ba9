"""Judging: the stage that holds a run against a baseline."""

from __future__ import annotations

from typing import Any

from benchcore.config.gate import GateFile
from benchcore.config.stage import GateSettings
from benchcore.errors import ConfigError, VerdictError
from benchcore.report.baselines import earlier_like, find_baseline
from benchcore.report.differences import forbidding
from benchcore.report.gate import gate
from benchcore.report.run_folder import RunFolder
from benchcore.stages.protocol import BaseStage, StageContext, StagePlan, StageSkippedError


class GateStage(BaseStage[GateSettings]):
    """Holds the run against a baseline, rule by rule."""

    name = "gate"
    position = 50
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
            raise VerdictError("no rule found anything to judge: that is no pass")
        if bad:
            first = f"{bad[0].level + ': ' if bad[0].level else ''}{bad[0].rule}: {bad[0].found}"
            raise VerdictError(f"{len(bad)} of {len(result.lines)} rules failed: {first}")
