"""Catalogue: every check that is installed or written as data, and which are made."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from benchcore.base.errors import ConfigError
from benchcore.base.plugins import Group, nearest
from benchcore.checks.answers import CheckAnswer, CheckFailedError, StreamedAnswer, shown
from benchcore.checks.attempt import CHAT, COMPLETIONS, Attempt
from benchcore.checks.check import Check, Suite, schema_fault
from benchcore.config.checks import (
    Case,
    CasesFile,
    Expect,
    ExpectError,
    FunctionalConfig,
    Matrix,
    Negative,
    Status,
    steps,
)
from benchcore.config.document import read_model

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from benchcore.checks.check import Body


_SUITES = Group("benchcore.suites", "suite")
ORDER = (
    "smoke",
    "chat_core",
    "sse",
    "completions_core",
    "sampling",
    "params_boundary",
    "function_call",
    "guided",
    "reasoning",
    "usage",
    "errors",
    "auth",
    "limits",
    "isolation",
)
"""The built-in suites as they are listed; others follow by name."""


def installed_suites() -> dict[str, Suite]:
    """Return every suite that is installed, by the entry points' names."""
    suites = _SUITES.load_all()
    return {name: suites[name] for name in sorted(suites, key=_place)}


def _place(name: str) -> tuple[int, str]:
    return (ORDER.index(name) if name in ORDER else len(ORDER)), name


def select(
    suites: Iterable[Suite], *, only: Sequence[str] = (), cases: Sequence[str] = ()
) -> list[Check]:
    """Return the checks that are wanted, in order.

    Args:
        suites: all there are.
        only: names of suites; none: all.
        cases: ids of checks, `suite.*` for a whole suite; none: all of the suites.

    Raises:
        ConfigError: there is no suite or check of that name.
    """
    known = {suite.name: suite for suite in suites}
    for name in only:
        if name not in known:
            raise ConfigError(f"--suite {name}: is not known; {_near(name, known)}")
    checks = [
        check
        for suite in known.values()
        if not only or suite.name in only
        for check in suite.checks.values()
    ]
    if not cases:
        return checks
    ids = [check.case_id for suite in known.values() for check in suite.checks.values()]
    wanted: set[str] = set()
    for case in cases:
        suite, _, rest = case.partition(".")
        if rest == "*" and suite in known:
            wanted.update(check.case_id for check in known[suite].checks.values())
        elif case in ids:
            wanted.add(case)
        else:
            raise ConfigError(f"--case {case}: is not known; {_near(case, ids)}")
    selected = [check for check in checks if check.case_id in wanted]
    if not selected:
        raise ConfigError(f"--case {', '.join(cases)}: not in --suite {', '.join(only)}")
    return selected


def _near(name: str, known: Iterable[str]) -> str:
    return nearest(name, known, otherwise="benchcore check --list names all", cutoff=0.5)


def chosen_checks(
    config: FunctionalConfig,
    beside: Path,
    source: Path | None = None,
    *,
    suites: Sequence[str] = (),
    cases: Sequence[str] = (),
    files: Sequence[Path] = (),
    smoke: bool = False,
) -> list[Check]:
    """Return the checks to make, in order.

    Args:
        config: which, as a file says.
        beside: the folder that its files of cases are relative to.
        source: that file, for messages.
        suites: only these, whatever the file says.
        cases: only these checks.
        files: of cases, besides.
        smoke: only the few that any server must pass.

    Raises:
        ConfigError: a suite, a check or a file is not known or will not do.
    """
    known = installed_suites()
    for path in (*(beside / name for name in config.files), *files):
        suite = read_cases(path)
        if suite.name in known:
            raise ConfigError(f"{path}: a suite {suite.name} exists already; rename this one")
        known[suite.name] = suite
    check_ids(config, known.values(), source)
    only = suites or (config.suite if isinstance(config.suite, tuple) else ())
    checks = select(known.values(), only=only, cases=cases)
    if smoke or (config.suite is False and not (suites or cases)):
        return [check for check in checks if check.smoke]
    return checks


def read_config(path: Path | None) -> FunctionalConfig:
    """Read what a user says of the checks of a server; `None`: nothing.

    Raises:
        ConfigError: the file is wrong; says where.
    """
    return FunctionalConfig() if path is None else read_model(path, FunctionalConfig)


def check_ids(config: FunctionalConfig, suites: Iterable[Suite], path: Path | None) -> None:
    """Refuse rules for checks, and names of suites, that are not there.

    Raises:
        ConfigError: one is not there.
    """
    suites = list(suites)
    names = {suite.name for suite in suites}
    ids = {case_id for suite in suites for case_id in suite.checks}
    for name in config.suite if isinstance(config.suite, tuple) else ():
        if name not in names:
            raise ConfigError(f"{path}: suite: {name}: is not known; {_near(name, names)}")
    for case_id in config.checks:
        if case_id not in ids:
            raise ConfigError(f"{path}: checks: {case_id}: is not known; {_near(case_id, ids)}")


def read_cases(path: Path) -> Suite:
    """Read a file of cases as a suite.

    Raises:
        ConfigError: the file is wrong; says where.
    """
    file = read_model(path, CasesFile)
    suite = Suite(file.suite, file.title or f"cases of {path.name}")
    for case in file.cases:
        _add(suite, case, _case(file, case))
    for matrix in file.matrices:
        _add(suite, matrix, _matrix(file, matrix))
    for negative in file.negative:
        _add(suite, negative, _negative(file, negative))
    return suite


