"""Functional stage: the checks as a stage."""

from __future__ import annotations

from collections import Counter
from typing import Any

from benchcore.base.errors import (
    ResultsError,
)
from benchcore.base.text import printable
from benchcore.checks.catalogue import chosen_checks
from benchcore.checks.check import Check
from benchcore.checks.run import Functional, check_verdicts
from benchcore.config.checks import FunctionalConfig
from benchcore.config.scenario import FunctionalSettings
from benchcore.publish.junit import write_functional
from benchcore.runs.checks import Checks, Verdict
from benchcore.scenario.stage import ServerStage, StageContext, StagePhase, StagePlan
from benchcore.show.text import result_line


class FunctionalStage(ServerStage[FunctionalSettings]):
    """Makes the smoke checks, or the suites that the scenario names.

    Args:
        settings: what the scenario says.
        chosen: the checks that a command was asked for, and how they are made.
        expired_key: the key that the simulator takes for an expired one.
    """

    name = "functional"
    phase = StagePhase.CHECK
    settings_model = FunctionalSettings
    limit_seconds = 1800.0

    def __init__(
        self,
        settings: FunctionalSettings,
        *,
        chosen: tuple[list[Check], FunctionalConfig] | None = None,
        expired_key: str | None = None,
    ) -> None:
        super().__init__(settings)
        self._chosen = chosen
        self._expired_key = expired_key
        self.report: Checks | None = None

    def plan(self, context: StageContext) -> StagePlan:
        """Return the suites, with how many checks each has."""
        checks, config = self._checks(context)
        suites = Counter(check.suite for check in checks)
        lines = [f"{name}: {count} checks" for name, count in suites.items()]
        return StagePlan(
            lines=[f"{', '.join(lines)}; {config.concurrency} at a time"],
            seconds=config.seconds * len(checks) / config.concurrency,
            facts={
                "total": len(checks),
                **{verdict.value: None for verdict in Verdict},
                "pass_ratio": None,
                "failed": None,
            },
        )

    async def run(self, context: StageContext) -> None:
        """Make the checks.

        Raises:
            TargetError: the server is not there, puts everything off, or is no OpenAI API.
            VerdictError: a check failed, or none passed.
        """
        checks, config = self._checks(context)
        expired = self.settings.expired_key_env
        key = self._expired_key
        if expired is not None and key is None:
            key = context.variable(expired, "stages.functional.expired_key_env")
        machine = Functional(
            self.target(context),
            checks,
            config,
            kind=context.kind,
            expired_key=key,
            expired_variable=expired or "EXPIRED_KEY",
            key_variable=context.asking.api_key_env or "BENCHCORE_API_KEY",
            fail_fast=self.settings.fail_fast,
            on_result=lambda result: context.tell(result_line(result)),
            on_note=lambda note: context.tell(printable(note)),
        )
        self._interrupt = machine.interrupt
        self.report = machine.report
        try:
            await machine()
        finally:
            self.facts = _check_facts(machine.report)
            try:
                write_functional(context.folder, machine.report)
            except OSError as error:
                raise ResultsError(
                    f"{context.folder}: cannot be written ({error.strerror})"
                ) from None
            if context.alone:
                summary = machine.report.summary
                context.write_head(summary.status or "failed", summary.target)
        unsettled = machine.report.count(Verdict.UNSETTLED)
        if unsettled and machine.report.judged and not context.alone:
            context.tell(
                f"{unsettled} checks are unsettled: the server put them off with 429 each time"
            )
        check_verdicts(machine.report)

    def _checks(self, context: StageContext) -> tuple[list[Check], FunctionalConfig]:
        if self._chosen is not None:
            return self._chosen
        settings = self.settings
        names = FunctionalConfig.model_fields
        given = {
            name: getattr(settings, name) for name in names if name in settings.model_fields_set
        }
        given.setdefault("engine", context.asking.dialect)
        if context.asking.rate_limit is not None:
            given["concurrency"] = 1
        config = FunctionalConfig(**given)
        return chosen_checks(config, context.base), config


def _check_facts(checks: Checks) -> dict[str, Any]:
    return {
        "status": checks.summary.status,
        "engine": checks.summary.engine,
        "total": len(checks.results),
        **{verdict.value: checks.count(verdict) for verdict in Verdict},
        "pass_ratio": checks.summary.pass_ratio,
        "failed": [one.case_id for one in checks.failures],
    }
