"""Document: a YAML file that knows on which line each key stands."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from benchcore.base.errors import ConfigError
from benchcore.base.plugins import nearest

Keys = tuple[str | int, ...]
_LISTED = 20
_MOST_KEYS = 100_000
MOST_BYTES = 4 << 20
"""Of a YAML file."""
SMALL = 1 << 16
"""Up to here nothing takes long, and the parser in Python says best what is wrong."""
_DEEPEST = 200
_LONGEST_NUMBER = 400
_NUMBER = re.compile(r"[-+0-9_:.eExXoObBa-fA-F]+")
# libyaml's, where PyYAML was built with it.
FastLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


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
    text = read_yaml(path)
    loader: Any = None
    try:
        loader = (yaml.SafeLoader if len(text) <= SMALL else FastLoader)(text)
        root = loader.get_single_node()
        # Before anything is made of it: merged keys (`<<`) multiply as aliases do.
        lines = _lines(path, root)
        content = None if root is None else loader.construct_document(root)
    except yaml.MarkedYAMLError as error:
        raise not_yaml(path, error) from None
    except RecursionError:
        raise ConfigError(f"{path}: is nested too deeply") from None
    except (yaml.YAMLError, ValueError) as error:
        problem = " ".join(str(error).split())
        raise ConfigError(f"{path}: is not YAML: {problem}") from None
    finally:
        if loader is not None:
            loader.dispose()
    if not isinstance(content, dict):
        raise ConfigError(f"{path}:1: holds no keys; write `key: value` lines")
    return Document(path, content, lines)


def not_yaml(path: Path, error: yaml.MarkedYAMLError) -> ConfigError:
    """Return what is wrong with a file that the parser refuses."""
    mark = error.problem_mark or error.context_mark
    line = mark.line + 1 if mark else 1
    problem = " ".join(filter(None, (error.context, error.problem)))
    return ConfigError(f"{path}:{line}: is not YAML: {problem}")


def read_yaml(path: Path) -> str:
    """Return the text of a YAML file that can be parsed in a moment.

    Raises:
        ConfigError: it cannot be read, is no UTF-8, or is too large, too deep or too long a number.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; give a YAML file") from None
    if len(data) > MOST_BYTES:
        raise ConfigError(
            f"{path}: is larger than {MOST_BYTES >> 20} MB; is it the right file? Split it, if so"
        )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ConfigError(f"{path}:{line}: is not UTF-8; save the file as UTF-8") from None
    if len(text) > SMALL:
        _check_large(path, text)
    return text


def _check_large(path: Path, text: str) -> None:
    """Refuse what would take long, by the parser in C: that in Python takes 20 s for 4 MB."""
    depth = nodes = 0
    try:
        for event in yaml.parse(text, FastLoader):
            line = event.start_mark.line + 1 if event.start_mark else 1
            if isinstance(event, yaml.CollectionStartEvent):
                depth += 1
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
            elif (
                isinstance(event, yaml.ScalarEvent)
                and event.implicit[0]
                and len(event.value) > _LONGEST_NUMBER
                and _NUMBER.fullmatch(event.value)
            ):
                # YAML 1.1 reads 1:59:59 as a number to the base of 60, in quadratic time.
                raise ConfigError(
                    f"{path}:{line}: a number of {len(event.value)} digits; quote it if it is text"
                )
            nodes += isinstance(event, yaml.NodeEvent)
            if depth > _DEEPEST:
                raise ConfigError(f"{path}:{line}: is nested too deeply")
            if nodes > 2 * _MOST_KEYS:
                raise ConfigError(f"{path}:{line}: holds over {_MOST_KEYS} keys")
    except yaml.MarkedYAMLError as error:
        raise not_yaml(path, error) from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: is not YAML: {' '.join(str(error).split())}") from None


def check_expansion(path: Path, root: yaml.Node | None) -> None:
    """Refuse a document whose aliases or merged keys (`<<`) make something huge of it.

    Raises:
        ConfigError: they do, or one leads back to itself.
    """
    for count, _ in enumerate(_places(path, root, (), ())):
        if count > _MOST_KEYS:
            raise ConfigError(f"{path}: holds over {_MOST_KEYS} keys, aliases counted each time")


def _lines(path: Path, root: yaml.Node | None) -> dict[Keys, int]:
    lines: dict[Keys, int] = {}
    for keys, line in _places(path, root, (), ()):
        if len(lines) > _MOST_KEYS:
            raise ConfigError(f"{path}: holds over {_MOST_KEYS} keys, aliases counted each time")
        if keys in lines and keys and isinstance(keys[-1], str):
            name = ".".join(map(str, keys))
            raise ConfigError(
                f"{path}:{line}: {name}: appears twice, first on line {lines[keys]}; keep one"
            )
        lines[keys] = line
    return lines


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
    more = ", …" if len(known) > _LISTED else ""
    otherwise = f"known are {', '.join(known[:_LISTED])}{more}"
    # `drain` is far from `drain_seconds` by its letters, and not by what is meant.
    longer = [name for name in known if name.startswith(f"{key}_")]
    if longer:
        otherwise = f"did you mean {longer[0]}?"
    return nearest(key, known, otherwise=otherwise)


def _known(model: type[BaseModel], keys: Keys) -> list[str]:
    """Return the fields that a model has at a place."""
    place: Any = model
    for key in keys:
        if isinstance(key, int):
            continue
        if isinstance(place, type) and issubclass(place, BaseModel) and key in place.model_fields:
            place = _inner(place.model_fields[key].annotation)
    return list(place.model_fields) if hasattr(place, "model_fields") else []


def _inner(annotation: Any) -> Any:
    """Return the model in an annotation such as `tuple[Case, ...]` or `Case | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    models = [inner for part in get_args(annotation) if (inner := _inner(part)) is not None]
    return models[0] if models else None
