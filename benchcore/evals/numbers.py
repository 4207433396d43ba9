"""Numbers: the number or the expression that a model comes to in what it says."""

from __future__ import annotations

import importlib.util
import logging
import re
import threading
import unicodedata
from fractions import Fraction
from typing import Any, Final

from benchcore.base.errors import ConfigError
from benchcore.evals.sampling import without_reasoning
from benchcore.version import installing

_STRICT: Final = re.compile(r"#### (-?[0-9.,]+)")
_DIGITS: Final = (
    r"(?:\d{1,3}(?:[, \u202f'\u2019]\d{3})+(?![\d])"
    r"|[1-9]\d{0,2}(?:\.\d{3}){2,}(?![\d])(?:,\d+)?"
    r"|[1-9]\d{0,2}(?:\.\d{3})+,\d{1,2}(?!\d)"
    r"|[1-9]\d{0,2}\.000(?![\d.])|\d+)"
)
"""Whole numbers, with thousands as they are written in English, French, Swiss and German.

`1.000` is a thousand: nobody counts to three decimals that are zero. `1.250` stays a decimal.
"""
_NUMBER: Final = re.compile(
    rf"(?<![\w.])(?P<sign>-)? ?\$? ?(?P<digits>{_DIGITS}(?:\.\d+)?|\.\d+)"
    rf"(?P<power>[eE][+-]?\d{{1,3}})?(?: ?/ ?(?P<below>\d+))?"
)
_FRACTION: Final = re.compile(r"(?:(-) ?)?\\[dt]?frac ?\{ ?(-?\d+) ?\} ?\{ ?(\d+) ?\}")
_MIXED: Final = re.compile(
    r"(?<![\w.,/])(\d{1,9}) ?(?:\\[dt]?frac ?(?:\{ ?(\d{1,9}) ?\} ?\{ ?(\d{1,9}) ?\}|(\d) ?(\d))"
    r"|(?<= )(\d{1,3})/(\d{1,3})(?![\d/]))"
)
_SHORT_FRACTION: Final = re.compile(r"(?:(-) ?)?\\[dt]?frac ?(\d) ?(\d)")
_VULGAR: Final = re.compile("(\\d*) ?([\u00bc-\u00be\u2150-\u215e])")
_UNWRAP: Final = re.compile(r"\\(?:text|textbf|mathrm|mathbf|mbox) ?\{([^{}]{0,200})\}")
_BOX: Final = re.compile(r"\\f?box(?:ed)? ?\{([^{}]{0,200})\}")
_NOISE: Final = re.compile(r"\*\*+|`+|\\[()\[\]]|\\[,;!:]|\\\$|\\%|\\ ")
_SAID: Final = re.compile(
    r"(?:####|(?:\banswer|\bantwort|\brespuesta|\bréponse|\bresposta|\bответ|\bjibu|答案|答え|উত্তর|"  # noqa: RUF001  languages
    r"సమాధానం|คำตอบ)(?: is| are| was| would be|是|为|は)? ?[:=]?)",
    re.IGNORECASE,
)
"""The word for `Answer` in the languages of MGSM."""
_EXPLAINED: Final = re.compile(
    r"(?<=[\w%\x03]) ?\((?!\d+\))|[;,] (?!\d{3}\b)|\. "
    r"|\b(?:because|since|where|as|when|if|for|with)\b"
)
_OPERATOR: Final = re.compile(r"[\d)] ?[-+*/×÷·^] ?[\d($]")
_MOST_DIGITS: Final = 400


def strict_number(text: str) -> str | None:
    """Return the number after the first `#### `, in its plain form; `None`: there is none.

    The rule of lm-evaluation-harness' `strict-match` for GSM8K.
    """
    match = _STRICT.search(text)
    return normal_number(match[1]) if match else None


def flexible_number(text: str) -> str | None:
    """Return the last number in a text, in its plain form; `None`: there is none.

    What lm-evaluation-harness calls `flexible-extract`, with thousands and fractions understood.
    """
    number = None
    for match in _NUMBER.finditer(_cleaned(text)):
        number = _value(match) or number
    return number


def answer_number(text: str) -> str | None:
    r"""Return the number that an answer comes down to, in its plain form; `None`: there is none.

    Reasoning and markup are taken out. The last `\boxed{…}`, `Answer: …`, `the answer is …` or
    `#### …` counts; where there is none, the last number.
    """
    clean = _cleaned(without_reasoning(text))
    best, place = None, -1
    for match in re.finditer(r"\x02([^\x02\x03]{0,200})\x03", clean):
        value = _first_number(match[1])
        if value is not None:
            best, place = value, match.start()
    plain = clean.replace("\x02", " ").replace("\x03", " ")
    for match in _SAID.finditer(plain):
        if match.start() > place:
            value = _first_number(plain[match.end() : match.end() + 200].lstrip().split("\n")[0])
            if value is not None:
                best, place = value, match.start()
    return best if best is not None else flexible_number(plain)


