"""Tree: what YAML files hold, laid over one another, with the place of each key."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self, TypeVar

from pydantic import BaseModel, ValidationError

from benchcore.base.errors import ConfigError
from benchcore.config.document import Keys, fault_lines, read_document

M = TypeVar("M", bound=BaseModel)

_VARIABLE: Final = re.compile(r"\$\$\{|\$\{([^}]*)(\}?)")
_NAME: Final = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?\Z", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a key stands."""

    path: Path
    line: int

    def __str__(self) -> str:
        return f"{self.path}:{self.line}"


@dataclass(frozen=True, slots=True)
class Tree:
    """A mapping from one or more files.

    Args:
        content: what it holds.
        places: of each key path; that of the empty path is the file.
    """

    content: dict[str, Any]
    places: dict[Keys, Place]

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a YAML file.

        Raises:
            ConfigError: see `read_document`.
        """
        document = read_document(path)
        places = {keys: Place(path, line) for keys, line in document.lines.items()}
        return cls(document.content, {(): Place(path, 1), **places})

    def place(self, keys: Sequence[str | int]) -> Place:
        """Return where a key stands, or the nearest thing around it that stands somewhere."""
        path = tuple(keys)
        while path not in self.places:
            path = path[:-1]
        return self.places[path]

    def below(self, *keys: str) -> Tree:
        """Return what a key holds, a mapping; empty where there is none."""
        content: Any = self.content
        for key in keys:
            content = content.get(key) if isinstance(content, dict) else None
        places = {
            place[len(keys) :]: where
            for place, where in self.places.items()
            if place[: len(keys)] == keys
        }
        return Tree(
            dict(content) if isinstance(content, dict) else {}, {(): self.place(keys), **places}
        )

    def without(self, *names: str) -> Tree:
        """Return it without some of its keys."""
        content = {key: value for key, value in self.content.items() if key not in names}
        heads = {(name,) for name in names}
        places = {keys: where for keys, where in self.places.items() if keys[:1] not in heads}
        return Tree(content, places)

    def without_below(self, above: Sequence[str], names: Collection[str]) -> Tree:
        """Return it without some of the keys of a mapping inside it."""
        if not above:
            return self.without(*names)
        head, *rest = above
        inner = self.content.get(head)
        if not isinstance(inner, dict):
            return self
        gone = {(*above, name) for name in names}
        below = self.below(head).without_below(rest, names)
        places = {
            keys: where for keys, where in self.places.items() if keys[: len(above) + 1] not in gone
        }
        return Tree({**self.content, head: below.content}, places)

    def over(self, base: Tree) -> Tree:
        """Return it laid over another: mappings key by key, everything else replaced whole."""
        places = dict(base.places)

        def lay(mine: Any, theirs: Any, keys: Keys) -> Any:
            if isinstance(mine, dict) and isinstance(theirs, dict):
                merged = dict(theirs)
                for key, value in mine.items():
                    merged[key] = lay(value, theirs.get(key), (*keys, str(key)))
                return merged
            for place in [known for known in places if known[: len(keys)] == keys]:
                del places[place]
            return mine

        content = lay(self.content, base.content, ())
        return Tree(content, places | self.places)

    def validated(self, model: type[M]) -> M:
        """Return it as a model.

        Raises:
            ConfigError: it is not one; a line for each fault.
        """
        try:
            return model.model_validate(self.content)
        except ValidationError as error:
            raise ConfigError("\n".join(self.faults(error, model))) from None

    def faults(self, error: ValidationError, model: type[BaseModel], *before: str) -> list[str]:
        """Return a line for each fault; `before` are the keys above this tree, to be named."""
        return fault_lines(error, model, lambda keys: str(self.place(keys)), before)

    def filled(
        self, environ: Mapping[str, str], secret: Callable[[str], bool], faults: list[str]
    ) -> Tree:
        """Return it with `${NAME}` and `${NAME:-default}` replaced; `$${` stands for `${`.

        Args:
            environ: the variables.
            secret: tells whether a variable holds a secret by its name; such are not put in.
            faults: takes a line for each that is not set, is a secret, or is not written so; where
                it stands nothing is changed.
        """

        def fill(value: Any, keys: Keys) -> Any:
            if isinstance(value, dict):
                return {key: fill(item, (*keys, str(key))) for key, item in value.items()}
            if isinstance(value, list):
                return [fill(item, (*keys, place)) for place, item in enumerate(value)]
            if not isinstance(value, str) or "${" not in value:
                return value
            where = f"{self.place(keys)}: {'.'.join(map(str, keys))}"
            return _VARIABLE.sub(lambda match: _value(match, environ, secret, where, faults), value)

        return Tree(fill(self.content, ()), self.places)


def _value(
    match: re.Match[str],
    environ: Mapping[str, str],
    secret: Callable[[str], bool],
    where: str,
    faults: list[str],
) -> str:
    if match[0] == "$${":
        return "${"
    parts = _NAME.match(match[1])
    if parts is None or not match[2]:
        faults.append(
            f"{where}: {match[0]} is no ${{NAME}} or ${{NAME:-default}}; $${{ is a plain ${{"
        )
        return match[0]
    name, default = parts[1], parts[2]
    if default is not None and "{" in default:
        faults.append(f"{where}: {match[0]}: a default holds no braces")
        return match[0]
    if secret(name):
        faults.append(
            f"{where}: ${{{name}}} looks like a secret: give the name of the variable instead, as "
            "in api_key_env"
        )
        return match[0]
    text = environ.get(name)
    if not text and default is not None:
        text = default
    if text is None:
        faults.append(
            f"{where}: the variable {name} is not set; set it, or write ${{{name}:-default}}"
        )
        return match[0]
    return text
