"""Ability: how often the simulated model knows what it is asked.

It can add, subtract and multiply two numbers, pick the right one of lettered choices, and do the
few things that the instructions of benchcore's own test set ask for. Whether it does is drawn for
each prompt, so that a prompt has the same fate at every load and in every run with the same seed.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchcore.sim.profile import SimProfile

_SUM: Final = re.compile(r"(\d{1,6}) ([+×−]) (\d{1,6}) = \?")
_CHOICE: Final = re.compile(r"^(?:Options: )?([A-Z])[).] (.*)$", re.MULTILINE)
_PREFIX: Final = re.compile("[\"'](\\w+) ?[:\uff1a] ?[\"']")
_CALCULATE: Final[dict[str, Callable[[int, int], int]]] = {
    "+": lambda one, other: one + other,
    "−": lambda one, other: one - other,
    "×": lambda one, other: one * other,
}
_ORDERS: Final = re.compile(
    r"(?P<lower>all lowercase letters)"
    r"|(?P<comma>[Dd]o not use any commas)"
    r"|[Ii]nclude the word (?P<word>\w+)"
    r"|exactly (?P<bullets>\d+) bullet points"
    r"|at least (?P<words>\d+) words"
    r"|[Ee]nd with the phrase: (?P<end>[^\n.]+)"
)
_UNWILLING: Final = "Well, I would RATHER not, really."
_LOST: Final = "This one is hard and nothing comes to mind."
_CUT: Final = "To find it one must first look at what is given and then go on from there with"


USUAL_ABILITY = 0.7
"""Of a simulator that was told nothing: `eval --data builtin` against it has a score to show."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """What the model makes of a question.

    Args:
        text: of the answer.
        worth: `right`, `wrong`, `unparsable` or `cut`.
    """

    text: str
    worth: str


def attempt(prompt: str, profile: SimProfile, batch: int, draw: random.Random) -> Attempt | None:
    """Return what the model makes of a prompt; `None`: it is no question that it could know.

    Args:
        prompt: text of the user turn.
        profile: how able it is.
        batch: requests that the server has in hand, this one included.
        draw: of the prompt's own.
    """
    right, wrong = _answers(prompt)
    if right is None:
        return None
    fate, ability = draw.random(), profile.ability
    if ability is None:
        ability = USUAL_ABILITY
    beyond = profile.ability_batch
    if beyond is not None and batch > beyond:
        ability = profile.ability_beyond
    if fate >= 1 - profile.ability_cut:
        return Attempt(_CUT, "cut")
    if fate >= 1 - profile.ability_cut - profile.ability_unparsable:
        return Attempt(_LOST, "unparsable")
    return Attempt(right, "right") if fate < ability else Attempt(wrong, "wrong")


def _answers(prompt: str) -> tuple[str | None, str]:
    """Return a right and a wrong answer."""
    found = list(_SUM.finditer(prompt))
    if not found:
        return _obeying(prompt), _UNWILLING
    one, sign, other = found[-1].groups()
    value = _CALCULATE[sign](int(one), int(other))
    thought = f"Let me see. {one} {sign} {other} makes "
    listed = _CHOICE.findall(prompt, found[-1].end())
    choices = {text.strip(): letter for letter, text in listed}
    if choices:
        letter = choices.get(str(value))
        if letter is None:
            return None, ""
        others = [text for text, name in choices.items() if name != letter]
        says = "The answer is ({})." if '"The answer is (X)"' in prompt else "Answer: {}"
        return (
            f"{thought}{value}.\n{says.format(letter)}",
            f"{thought}{others[0]}.\n{says.format(choices[others[0]])}",
        )
    if "####" in prompt:
        return f"{thought}{value}.\n#### {value}", f"{thought}{value + 1}.\n#### {value + 1}"
    named = _PREFIX.search(prompt)
    prefix = named[1] if named else "Answer"
    return (
        f"{thought}{value}.\n{prefix}: {value}",
        f"{thought}{value + 1}.\n{prefix}: {value + 1}",
    )


def _obeying(prompt: str) -> str | None:
    """Return a text that does what the prompt's instructions say; `None`: it has none."""
    orders: dict[str, str] = {}
    for found in _ORDERS.finditer(prompt):
        orders.update({name: text for name, text in found.groupdict().items() if text})
    if not orders:
        return None
    words = ["Rivers", "carry", "water", "to", "the", "sea"]
    if "word" in orders:
        words.append(orders["word"])
    while len(words) < int(orders.get("words", "0")):
        words.append("on")
    text = " ".join(words)
    if "bullets" in orders:
        text = "\n".join([f"* {text}", *["* and on"] * (int(orders["bullets"]) - 1)])
    if "lower" in orders:
        text = text.lower()
    return f"{text}\n{orders['end'].strip()}" if "end" in orders else text
