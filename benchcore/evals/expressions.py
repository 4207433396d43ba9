"""Expressions: mathematical answers, found in a text and compared by what they mean."""

from __future__ import annotations

import importlib.util
import logging
import re
import threading
from typing import Any, Final

from benchcore.base.errors import ConfigError
from benchcore.evals.sampling import without_reasoning
from benchcore.version import installing

_BOX: Final = re.compile(r"\\f?box(?:ed)?\s*\{")
_SAID: Final = re.compile(
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
    for match in _SAID.finditer(clean):
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
    for match in _BOX.finditer(text):
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
