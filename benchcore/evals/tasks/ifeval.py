"""IFEval: instructions whose following can be checked by rule (Zhou et al. 2023)."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from benchcore.base.errors import ConfigError
from benchcore.config.evals import EvalConfig
from benchcore.evals import instruction_rules as rules
from benchcore.evals.instruction_rules import Checker, Given, load_punkt
from benchcore.evals.sampling import without_reasoning
from benchcore.evals.task import NO_ANSWER, Judgement, Question, Row, Source, Task
from benchcore.metrics.accuracy import Sample

_URL: Final = (
    "https://huggingface.co/datasets/google/IFEval/resolve/"
    "966cd89545d6b6acfd7638bc708b98261ca58e84/ifeval_input_data.jsonl"
)
_SHA256: Final = "6a85310ca8ce15eff755aa08a3a4ff931c7e273e7515ebb3c492ea85fd8288f2"


class IfEval(Task):
    """Asks IFEval: columns `key, prompt, instruction_id_list, kwargs`.

    The score is the strict one by prompt: every instruction of it followed. The other three of the
    paper stand beside: loose by prompt, strict and loose by instruction.
    """

    name: str = "ifeval"
    title: str = "IFEval: instructions whose following can be checked"
    builtin: str | None = "ifeval.jsonl"

    def sources(self, variant: str) -> tuple[Source, ...]:
        """Return the prompts."""
        del variant
        return (Source("ifeval_input_data.jsonl", _URL, _SHA256),)

    def check(self, config: EvalConfig) -> None:
        """Refuse to begin without what finds out languages."""
        super().check(config)
        check_needs(INSTRUCTIONS)
        load_punkt()

    def ask(self, row: Row, draw: random.Random) -> tuple[str, str, dict[str, Any]]:
        """Return the prompt."""
        del draw
        names = list(row["instruction_id_list"])
        unknown = [name for name in names if name not in INSTRUCTIONS]
        if unknown:
            raise ValueError(f"instruction {unknown[0]!r} is unknown")
        given = [{k: v for k, v in kwargs.items() if v is not None} for kwargs in row["kwargs"]]
        if len(given) != len(names):
            raise ValueError(f"{len(names)} instructions and {len(given)} kwargs")
        for name, kwargs in zip(names, given, strict=True):
            followed(name, kwargs, str(row["prompt"]), "")  # tells now what its values lack
        facts = {"instructions": names, "_kwargs": given}
        if "key" in row:
            facts["id"] = row["key"]
        return str(row["prompt"]), "", facts

    def said(self, row: Row) -> str:
        """Return the prompt."""
        return str(row["prompt"])

    def judge(self, question: Question, answer: str, config: EvalConfig) -> Judgement:
        """Check each instruction, strictly and loosely."""
        del config
        said = without_reasoning(answer)
        if not said:
            return NO_ANSWER
        pairs = zip(question.facts["instructions"], question.facts["_kwargs"], strict=True)
        strict, loose = [], []
        for name, given in pairs:
            strict.append(followed(name, given, question.text, said))
            loose.append(followed_loosely(name, given, question.text, said))
        return Judgement(float(all(strict)), details={"strict": strict, "loose": loose})

    def figures(self, samples: Sequence[Sample]) -> dict[str, float]:
        """Return the four figures of the paper; what has no answer followed nothing."""
        shares: dict[str, float] = {}
        done = [sample for sample in samples if sample.score is not None]
        for name in ("strict", "loose"):
            said = [_of(sample, name) for sample in done]
            checks = [is_followed for some in said for is_followed in some]
            if said:
                shares[f"prompt_{name}"] = sum(map(all, said)) / len(said)
                shares[f"instruction_{name}"] = sum(checks) / len(checks)
        return shares


def _of(sample: Sample, name: str) -> list[bool]:
    given, instructions = sample.details.get(name), sample.facts.get("instructions")
    if isinstance(given, list):
        return [followed is True for followed in given]
    if isinstance(instructions, list):
        return [False] * len(instructions)
    raise ConfigError(f"sample {sample.index} does not say which instructions it has; ask it anew")


# The instructions, by the ids of its data.

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
