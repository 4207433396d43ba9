"""Obedience: the few things that the simulated model does when it is told to."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from benchcore.sim.conversation import Conversation

_ALWAYS: Final = "Always answer with exactly: "
_REPEAT: Final = (
    "Repeat exactly, and nothing else: ",
    "请原样重复，不要说别的：",  # noqa: RUF001  it is Chinese
)
_ASK_WORD: Final = "What is the code word?"
_WORD: Final = re.compile(r"The code word is (\S+)")
_COUNT: Final = re.compile(r"Count from (\d{1,6}) to (\d{1,6})")
_MOST_COUNTED: Final = 10_000


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
    if "Count from" in said.user and (found := _COUNT.search(said.user)) is not None:
        first, last = int(found[1]), int(found[2])
        return ", ".join(map(str, range(first, min(last, first + _MOST_COUNTED) + 1)))
    return None
