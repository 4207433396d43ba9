"""Limits: sizes, bursts and the ids of requests."""

from __future__ import annotations

import asyncio
import re
from email.utils import parsedate_to_datetime

from benchcore.checks.answers import CheckAnswer, CheckFailedError, shown
from benchcore.checks.attempt import CHAT, Attempt
from benchcore.checks.check import Suite

SUITE = Suite("limits", "sizes, bursts and the ids of requests")


@SUITE.check("a body that is too large is refused with a 4xx, or answered; never a 5xx", harsh=True)
async def too_large(t: Attempt) -> None:
    """RFC 9110, 15.5.14: content too large."""
    body = t.chat_body("x", max_tokens=1, x_padding="y" * t.subject.large_body)
    try:
        answer = await t.post(CHAT, body)
    except CheckFailedError as error:
        # A server that is down has not closed the connection of this body.
        await t.healthy()
        t.prefer(
            holds=False,
            expected="a status",
            got=error.got,
            tolerance="a server may close the connection of a body that it will not read",
            broken=True,
        )
        return
    t.require(0 < answer.status < 500, "an answer or a 4xx", str(answer.status))


async def _burst(t: Attempt) -> list[CheckAnswer]:
    count = t.subject.burst
    body = t.chat_body("Count from 1 to 200.", max_tokens=64)
    await t.subject.pace.turn()
    answers = await asyncio.gather(*(t.at_once(CHAT, body) for _ in range(count)))
    # What comes next waits for as long as the server asked: the burst was ours.
    t.subject.pace.after_burst(answer.record for answer in _refused(answers))
    return answers


def _refused(answers: list[CheckAnswer]) -> list[CheckAnswer]:
    return [answer for answer in answers if answer.status in (429, 503)]


@SUITE.check(
    "under a burst every request is answered, or refused with 429 or 503",
    alone=True,
    opt_in="burst",
)
async def burst_statuses(t: Attempt) -> None:
    """RFC 6585, section 4; RFC 9110, 15.6.4."""
    statuses = sorted({answer.status for answer in await _burst(t)})
    wrong = [status for status in statuses if status not in (200, 429, 503)]
    t.require(not wrong, "200, 429 or 503", shown(statuses))


@SUITE.check("a refusal for load says when to try again", alone=True, opt_in="burst")
async def retry_after(t: Attempt) -> None:
    """RFC 9110, 10.2.3: seconds, or a date."""
    answers = await _burst(t)
    refused = _refused(answers)
    if not refused:
        t.skip(f"{len(answers)} requests at once were all answered")
    for answer in refused:
        value = answer.header("retry-after")
        t.require(value is not None and _valid(value), "a valid Retry-After", shown(value))


def _valid(value: str) -> bool:
    if re.fullmatch("[0-9]+", value):
        return True
    try:
        parsedate_to_datetime(value)
    except ValueError:
        return False
    return True


@SUITE.check("a refusal for load has an error's body", alone=True, opt_in="burst")
async def burst_body(t: Attempt) -> None:
    """OpenAI API, Error codes: 429."""
    answers = await _burst(t)
    refused = _refused(answers)
    if not refused:
        t.skip(f"{len(answers)} requests at once were all answered")
    for answer in refused:
        t.require(isinstance(answer.find("error"), dict), "an object error", answer.problem)


@SUITE.check("after a burst the server is healthy", alone=True, opt_in="burst")
async def burst_recovers(t: Attempt) -> None:
    """RFC 6585, section 4: too many requests in a given time; later ones are welcome.

    The next request waits for as long as the refusals said, and is sent again where it is put off.
    """
    await _burst(t)
    answer = await t.post(CHAT, t.chat_body("Are you well?", max_tokens=2))
    t.require(answer.status == 200, "the next request answered", str(answer.status))


@SUITE.check("an answer has an x-request-id, the given one or the server's own")
async def request_id(t: Attempt) -> None:
    """OpenAI API, Debugging requests: x-request-id."""
    given = "0f0e0d0c-0b0a-4908-8706-050403020100"
    answer = await t.post(CHAT, t.chat_body("Hello", max_tokens=1), {"x-request-id": given})
    t.accepted(answer)
    t.prefer(
        answer.header("x-request-id"),
        "an x-request-id",
        "none",
        "engines leave ids to the gateway before them",
    )


@SUITE.check("traceparent does no harm")
async def traceparent(t: Attempt) -> None:
    """W3C Trace Context, 3.2."""
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    answer = await t.post(CHAT, t.chat_body("Hello", max_tokens=1), {"traceparent": trace})
    t.accepted(answer)


@SUITE.check("a malformed traceparent does no harm")
async def bad_traceparent(t: Attempt) -> None:
    """W3C Trace Context, 3.2.2: a vendor that fails to parse it ignores it."""
    answer = await t.post(CHAT, t.chat_body("Hello", max_tokens=1), {"traceparent": "zz-bad"})
    t.accepted(answer)
