"""Grammar: a text that an EBNF grammar derives."""

from __future__ import annotations

import re
from typing import Final

from benchcore.sim.ask import ApiError

_RULE: Final = re.compile(r"^\??([A-Za-z_]\w*)\s*(?:::=|:)\s*", re.MULTILINE)
_TOKEN: Final = re.compile(r'"((?:[^"\\]|\\.)*)"|([A-Za-z_]\w*)|([|()?*+])|(\s+)')
_DEEPEST: Final = 32


def derived(grammar: object, param: str) -> str:
    """Returns the text of the first alternatives of a grammar, in EBNF or Lark's notation.

    Args:
        grammar: rules `name ::= …` or `name: …`, of which `root` or `start` is the first.
        param: named where the grammar is at fault.

    Raises:
        ApiError: 400, it is no grammar, or uses what is not understood.
    """
    if not isinstance(grammar, str):
        raise ApiError(400, "a grammar must be a string", param=param)
    heads = list(_RULE.finditer(grammar))
    ends = [head.start() for head in heads[1:]] + [len(grammar)]
    rules = {
        head[1]: grammar[head.end() : end].strip() for head, end in zip(heads, ends, strict=False)
    }
    start = next((name for name in ("root", "start") if name in rules), None)
    if start is None:
        raise ApiError(400, "the grammar has no rule root or start", param=param)
    return _Deriver(rules, param).rule(start, 0)


class _Deriver:
    def __init__(self, rules: dict[str, str], param: str) -> None:
        self._rules = rules
        self._param = param

    def rule(self, name: str, depth: int) -> str:
        if name not in self._rules or depth > _DEEPEST:
            raise ApiError(400, f"the grammar's rule {name} leads nowhere", param=self._param)
        return self._first(self._tokens(self._rules[name]), depth)

    def _tokens(self, text: str) -> list[tuple[str, str]]:
        found = []
        place = 0
        while place < len(text):
            match = _TOKEN.match(text, place)
            if match is None:
                raise ApiError(400, f"the grammar is bad at {text[place:]!r}", param=self._param)
            place = match.end()
            if match[1] is not None:
                found.append(("text", match[1].replace('\\"', '"').replace("\\n", "\n")))
            elif match[2] is not None:
                found.append(("name", match[2]))
            elif match[3] is not None:
                found.append(("sign", match[3]))
        return found

    def _first(self, tokens: list[tuple[str, str]], depth: int) -> str:
        """Returns the text of the first alternative; a group is its own first one."""
        pieces: list[str] = []
        while tokens:
            kind, value = tokens.pop(0)
            if kind == "text":
                pieces.append(value)
            elif kind == "name":
                pieces.append(self.rule(value, depth + 1))
            elif value == "(":
                pieces.append(self._first(tokens, depth))
            elif value in "?*":
                pieces.pop()
            elif value in "|)":
                self._skip(tokens, inside=value == "|")
                break
        return "".join(pieces)

    def _skip(self, tokens: list[tuple[str, str]], *, inside: bool) -> None:
        """Drops the other alternatives, up to the end of the group."""
        depth = 1
        while inside and tokens and depth:
            value = tokens.pop(0)[1]
            depth += (value == "(") - (value == ")")