def mgsm_number(text: str, prefix: str) -> str:
    """Return the number after the last `prefix`, by simple-evals' rule for MGSM; empty: none.

    Args:
        text: of the answer.
        prefix: the word for `Answer` in its language.
    """
    before, marker, after = text.rpartition(prefix)
    del before
    if not marker:
        return ""
    numbers = re.findall(r"\d+\.?\d*", after.replace(",", ""))
    return str(numbers[-1]).rstrip(".") if numbers else ""


def mgsm_equal(target: str, prediction: str) -> bool:
    """Return whether a number is the right one, by simple-evals' rule for MGSM."""
    if "." in prediction:
        prediction = prediction.rstrip("0").rstrip(".")
    return target.replace(",", "") == prediction.replace(",", "")


def normal_number(text: str) -> str | None:
    """Return a number in its plain form: no commas, no sign of a currency, no zeros at its end.

    A fraction stays one, `3/4`. `None`: it is no number.
    """
    clean = _cleaned(text).strip().rstrip(".,").replace("+", "", 1).strip(" $€£%")
    match = _NUMBER.fullmatch(clean)
    return _value(match) if match else None


def equal_numbers(first: str, other: str) -> bool:
    """Return whether two texts are the same number, exactly; what is no number equals nothing."""
    left, right = normal_number(first), normal_number(other)
    return left is not None and right is not None and Fraction(left) == Fraction(right)


def _first_number(text: str) -> str | None:
    """Return the number of a text that says one thing first, and perhaps explains it then.

    Of `12 × 3 = 36` it is what is right of the sign; of `36 = 12 × 3` and `36 (for n = 3)` the 36.
    """
    head = _EXPLAINED.split(text, maxsplit=1)[0]
    if _NUMBER.search(head) is None:
        head = text
    parts = [part for part in head.split("=") if _NUMBER.search(part)]
    for part in parts:
        if not _OPERATOR.search(part):
            return _found(part)
    return _found(parts[-1]) if parts else None


def _found(text: str) -> str | None:
    match = _NUMBER.search(text)
    return _value(match) if match else None


def _cleaned(text: str) -> str:
    # Not NFKC for all: a half as one sign would become 1/2, behind a 1 that stands before it.
    text = "".join(
        unicodedata.normalize("NFKC", char) if "\uff00" <= char <= "\uffef" else char
        for char in text
    )
    text = text.translate(_SIGNS)
    for _ in range(2):
        text = _UNWRAP.sub(r"\1", text)
    text = text.replace("{,}", "")  # thousands, also in a box
    text = _MIXED.sub(_one_fraction, text)
    text = _FRACTION.sub(r"\1\2/\3", text)
    text = _SHORT_FRACTION.sub(r"\1\2/\3", text)
    text = _VULGAR.sub(_spelt_out, text)
    text = _BOX.sub("\x02\\1\x03", text)
    return re.sub(r"[ \t]+", " ", _NOISE.sub("", text))


def _one_fraction(match: re.Match[str]) -> str:
    """Return a whole number and a fraction behind it as one fraction."""
    whole, above, below = (int(group) for group in match.groups() if group is not None)
    if not 0 < above < below:
        return match[0]
    return f"{whole * below + above}/{below}"


def _spelt_out(match: re.Match[str]) -> str:
    """Return a whole number and a fraction of one sign as one fraction."""
    part = Fraction(unicodedata.numeric(match[2])).limit_denominator(10)
    if len(match[1]) > _MOST_DIGITS:
        return match[0]
    whole = Fraction(match[1] or 0) + part
    return f"{whole.numerator}/{whole.denominator}"


_SIGNS: Final = {
    0x2212: "-",
    0x2013: "-",
    0x2044: "/",
    0x00A0: " ",
    0x2009: " ",
    0x066C: ",",
    **{
        start + digit: str(digit)
        for start in (0x0660, 0x06F0, 0x0966, 0x09E6, 0x0C66, 0x0E50)
        for digit in range(10)
    },
}
"""Signs and digits of other scripts."""


def _value(match: re.Match[str]) -> str | None:
    digits = match["digits"]
    if re.fullmatch(r"\d{1,3}(?:\.\d{3})+,\d+|\d{1,3}(?:\.\d{3}){2,}|[1-9]\d{0,2}\.000", digits):
        digits = digits.replace(".", "").replace(",", ".")
    digits = re.sub(r"[, \u202f'\u2019]", "", digits)
    power, below = match["power"] or "", match["below"]
    if len(digits) > _MOST_DIGITS or (below and len(below) > _MOST_DIGITS):
        return None  # a model that counts on and on
    value = Fraction(f"{digits}{power}") * (-1 if match["sign"] else 1)
    if below is not None:
        if not int(below):
            return None
        value /= int(below)
    return _plain(value)


def _plain(value: Fraction) -> str:
    """Return a value as decimals where they end, else as a fraction."""
    below, tens = value.denominator, 0
    while below % 10 == 0:
        below //= 10
        tens += 1
    for prime in (2, 5):
        while below % prime == 0:
            below //= prime
            tens += 1
    if below != 1:
        return f"{value.numerator}/{value.denominator}"
    scaled = abs(value.numerator) * 10**tens // value.denominator
    text = str(scaled).rjust(tens + 1, "0")
    whole, part = (text[:-tens], text[-tens:].rstrip("0")) if tens else (text, "")
    sign = "-" if value < 0 else ""
    return f"{sign}{whole}.{part}" if part else f"{sign}{whole}"


