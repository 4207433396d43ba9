"""Named workloads: those that ship with benchcore, and YAML files of one's own."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Final

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from benchcore.base.errors import ConfigError
from benchcore.base.plugins import nearest
from benchcore.config.document import Document, Keys, read_document
from benchcore.config.values import Length
from benchcore.workload.jsonl import Order
from benchcore.workload.kinds import KINDS, Kind, Workload, find_kind, is_model, parameters
from benchcore.workload.language import LanguageName

_YAML = (".yaml", ".yml")
DATA = {
    ".jsonl": "jsonl",
    **dict.fromkeys((".ndjson", ".json", ".csv", ".tsv", ".txt", ".parquet"), "dataset"),
}
"""The kind of a file of prompts that is given by itself, by its suffix."""
# Keys of a file that are not for what makes the workload.
_OWN = {"name", "description", "kind", "load", "parts", "options"}
# What a kind is given without being asked for.
_GIVEN = {"name", "folder"}
_NOTHING: Final[dict[str, str]] = {}

Whole = Annotated[int, Field(ge=1)]


class Load(BaseModel):
    """The load that a workload asks for unless the user says otherwise."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    concurrency: list[Whole] | None = Field(None, min_length=1, description="virtual users")
    rate: list[Annotated[float, Field(gt=0)]] | None = Field(
        None, min_length=1, description="requests per second"
    )
    speed: list[Annotated[float, Field(gt=0)]] | None = Field(
        None, min_length=1, description="of a trace, how many times faster it is replayed"
    )
    shape: str | None = Field(None, description="a rate that changes, such as ramp:1..20/60s")
    user_shape: str | None = Field(None, description="a number of users that changes")
    arrival: str | None = Field(None, description="constant, poisson or gamma:SHAPE")
    max_inflight: Whole | None = Field(None, description="requests in flight at once")
    requests: Whole | None = Field(None, description="requests per level")
    duration: str | float | None = Field(None, description="length of the window, such as 60s")
    warmup: str | int | None = Field(None, description="requests, or a time such as 10s")
    repeats: Whole | None = Field(None, description="how often each level is run")
    ramp: float | None = Field(None, ge=0, description="seconds over which users start")
    think_time: float | None = Field(None, ge=0, description="seconds between requests of a user")
    stagger: bool | None = Field(None, description="users start one after the other")


class WorkloadFile(BaseModel):
    """A workload as a YAML file has it: of one kind, or the union of `parts`.

    A kind may have keys of its own beside these.
    """

    # Keys that are not here are the kind's own, and are checked once the kind is known.
    model_config = ConfigDict(extra="allow", frozen=True, strict=True)

    name: str | None = Field(None, min_length=1, description="the file's name when left out")
    description: str = Field("", description="one line for people")
    kind: str = Field("synthetic", description="entry point of the group benchcore.workloads")
    input_tokens: Length | None = Field(None, description="length of the prompt")
    output_tokens: Length | None = Field(None, description="the most tokens of the answer")
    language: LanguageName | None = Field(None, description="en, zh or mixed")
    seed: int | None = Field(None, description="the same seed gives the same prompts")
    ignore_eos: bool | None = Field(None, description="ask for exactly output_tokens")
    shared_prefix_tokens: int | None = Field(None, ge=0, description="tokens all prompts share")
    unique: bool | None = Field(None, description="prompts differ from one another")
    file: str | None = Field(None, description="prompts, beside this file or absolute")
    order: Order | None = Field(None, description="file or shuffled")
    options: dict[str, Any] = Field(default_factory=dict, description="for a third party's kind")
    load: Load = Field(default_factory=lambda: Load.model_validate({}), description="its load")
    parts: list[str] | None = Field(None, min_length=1, description="names or files, in order")


@dataclass(frozen=True, slots=True)
class WorkloadPart:
    """One workload and the load that it asks for.

    Args:
        name: what its levels are called.
        workload: says what to ask.
        load: what its file says under `load`, such as `{"concurrency": [1], "requests": 5}`.
    """

    name: str
    workload: Workload
    load: dict[str, Any]


@dataclass(frozen=True, slots=True)
class WorkloadSpec:
    """A named workload: one part, or several that are run one after the other.

    Args:
        name: what it is called.
        description: one line for people.
        source: the file that it came from.
        parts: in the order they are run.
    """

    name: str
    description: str
    source: str
    parts: list[WorkloadPart]


