"""Instructions about form: `detectable_format:*`."""

from __future__ import annotations

import json
import re
from typing import Final

from benchcore.stages.accuracy.instructions.given import Given

_ANSWERS: Final = ("My answer is yes.", "My answer is no.", "My answer is maybe.")
# A line of nothing but `*` takes the next line with it, as in the reference.
_STARRED: Final = re.compile(r"^[^\S\n]*\*[^*].*$", re.MULTILINE)
_DASHED: Final = re.compile(r"^[^\S\n]*-", re.MULTILINE)
_STAR: Final = re.compile(r"\*([^*\n]*)\*")
_STARS: Final = re.compile(r"\*\*([^*\n]*)\*\*")
_TITLE: Final = re.compile(r"<<([^\n]+)>>")
_FENCE: Final = re.compile(r"```(?:json)?", re.IGNORECASE)


def constrained_response(given: Given, response: str) -> bool:
    """Check for one of the three answers, word for word."""
    del given
    return any(answer in response for answer in _ANSWERS)


def number_bullet_lists(given: Given, response: str) -> bool:
    """Check for exactly `num_bullets` lines that begin with `*` (but not `**`) or `-`."""
    starred = sum(1 for _ in _STARRED.finditer(response))
    dashed = sum(1 for _ in _DASHED.finditer(response))
    return starred + dashed == given.number("num_bullets")


def number_highlighted_sections(given: Given, response: str) -> bool:
    """Check for at least `num_highlights` of `*text*` and `**text**`, blank ones aside.

    `***text***` counts as one of each, as in the reference.
    """
    found = (*_STAR.finditer(response), *_STARS.finditer(response))
    return sum(1 for match in found if match[1].strip()) >= given.number("num_highlights")


def multiple_sections(given: Given, response: str) -> bool:
    """Check for at least `num_sections` of `section_spliter` and a number, in this case."""
    # The reference does not ignore case here: SECTION is not Section.
    splitter = given.text("section_spliter")
    pattern = given.pattern(splitter, r"(?-i:{})\s?\d+")
    return sum(1 for _ in pattern.finditer(response)) >= given.number("num_sections")


def json_format(given: Given, response: str) -> bool:
    """Check that the response, fences of Markdown aside, is JSON; `NaN` passes."""
    del given
    text = response.strip()
    fence = _FENCE.match(text)
    text = text[fence.end() :] if fence else text
    try:
        json.loads(text.removesuffix("```").strip())
    except (ValueError, RecursionError):
        return False
    return True


def title(given: Given, response: str) -> bool:
    """Check for a title `<<...>>` on one line, not blank."""
    del given
    return any(match[1].lstrip("<").rstrip(">").strip() for match in _TITLE.finditer(response))
