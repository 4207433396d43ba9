"""Letters: the choice that a model names in what it says."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Final

from benchcore.evals.sampling import without_reasoning
from benchcore.evals.task import NO_ANSWER, Judgement

if TYPE_CHECKING:
    from benchcore.config.evals import Extraction


_MARKUP: Final = (
    "**",
    "$\\boxed{",
    "}$",
    "\\$",
    "$\\text{",
    "$",
    "\\mathrm{",
    "\\{",
    "\\text",
    "\\(",
    "\\mathbf{",
    "{",
    "\\boxed",
)
"""What simple-evals takes out of an answer to MMLU, in its order."""
_WORDS: Final = (
    "Answer",
    "উত্তর",
    "उत्तर",
    "Antwort",
    "답변",
    "정답",
    "답",
    "答案",
    "答",
    "الإجابة",
    "الجواب",
    "إجابة",
    "Respuesta",
    "Risposta",
    "答え",
    "回答",
    "解答",
    "Jawaban",
    "Réponse",
    "Resposta",
    "Jibu",
)
"""`Answer` in the languages in which simple-evals looks for it."""
_OTHER_LETTERS: Final = dict(zip("أبجدঅবডঢ", "ABCDABCD", strict=True))


@cache
def _first(letters: str) -> re.Pattern[str]:
    return re.compile(rf"Answer[ \t]*:[ \t]*\$?([{letters}])", re.IGNORECASE)


def first_letter(text: str, letters: str = "ABCD") -> str | None:
    """Return the letter by simple-evals' rule for GPQA: the first `Answer: X`, as it is written.

    Nothing is normalised: `answer: b` gives `b`, which is not the `B` that it is compared with, and
    `Answer: Because` gives `B`; both as there (`ANSWER_PATTERN_MULTICHOICE` in its `common.py`).
    """
    match = _first(letters).search(text)
    return match[1] if match else None


@cache
def _plain() -> tuple[re.Pattern[str], ...]:
    letters = "ABCD\uff21\uff22\uff23\uff24" + "".join(_OTHER_LETTERS)
    return tuple(
        re.compile(rf"{word}\s*[:\uff1a][ \t]*([{letters}])", re.IGNORECASE) for word in _WORDS
    )


def plain_letter(text: str) -> str | None:
    """Return the letter by simple-evals' rule for MMLU: some markup is taken out first.

    Then the first `Answer: X` counts, or, where there is none, the same in another language.
    """
    for markup in _MARKUP:
        text = text.replace(markup, "")
    for pattern in _plain():
        match = pattern.search(text)
        if match:
            letter = unicodedata.normalize("NFKC", match[1])
            return _OTHER_LETTERS.get(letter, letter)
    return None


# What the robust rule reads.
_UNWRAP: Final = re.compile(
    r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mathit|mathsf|operatorname|rm|bf)"
    r" ?\{([^{}]{0,200})\}"
)
_BOX: Final = re.compile(r"\\f?box(?:ed)? ?\{ ?([^{}]{0,200})\}")
_TAGGED: Final = re.compile(
    r"<(?:final_?|correct_?)?(?:answer|choice|option)>\s*([^<>\x02\x03]{1,200}?)\s*</",
    re.IGNORECASE,
)
_KEYED: Final = re.compile(
    r"[\"'](?:final_?|correct_?)?(?:answer|choice|option|letter)[\"']\s*:\s*"
    r"[\"']?\s*([^\"'{}\[\],\n\x02\x03]{1,200})",
    re.IGNORECASE,
)
_BRACKETED: Final = re.compile(r"[\u3010\[](答案|正确答案|答|Answer|정답|解答)[\u3011\]] ?:?")
_NOISE: Final = re.compile(
    r"\*+|`+|~~|__+|\$+|\\[()\[\]]|\\[,;!]|^[ \t]*#+[ \t]*|^[ \t]*>+", re.MULTILINE
)
_OPENED: Final = "[(\\[{<\"'\u201c\u2018\u300c\u3010]"
_CLOSED: Final = "[)\\]}>\"'\u201d\u2019\u300d\u3011]"
_ENDS: Final = r"(?![^\W\u3040-\u30ff\u4e00-\u9fff\uac00-\ud7af])"
"""No letter of a word follows; Chinese, Japanese and Korean put no space behind a letter."""
_FOLLOWS_A: Final = "because|since|as|is|due|for|with|by|and|or"
_NEGATED: Final = re.compile(
    r"(?:\bnot|n't|\bnever|\bneither|\bnor|不|不是|不选)\s*\Z", re.IGNORECASE
)


@cache
def _statements(letters: str) -> tuple[re.Pattern[str], ...]:
    bare = _bare(letters)
    small = rf"[{letters.lower()}](?=[ \t]*(?:[.,;:!)\]}}]|$))"
    shut = rf"{_OPENED}{{1,3}} ?(?P<shut>[{letters}{letters.lower()}]) ?{_CLOSED}{{1,3}}"
    letter = rf"(?:{shut}|{_OPENED}{{0,3}}(?P<bare>{bare})|(?P<small>{small}))"
    upper = (
        rf"(?:{_OPENED}{{1,3}} ?(?P<shut>[{letters}]) ?{_CLOSED}{{1,3}}"
        rf"|{_OPENED}{{0,3}}(?P<bare>{bare}))"
    )
    says = r"(?:(?:is|are|be|was|would|should|must|will|seems|appears|to|the|:|=|-|–|—|→) ?)*"
    kind = r"(?:(?:option|choice|letter|answer|statement) ?:? ?)?"
    other = "|".join(word for word in _WORDS if word not in ("Answer", "答案"))
    flags = re.MULTILINE
    insensitive = r"(?i:{})"
    # A bare `option X` says nothing: models go through the wrong ones after their answer.
    answer = insensitive.format(
        rf"(?:\banswers?(?: (?:choice|option|letter|number))?|\b(?:solution|conclusion)"
        rf"|\b(?:correct|right|best|final|chosen|appropriate|my) (?:option|choice|statement|letter)"
        rf"|\b(?:therefore|thus|hence|so),? (?:the )?(?:option|choice))"
        rf"(?: \([^)\n]{{0,40}}\))? ?{says}(?:(?:clearly|therefore|thus|likely|most likely|"
        rf"definitely|indeed|probably) ?)?{kind}"
    )
    return (
        re.compile(rf"{answer}\n?[ ]?{letter}", flags),
        re.compile(
            insensitive.format(
                r"\b(?:choose|chose|select|pick|go with|going with|opt for|goes with) "
                r"(?:the )?"
            )
            + insensitive.format(kind)
            + upper,
            flags,
        ),
        re.compile(
            rf"(?:\b|(?<=[(\[])){upper}{_CLOSED}{{0,3}} (?i:is|seems|appears|must be|should be) "
            rf"(?i:(?:to be )?(?:the )?(?:most )?(?:correct|right|best|answer|accurate))\b",
            flags,
        ),
        re.compile(
            rf"(?:答案|正确选项|正确答案|选项|故选|应选|选择|选)"
            rf"(?: ?(?:应该|应|是|为|選|选|项|:)){{0,4}} ?{letter}",
            flags,
        ),
        re.compile(rf"选项 ?{letter} ?(?:是|为)?(?:最)?(?:正确|对|佳|合适|符合)", flags),
        re.compile(rf"(?:{other}) ?: ?{letter}", flags | re.IGNORECASE),
    )


@cache
def _also(letters: str) -> re.Pattern[str]:
    joined = rf"{_CLOSED}{{0,3}}\.? ?(?:,|/|&|\+|and|or|und|oder|和|或|、) ?"
    named = r"(?:and |or )?(?:option |choice )?"
    return re.compile(
        rf"{joined}{named}{_OPENED}{{0,3}}[{letters}](?!\w)(?! (?!and\b|or\b)[a-z])",
        re.IGNORECASE,
    )


@cache
def _listed(letters: str) -> re.Pattern[str]:
    return re.compile(
        rf"^ *(?:[-•] *)?{_OPENED}{{0,3}} ?([{letters}]) ?{_CLOSED}{{0,3}}"
        rf"[).:\]]+{_CLOSED}{{0,3}}(?: .*)?$",
        re.MULTILINE,
    )


@cache
def _alone(letters: str) -> re.Pattern[str]:
    return re.compile(
        rf" *{_OPENED}{{0,3}} ?([{letters}{letters.lower()}]) ?"
        rf"{_CLOSED}{{0,3}}[.。!]?{_CLOSED}{{0,3}} *\Z"
    )


@cache
def _explicit(letters: str) -> tuple[re.Pattern[str], ...]:
    """Return what states an answer in its form: `Answer: X`, in any of the languages."""
    bare = _bare(letters)
    small = rf"[{letters.lower()}](?=[ \t]*(?:[.,;:!)\]}}]|$))"
    shut = rf"{_OPENED}{{1,3}} ?(?P<shut>[{letters}{letters.lower()}]) ?{_CLOSED}{{1,3}}"
    letter = rf"(?:{shut}|{_OPENED}{{0,3}}(?P<bare>{bare})|(?P<small>{small}))"
    names = "|".join(sorted(_WORDS[1:], key=len, reverse=True))
    kind = r"(?:(?:the )?(?:option|choice|letter|answer|选项) ?:? ?)?"
    return (
        re.compile(
            rf"(?i:\banswers?(?: (?:choice|option|letter|number))?(?: \([^)\n]{{0,40}}\))?"
            rf"(?: is| are| would be| must be)? ?[:=] ?(?:is ?)?{kind})\n*[ ]?{letter}",
            re.MULTILINE,
        ),
        re.compile(rf"(?:{names}) ?: ?{kind}\n*[ ]?{letter}", re.MULTILINE | re.IGNORECASE),
    )


def _bare(letters: str) -> str:
    # `A` and `I` are words too: before another word they are taken only in brackets.
    words = "".join(letter for letter in letters if letter in "AI")
    plain = "".join(letter for letter in letters if letter not in "AI")
    bare = rf"[{plain}]{_ENDS}" if plain else r"(?!)"
    if words:
        bare += rf"|[{words}]{_ENDS}(?! [^\W\d_])|[{words}](?= (?:{_FOLLOWS_A})\b)"
    return bare


def robust_letter(text: str, letters: str = "ABCD") -> str | None:
    r"""Return the letter that an answer comes down to, in upper case; `None`: none, or two.

    Reasoning, Markdown and LaTeX are taken out. The last answer in its form counts: `Answer: C`,
    also in other languages, `\boxed{C}`, `<answer>C</answer>`, `{"answer": "C"}`. Where there is
    none, the last statement: `the answer is C`, `Option C is correct`, `答案是 C`; and without
    one of those either, a last line that is nothing but a letter, or a letter and its choice.
    """
    clean = _cleaned(without_reasoning(text))
    last, place = _boxed(clean, letters)
    plain = clean.replace("\x02", "(").replace("\x03", ")")
    for patterns in (_explicit(letters), _statements(letters)):
        for pattern in patterns:
            for match in pattern.finditer(plain):
                if match.end() <= place or _NEGATED.search(
                    plain[max(0, match.start() - 12) : match.start()]
                ):
                    continue
                letter = next(group for group in match.groups() if group)
                several = _also(letters).match(plain, match.end())
                last, place = (None if several else letter.upper()), match.end()
        if place >= 0:
            return last
    return _of_the_last_line(plain, letters)


def _boxed(text: str, letters: str) -> tuple[str | None, int]:
    """Return the letter of the last box that holds one, and where it ends; `None`: it holds two."""
    last, place = None, -1
    for match in re.finditer(r"\x02(.{0,200}?)\x03", text):
        alone = _alone(letters).match(match[1])
        named = re.match(
            rf" *(?i:(?:(?:the )?(?:correct )?(?:answer|option|choice|letter|选项|答案)"
            rf"(?: is)? ?:? ?)*)\(?([{letters}])(?!\w)\)?",
            match[1],
        )
        if alone is None and named is None:
            continue
        beside = place >= 0 and re.fullmatch(
            r"[ ,&/]*(?:and|or)?[ ,]*", text[place : match.start()]
        )
        several = alone is None and _also(letters).match(match[1], named.end() if named else 0)
        letter = (alone or named or match)[1].upper()
        last, place = (None if beside or several else letter), match.end()
    return last, place


def _cleaned(text: str) -> str:
    text = unicodedata.normalize("NFKC", text)
    for _ in range(3):
        text = _UNWRAP.sub(r"\1", text)
    text = _BOX.sub("\x02\\1\x03", text)
    text = _TAGGED.sub("\x02\\1\x03", text)
    text = _KEYED.sub("\x02\\1\x03", text)
    text = _BRACKETED.sub(r"\1: ", text)
    text = _NOISE.sub("", text)
    return re.sub(r"[ \t\xa0]+", " ", text)


def _of_the_last_line(text: str, letters: str) -> str | None:
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        return None
    alone = _alone(letters).match(lines[-1])
    if alone:
        # A small letter is one only where nothing else is said.
        letter = alone[1]
        return letter.upper() if letter in letters or len(lines) == 1 else None
    listed = {match[1] for match in _listed(letters).finditer(text)}
    named = _listed(letters).match(lines[-1])
    # A list of the choices, said again, names none of them.
    return named[1] if named and len(listed) == 1 else None


LETTERS: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

# What is asked decides what is answered: a score compares with simple-evals' figures only where
# the words are the same. They are those of its `common.py` (MIT licence).
_ORDER: Final = (
    "Answer the following multiple choice question. The last line of your response should be of "
    "the following format: 'Answer: $LETTER' (without quotes) where LETTER is one of {letters}. "
    "Think step by step before answering."
)


def choice_text(question: str, choices: Sequence[str]) -> str:
    """Return a question with its choices and the form in which to answer.

    Raises:
        ValueError: there are fewer than two choices, or more than there are letters.
    """
    if not 2 <= len(choices) <= len(LETTERS):
        raise ValueError(f"{len(choices)} choices; a question has 2 to {len(LETTERS)}")
    letters = LETTERS[: len(choices)]
    listed = "\n".join(
        f"{letter}) {choice}" for letter, choice in zip(letters, choices, strict=True)
    )
    return f"{_ORDER.format(letters=letters)}\n\n{question}\n\n{listed}"


def judge_letter(answer: str, target: str, letters: str, extraction: Extraction) -> Judgement:
    """Return what an answer by letter is worth."""
    read = first_letter if extraction == "simple-evals" else robust_letter
    letter = read(answer, letters)
    if letter is None:
        return NO_ANSWER
    return Judgement(float(letter == target), letter)
