"""Instructions: those of IFEval, by the ids of its data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final

from benchcore.evals import instruction_rules as rules
from benchcore.evals.instruction_rules import Checker, Given

INSTRUCTIONS: Final[Mapping[str, Checker]] = MappingProxyType(
    {
        "keywords:existence": rules.existence,
        "keywords:frequency": rules.frequency,
        "keywords:forbidden_words": rules.forbidden_words,
        "keywords:letter_frequency": rules.letter_frequency,
        "language:response_language": rules.response_language,
        "length_constraints:number_sentences": rules.number_sentences,
        "length_constraints:number_paragraphs": rules.number_paragraphs,
        "length_constraints:number_words": rules.number_words,
        "length_constraints:nth_paragraph_first_word": rules.nth_paragraph_first_word,
        "detectable_content:number_placeholders": rules.number_placeholders,
        "detectable_content:postscript": rules.postscript,
        "detectable_format:number_bullet_lists": rules.number_bullet_lists,
        "detectable_format:constrained_response": rules.constrained_response,
        "detectable_format:number_highlighted_sections": rules.number_highlighted_sections,
        "detectable_format:multiple_sections": rules.multiple_sections,
        "detectable_format:json_format": rules.json_format,
        "detectable_format:title": rules.title,
        "combination:two_responses": rules.two_responses,
        "combination:repeat_prompt": rules.repeat_prompt,
        "startend:end_checker": rules.end_checker,
        "startend:quotation": rules.quotation,
        "change_case:capital_word_frequency": rules.capital_word_frequency,
        "change_case:english_capital": rules.english_capital,
        "change_case:english_lowercase": rules.english_lowercase,
        "punctuation:no_comma": rules.no_comma,
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
        rules.load_langdetect()
