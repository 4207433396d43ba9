"""Families: requests whose answers can be judged: search, lessons, conversations.

Each is a load and, with the same words and the same judges, a suite of checks.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from functools import partial
from random import Random
from typing import ClassVar, Final

from pydantic import Field

from benchcore.base.seeds import stream
from benchcore.client.request import Prompt
from benchcore.config.values import Length, Span
from benchcore.workload.kinds import SessionKind
from benchcore.workload.sessions import Session, Turn, chain

TOPICS: Final = (
    *("rivers", "bridges", "bees", "clocks", "volcanoes", "glass", "trains", "maps", "tides"),
    *("bread", "lighthouses", "paper", "rice", "mirrors", "whales", "kites", "salt", "stars"),
)
WORDS: Final = (
    *("juniper", "cobalt", "lantern", "meadow", "falcon", "pebble", "saffron", "harbor", "velvet"),
    *("walnut", "ember", "glacier", "orchid", "thistle", "marble", "willow", "copper", "raven"),
)
CITE: Final = (
    "Answer the question from the sources below alone. After each statement cite its source as "
    "[n], with the number of the source. End with one line that begins with Sources: and has the "
    "numbers that you cited, such as Sources: [1], [3]."
)
ASK_WORD: Final = "What is the code word? Answer with the code word alone."


def search_prompt(sources: list[str], topic: str) -> str:
    """Return a question about a topic with numbered sources."""
    numbered = "\n".join(f"[{number}] {text}" for number, text in enumerate(sources, 1))
    return f"{CITE}\n\n{numbered}\n\nQuestion: What do the sources say about {topic}?"


def lesson_prompt(topic: str, sections: int) -> str:
    """Return the order for a lesson with so many sections."""
    return (
        f"Write a lesson on {topic} in Markdown, and nothing else: one title with #, then exactly "
        f"{sections} sections with ##, the last of them ## Summary. Every section has text, and "
        "every section but the summary has a list of two points or more."
    )


def memory_prompt(word: str, filler: str) -> str:
    """Return the first message of a conversation that is to be remembered."""
    return f"{filler}\nThe code word is {word}. Remember it, and answer with OK."


# Judges: each returns what is wrong with an answer, empty where nothing is.


def cites_well(answer: str, *, sources: int) -> str:
    """Judge citations: each source that is cited exists, and each that is listed is used."""
    lines = list(re.finditer(r"(?im)^\W*sources?\W*:(.*)$", answer))
    if not lines:
        return "has no line of sources"
    text = answer[: lines[-1].start()]
    cited = {int(number) for number in re.findall(r"\[(\d{1,4})\]", text)}
    listed = {int(number) for number in re.findall(r"\d{1,4}", lines[-1][1])}
    if not cited:
        return "cites no source"
    for number in sorted(cited | listed):
        if not 1 <= number <= sources:
            return "cites a source that there is not"
    if listed - cited:
        return "lists a source that it does not use"
    if cited - listed:
        return "uses a source that it does not list"
    return ""


def is_lesson(answer: str, *, sections: int) -> str:
    """Judge the structure of a lesson in Markdown; what stands in fences of code is no heading."""
    lines: list[str] = []
    fenced = False
    for line in answer.strip().splitlines():
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif not fenced:
            lines.append(line)
    if fenced:
        return "has a fence of code that is not closed"
    heads = [(place, line) for place, line in enumerate(lines) if re.match(r"#{1,6} +\S", line)]
    if not heads or heads[0] != (0, lines[0]) or not lines[0].startswith("# "):
        return "does not begin with its title"
    if sum(line.startswith("# ") for _, line in heads) > 1:
        return "has several titles"
    starts = [place for place, line in heads if line.startswith("## ")]
    if len(starts) != sections:
        return "has not as many sections as asked for"
    if lines[starts[-1]][3:].strip().rstrip(".:").lower() != "summary":
        return "does not end with its summary"
    for number, start in enumerate(starts, 1):
        end = starts[number] if number < sections else len(lines)
        body = [line for line in lines[start + 1 : end] if line.strip()]
        if not body:
            return "has an empty section"
        points = sum(bool(re.match(r"\s*([-*+]|\d+[.)]) +\S", line)) for line in body)
        if number < sections and points < 2:
            return "has a section without its list"
    return ""


def remembers(answer: str, *, word: str) -> str:
    """Judge whether an answer has the code word."""
    return "" if word.lower() in answer.lower() else "does not remember the code word"


class Family(SessionKind):
    """The base of families: made-up text of known length around fixed words."""

    output_tokens: Length = Field(Length.parse(256), description="the most tokens of an answer")

    def _text(self, draws: Random, tokens: int) -> str:
        language, bank = self._texts.language, self._texts.bank
        body = bank.body(bank.nearest(round(tokens / self._texts.fit.slope)), draws)
        return f"{language.opener}{body}{language.end}"

    def _prompt(self, draws: Random, text: str) -> Prompt:
        output = self.output_tokens.draw(draws)
        exact = {"ignore_eos": True, "min_tokens": output} if self.ignore_eos else {}
        return Prompt(text=text, output_tokens=output, extra=exact)

    def sessions(self, *path: str | int) -> Iterator[Session]:
        """Yield sessions without end; see `SessionKind`."""
        for number in itertools.count():
            yield self._session(stream(self.seed, self.kind, *path, number))

    def _session(self, draws: Random) -> Session:
        raise NotImplementedError


class SearchQA(Family):
    """Questions with numbered sources; every source that an answer cites must be one of them."""

    kind: ClassVar = "search_qa"

    sources: Length = Field(Length.parse("uniform:3:8"), description="sources of a question")
    source_tokens: Length = Field(Length.parse(120), description="length of a source")

    def _session(self, draws: Random) -> Session:
        count = self.sources.draw(draws)
        texts = [self._text(draws, self.source_tokens.draw(draws)) for _ in range(count)]
        topic = TOPICS[int(draws.random() * len(TOPICS))]
        ask = self._prompt(draws, search_prompt(texts, topic))
        return Session((Turn(ask, judge=partial(cites_well, sources=count)),))


class LessonPack(Family):
    """Lessons in Markdown, each with a title and as many sections as asked for."""

    kind: ClassVar = "lesson_pack"

    output_tokens: Length = Field(Length.parse(600), description="the most tokens of an answer")
    sections: Length = Field(Length.parse("uniform:3:5"), description="sections of a lesson")

    def _session(self, draws: Random) -> Session:
        count = max(self.sections.draw(draws), 2)
        topic = TOPICS[int(draws.random() * len(TOPICS))]
        ask = self._prompt(draws, lesson_prompt(topic, count))
        return Session((Turn(ask, judge=partial(is_lesson, sections=count)),))


class MemoryChat(Family):
    """Conversations that begin with a code word and end with the question for it."""

    kind: ClassVar = "memory_chat"

    turns: Length = Field(Length.parse("uniform:2:5"), description="messages of a conversation")
    input_tokens: Length = Field(Length.parse(60), description="length of each message, about")
    output_tokens: Length = Field(Length.parse(48), description="the most tokens of an answer")
    think_time: Span = Field(
        Span.parse(0), description="seconds between an answer and the next message"
    )

    def _session(self, draws: Random) -> Session:
        word = WORDS[int(draws.random() * len(WORDS))]
        count = max(self.turns.draw(draws), 2)
        turns = []
        for place in range(count):
            text = self._text(draws, self.input_tokens.draw(draws))
            if place == 0:
                text = memory_prompt(word, text)
            elif place == count - 1:
                text = ASK_WORD
            wait_ns = round(self.think_time.draw(draws) * 1e9) if place else 0
            judge = partial(remembers, word=word) if place == count - 1 else None
            turns.append(Turn(self._prompt(draws, text), wait_ns=wait_ns, judge=judge))
        return Session(chain(turns))
