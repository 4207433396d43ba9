"""Skills: the few things that the simulated model can do.

It does what it is told in some fixed words, calls the tools that a prompt mentions, adds, subtracts
and multiplies two numbers, picks the right one of lettered choices, and does what the instructions
of benchcore's own test set ask for. Whether it knows an answer is drawn for each prompt, so that a
prompt has the same fate at every load and in every run with the same seed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from benchcore.sim.constraints import json_text
from benchcore.sim.requests import content_text

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from benchcore.sim.options import SimProfile
    from benchcore.sim.requests import Ask, Tool


@dataclass(slots=True)
class Conversation:
    """What a request says.

    Args:
        user: text of the last user turn, or of the prompt.
        system: texts of the system and developer turns.
        everything: texts of all turns, in order.
        results: texts of the tool turns at the end.
    """

    user: str = ""
    system: list[str] = field(default_factory=list)
    everything: list[str] = field(default_factory=list)
    results: list[str] = field(default_factory=list)


def read_conversation(body: dict[str, Any], prompt: str) -> Conversation:
    """Returns what a request says.

    Args:
        body: the request's, of any endpoint, its messages known to be good.
        prompt: the text where there are no messages.
    """
    messages = body.get("messages", body.get("input"))
    if not isinstance(messages, list):
        text = messages if isinstance(messages, str) else prompt
        return Conversation(user=text, everything=[text])
    found = Conversation()
    for message in messages:
        role, text = message.get("role"), content_text(message.get("content"))
        found.everything.append(text)
        if role == "user":
            found.user = text
        elif role in ("system", "developer"):
            found.system.append(text)
        if role == "tool":
            found.results.append(text)
        else:
            found.results.clear()
    return found


_ALWAYS: Final = "Always answer with exactly: "
_REPEAT: Final = (
    "Repeat exactly, and nothing else: ",
    "请原样重复，不要说别的：",  # noqa: RUF001  it is Chinese
)
_ASK_WORD: Final = "What is the code word?"
_WORD: Final = re.compile(r"The code word is (\S+)")
_COUNT: Final = re.compile(r"Count from (\d{1,6}) to (\d{1,6})")
_MOST_COUNTED: Final = 10_000


_LESSON: Final = re.compile(
    r"Write a lesson on (.{1,40}?) in Markdown.* (\d{1,2}) sections", re.DOTALL
)


def _lesson(topic: str, sections: int) -> str:
    parts = [f"# {topic.capitalize()}"]
    parts += [f"## Part {n}\nOf {topic}.\n- one\n- two" for n in range(1, sections)]
    return "\n\n".join([*parts, f"## Summary\nThat was {topic}."])


def obeyed(said: Conversation) -> str | None:
    """Returns what the model was told to say; `None`: it may babble.

    Args:
        said: the conversation.
    """
    if said.results:
        return f"The tool said: {'; '.join(said.results)}"
    for text in said.system:
        if _ALWAYS in text:
            return text.partition(_ALWAYS)[2].partition("\n")[0].strip()
    for order in _REPEAT:
        if order in said.user:
            return said.user.partition(order)[2].strip()
    if _ASK_WORD in said.user:
        words = [word for text in said.everything for word in _WORD.findall(text)]
        if words:
            return str(words[-1]).rstrip(".,")
    if "cite its source as [n]" in said.user:
        numbers = re.findall(r"(?m)^\[(\d+)\] ", said.user)[:2] or ["1"]
        cited = " ".join(f"So it is [{number}]." for number in numbers)
        return f"{cited}\nSources: {', '.join(f'[{number}]' for number in numbers)}"
    if (lesson := _LESSON.search(said.user)) is not None:
        return _lesson(lesson[1], int(lesson[2]))
    if "Count from" in said.user and (found := _COUNT.search(said.user)) is not None:
        first, last = int(found[1]), int(found[2])
        return ", ".join(map(str, range(first, min(last, first + _MOST_COUNTED) + 1)))
    return None


_CITIES: Final = (
    "Paris",
    "London",
    "Tokyo",
    "Berlin",
    "Rome",
    "Oslo",
    "Beijing",
    "Shanghai",
    "北京",
    "上海",
)
_PLACES: Final = ("city", "location")
_IDEOGRAPHS: Final = re.compile("[\u4e00-\u9fff]{2,}")
_SHORTEST: Final = 4


def wanted_calls(ask: Ask, said: Conversation, draw: random.Random) -> list[tuple[str, str]]:
    """Returns the calls that answer a request, each a name and its arguments as JSON.

    Args:
        ask: the request.
        said: its conversation.
        draw: what is drawn at random.

    Raises:
        ApiError: 400, a tool's schema is not valid.
    """
    if ask.tool_choice == "none" or (said.results and ask.tool_choice == "auto"):
        return []
    tools = [tool for tool in ask.tools if ask.named_tool in (None, tool.name)]
    mentioned = [tool for tool in tools if _mentioned(tool, said.user)]
    tools = mentioned if ask.tool_choice == "auto" else mentioned or tools[:1]
    one = ask.named_tool is not None or ask.body.get("parallel_tool_calls") is False
    calls = [
        (tool.name, arguments)
        for tool in tools
        for arguments in _arguments(tool, said.user, draw, one=one)
    ]
    return calls[:1] if one else calls


def _mentioned(tool: Tool, text: str) -> bool:
    lowered = text.lower()
    if any(len(word) >= _SHORTEST and word in lowered for word in tool.name.lower().split("_")):
        return True
    runs = _IDEOGRAPHS.findall(tool.description)
    return any(run[at : at + 2] in text for run in runs for at in range(len(run) - 1))


def _arguments(tool: Tool, text: str, draw: random.Random, *, one: bool) -> list[str]:
    """Returns the arguments of each call of a tool: one per city that is named."""
    place = next((name for name in _PLACES if _is_text(tool, name)), None)
    places = sorted((name for name in _CITIES if name in text), key=text.index) or ["Paris"]
    if place is None:
        known: list[dict[str, str]] = [{}]
    else:
        known = [{place: name} for name in (places[:1] if one else places)]
    # Last, so that arguments are an object whatever the schema says or leaves out.
    schema = {**tool.parameters, "type": "object"}
    return [json_text(schema, draw, "tools", each) for each in known]


def _is_text(tool: Tool, name: str) -> bool:
    """Whether a property of a tool's arguments is there and is a text."""
    properties = tool.parameters.get("properties")
    inner = properties.get(name) if isinstance(properties, dict) else None
    return isinstance(inner, dict) and inner.get("type") in (None, "string") and "$ref" not in inner


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
