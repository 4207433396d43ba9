from __future__ import annotations

import asyncio

import pytest

from benchcore import Target
from benchcore.checks.check import Check, Judge
from benchcore.checks.subject import UNKNOWN, Capability, Dialect, Subject
from benchcore.config.checks import CheckRule
from benchcore.runs.checks import Verdict


class NoClient:
    """A client that is never asked to send."""

    target = Target("http://127.0.0.1:1")


def subject(**fields):
    return Subject(NoClient(), "m", fields.pop("dialect", UNKNOWN), **fields)


async def judged(body, rules=None, of=None, seconds=5.0, **options):
    check = Check("s.c", "a title", body, **options)
    times = iter(range(100))
    judge = Judge(
        of or subject(), rules or {}, seconds=seconds, key_variable="K", clock=lambda: next(times)
    )
    return await judge.judge(check)


def scripted(*calls):
    """A check whose tries end one after the other as told; `None`: a pass."""
    left = list(calls)

    async def body(t):
        act = left.pop(0)
        if act is not None:
            act(t)

    return body


def fails(t):
    t.require(holds=False, expected="a thing", got={"b": 1})


async def test_a_check_that_ends_passes_in_one_try():
    result = await judged(scripted(None), model_dependent=True)
    assert (result.verdict, result.tries, result.passed_tries) == (Verdict.PASS, 1, 1)
    assert (result.severity.strict, result.severity.compat, result.seconds) == ("error", "error", 1)


async def test_a_failure_says_what_was_expected_and_what_came():
    result = await judged(scripted(fails))
    assert (result.verdict, result.tries) == (Verdict.FAIL, 1)
    assert (result.expected, result.got) == ("a thing", '{"b":1}')


@pytest.mark.parametrize(
    ("calls", "verdict", "tries", "reason"),
    [
        ((fails, fails, fails), Verdict.FAIL, 3, "passed none of 3 tries"),
        ((fails, None), Verdict.FLAKY, 2, "passed 1 of 2 tries"),
        ((fails, fails, None), Verdict.FLAKY, 3, "passed 1 of 3 tries"),
        ((fails, lambda t: t.skip("none here")), Verdict.SKIP, 2, "none here"),
    ],
)
async def test_a_check_that_depends_on_the_model_is_tried_three_times(
    calls, verdict, tries, reason
):
    result = await judged(scripted(*calls), model_dependent=True)
    assert (result.verdict, result.tries, result.reason) == (verdict, tries, reason)


async def test_a_tolerance_lets_a_failure_pass_unless_strict():
    result = await judged(scripted(fails), tolerance="engines differ")
    assert (result.verdict, result.severity.compat) == (Verdict.PASS, "tolerated")
    assert result.tolerated == ['expected a thing; got {"b":1}; tolerated: engines differ']
    strict = await judged(scripted(fails), of=subject(strict=True), tolerance="engines differ")
    assert strict.verdict is Verdict.FAIL


async def test_a_dialect_tolerates_by_id():
    dialect = Dialect(name="d", tolerates={"s.c": "it is so"})
    result = await judged(scripted(fails), of=subject(dialect=dialect))
    assert (result.verdict, result.tolerance) == (Verdict.PASS, "it is so")


@pytest.mark.parametrize("strict", [True, False])
async def test_a_rule_of_the_user_tolerates_in_strict_mode_too(strict):
    rules = {"s.c": CheckRule(tolerate="our gateway")}
    result = await judged(scripted(fails), rules, subject(strict=strict))
    assert result.verdict is Verdict.PASS
    assert result.tolerated[0].endswith("tolerated: our gateway")


async def test_a_rule_of_the_user_leaves_out():
    result = await judged(scripted(), {"s.c": CheckRule(skip="slow link")})
    assert (result.verdict, result.reason, result.tries) == (
        Verdict.SKIP,
        "left out: slow link",
        0,
    )


@pytest.mark.parametrize(
    ("offers", "strict", "verdict"),
    [
        (frozenset(), False, Verdict.UNSUPPORTED),
        (frozenset(), True, Verdict.UNSUPPORTED),
        (frozenset({"top_k"}), False, Verdict.FAIL),
        (frozenset({"*"}), False, Verdict.FAIL),
        (frozenset({"min_p"}), False, Verdict.UNSUPPORTED),
    ],
)
async def test_an_extension_fails_only_where_it_is_known_to_be_offered(offers, strict, verdict):
    of = subject(dialect=Dialect(name="d", offers=offers), strict=strict)
    result = await judged(scripted(fails), of=of, extension="top_k")
    assert result.verdict is verdict


@pytest.mark.parametrize(
    ("name", "verdict"),
    [
        ("tools", Verdict.UNSUPPORTED),
        ("instructions", Verdict.SKIP),
        ("auth", Verdict.SKIP),
        ("metrics", Verdict.SKIP),
    ],
)
async def test_an_absent_capability_is_told(name, verdict):
    of = subject(capabilities={name: Capability(available=False, how="status 404")})
    result = await judged(scripted(), of=of, needs=(name,))
    assert (result.verdict, result.reason) == (verdict, f"the server has no {name}: status 404")


async def test_an_unknown_capability_does_not_stop_a_check():
    of = subject(capabilities={"tools": Capability(available=None, how="?")})
    assert (await judged(scripted(None), of=of, needs=("tools",))).verdict is Verdict.PASS


async def test_an_opt_in_check_names_the_option_that_it_needs():
    result = await judged(scripted(), opt_in="expired_key")
    assert (result.verdict, result.reason) == (Verdict.SKIP, "needs --expired-key")


async def test_a_check_that_takes_too_long_fails():
    async def body(_t):
        await asyncio.Event().wait()

    result = await judged(body, seconds=0.01)
    assert (result.verdict, result.expected, result.got) == (
        Verdict.FAIL,
        "an end within 0.01 s",
        "it went on",
    )


async def test_what_is_preferred_is_noted_and_fails_only_in_strict_mode():
    def prefers(t):
        t.prefer(holds=False, expected="x", got="y", tolerance="why")

    result = await judged(scripted(prefers))
    assert (result.verdict, result.tolerated) == (
        Verdict.PASS,
        ["expected x; got y; tolerated: why"],
    )
    strict = await judged(scripted(prefers), of=subject(strict=True))
    assert (strict.verdict, strict.expected, strict.got) == (Verdict.FAIL, "x", "y")
