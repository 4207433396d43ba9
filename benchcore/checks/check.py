"""Check: one thing that a server is held to, tried as often as it may be, and judged."""

from __future__ import annotations

import asyncio
import shlex
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from benchcore.base.errors import BenchcoreError
from benchcore.base.text import visible
from benchcore.checks.answers import (
    CheckFailedError,
    SkippedError,
    UnsettledError,
    UnsupportedError,
)
from benchcore.checks.attempt import Attempt
from benchcore.checks.probing import PRECONDITIONS
from benchcore.client.refusals import blame
from benchcore.runs.checks import CheckResult, Evidence, Severity, Verdict

if TYPE_CHECKING:
    from benchcore.checks.subject import Subject
    from benchcore.config.checks import CheckRule

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchcore.checks.answers import CheckAnswer
    from benchcore.config.target import Target


Body = Callable[["Attempt"], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that a server is held to.

    Args:
        case_id: `suite.name`.
        title: what it holds the server to, in a sentence.
        body: makes the check; ends or raises one of the signals above.
        needs: capabilities without which it is not made.
        model_dependent: a good server with a weak model may fail it: tried up to three times.
        tolerance: what real engines legitimately differ in; with one, a failure is tolerated
            unless `--strict`.
        extension: the field or route, not of OpenAI's API, that it is about; where the engine is
            not known to offer it, a failure means that it is not supported.
        alone: other requests would disturb it.
        harsh: may keep a weak server busy for long: made last of all, one by one.
        smoke: one of the few that are always made.
        opt_in: the setting without which it is not made.
    """

    case_id: str
    title: str
    body: Body = field(repr=False)
    needs: tuple[str, ...] = ()
    model_dependent: bool = False
    tolerance: str = ""
    extension: str = ""
    alone: bool = False
    harsh: bool = False
    smoke: bool = False
    opt_in: str = ""

    @property
    def suite(self) -> str:
        """The suite it is of."""
        return self.case_id.partition(".")[0]


class Suite:
    """Checks that belong together.

    Args:
        name: in ids and for `--suite`.
        title: what they are about.
    """

    def __init__(self, name: str, title: str) -> None:
        self.name = name
        self.title = title
        self.checks: dict[str, Check] = {}

    def add(self, name: str, title: str, body: Body, **options: Any) -> None:
        """Add a check.

        Args:
            name: the part of its id after the suite's name.
            title: what it holds the server to.
            body: makes it.
            **options: the other fields of `Check`.
        """
        case_id = f"{self.name}.{name}"
        if case_id in self.checks:
            raise ValueError(f"{case_id} appears twice")
        self.checks[case_id] = Check(case_id, title, body, **options)

    def check(self, title: str, **options: Any) -> Callable[[Body], Body]:
        """Return a decorator that adds a function as the check of its name."""

        def decorate(body: Body) -> Body:
            self.add(getattr(body, "__name__"), title, body, **options)  # noqa: B009  a Callable has none for mypy
            return body

        return decorate


TRIES: Final = 3
"""Of a check that depends on the model."""

_EVIDENCE: Final = 4
"""Exchanges of a failing try that are kept, the last ones."""


class Judge:
    """Judges checks of one server.

    Args:
        subject: the server.
        rules: what is different for some checks, by id.
        seconds: limit of one try.
        key_variable: the variable that holds the key, for `curl` lines.
        expired_variable: the one that holds the expired key, likewise.
        clock: seconds that pass.
    """

    def __init__(
        self,
        subject: Subject,
        rules: dict[str, CheckRule],
        *,
        seconds: float,
        key_variable: str,
        expired_variable: str = "EXPIRED_KEY",
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._subject = subject
        self._rules = rules
        self._seconds = seconds
        self._key_variable = key_variable
        self._expired_variable = expired_variable
        self._clock = clock
        self.unanswered: set[str] = set()

    async def judge(self, check: Check) -> CheckResult:
        """Try a check and return what became of it.

        A failure that is due to something which kept the server from answering is one of
        `unanswered`: no tolerance is for that.
        """
        tolerance = self._tolerance(check) or None
        severity = Severity.complete(compat="tolerated" if tolerance else "error")
        result = CheckResult.begun(
            check.case_id, check.suite, check.title, severity=severity, tolerance=tolerance
        )
        if self._left_out(check, result):
            return result
        begun = self._clock()
        tries, fault = 0, ""
        for tries in range(1, TRIES + 1 if check.model_dependent else 2):
            result.tries = tries
            settled, fault = await self._try(check, result)
            if settled:
                break
        result.seconds = round(self._clock() - begun, 6)
        if result.verdict is Verdict.FAIL:
            if tries > 1:
                result.reason = f"passed none of {tries} tries"
            if fault:
                self.unanswered.add(check.case_id)
            else:
                self._soften(check, result)
        elif result.verdict is Verdict.PASS and tries > 1:
            result.verdict = Verdict.FLAKY
            result.reason = f"passed {result.passed_tries} of {tries} tries"
        return result

    def _tolerance(self, check: Check) -> str:
        rule = self._rules.get(check.case_id)
        if rule is not None and rule.tolerate:
            return rule.tolerate
        return self._subject.dialect.tolerates.get(check.case_id, check.tolerance)

    def _left_out(self, check: Check, result: CheckResult) -> bool:
        """Return whether a check is not to be made, having said why in its result."""
        rule = self._rules.get(check.case_id)
        if rule is not None and rule.skip:
            result.reason = f"left out: {rule.skip}"
            return True
        if check.opt_in and not self._subject.setting(check.opt_in):
            result.reason = f"needs --{check.opt_in.replace('_', '-')}"
            return True
        for name in check.needs:
            capability = self._subject.capabilities.get(name)
            if capability is not None and capability.available is False:
                if name not in PRECONDITIONS:
                    result.verdict = Verdict.UNSUPPORTED
                result.reason = f"the server has no {name}: {capability.how}"
                return True
        return False

    async def _try(self, check: Check, result: CheckResult) -> tuple[bool, str]:
        """Try once; returns whether that settles it, and what kept the server from answering."""
        late = ""
        try:
            async with asyncio.timeout(self._seconds) as limit:

                def grant(seconds: float) -> None:
                    due = limit.when()
                    if seconds and due is not None:
                        limit.reschedule(due + seconds)

                attempt = Attempt(self._subject, grant)
                result.tolerated = attempt.tolerated
                await check.body(attempt)
        except UnsettledError as signal:
            result.verdict, result.reason = Verdict.UNSETTLED, str(signal) or None
            return True, ""
        except SkippedError as signal:
            result.verdict, result.reason = Verdict.SKIP, str(signal) or None
            return True, ""
        except UnsupportedError as signal:
            result.verdict, result.reason = Verdict.UNSUPPORTED, str(signal) or None
            return True, ""
        except CheckFailedError as signal:
            failed = signal
        except TimeoutError:
            failed = CheckFailedError(f"an end within {self._seconds:g} s", "it went on")
            late = failed.got
        except BenchcoreError:
            raise
        except Exception as fault:  # noqa: BLE001  one answer that no check has thought of
            failed = CheckFailedError("an answer that can be judged", blame(fault)[1])
        else:
            result.verdict = Verdict.PASS
            result.passed_tries = 1
            if attempt.tolerated:
                self._keep(attempt, result)
            return True, ""
        result.verdict = Verdict.FAIL
        result.expected, result.got = failed.expected or None, failed.got or None
        self._keep(attempt, result)
        return False, attempt.fault or late

    def _keep(self, attempt: Attempt, result: CheckResult) -> None:
        secrets = {
            str(key): variable
            for key, variable in (
                (self._subject.expired_key, self._expired_variable),
                (
                    self._subject.target.api_key
                    and self._subject.target.api_key.get_secret_value(),
                    self._key_variable,
                ),
            )
            if key
        }
        result.evidence = [
            Evidence.model_validate(exchange(answer, self._subject.target, secrets))
            for answer in attempt.exchanges[-_EVIDENCE:]
        ]

    def _soften(self, check: Check, result: CheckResult) -> None:
        """Let a failure pass where that is tolerated, or where there was nothing to check."""
        rule = self._rules.get(check.case_id)
        allowed = rule is not None and rule.tolerate is not None
        if check.extension and not allowed and not self._subject.dialect.has(check.extension):
            result.verdict = Verdict.UNSUPPORTED
            result.reason = (
                f"{check.extension} is not of OpenAI's API, and {self._subject.dialect.name} "
                "is not known to have it"
            )
        elif result.tolerance and (allowed or not self._subject.strict):
            result.verdict = Verdict.PASS
            result.tolerated = [
                f"expected {result.expected}; got {result.got}; tolerated: {result.tolerance}"
            ]


# The evidence: what was sent and what came, to be shown and to be repeated by hand.


def schema_fault(value: Any, schema: dict[str, Any]) -> str:
    """Return the first thing that is wrong with a value; empty where nothing is.

    Args:
        value: any JSON.
        schema: JSON Schema, draft 2020-12 unless it names another.
    """
    from jsonschema import Draft202012Validator, validators
    from jsonschema.exceptions import best_match

    validator = validators.validator_for(schema, default=Draft202012Validator)(schema)
    fault = best_match(validator.iter_errors(value))
    return "" if fault is None else f"{fault.json_path}: {fault.message}"


KEEP_CHARACTERS = 20_000
"""Of each body; a longer one is cut, and says so."""

_ARGUMENT_CHARACTERS = 8_000


def exchange(answer: CheckAnswer, target: Target, keys: Mapping[str, str]) -> dict[str, Any]:
    """Return one exchange with every secret masked.

    Args:
        answer: the exchange.
        target: whom it was with; its key and the values of its headers are secrets.
        keys: each secret key to the variable that holds it, which the `curl` line names. A key that
            a check made up, such as a wrong one, is no secret: it stands there as it was sent.
    """
    headers = {"content-type": "application/json", **dict.fromkeys(target.headers, "***")}
    repeated = dict(headers)
    if target.api_key is not None:
        headers["authorization"] = "Bearer ***"
        repeated["authorization"] = f"Bearer {target.api_key.get_secret_value()}"
    for name, value in answer.sent_headers.items():
        if value is None:
            headers.pop(name, None)
            repeated.pop(name, None)
        else:
            headers[name] = repeated[name] = value
            for key in keys:
                headers[name] = headers[name].replace(key, "***")
    record = answer.record
    response: dict[str, Any] = {"outcome": str(record.outcome), "error": record.error or None}
    if record.reply is not None and record.reply.status:
        response |= {
            "status": record.reply.status,
            "headers": {name: visible(value) for name, value in record.reply.headers},
            "body": visible(_cut(record.reply.body.decode(errors="backslashreplace"))),
        }
    return {
        "request": {
            "method": answer.method,
            "url": target.url(answer.path),
            "headers": headers,
            "body": visible(_cut(answer.sent.decode(errors="backslashreplace"))),
        },
        "response": response,
        "curl": curl(answer, target, repeated, keys),
    }


def curl(
    answer: CheckAnswer, target: Target, headers: dict[str, str], keys: Mapping[str, str]
) -> str:
    """Return a line that repeats the request; secret keys come from their variables."""
    words = ["curl", "-sS", "-i", "-N"]
    if target.uds is not None:
        words += ["--unix-socket", target.uds]
    if target.tls and not target.verify:
        words.append("-k")
    if target.ca_file is not None:
        words += ["--cacert", target.ca_file]
    if answer.method != "GET":
        words += ["-X", answer.method]
    line = shlex.join([*words, target.url(answer.path)])
    for name, value in headers.items():
        secret = next((key for key in keys if key in value), None)
        if secret is not None:
            before, _, after = value.partition(secret)
            line += f' -H "{name}: {before}${keys[secret]}{after}"'
        else:
            line += " -H " + shlex.quote(f"{name}: {value}")
    if answer.sent:
        text = visible(answer.sent.decode(errors="backslashreplace"))
        if len(text) > _ARGUMENT_CHARACTERS:
            text = f"({len(answer.sent)} bytes, too long for a line)"
        line += " --data-raw " + shlex.quote(text)
    return line


def _cut(text: str) -> str:
    if len(text) <= KEEP_CHARACTERS:
        return text
    return f"{text[:KEEP_CHARACTERS]}… ({len(text)} characters)"
