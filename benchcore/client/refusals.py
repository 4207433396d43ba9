"""Refusals: what one says, whether and when to ask again, and with which fields."""

from __future__ import annotations

import random
import re
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import unescape
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import orjson

from benchcore.base.backoff import Backoff, retry_after
from benchcore.base.text import AMPLE
from benchcore.client.openai import TOKEN_LIMITS, error_text, refused_field
from benchcore.client.records import Outcome, Record

if TYPE_CHECKING:
    from benchcore.config.target import Target


_PASSING: Final = frozenset({408, 409, 429})
"""Besides 5xx."""
_BROKEN: Final = frozenset({Outcome.CONNECT_ERROR, Outcome.TRUNCATED})
BACKOFF: Final = Backoff(first_seconds=0.5, most_seconds=30.0)
PATIENCE_SECONDS: Final = 120.0
"""A server that asks for more in `Retry-After` is taken to refuse."""


@dataclass(frozen=True, slots=True)
class Again:
    """To be sent again.

    Args:
        seconds: to wait before.
        why: in a line.
    """

    seconds: float
    why: str


def again(record: Record, tries: int, most: int, draw: random.Random, now: float) -> Again | None:
    """Return whether a request is to be sent again; `None`: its end is final.

    Sent again are 408, 409, 429, 5xx and connections that broke; a time-out of ours is not, nor is
    an answer that is empty or wrong.

    Args:
        record: how it ended.
        tries: how often it has been sent.
        most: how often it may be sent again.
        draw: spreads the waits, so that those who failed together do not come back together.
        now: seconds since the epoch, against which a date in `Retry-After` is held.
    """
    passing = record.outcome in _BROKEN or (
        record.outcome is Outcome.HTTP_ERROR and (record.status in _PASSING or record.status >= 500)
    )
    return pause(record, tries, most, draw, now) if passing else None


def pause(record: Record, tries: int, most: int, draw: random.Random, now: float) -> Again | None:
    """Return how long to wait before a request is sent again; `None`: it is not worth the wait.

    What the server asks for in `Retry-After`, or from half a second on twice as long each time. The
    arguments are those of `again`.
    """
    if tries > most:
        return None
    why = f"{record.status}: {record.error}" if record.status >= 400 else record.error
    asked = retry_after(record.retry_after, now) if record.status >= 400 else None
    if asked is not None:
        return Again(asked, why) if asked <= PATIENCE_SECONDS else None
    return Again(BACKOFF.seconds(tries, draw.random), why)


_TITLE = re.compile(r"<title[^>]*>([^<]+)", re.IGNORECASE)


def refusal(
    body: bytes, status: int, content_type: bytes, encodings: Sequence[str], server: str
) -> tuple[str, str]:
    """Return what a refusal says, and the field that it names in a place of its own.

    Args:
        body: of the answer.
        status: of the answer.
        content_type: in lower case.
        encodings: by which the body is compressed, unasked.
        server: the name that the server gives itself; empty: none.
    """
    field = ""
    if encodings:
        said = f"the body is compressed ({', '.join(encodings)}), unasked"
    elif not body.strip():
        said = f"{_title('', status, server)}, and an empty body"
    elif b"html" in content_type or body.lstrip()[:1] == b"<":
        # A page has no words of its own: title and server say what it is.
        said = _title(body[:AMPLE].decode(errors="replace"), status, server)
    else:
        try:
            parsed = orjson.loads(body)
        except orjson.JSONDecodeError:
            said = body[:AMPLE].decode(errors="replace")
        else:
            said, field = error_text(parsed), refused_field(parsed)
    if 300 <= status < 400:
        said = f"a redirect; give the address it leads to as --base-url. {said}"
    return said, field


def _title(page: str, status: int, server: str) -> str:
    found = _TITLE.search(page)
    title = "" if found is None else " ".join(unescape(found[1]).split())
    title = title.removeprefix(str(status)).lstrip(" -:|")
    if not title:
        try:
            title = HTTPStatus(status).phrase
        except ValueError:
            title = "no title"
    return f'"{title}" ({server})' if server else f'"{title}"'