def load_workload(name_or_path: str | Path, **overrides: Any) -> WorkloadSpec:
    """Load a workload that ships with benchcore, a file, or a kind with its keys.

    Args:
        name_or_path: `short`, `my/load.yaml`, `prompts.jsonl` or `mooncake,path=t.jsonl,start=60`.
        overrides: keys of a workload file, such as `input_tokens` or `seed`, that count instead of
            what the file says, in every part; `None`: the file's.

    Raises:
        ConfigError: there is no such workload, or something in its file or the overrides is wrong;
            with file, line and key.
    """
    settable = [key for key in WorkloadFile.model_fields if key not in _OWN]
    for key in overrides:
        if key not in settable:
            raise ConfigError(f"{key}: unknown; {nearest(key, settable)}")
    try:
        checked = _set_fields(WorkloadFile.model_validate(overrides))
    except ValidationError as error:
        raise ConfigError("\n".join(told_faults(error.errors(), None))) from None
    kind, keys = _kind_and_keys(str(name_or_path))
    if kind is not None:
        model = _validated(Document(Path(), {"kind": kind, **keys}, {}), told=False)
        return WorkloadSpec(kind, "", kind, [_part(model, None, model.name or kind, checked)])
    path = _find(str(name_or_path))
    if path.suffix in DATA:
        return load_data(DATA[path.suffix], path, checked)
    return _load(path, checked, ())


def load_data(kind: str, path: Path, overrides: Mapping[str, Any] = _NOTHING) -> WorkloadSpec:
    """Load a file of prompts, of conversations or of a trace.

    Args:
        kind: reads it.
        path: of it.
        overrides: keys of a workload file, checked.

    Raises:
        ConfigError: the file cannot be used.
    """
    model = WorkloadFile(kind=kind, file=str(path.absolute()))
    part = _part(model, None, path.stem, dict(overrides))
    return WorkloadSpec(path.stem, "", str(path), [part])


def _kind_and_keys(text: str) -> tuple[str | None, dict[str, Any]]:
    """Read `KIND` or `KIND,key=value,…`; the kind is `None` where it is neither.

    Values are read as YAML reads them, so that `3` is a number and `true` a flag.

    Raises:
        ConfigError: a part is not `key=value`, or comes twice.
    """
    name, *parts = text.split(",")
    shipped = (_folder() / f"{name}.yaml").is_file()
    if shipped or Path(text).exists() or not (parts or name in KINDS.points()):
        return None, {}
    keys: dict[str, Any] = {}
    for part in parts:
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not key or not equals:
            raise ConfigError(
                f"workload {text}: {part.strip()!r} is not key=value; write {name},key=value"
            )
        if key in keys:
            raise ConfigError(f"workload {text}: {key} is given twice")
        try:
            keys[key] = yaml.safe_load(value)
        except yaml.YAMLError:
            keys[key] = value
    find_kind(name)
    return name, keys


def _load(path: Path, overrides: dict[str, Any], around: tuple[Path, ...]) -> WorkloadSpec:
    document = read_document(path)
    model = _validated(document)
    name = model.name or path.stem
    if model.parts is None:
        part = _part(model, document, name, overrides)
        return WorkloadSpec(name, model.description, str(path), [part])
    around = (*around, path.resolve())
    parts: list[WorkloadPart] = []
    for index, entry in enumerate(model.parts):
        where = f"{document.at(('parts', index))}: parts.{index}"
        beside = path.parent / entry
        try:
            file = beside if beside.suffix in _YAML else _find(entry)
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from None
        if file.resolve() in around:
            raise ConfigError(f"{where}: {entry} contains this workload itself; take it out")
        for part in _load(file, overrides, around).parts:
            if any(part.name == other.name for other in parts):
                raise ConfigError(f"{where}: part {part.name!r} appears twice; name it otherwise")
            parts.append(part)
    return WorkloadSpec(name, model.description, str(path), parts)


def _part(
    model: WorkloadFile, document: Document | None, name: str, overrides: dict[str, Any]
) -> WorkloadPart:
    def at(key: str) -> str:
        inside = document is not None and key in document.content
        return f"{document.at((key,))}: {key}" if document is not None and inside else key

    try:
        kind = find_kind(model.kind)
    except ConfigError as error:
        raise ConfigError(f"{at('kind')}: {error}") from None
    arguments = _arguments(kind, model, document, name, overrides, at)
    try:
        workload = kind(**arguments)
    except ValidationError as error:
        raise ConfigError("\n".join(told_faults(error.errors(), document))) from None
    except ConfigError as error:
        # A fault in the file of prompts names that file itself.
        where = "" if document is None or "path" in arguments else f"{document.path}: "
        raise ConfigError(f"{where}{error}") from None
    return WorkloadPart(name, workload, model.load.model_dump(exclude_none=True))


