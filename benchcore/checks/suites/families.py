"""Families: answers to what people really ask: search, lessons, conversations.

The words and the judges are those of the workloads of the same names.
"""

from typing import Any, Final

from benchcore.checks.attempt import Attempt
from benchcore.checks.check import Suite
from benchcore.workload.families import (
    ASK_WORD,
    cites_well,
    is_lesson,
    lesson_prompt,
    memory_prompt,
    remembers,
    search_prompt,
)

SUITE = Suite("families", "answers to what people really ask")

_OF_A_MODEL: Final[dict[str, Any]] = {
    "needs": ("instructions",),
    "model_dependent": True,
    "tolerance": "a weak model does not do all that it is told",
}
_SOURCES: Final = [
    "A river bends where its bank is soft.",
    "Most rivers of the plain flood in spring.",
    "The bridge of the old town was built in 1781.",
]


def _found(wrong: str, text: str) -> str:
    return f"an answer that {wrong}: {text}"


@SUITE.check(
    "a question with sources is answered with citations that exist",
    **_OF_A_MODEL,
)
async def search_qa(t: Attempt) -> None:
    """Every source that is cited is one of those given, and every one that is listed is used."""
    answer = await t.chat(search_prompt(_SOURCES, "rivers"), max_tokens=200)
    wrong = cites_well(answer.text(), sources=len(_SOURCES))
    t.require(not wrong, "citations of sources 1 to 3", _found(wrong, answer.text()))


@SUITE.check(
    "a lesson has the structure that it was asked for",
    **_OF_A_MODEL,
)
async def lesson_pack(t: Attempt) -> None:
    """One title, three sections, the last one the summary, lists where they are asked for."""
    answer = await t.chat(lesson_prompt("tides", 3), max_tokens=600)
    wrong = is_lesson(answer.text(), sections=3)
    t.require(
        not wrong,
        "a lesson of a title and three sections",
        _found(wrong, answer.text()),
    )


@SUITE.check(
    "a conversation remembers what was said at its beginning",
    **_OF_A_MODEL,
)
async def memory_chat(t: Attempt) -> None:
    """The code word of the first message is known in the third."""
    messages = [{"role": "user", "content": memory_prompt("saffron", "Good morning.")}]
    for text in ("Name a color.", ASK_WORD):
        answer = await t.chat(messages, max_tokens=48)
        messages += [
            {"role": "assistant", "content": answer.text()},
            {"role": "user", "content": text},
        ]
    answer = await t.chat(messages, max_tokens=48)
    wrong = remembers(answer.text(), word="saffron")
    t.require(not wrong, "the code word, saffron", _found(wrong, answer.text()))
