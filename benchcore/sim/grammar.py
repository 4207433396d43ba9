"""Grammar: a text that an EBNF grammar derives."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from benchcore.sim.ask import ApiError
from benchcore.sim.pattern import matching

if TYPE_CHECKING:
    import random

_HEAD: Final = re.compile(r"^[ \t]*[?!]?([A-Za-z_][\w-]*)[ \t]*(::=|:)", re.MULTILINE)
_TOKEN: Final = re.compile(
    r"(?P<space>(?:\s|\#[^\n]*|//[^\n]*|%[^\n]*|->[ \t]*\w+)+)"
    r'|(?P<text>"(?:[^"\\\n]|\\.)*"|\'(?:[^\'\\\n]|\\.)*\')'
    r"|(?P<name>[A-Za-z_][\w-]*)"
    r"|(?P<times>\{\d{1,6}(?:,\d*)?\})"
    r"|(?P<regex>/(?:[^/\\\n]|\\.)+/)"
    r"|(?P<set>\[(?:[^\]\\\n]|\\.)+\])"
    r"|(?P<sign>[|()?*+])"
)
_ESCAPE: Final = re.compile(r"\\(.)", re.DOTALL)
_CONTROLS: Final = {"n": "\n", "t": "\t", "r": "\r"}
_MOST_STEPS: Final = 10_000


def derived(grammar: object, draw: random.Random, param: str) -> str:
    """Returns a text of a grammar in EBNF or in Lark's notation.

    Of alternatives the first is taken, in a rule within itself the shortest, and nothing is
    repeated that need not be. Literals, rules, groups, `?`, `*`, `+`, `{m,n}`, classes `[a-z]`
    and Lark's `/patterns/` are understood.

    Args:
        grammar: rules `name ::= …` or `name: …`, one of them `root` or `start`.
        draw: what is drawn at random.
        param: named where the grammar is at fault.

    Raises:
        ApiError: 400, it is no grammar, or uses what is not understood.
    """
    if not isinstance(grammar, str):
        raise ApiError(400, "a grammar must be a string", param=param)
    try:
        return _Writer(_rules(grammar), draw, param).start()
    except _NotUnderstoodError as fault:
        raise ApiError(400, f"the grammar is not understood: {fault}", param=param) from None
    except RecursionError:
        raise ApiError(400, "the grammar is nested too deeply", param=param) from None


def _rules(grammar: str) -> dict[str, _Either]:
    heads = list(_HEAD.finditer(grammar))
    ends = [head.start() for head in heads] + [len(grammar)]
    if _Reader(grammar[: ends[0]], "").read() != _NOTHING:
        raise _NotUnderstoodError("it does not begin with a rule")
    return {
        head[1]: _Reader(grammar[head.end() : end], head[2]).read()
        for head, end in zip(heads, ends[1:], strict=True)
    }


class _NotUnderstoodError(Exception):
    """The grammar is wrong, or beyond what is read here."""


@dataclass(slots=True, frozen=True)
class _Either:
    """Alternatives, each a row of texts, rules, patterns and groups."""

    rows: tuple[tuple[_Node, ...], ...]


@dataclass(slots=True, frozen=True)
class _Rule:
    name: str


@dataclass(slots=True, frozen=True)
class _Pattern:
    expression: str


@dataclass(slots=True, frozen=True)
class _Times:
    node: _Node
    count: int


_Node = str | _Either | _Rule | _Pattern | _Times
_NOTHING: Final = _Either(((),))


class _Reader:
    """Reads the right side of a rule."""

    def __init__(self, text: str, sign: str) -> None:
        self._tokens: list[tuple[str, str]] = []
        place = 0
        while place < len(text):
            found = _TOKEN.match(text, place)
            # In Lark, where a rule is `name: …`, square brackets are no class but an optional part.
            if found is None or (found["set"] and sign == ":"):
                raise _NotUnderstoodError(repr(text[place : place + 40]))
            place = found.end()
            if found.lastgroup not in (None, "space"):
                self._tokens.append((str(found.lastgroup), found[0]))
        self._tokens.reverse()

    def read(self) -> _Either:
        """Returns the alternatives of a rule."""
        found = self._either()
        if self._tokens:
            raise _NotUnderstoodError("a group ends that never began")
        return found

    def _either(self) -> _Either:
        rows: list[tuple[_Node, ...]] = []
        row: list[_Node] = []
        while self._tokens and self._tokens[-1] != ("sign", ")"):
            kind, value = self._tokens.pop()
            if (kind, value) == ("sign", "|"):
                rows.append(tuple(row))
                row = []
            elif (kind, value) == ("sign", "("):
                row.append(self._either())
                if not self._tokens:
                    raise _NotUnderstoodError("a group never ends")
                self._tokens.pop()
            elif kind in ("sign", "times"):
                if not row:
                    raise _NotUnderstoodError(f"{value} repeats nothing")
                row.append(_Times(row.pop(), _least(value)))
            else:
                row.append(_leaf(kind, value))
        return _Either((*rows, tuple(row)))


def _least(sign: str) -> int:
    """Returns how often what stands before a sign must be there."""
    if sign.startswith("{"):
        return int(sign[1:-1].partition(",")[0])
    return int(sign == "+")


def _leaf(kind: str, value: str) -> _Node:
    match kind:
        case "text":
            return _ESCAPE.sub(lambda found: _CONTROLS.get(found[1], found[1]), value[1:-1])
        case "regex":
            return _Pattern(value[1:-1])
        case "set":
            return _Pattern(value)
        case _:
            return _Rule(value)


class _Writer:
    def __init__(self, rules: dict[str, _Either], draw: random.Random, param: str) -> None:
        self._rules = rules
        self._draw = draw
        self._param = param
        self._steps = 0
        self._heights = self._measured()

    def start(self) -> str:
        """Returns a text of the grammar."""
        name = next((name for name in ("root", "start") if name in self._rules), None)
        if name is None:
            raise _NotUnderstoodError("it has no rule root or start")
        return self._rule(name, frozenset(), short=False)

    def _rule(self, name: str, within: frozenset[str], *, short: bool) -> str:
        if self._heights.get(name) is None:
            raise _NotUnderstoodError(f"the rule {name} leads nowhere")
        return self._text(self._rules[name], within | {name}, short=short or name in within)

    def _text(self, node: _Node, within: frozenset[str], *, short: bool) -> str:
        self._steps += 1
        if self._steps > _MOST_STEPS:
            raise _NotUnderstoodError("its texts are too long")
        match node:
            case str():
                return node
            case _Rule(name):
                return self._rule(name, within, short=short)
            case _Pattern(expression):
                return matching(expression, self._draw, self._param)
            case _Times(inner, count):
                return "".join([self._text(inner, within, short=short) for _ in range(count)])
            case _Either(rows):
                open_rows = [row for row in rows if self._row_height(row) is not None]
                row = open_rows[0]
                if short:
                    row = min(open_rows, key=lambda row: self._row_height(row) or 0)
                return "".join([self._text(inner, within, short=short) for inner in row])

    def _measured(self) -> dict[str, int]:
        """Returns of each rule that leads to a text how deep the rules in it are nested."""
        self._heights = heights = dict[str, int]()
        for _ in self._rules:
            found = {
                name: height
                for name, rule in self._rules.items()
                if (height := self._height(rule)) is not None
            }
            if found == heights:
                break
            heights.update(found)
        return heights

    def _height(self, node: _Node) -> int | None:
        match node:
            case _Rule(name):
                inner = self._heights.get(name)
                return None if inner is None else inner + 1
            case _Times(inner, count):
                return self._height(inner) if count else 0
            case _Either(rows):
                heights = [self._row_height(row) for row in rows]
                return min((height for height in heights if height is not None), default=None)
            case _:
                return 0

    def _row_height(self, row: tuple[_Node, ...]) -> int | None:
        heights = [self._height(node) for node in row]
        known = [height for height in heights if height is not None]
        return max(known, default=0) if len(known) == len(heights) else None
