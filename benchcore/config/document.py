"""Document: a YAML file that knows on which line each key stands."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from benchcore.errors import ConfigError

Keys = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Document:
    """A YAML file whose top is a mapping.

    Args:
        path: the file.
        content: what it holds.
        lines: the line of each key path, from 1.
    """

    path: Path
    content: dict[str, Any]
    lines: dict[Keys, int]

    def line(self, keys: Sequence[str | int]) -> int:
        """Return the line of a key, or of the nearest thing around it that has one."""
        place = tuple(keys)
        while place and place not in self.lines:
            place = place[:-1]
        return self.lines.get(place, 1)

    def at(self, keys: Sequence[str | int]) -> str:
        """Return `file:line` of a key."""
        return f"{self.path}:{self.line(keys)}"


def read_document(path: Path) -> Document:
    """Read a YAML file.

    Raises:
        ConfigError: it cannot be read, is not YAML, has a key twice, or its top is no mapping.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; give a YAML file") from None
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        raise ConfigError(f"{path}:{line}: is not UTF-8; save the file as UTF-8") from None
    try:
        content = yaml.safe_load(text)
        root = yaml.compose(text, yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        problem = " ".join(filter(None, (error.context, error.problem)))
        raise ConfigError(f"{path}:{line}: is not YAML: {problem}") from None
    except (yaml.YAMLError, ValueError) as error:
        problem = " ".join(str(error).split())
        raise ConfigError(f"{path}: is not YAML: {problem}") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path}:1: holds no keys; write `key: value` lines")
    lines: dict[Keys, int] = {}
    for keys, line in _places(root, (), ()):
        if keys in lines and keys and isinstance(keys[-1], str):
            name = ".".join(map(str, keys))
            raise ConfigError(
                f"{path}:{line}: {name}: is there twice, first on line {lines[keys]}; keep one"
            )
        lines[keys] = line
    return Document(path, content, lines)


def _places(
    node: yaml.Node | None, keys: Keys, around: tuple[int, ...]
) -> Iterator[tuple[Keys, int]]:
    # An alias may lead back to a node that holds it.
    if node is None or id(node) in around:
        return
    around = (*around, id(node))
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            place = (*keys, str(key.value))
            yield place, key.start_mark.line + 1
            yield from _places(value, place, around)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield (*keys, index), value.start_mark.line + 1
            yield from _places(value, (*keys, index), around)
