"""Functional: the stage that makes the checks."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from benchcore.client.client import Client
from benchcore.client.records import Outcome
from benchcore.errors import ConfigError, TargetError
from benchcore.metrics.functional import CheckResult, FunctionalReport, Verdict
from benchcore.stages.functional.capabilities import probe
from benchcore.stages.functional.check import CheckFailedError
from benchcore.stages.functional.dialect import UNKNOWN, named_dialect
from benchcore.stages.functional.identify import identify
from benchcore.stages.functional.judge import Judge
from benchcore.stages.functional.subject import Subject
from benchcore.stages.functional.trial import Trial

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchcore.config.functional import FunctionalConfig
    from benchcore.config.target import Target
    from benchcore.stages.functional.check import Check
    from benchcore.stages.functional.dialect import Dialect

_STOPPED: Final = "not made: stopped before"


class Functional:
    """Makes checks of a server.

    Args:
        target: the server.
        checks: what to check, in order.
        config: how.
        kind: `server` or `simulator`.
        expired_key: a key that has expired, where there is one.
        key_variable: the variable that holds the key, named in `curl` lines.
        fail_fast: stop at the first failure.
        on_ready: told of the server once it is known.
        on_result: told of each result as it comes.
    """

    def __init__(
        self,
        target: Target,
        checks: Sequence[Check],
        config: FunctionalConfig,
        *,
        kind: str = "server",
        expired_key: str | None = None,
        key_variable: str = "BENCHCORE_API_KEY",
        fail_fast: bool = False,
        on_ready: Callable[[Subject], None] = lambda _subject: None,
        on_result: Callable[[CheckResult], None] = lambda _result: None,
    ) -> None:
        timeouts = target.timeouts.model_copy(update={"total": config.seconds})
        self._target = target.model_copy(update={"timeouts": timeouts})
        self._checks = list(checks)
        self._config = config
        self._expired_key = expired_key
        self._key_variable = key_variable
        self._fail_fast = fail_fast
        self._on_ready = on_ready
        self._on_result = on_result
        self._running: asyncio.Task[None] | None = None
        self.report = FunctionalReport(
            mode="strict" if config.strict else "compat",
            engine=config.engine or UNKNOWN.name,
            target={"kind": kind, "base_url": target.base_url, "model": target.model},
        )

    async def __call__(self) -> FunctionalReport:
        """Make the checks; what is interrupted leaves a report of what was made.

        Raises:
            TargetError: the server is not there, or is no OpenAI API.
            ConfigError: the engine is not known, or no model can be found.
        """
        dialect = named_dialect(self._config.engine) if self._config.engine else None
        begun = time.perf_counter()
        results: dict[str, CheckResult] = {}
        self._running = asyncio.create_task(self._run(dialect, results))
        try:
            await asyncio.wait([self._running])
            if not self._running.cancelled():
                self._running.result()
            self.report.status = "complete" if len(results) == len(self._checks) else "interrupted"
        finally:
            self._running.cancel()
            self._finish(results, time.perf_counter() - begun)
        return self.report

    async def _run(self, dialect: Dialect | None, results: dict[str, CheckResult]) -> None:
        async with Client(self._target) as client:
            subject = await self._meet(client)
            subject.dialect = dialect or await identify(subject)
            key = self._config.reasoning_key
            subject.reasoning_keys = (key,) if key else subject.dialect.reasoning_keys
            self.report.engine = subject.dialect.name
            subject.capabilities = await probe(subject)
            self.report.capabilities = {
                name: {"available": capability.available, "how": capability.how}
                for name, capability in subject.capabilities.items()
            }
            self._on_ready(subject)
            await self._make(subject, results)

    def interrupt(self) -> None:
        """Stop; the checks that are not made are skipped."""
        if self._running is not None:
            self._running.cancel()

    async def _meet(self, client: Client) -> Subject:
        """Ask the server for its models."""
        subject = Subject(
            client,
            self._target.model or "",
            UNKNOWN,
            strict=self._config.strict,
            expired_key=self._expired_key,
            burst=self._config.burst,
            large_body=self._config.large_body,
            stall_seconds=self._config.stall_seconds,
        )
        trial = Trial(subject)
        try:
            heard = await trial.get("/v1/models")
        except CheckFailedError as error:
            if trial.exchanges[-1].record.outcome is Outcome.CONNECT_ERROR:
                raise TargetError(
                    f"{self._target.base_url}: {trial.exchanges[-1].record.error}; "
                    "is the server up, and --base-url its address?"
                ) from None
            raise TargetError(f"{self._target.base_url}/v1/models: {error}") from None
        listed = heard.find("data", 0, "id") if heard.status == 200 else None
        if heard.status in (401, 403):
            raise TargetError(
                f"{self._target.base_url}: status {heard.status}: {heard.problem}; put the key "
                f"into the variable {self._key_variable}"
            )
        if not subject.model:
            if not isinstance(listed, str):
                raise ConfigError(
                    f"{self._target.base_url}/v1/models names no model (status {heard.status}); "
                    "give --model"
                )
            subject.model = listed
        self.report.target["model"] = subject.model
        length = heard.find("data", 0, "max_model_len") if heard.status == 200 else None
        subject.max_model_len = length if isinstance(length, int) else None
        return subject

    async def _make(self, subject: Subject, results: dict[str, CheckResult]) -> None:
        judge = Judge(
            subject,
            self._config.checks,
            seconds=self._config.seconds,
            key_variable=self._key_variable,
        )
        stop = asyncio.Event()
        gate = asyncio.Semaphore(self._config.concurrency)

        async def make(check: Check) -> None:
            async with gate:
                if stop.is_set():
                    return
                result = await judge.judge(check)
            results[check.case_id] = result
            self._on_result(result)
            if self._fail_fast and result.verdict is Verdict.FAIL:
                stop.set()

        async with asyncio.TaskGroup() as group:
            for check in self._checks:
                if not (check.alone or check.harsh):
                    group.create_task(make(check))
        for check in self._checks:
            if check.alone and not check.harsh:
                await make(check)
        for check in self._checks:
            if check.harsh:
                await make(check)

    def _finish(self, results: dict[str, CheckResult], seconds: float) -> None:
        left = [check for check in self._checks if check.case_id not in results]
        for check in left:
            results[check.case_id] = CheckResult(
                check.case_id, check.suite, check.title, Verdict.SKIP, reason=_STOPPED
            )
        self.report.results = [results[check.case_id] for check in self._checks]
        if self.report.status == "running":
            self.report.status = "failed"
        self.report.seconds = seconds