def _arguments(
    kind: Kind,
    model: WorkloadFile,
    document: Document | None,
    name: str,
    overrides: dict[str, Any],
    at: Callable[[str], str],
) -> dict[str, Any]:
    """Return what a kind is called with.

    Raises:
        ConfigError: it does not take one of the keys, or lacks one.
    """
    known, open_ended = parameters(kind)
    fields = {key: value for key, value in _set_fields(model).items() if key not in _OWN}
    fields |= model.model_extra or {}
    beside = Path() if document is None else document.path.parent
    for key in ("file", "path"):
        if key in fields and (key == "file" or key in known):
            fields[key] = str(beside / str(fields[key]))
    for key in (*fields, *overrides):
        if _taken(key) not in known and not open_ended:
            takes = ["file" if one == "path" else one for one in known if one not in _GIVEN]
            raise ConfigError(
                f"{at(key)}: {name} is of kind {model.kind}, which takes {', '.join(takes)}"
            )
    for key in model.options:
        if key not in known and not open_ended:
            raise ConfigError(f"{at('options')}.{key}: unknown; {nearest(key, known)}")
    arguments = {_taken(key): value for key, value in {**fields, **overrides}.items()}
    arguments |= model.options
    if "name" in known or open_ended:
        arguments["name"] = name
    if "folder" in known:
        arguments["folder"] = str(beside)
    for key, needed in known.items():
        if needed and key not in arguments:
            own = key if is_model(kind) else f"options.{key}"
            wanted = "file" if key == "path" else own
            raise ConfigError(f"{at('kind')}: {model.kind} needs {wanted}; add it")
    return arguments


def _taken(key: str) -> str:
    return "path" if key == "file" else key


def _folder() -> Path:
    """Return where the shipped workloads are: in the wheel, or beside the package in a checkout."""
    package = Path(str(resources.files("benchcore")))
    packed = package / "_data" / "workloads"
    return packed if packed.is_dir() else package.parent / "workloads"


def _find(name: str) -> Path:
    path = Path(name)
    if path.suffix in (*_YAML, *DATA) or len(path.parts) > 1:
        if path.suffix not in (*_YAML, *DATA):
            *others, last = (".yaml", *DATA)
            raise ConfigError(
                f"workload {name}: the name of a workload file must end in "
                f"{', '.join(others)} or {last}"
            )
        return path
    shipped = _folder() / f"{name}.yaml"
    if not shipped.is_file():
        names = [path.stem for path in sorted(_folder().glob("*.yaml"))]
        raise ConfigError(
            f"workload {name!r} is unknown; {nearest(name, [*names, *KINDS.points()])} "
            "(a file, or a kind with its keys, can be given, too)"
        )
    return shipped


def _set_fields(model: BaseModel) -> dict[str, Any]:
    """Return what was given, in the order of the model; `key:` with nothing after it is not."""
    return {
        key: getattr(model, key)
        for key in type(model).model_fields
        if key in model.model_fields_set and getattr(model, key) is not None
    }


def _validated(document: Document, *, told: bool = True) -> WorkloadFile:
    """Return a file's content as its model.

    Args:
        document: the file.
        told: whether places in the file are told; there is none behind a command line.
    """
    faults: list[ErrorDetails] = []
    try:
        model = WorkloadFile.model_validate(document.content)
    except ValidationError as error:
        faults = error.errors()
    unknown = _unknown_keys(document.content)
    if faults or unknown:
        raise ConfigError("\n".join(told_faults(faults, document if told else None, unknown)))
    if model.parts is not None:
        for key in sorted(model.model_fields_set - {"name", "description", "parts"}):
            raise ConfigError(
                f"{document.at((key,))}: {key}: a union has only name, description and parts; "
                "write it into the files of the parts"
            )
    return model


def _unknown_keys(content: dict[str, Any]) -> dict[str, str]:
    """Return the keys that are neither of every workload nor of its kind, with what is near."""
    extra = [
        key for key in content if isinstance(key, str) and key not in WorkloadFile.model_fields
    ]
    if not extra or "parts" in content:
        return {}
    try:
        known, open_ended = parameters(find_kind(str(content.get("kind", "synthetic"))))
    except ConfigError:  # of an unknown kind; that is told of by itself
        return {}
    keys = [*WorkloadFile.model_fields, *(key for key in known if key not in _GIVEN)]
    near = {key: nearest(str(key), dict.fromkeys(keys)) for key in extra if key not in known}
    return {} if open_ended else near


def told_faults(
    errors: list[ErrorDetails], document: Document | None, unknown: Mapping[str, str] = _NOTHING
) -> list[str]:
    """Return a line for each key at fault, in the order of the file: place, key, what is right."""
    faults: dict[tuple[int, str], list[str]] = {}

    def add(keys: Keys, says: str) -> None:
        # A choice of types adds the name of each to the path: they are faults of one key.
        while document is not None and len(keys) > 1 and keys not in document.lines:
            keys = keys[:-1]
        line = document.line(keys) if document is not None else 0
        place = f"{document.path}:{line}: " if document is not None else ""
        faults.setdefault((line, f"{place}{'.'.join(map(str, keys))}"), []).append(says)

    for key, near in unknown.items():
        add((key,), f"unknown key; {near}")
    for error in errors:
        says = error["msg"][0].lower() + error["msg"][1:]
        if error["type"] == "extra_forbidden":
            says = f"unknown key; {nearest(str(error['loc'][-1]), Load.model_fields)}"
        elif error["type"] == "value_error":
            says = str(error["ctx"]["error"])
        add(error["loc"], says)
    return [f"{place}: {' or '.join(says)}" for (_, place), says in sorted(faults.items())]