def corners(grid: Mapping[str, tuple[Any, ...]]) -> list[dict[str, Any]]:
    """Return the combinations of the first and the last value of each list.

    Args:
        grid: parameter to its values, one or more.
    """
    ends = [values if len(values) == 1 else (values[0], values[-1]) for values in grid.values()]
    return [dict(zip(grid, values, strict=True)) for values in product(*ends)]


def _add(suite: Suite, case: Case | Matrix | Negative, body: Body) -> None:
    suite.add(
        case.id,
        case.title or case.id.replace("_", " ").replace("-", " "),
        body,
        needs=case.needs,
        model_dependent=case.model_dependent,
        tolerance=case.tolerance,
    )


def _case(file: CasesFile, case: Case) -> Body:
    async def body(t: Attempt) -> None:
        answer = await _ask(t, file, case, {})
        if case.expect_error is not None:
            judge_refusal(answer, case.expect_error)
        else:
            judge_answer(answer, case.expect or Expect())

    return body


def _matrix(file: CasesFile, matrix: Matrix) -> Body:
    async def body(t: Attempt) -> None:
        for fields in corners(matrix.grid):
            answer = await _ask(t, file, matrix, fields)
            _with(fields, judge_answer, answer, matrix.expect)

    return body


def _negative(file: CasesFile, negative: Negative) -> Body:
    async def body(t: Attempt) -> None:
        for value in negative.values:
            fields = {negative.parameter: value}
            answer = await _ask(t, file, negative, fields)
            _with(fields, judge_refusal, answer, negative.expect_error)

    return body


def _with(fields: Mapping[str, Any], judge: Any, answer: CheckAnswer, expectation: Any) -> None:
    """Judge an answer; a failure says with which values."""
    try:
        judge(answer, expectation)
    except CheckFailedError as error:
        raise CheckFailedError(f"{error.expected}, with {shown(fields)}", error.got) from None


async def _ask(
    t: Attempt, file: CasesFile, case: Case | Matrix | Negative, fields: Mapping[str, Any]
) -> CheckAnswer:
    asked = {**file.defaults, **case.request, **fields}
    endpoint = case.endpoint or file.endpoint
    if endpoint == "chat":
        body = t.chat_body(asked.pop("messages", "Hello"), **asked)
    else:
        body = t.completion_body(asked.pop("prompt", "Hello"), **asked)
    path = CHAT if endpoint == "chat" else COMPLETIONS
    if case.stream:
        return await t.post_stream(path, {**body, "stream": True})
    return await t.post(path, body)


def judge_answer(answer: CheckAnswer, expect: Expect) -> None:
    """Hold an answer to an expectation.

    Raises:
        CheckFailedError: it is another.
    """
    _require_status(answer, (expect.status,))
    if expect.status != 200:
        return
    if expect.content is not None or expect.contains or expect.matches or expect.json_schema:
        _judge_text(answer.text(), expect)
    if expect.finish_reason:
        finish = answer.finish()
        wanted = " or ".join(expect.finish_reason)
        _require(finish in expect.finish_reason, f"finish_reason {wanted}", finish)
    if expect.tool_call is not None:
        names = _called(answer)
        _require(expect.tool_call in names, f"a call of {expect.tool_call}", shown(names))
    if expect.max_completion_tokens is not None:
        count = answer.usage("completion_tokens")
        most = expect.max_completion_tokens
        _require(count <= most, f"at most {most} completion_tokens", str(count))
    for path, value in expect.fields.items():
        got = answer.at(*steps(path))
        _require(got == value, f"{path} to be {shown(value)}", shown(got))


def _called(answer: CheckAnswer) -> list[str]:
    if isinstance(answer, StreamedAnswer):
        return [name for call in answer.tool_calls() for name in call.names]
    return [str((call.get("function") or {}).get("name")) for call in answer.calls()]


def _judge_text(text: str, expect: Expect) -> None:
    if expect.content is not None:
        _require(text.strip() == expect.content, f"content {shown(expect.content)}", shown(text))
    for part in expect.contains:
        _require(part in text, f"{shown(part)} in the content", shown(text))
    if expect.matches is not None:
        match = re.search(expect.matches, text)
        _require(match, f"content that matches {expect.matches}", shown(text))
    if expect.json_schema is not None:
        try:
            value = orjson.loads(text)
        except orjson.JSONDecodeError as error:
            raise CheckFailedError("content that is JSON", f"{error}: {shown(text)}") from None
        fault = schema_fault(value, expect.json_schema)
        _require(not fault, "content that is valid against the schema", fault)


def judge_refusal(answer: CheckAnswer, expect: ExpectError) -> None:
    """Hold a refusal to an expectation.

    Raises:
        CheckFailedError: it is another, or none.
    """
    _require_status(answer, expect.status)
    if expect.contains is not None:
        said = answer.problem
        _require(expect.contains.lower() in said.lower(), f"a message with {expect.contains}", said)
    for name, wanted in (("param", expect.param), ("code", expect.code)):
        if wanted is not None:
            value = answer.at("error", name)
            _require(value == wanted, f"error.{name} to be {shown(wanted)}", shown(value))


def _require_status(answer: CheckAnswer, wanted: tuple[Status, ...]) -> None:
    fits = any(
        answer.status == status or (isinstance(status, str) and status[0] == str(answer.status)[0])
        for status in wanted
    )
    names = " or ".join(map(str, wanted))
    _require(fits, f"status {names}", f"{answer.status}: {answer.problem}")


def _require(holds: object, expected: str, got: str) -> None:
    if not holds:
        raise CheckFailedError(expected, got)