# Mathematical answers, found in a text and compared by what they mean.

_BOXED: Final = re.compile(r"\\f?box(?:ed)?\s*\{")
_WRITTEN: Final = re.compile(
    r"(?:answer|答案|antwort|réponse|respuesta|resposta|risposta|ответ)"
    r"[^\w\n]{0,6}?[:\uff1a][*_ \t]*"
    r"(?:\n\s{0,20})?(?:(?:\\\[|\$\$)\s*)?([^\n]+)|^[ \t]*####[ \t]*([^\n]+)",
    re.IGNORECASE | re.MULTILINE,
)
_SIMPLE: Final = re.compile(r"(?i)Answer\s*:\s*([^\n]+)")
_SECONDS: Final = 5
_TOWER: Final = re.compile(r"\^ *\{? *[^{}()^+ ]*\^|\^ *\{? *-?\d{4,}|\d{4,} *!|! *!")
"""Powers of powers and the like: numbers that no machine can hold."""
_LONGEST_TEXT: Final = 20_000
_LONGEST: Final = 1000
"""An answer longer than this is none: symbols would be searched in it for ever."""


def needs_math_verify() -> None:
    """Refuse to begin where expressions cannot be compared.

    Raises:
        ConfigError: math-verify is not installed.
    """
    if importlib.util.find_spec("math_verify") is None:
        raise ConfigError(f"comparing expressions needs math-verify; {installing('math')}")


def final_expression(text: str) -> str | None:
    r"""Return the expression that an answer comes down to; `None`: there is none.

    The last `\boxed{…}` counts, or what follows the last `Answer:`, `答案:` or `####` on its line,
    or on the next one where nothing does, if that is later.
    """
    clean = without_reasoning(text)
    boxed, place = _last_box(clean)
    said = None
    for match in _WRITTEN.finditer(clean):
        line = _trimmed(match[1] or match[2] or "")
        if match.start() > place and line:
            said = line
    if said is not None:
        inner, _ = _last_box(said)
        return inner or said
    return boxed


def anywhere_expression(text: str) -> str | None:
    """Return the expression that math-verify finds in a text without an answer in its form."""
    from math_verify import parse

    clean = without_reasoning(text)[-_LONGEST_TEXT:]
    logging.getLogger("math_verify").setLevel(logging.CRITICAL)
    expressions = parse(clean, parsing_timeout=_seconds()) if not _TOWER.search(clean) else []
    return str(expressions[-1])[:_LONGEST] if expressions and str(expressions[-1]).strip() else None


def _seconds() -> Any:
    # Its limit of time is an alarm of the process, which only the main thread can set.
    return _SECONDS if threading.current_thread() is threading.main_thread() else None


def simple_evals_expression(text: str) -> str | None:
    """Return the expression by simple-evals' rule: what follows the first `Answer:`, as it is."""
    match = _SIMPLE.search(text)
    return match[1] if match else None


def _last_box(text: str) -> tuple[str | None, int]:
    content, place = None, -1
    for match in _BOXED.finditer(text):
        inner = _balanced(text, match.end())
        if inner is not None and inner.strip():
            content, place = inner.strip(), match.start()
    return content, place


def _balanced(text: str, start: int) -> str | None:
    """Return what stands from `start` to the brace that closes it; `None`: nothing does."""
    depth = 1
    for place in range(start, min(len(text), start + _LONGEST)):
        if text[place] == "{":
            depth += 1
        elif text[place] == "}":
            depth -= 1
            if not depth:
                return text[start:place]
    return None


def _trimmed(text: str) -> str:
    text = text.strip().strip("*").strip().removesuffix("\\]").strip()
    if text.endswith("$$") and text.count("$") == 2:
        text = text[:-2].strip()
    for left, right in (("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]")):
        if text.startswith(left) and text.endswith(right) and len(text) > len(left + right):
            text = text[len(left) : -len(right)].strip()
    return text.removesuffix(".").strip()


def equal_expressions(target: str, given: str) -> bool:
    """Return whether two expressions mean the same; what cannot be read equals only itself.

    Args:
        target: the right one, LaTeX without `$`.
        given: the one found.
    """
    target, given = _trimmed(target), _trimmed(given)
    if target.replace(" ", "") == given.replace(" ", ""):
        return True
    if not given or len(given) > _LONGEST or _TOWER.search(given):
        return False
    from math_verify import parse, verify

    logging.getLogger("math_verify").setLevel(logging.CRITICAL)
    seconds = _seconds()
    left = parse(f"${target}$", parsing_timeout=seconds)
    # A sentence with the expression somewhere in it is read as such.
    marked = any(mark in given for mark in ("$", "\\(", "\\["))
    other = parse(given if marked else f"${given}$", parsing_timeout=seconds)
    return bool(left and other and verify(left, other, timeout_seconds=seconds))