def blame(fault: Exception) -> tuple[bool, str]:
    """Return whether a fault in reading an answer is ours, and what is said of it.

    JSON may be nested so deeply that it can be read and nothing else: that is the server's.
    """
    if isinstance(fault, RecursionError) or "recursion" in str(fault).lower():
        return False, "the JSON of the answer is nested too deeply"
    frame = traceback.extract_tb(fault.__traceback__)[-1:]
    where = f" in {Path(frame[0].filename).name}:{frame[0].lineno}" if frame else ""
    return True, (
        f"a fault of benchcore's own in reading the answer: "
        f"{type(fault).__name__}{where}: {str(fault)[:120]}"
    )


_NEGOTIABLE: Final = frozenset({400, 422})
"""Statuses by which servers refuse a field."""

_NEEDED: Final = frozenset({"model", "messages", "prompt", "input", "stream"})
_REFUSING: Final = re.compile(
    r"unsupported|(?:not|n't) (?:be )?(?:supported?|permitted|allowed|accept\w*|implemented)"
    r"|unrecogni[sz]ed|not recogni[sz]ed|unknown|unexpected|extra[ _](?:inputs?|fields?|forbidden)"
    r"|forbidden|invalid (?:parameter|field|argument|property|key)|no such|deprecated|not (?:a )?"
    r"(?:valid|known)|only the default|additional propert|不支持|未知|无效",
    re.IGNORECASE,
)
_OF_ITS_VALUE: Final = re.compile(
    r"too (?:large|long|big|small|high|low|many)|at (?:most|least)|maximum|context length"
    r"|(?:less|greater|more|larger|smaller) than|between|must be|exceed|out of range",
    re.IGNORECASE,
)
_INSTEAD: Final = re.compile(r"\buse [`'\"]?([a-z][a-z_]{2,40})[`'\"]? instead", re.IGNORECASE)


def negotiated(
    target: Target, body: Mapping[str, Any], record: Record
) -> tuple[Target, str] | None:
    """Return the target without the field that a refusal names, and what to tell of it.

    A field is renamed where the refusal names another for it, and so is the limit of tokens under
    its older name; else it is left out. `None`: the refusal is of something else, or of what the
    user asked for.

    Args:
        target: that was asked.
        body: that was sent.
        record: how it was refused.
    """
    if record.status not in _NEGOTIABLE:
        return None
    name = _refused(target, body, record)
    if name is None:
        return None
    was = next((old for old, new in target.rename.items() if new == name), name)
    other = _other_name(name, body, record.error)
    if other is not None and (was == name or other != name):
        changed = target.model_copy(update={"rename": {**target.rename, was: other}})
        return changed, (
            f"the server refuses {name} ({record.error[:120]}): {other} is sent in its place; "
            f"--rename {was}={other} says so beforehand"
        )
    changed = target.model_copy(update={"omit": (*target.omit, name)})
    return changed, (
        f"the server refuses {name} ({record.error[:120]}): it is left out; --omit {name} says so "
        "beforehand"
    )


def _refused(target: Target, body: Mapping[str, Any], record: Record) -> str | None:
    """Return the field that the refusal is of, if a request can do without it."""
    text = record.error
    optional = [
        name
        for name in body
        # What the user has asked for is not dropped behind their back.
        if name not in _NEEDED and target.extra_body.get(name) is None
    ]
    refusing = _REFUSING.search(text) is not None
    of_its_value = _OF_ITS_VALUE.search(text) is not None
    named = record.refused_field.partition(".")[0]
    places = {name: _place(name, text) for name in optional}
    if named in places:
        found = named
    else:
        there = [name for name in optional if places[name] >= 0]
        if not there:
            return None
        found = min(there, key=places.__getitem__)
        if not refusing and found != "stream_options":
            return None
    # A limit of tokens that is too high is to be lowered by the user, and not to be dropped.
    if of_its_value and (found in TOKEN_LIMITS or not refusing):
        return None
    return found


def _place(name: str, text: str) -> int:
    found = re.search(rf"(?<![A-Za-z0-9_]){re.escape(name)}(?![A-Za-z0-9_])", text)
    return -1 if found is None else found.start()


def _other_name(name: str, body: Mapping[str, Any], text: str) -> str | None:
    """Return the name under which a refused field is to be sent."""
    instead = _INSTEAD.search(text)
    if instead is not None and instead[1] not in body:
        return instead[1]
    if name not in TOKEN_LIMITS:
        return None
    for other in TOKEN_LIMITS:
        if other not in body and _place(other, text) >= 0:
            return other
    newer = "max_completion_tokens"
    return newer if name == "max_tokens" and newer not in body else None
