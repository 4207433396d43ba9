"""INSTRUCTIONS: the 25 instructions of IFEval, by the ids of its data.

Zhou et al. 2023, "Instruction-Following Evaluation for Large Language Models". The rules are those
of the paper's reference implementation, so that scores compare, but for the count of sentences:
see `split_sentences`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final

from benchcore.stages.accuracy.instructions import (
    case,
    combination,
    content,
    format,  # noqa: A004 - the family's name
    keywords,
    language,
    length,
    punctuation,
    startend,
)
from benchcore.stages.accuracy.instructions.given import Checker, Given

INSTRUCTIONS: Final[Mapping[str, Checker]] = MappingProxyType(
    {
        "keywords:existence": keywords.existence,
        "keywords:frequency": keywords.frequency,
        "keywords:forbidden_words": keywords.forbidden_words,
        "keywords:letter_frequency": keywords.letter_frequency,
        "language:response_language": language.response_language,
        "length_constraints:number_sentences": length.number_sentences,
        "length_constraints:number_paragraphs": length.number_paragraphs,
        "length_constraints:number_words": length.number_words,
        "length_constraints:nth_paragraph_first_word": length.nth_paragraph_first_word,
        "detectable_content:number_placeholders": content.number_placeholders,
        "detectable_content:postscript": content.postscript,
        "detectable_format:number_bullet_lists": format.number_bullet_lists,
        "detectable_format:constrained_response": format.constrained_response,
        "detectable_format:number_highlighted_sections": format.number_highlighted_sections,
        "detectable_format:multiple_sections": format.multiple_sections,
        "detectable_format:json_format": format.json_format,
        "detectable_format:title": format.title,
        "combination:two_responses": combination.two_responses,
        "combination:repeat_prompt": combination.repeat_prompt,
        "startend:end_checker": startend.end_checker,
        "startend:quotation": startend.quotation,
        "change_case:capital_word_frequency": case.capital_word_frequency,
        "change_case:english_capital": case.english_capital,
        "change_case:english_lowercase": case.english_lowercase,
        "punctuation:no_comma": punctuation.no_comma,
    }
)
"""Each instruction's rule."""

_OF_LANGUAGE: Final = frozenset(
    {"language:response_language", "change_case:english_capital", "change_case:english_lowercase"}
)


def followed(instruction_id: str, kwargs: Mapping[str, Any], prompt: str, response: str) -> bool:
    """Return whether a response follows one instruction, strictly.

    Args:
        instruction_id: one of `INSTRUCTIONS`.
        kwargs: the instruction's arguments; those that are `None` or of others are left alone.
        prompt: what was asked; none of the 25 looks at it.
        response: what was answered; blank, it follows nothing.

    Raises:
        ValueError: the id is unknown, or an argument is missing or wrong.
        ConfigError: `langdetect` is needed and not installed.
    """
    del prompt
    check = INSTRUCTIONS.get(instruction_id)
    if check is None:
        raise ValueError(f"instruction {instruction_id!r} is unknown")
    # A blank response is checked too: wrong arguments are told of whatever was answered.
    return check(Given(instruction_id, kwargs), response) and bool(response.strip())


def followed_loosely(
    instruction_id: str, kwargs: Mapping[str, Any], prompt: str, response: str
) -> bool:
    """Return whether one of the eight variants of a response follows, section 2.2 of the paper.

    The variants forgive an introduction, a closing line and Markdown's stars: the response, without
    its first line, without its last, without both; and each of these without any `*`.

    Raises:
        ValueError: as `followed`.
        ConfigError: as `followed`.
    """
    return any(followed(instruction_id, kwargs, prompt, variant) for variant in _variants(response))


def _variants(response: str) -> Iterator[str]:
    lines = response.split("\n")
    cuts = (lines[1:], lines[:-1], lines[1:-1])
    plain = (response, *("\n".join(cut).strip() for cut in cuts))
    yield from plain
    yield from (variant.replace("*", "") for variant in plain)


def check_needs(instruction_ids: Iterable[str]) -> None:
    """Refuse instructions that cannot be checked on this machine.

    Raises:
        ConfigError: one finds out languages and `langdetect` is not installed.
    """
    if not _OF_LANGUAGE.isdisjoint(instruction_ids):
        language.load_langdetect()
