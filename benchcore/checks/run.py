"""Functional: the stage that makes the checks."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from benchcore.base.errors import TargetError, VerdictError
from benchcore.checks.answers import CheckFailedError, UnsettledError
from benchcore.checks.attempt import CHAT, COMPLETIONS, Attempt
from benchcore.checks.check import Judge
from benchcore.checks.probing import identify, probe
from benchcore.checks.subject import UNKNOWN, Subject, named_dialect
from benchcore.client.client import Client
from benchcore.client.request import Prompt
from benchcore.climbs.probe import RefusedError, find_model, try_prompt
from benchcore.runs.checks import Capability, CheckResult, Checks, Verdict
from benchcore.runs.facts import TargetFacts
from benchcore.runs.run_json import target_facts

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchcore.base.stored import Status
    from benchcore.checks.check import Check
    from benchcore.checks.subject import Dialect
    from benchcore.config.checks import FunctionalConfig
    from benchcore.config.target import Target


_STOPPED: Final = "not made: stopped before"
_GONE: Final = "not made: the server had gone"
_LOOKS: Final = 3
"""How often a server that did not answer is asked whether it is there, before it has gone."""
_LOOK_SECONDS: Final = 1.0


class Functional:
    """Makes checks of a server.

    Args:
        target: the server.
        checks: what to check, in order.
        config: how.
        kind: `server` or `simulator`.
        expired_key: a key that has expired, where there is one.
        key_variable: the variable that holds the key, named in `curl` lines.
        expired_variable: the one that holds the expired key, likewise.
        fail_fast: stop at the first failure.
        on_ready: told of the server once it is known.
        on_result: told of each result as it comes.
        on_note: told of what is found out before the checks, a line each.
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
        expired_variable: str = "EXPIRED_KEY",
        fail_fast: bool = False,
        on_ready: Callable[[Subject], None] = lambda _subject: None,
        on_result: Callable[[CheckResult], None] = lambda _result: None,
        on_note: Callable[[str], None] = lambda _note: None,
    ) -> None:
        timeouts = target.timeouts.model_copy(update={"total": config.seconds})
        self._target = target.model_copy(update={"timeouts": timeouts})
        self._checks = list(checks)
        self._config = config
        self._expired_key = expired_key
        self._key_variable = key_variable
        self._expired_variable = expired_variable
        self._fail_fast = fail_fast
        self._on_ready = on_ready
        self._on_result = on_result
        self._on_note = on_note
        self._kind = kind
        self._running: asyncio.Task[None] | None = None
        self._gone: TargetError | None = None
        self.report = Checks.begun(
            "strict" if config.strict else "compat",
            config.engine or UNKNOWN.name,
            TargetFacts(kind=kind, base_url=target.base_url, model=target.shown_model),
        )

    async def __call__(self) -> Checks:
        """Make the checks; what is interrupted leaves a report of what was made.

        Raises:
            TargetError: the server is not there, puts everything off, refuses the key, or names no
                model.
            ConfigError: the engine is not known.
        """
        dialect = named_dialect(self._config.engine) if self._config.engine else None
        begun = time.perf_counter()
        status: Status = "failed"
        results: dict[str, CheckResult] = {}
        self._running = asyncio.create_task(self._run(dialect, results))
        try:
            await asyncio.wait([self._running])
            if not self._running.cancelled():
                self._running.result()
            status = "complete" if len(results) == len(self._checks) else "interrupted"
        finally:
            self._running.cancel()
            self.report.end(self._all(results), status, time.perf_counter() - begun)
        return self.report

    async def _run(self, dialect: Dialect | None, results: dict[str, CheckResult]) -> None:
        async with Client(self._target) as client:
            subject = await self._meet(client)
            await self._look(subject, first=True)
            subject.dialect = dialect or await identify(subject)
            key = self._config.reasoning_key
            subject.reasoning_keys = (key,) if key else subject.dialect.reasoning_keys
            self.report.summary.engine = subject.dialect.name
            subject.capabilities = await probe(subject)
            self.report.capabilities = {
                name: Capability(available=capability.available, how=capability.how)
                for name, capability in subject.capabilities.items()
            }
            self._on_ready(subject)
            await self._make(subject, results)

    def interrupt(self) -> None:
        """Stop; the checks that are not made are skipped."""
        if self._running is not None:
            self._running.cancel()

    async def _meet(self, client: Client) -> Subject:
        """Find the model to ask for, and what the server takes."""
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
        probed = await find_model(client)
        subject.model = probed.model
        subject.max_model_len = probed.max_model_len
        # A plain request: what a stream is asked for besides is what checks are about.
        plain = {"model": probed.model, "stream": False}
        client.target = client.target.model_copy(update=plain)
        try:
            await try_prompt(client, Prompt("Hello", output_tokens=2), probed, patient=True)
        except RefusedError:
            raise
        except TargetError as error:  # it is for the checks to say what of it is wrong
            probed.notes.append(str(error))
        client.target = client.target.model_copy(update={"stream": self._target.stream})
        self._target = client.target
        self.report.summary.target = target_facts(client.target, self._kind)
        for note in probed.notes:
            self._on_note(note)
        return subject

    async def _make(self, subject: Subject, results: dict[str, CheckResult]) -> None:
        judge = Judge(
            subject,
            self._config.checks,
            seconds=self._config.seconds,
            key_variable=self._key_variable,
            expired_variable=self._expired_variable,
        )
        stop = asyncio.Event()
        looking = asyncio.Lock()
        gate = asyncio.Semaphore(self._config.concurrency)

        async def make(check: Check) -> None:
            async with gate:
                if stop.is_set():
                    return
                result = await judge.judge(check)
            gone = None
            if check.case_id in judge.unanswered:
                async with looking:
                    try:
                        if self._gone is None:
                            await self._look(subject)
                    except TargetError as error:
                        self._gone = error
                gone = self._gone
            if gone is not None:
                stop.set()
                result.verdict, result.reason = Verdict.ERROR, f"the server had gone: {gone}"
                result.tolerated = []
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
        if self._gone is not None:
            raise self._gone

    async def _look(self, subject: Subject, *, first: bool = False) -> None:
        """Make sure that the server answers something with less than 500, if only a refusal.

        Args:
            subject: the server.
            first: whether nothing of it is known yet: one that puts off even this cannot be
                checked; later on it is there, and busy.

        Raises:
            TargetError: it answers nothing, or nothing but 5xx; or it puts everything off.
        """
        said = ""
        for left in reversed(range(_LOOKS)):
            attempt = Attempt(subject)
            for path, body in (
                (CHAT, attempt.chat_body("Hello", max_tokens=1)),
                (COMPLETIONS, attempt.completion_body("Hello", max_tokens=1)),
            ):
                try:
                    answer = await attempt.post(path, body)
                except UnsettledError as error:
                    if first:
                        raise TargetError(
                            f"{self._target.base_url} answers nothing: a first request was {error}"
                            "; is its rate limit used up? Try again later"
                        ) from None
                    return
                except CheckFailedError as error:
                    said = error.got
                    continue
                # A router without one of the two paths says nothing of the model behind the other.
                if answer.status < 500 and not (
                    path == COMPLETIONS and answer.status in (404, 405)
                ):
                    return
            if left:
                await asyncio.sleep(_LOOK_SECONDS)
        statuses = [answer.status for answer in attempt.exchanges]
        if not all(statuses):
            what = "does not answer"
        elif min(statuses) >= 500:
            what = "answers nothing but 5xx"
        else:
            what = "gives no whole answer"
        raise TargetError(f"{self._target.base_url} {what} ({attempt.fault or said})")

    def _all(self, results: dict[str, CheckResult]) -> list[CheckResult]:
        why = _STOPPED if self._gone is None else _GONE
        return [
            results.get(one.case_id)
            or CheckResult.begun(one.case_id, one.suite, one.title, reason=why)
            for one in self._checks
        ]


def check_verdicts(report: Checks) -> None:
    """Hold a report to what it must be: at least one check passed, and none failed.

    Raises:
        VerdictError: a check failed, or none had anything to judge.
        TargetError: the server put off whatever might have been judged.
    """
    failed = [result.case_id for result in report.failures]
    if failed:
        names = ", ".join(failed[:3]) + (", …" if len(failed) > 3 else "")
        raise VerdictError(f"{len(failed)} of {len(report.results)} checks failed: {names}")
    unsettled = report.count(Verdict.UNSETTLED)
    if unsettled and not report.passed:
        words = next(
            result.reason for result in report.results if result.verdict is Verdict.UNSETTLED
        )
        raise TargetError(f"not one check could be judged: {unsettled} were {words}")
    if not report.passed:
        raise VerdictError("not one check passed: there was nothing to judge")
