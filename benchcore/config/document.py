"""Document: a YAML file that knows on which line each key stands."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from benchcore.errors import ConfigError

Keys = tuple[str | int, ...]
_LISTED = 20
_MOST_KEYS = 100_000


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
    except RecursionError:
        raise ConfigError(f"{path}: is nested too deeply") from None
    except (yaml.YAMLError, ValueError) as error:
        problem = " ".join(str(error).split())
        raise ConfigError(f"{path}: is not YAML: {problem}") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path}:1: holds no keys; write `key: value` lines")
    lines: dict[Keys, int] = {}
    for keys, line in _places(path, root, (), ()):
        if len(lines) > _MOST_KEYS:
            raise ConfigError(f"{path}: holds over {_MOST_KEYS} keys, aliases counted each time")
        if keys in lines and keys and isinstance(keys[-1], str):
            name = ".".join(map(str, keys))
            raise ConfigError(
                f"{path}:{line}: {name}: is there twice, first on line {lines[keys]}; keep one"
            )
        lines[keys] = line
    return Document(path, content, lines)


def _places(
    path: Path, node: yaml.Node | None, keys: Keys, around: tuple[int, ...]
) -> Iterator[tuple[Keys, int]]:
    if node is None:
        return
    if id(node) in around:
        line = node.start_mark.line + 1
        name = ".".join(map(str, keys))
        raise ConfigError(f"{path}:{line}: {name}: an alias leads back to itself; write it out")
    around = (*around, id(node))
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            place = (*keys, str(key.value))
            yield place, key.start_mark.line + 1
            yield from _places(path, value, place, around)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield (*keys, index), value.start_mark.line + 1
            yield from _places(path, value, (*keys, index), around)


M = TypeVar("M", bound=BaseModel)


def read_model(path: Path, model: type[M]) -> M:
    """Read a YAML file as a model.

    Args:
        path: the file.
        model: what it must be.

    Raises:
        ConfigError: it is not; a line for each fault, with file and line, place and what is wrong.
    """
    document = read_document(path)
    try:
        return model.model_validate(document.content)
    except ValidationError as error:
        raise ConfigError("\n".join(fault_lines(error, model, document.at))) from None


def fault_lines(
    error: ValidationError,
    model: type[BaseModel],
    at: Callable[[Keys], str],
    before: Keys = (),
) -> list[str]:
    """Return a line for each fault that pydantic has found: file and line, key, what is wrong.

    Args:
        error: what was found.
        model: what the file should be.
        at: returns `file:line` of a key.
        before: the keys above the model in the file, to be named.
    """
    faults = error.errors(include_url=False)
    return list(dict.fromkeys(_fault(fault, model, at, before) for fault in faults))


def _fault(fault: Any, model: type[BaseModel], at: Callable[[Keys], str], before: Keys) -> str:
    # The names of a union's members stand in `loc` and not in the file.
    keys = tuple(key for key in fault["loc"] if not (isinstance(key, str) and "[" in key))
    where = f"{at(keys)}: {'.'.join(map(str, (*before, *keys))) or 'the file'}"
    if fault["type"] == "extra_forbidden":
        return f"{where}: is not known; {_hint(str(keys[-1]), _known(model, keys[:-1]))}"
    if fault["type"] == "missing":
        return f"{where}: is missing"
    message = fault["msg"].removeprefix("Value error, ")
    if not message[1:2].isupper():  # an abbreviation stays one
        message = f"{message[:1].lower()}{message[1:]}"
    return f"{where}: {message}"


def _hint(key: str, known: list[str]) -> str:
    """Return what a key may have been meant to be."""
    close = get_close_matches(key, known, n=1)
    # `drain` is far from `drain_seconds` by its letters, and not by what is meant.
    close = close or [name for name in known if name.startswith(f"{key}_")]
    if close:
        return f"did you mean {close[0]}?"
    more = ", …" if len(known) > _LISTED else ""
    return f"known are {', '.join(known[:_LISTED])}{more}"


def _known(model: type[BaseModel], keys: Keys) -> list[str]:
    """Return the fields that a model has at a place."""
    found: Any = model
    for key in keys:
        if isinstance(key, int):
            continue
        if isinstance(found, type) and issubclass(found, BaseModel) and key in found.model_fields:
            found = _inner(found.model_fields[key].annotation)
    return list(found.model_fields) if hasattr(found, "model_fields") else []


def _inner(annotation: Any) -> Any:
    """Return the model in an annotation such as `tuple[Case, ...]` or `Case | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    models = [found for one in get_args(annotation) if (found := _inner(one)) is not None]
    return models[0] if models else None
