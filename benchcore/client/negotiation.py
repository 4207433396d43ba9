"""Negotiation: what a refusal says of the fields of a request, and the request without them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from benchcore.client.openai import TOKEN_LIMITS

if TYPE_CHECKING:
    from benchcore.client.records import Record
    from benchcore.config.target import Target

STATUSES: Final = frozenset({400, 422})
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
    if record.status not in STATUSES:
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
