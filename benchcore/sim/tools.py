"""Tools: which functions the simulated model calls, and with what."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from benchcore.sim.constraints import json_text

if TYPE_CHECKING:
    import random

    from benchcore.sim.ask import Ask, Tool
    from benchcore.sim.conversation import Conversation

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
