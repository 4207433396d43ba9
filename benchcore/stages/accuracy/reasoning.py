"""Reasoning: what a model thinks aloud before it answers, and the answer without it."""

from __future__ import annotations

import re
from typing import Final

_NAMES: Final = r"(?:seed:)?(?:think|thinking|thought|thoughts|reason|reasoning|reflection)"
_TAGS: Final = (
    (rf"<{_NAMES}>", rf"</{_NAMES}>"),
    (r"\u25c1think\u25b7", r"\u25c1/think\u25b7"),
    (r"\[THINK\]", r"\[/THINK\]"),
    (r"<\|START_THINKING\|>", r"<\|END_THINKING\|>"),
    (r"<\|begin_of_thought\|>", r"<\|end_of_thought\|>"),
)
# A tag in quotation marks or backticks is spoken of, not used.
_USED: Final = r"(?<![`'\"\u201c\u2018])(?:{})(?![`'\"\u201d\u2019])"
_OPEN: Final = re.compile(_USED.format("|".join(one for one, _ in _TAGS)), re.IGNORECASE)
_CLOSE: Final = re.compile(_USED.format("|".join(other for _, other in _TAGS)), re.IGNORECASE)
_CHANNEL: Final = re.compile(r"<\|channel\|>\s*(\w+)[^<]*<\|message\|>")
_CHANNEL_END: Final = re.compile(r"<\|(?:end|return|call|start|channel)\|>")
_BARE_ANALYSIS: Final = re.compile(r"\s*analysis(?=[A-Z])")
"""Harmony's first channel where the server has left its marks out."""
_BARE_FINAL: Final = "assistantfinal"


def without_reasoning(text: str) -> str:
    """Return a text without its reasoning, its ends stripped.

    What stands before the last closing tag is reasoning even where no tag opens it, since many
    templates open it in the prompt. A tag that nobody closes makes reasoning of all that follows
    where the text, or what is left of it, begins with it, where it has a line of its own, or where
    reasoning came before and a word follows it at once; elsewhere it is spoken of. Of Harmony's
    channels only `final` is the answer.
    """
    channels = list(_CHANNEL.finditer(text))
    if channels:
        finals = [found for found in channels if found[1] == "final"]
        return _CHANNEL_END.split(text[finals[-1].end() :])[0].strip() if finals else ""
    if _BARE_ANALYSIS.match(text):
        return text.rpartition(_BARE_FINAL)[2].strip() if _BARE_FINAL in text else ""
    closed = 0
    for found in _CLOSE.finditer(text):
        closed = found.end()
    kept = text[closed:]
    for opened in _OPEN.finditer(text, closed):
        before = text[closed : opened.start()]
        line = text[opened.end() :].partition("\n")[0]
        alone = before.endswith("\n") and not line.strip() and before.count("```") % 2 == 0
        begins = bool(closed) and re.match(r"\w", line) is not None
        if alone or begins or not before.strip():
            kept = before
            break
    first = _OPEN.search(text)
    if first is not None and first.start() < closed:
        # An answer may stand before the reasoning too.
        kept = text[: first.start()] + kept
    return kept.strip()


def thinking_ended(text: str) -> bool:
    """Return whether a text shows that its reasoning, if there was any, has come to its end."""
    return _CLOSE.search(text) is not None or without_reasoning(text) != text.strip()


def opened_in_prompt(text: str) -> bool:
    """Return whether a text closes reasoning that it has not opened: the template opened it."""
    closed = _CLOSE.search(text)
    return closed is not None and _OPEN.search(text, 0, closed.start()) is None
