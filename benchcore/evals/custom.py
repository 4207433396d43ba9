"""Custom: a task that a YAML file describes."""

from __future__ import annotations

import random
import re
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import orjson

from benchcore.config.document import read_model
from benchcore.config.evals import EvalConfig, TaskFile
from benchcore.evals.letters import LETTERS, robust_letter
from benchcore.evals.numbers import (
    answer_number,
    equal_expressions,
    equal_numbers,
    final_expression,
    needs_math_verify,
    normal_number,
)
from benchcore.evals.sampling import without_reasoning
from benchcore.evals.task import NO_ANSWER, Judgement, Question, Row, Task

_PLACE: Final = re.compile(r"\{([^{}]+)\}")
_SUITS: Final = {"letter": "exact", "number": "number", "expression": "expression"}


def is_custom(name: str) -> bool:
    """Return whether a task is named by its file."""
    return name.endswith((".yaml", ".yml"))


def custom_task(path: Path) -> Task:
    """Return the task of a file.

    Raises:
        ConfigError: the file cannot be read or holds faults.
    """
    return Custom(read_model(path, TaskFile), path)


class Custom(Task):
    """A task that a YAML file describes.

    Args:
        file: what it says.
        path: where it is.
    """

    title = "a YAML file of your own"

    def __init__(self, file: TaskFile, path: Path) -> None:
        self._file = file
        self._path = path
        self.name = file.name or path.stem
        self.repeats = file.n_repeats

    def own_data(self) -> Path | None:
        """Return the file that it names, beside it."""
        return None if self._file.data is None else self._path.parent / self._file.data

    def check(self, config: EvalConfig) -> None:
        """Refuse to begin without what compares expressions, where they are compared."""
        super().check(config)
        if "expression" in (self._file.extract.kind, self._file.score.kind):
            needs_math_verify()

    def ask(self, row: Row, draw: random.Random) -> tuple[str, str, dict[str, Any]]:
        """Fill the prompt with the columns of a row."""
        del draw
        fields = self._file.fields
        choices = self._choices(row)
        values = {**row}
        if choices:
            lettered = zip(LETTERS, choices, strict=False)
            values["choices"] = "\n".join(f"{letter}) {choice}" for letter, choice in lettered)
        text = _PLACE.sub(lambda place: str(values[place[1]]), self._file.prompt)
        facts: dict[str, Any] = {"choices": len(choices)} if choices else {}
        if fields.id is not None:
            facts["id"] = row[fields.id]
        return text, self._target(row, choices), facts

    def _choices(self, row: Row) -> list[str]:
        names = self._file.fields.choices
        if names is None:
            return []
        choices = row[names] if isinstance(names, str) else [row[name] for name in names]
        if not isinstance(choices, list) or not 2 <= len(choices) <= len(LETTERS):
            raise ValueError(f"fields.choices: {choices!r:.40} is not a list of 2 to 26 choices")
        return [str(choice) for choice in choices]

    def _target(self, row: Row, choices: list[str]) -> str:
        value = row[self._file.fields.answer]
        if self._file.score.kind == "regex":
            try:
                re.compile(str(value))
            except re.error as error:
                raise ValueError(f"its answer is not a regular expression: {error}") from None
        if self._kind() == "number" and normal_number(str(value)) is None:
            raise ValueError(f"its answer {value!r:.40} is not a number")
        if self._file.extract.kind != "letter":
            return str(value)
        letters = LETTERS[: len(choices)]
        if isinstance(value, int) and 0 <= value < len(choices):
            return letters[value]
        text = str(value).strip()
        if text in choices:
            return letters[choices.index(text)]
        if len(text) == 1 and text.upper() in letters:
            return text.upper()
        raise ValueError(f"answer {text!r:.40} is not a letter, text or place of its choices")

    def solved(self, row: Row) -> tuple[str, str]:
        """Return a solved question: the prompt and the bare answer."""
        text, target, _ = self.ask(row, random.Random(0))
        return text, f"Answer: {target}" if self._file.extract.kind == "letter" else target

    def said(self, row: Row) -> str:
        """Return the question's column."""
        return str(row[self._file.fields.question])

    def group(self, row: Row) -> str:
        """Return the group's column."""
        name = self._file.fields.group
        return "" if name is None else str(row[name])

    def judge(self, question: Question, answer: str, config: EvalConfig) -> Judgement:
        """Find the answer and compare it."""
        del config
        extracted = self._extracted(question, answer)
        if extracted is None:
            return NO_ANSWER
        return Judgement(float(self._is_right(question.target, extracted)), extracted)

    def _extracted(self, question: Question, answer: str) -> str | None:
        extract = self._file.extract
        match extract.kind:
            case "letter":
                return robust_letter(answer, LETTERS[: question.facts["choices"]])
            case "number":
                return answer_number(answer)
            case "expression":
                return final_expression(answer)
            case "regex":
                assert extract.pattern is not None
                return _match(extract.pattern, without_reasoning(answer), extract.which)
            case "json":
                assert extract.field is not None
                return _field(without_reasoning(answer), extract.field)
        lines = [line for line in without_reasoning(answer).splitlines() if line.strip()]
        if not lines:
            return None
        return lines[-1].strip() if extract.kind == "last_line" else "\n".join(lines).strip()

    def _kind(self) -> str:
        """Return how answers are compared."""
        return self._file.score.kind or _SUITS.get(self._file.extract.kind, "exact")

    def _is_right(self, target: str, extracted: str) -> bool:
        match self._kind():
            case "ignore_case":
                return extracted.strip().casefold() == target.strip().casefold()
            case "number":
                return _near(extracted, target, self._file.score.tolerance)
            case "expression":
                return equal_expressions(target, extracted)
            case "contains":
                return target.casefold() in extracted.casefold()
            case "regex":
                return re.search(target, extracted) is not None
        return extracted.strip() == target.strip()


def _match(pattern: str, text: str, which: str) -> str | None:
    matches = list(re.finditer(pattern, text))
    if not matches:
        return None
    match = matches[0] if which == "first" else matches[-1]
    chosen = match[1] if match.re.groups else match[0]
    return None if chosen is None else str(chosen)


def _field(text: str, name: str) -> str | None:
    begin, end = text.find("{"), text.rfind("}")
    try:
        parsed = orjson.loads(text[begin : end + 1])
    except orjson.JSONDecodeError:
        return None
    value = parsed.get(name) if isinstance(parsed, dict) else None
    if value is None:
        return None
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _near(extracted: str, target: str, tolerance: float) -> bool:
    if equal_numbers(extracted, target):
        return True
    number, other = normal_number(extracted), normal_number(target)
    if not tolerance or number is None or other is None:
        return False
    wanted = Fraction(other)
    return abs(Fraction(number) - wanted) <= abs(wanted) * Fraction(tolerance)
