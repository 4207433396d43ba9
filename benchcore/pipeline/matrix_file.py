"""Matrix file: a matrix read, with the scenarios that it includes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from glob import glob
from pathlib import Path

from benchcore.config.matrix import Choice, Matrix
from benchcore.config.tree import Tree
from benchcore.errors import ConfigError
from benchcore.pipeline.scenario_file import (
    PROVIDERS,
    LoadedScenario,
    load_scenario,
    scenario_tree,
)
from benchcore.secrets import is_secret


@dataclass(frozen=True, slots=True)
class Entry:
    """A scenario of a matrix.

    Args:
        loaded: it.
        choice: what the matrix picks of it.
    """

    loaded: LoadedScenario
    choice: Choice


@dataclass(frozen=True, slots=True)
class LoadedMatrix:
    """A matrix for one run type.

    Args:
        matrix: it.
        path: its file.
        entries: that run, in order: by priority, then as the file includes them.
        skipped: by id, why it is left out.
        broken: by id, what is wrong with its file; the others can be run all the same.
        files: of every scenario, by id.
    """

    matrix: Matrix
    path: Path
    entries: list[Entry]
    skipped: dict[str, str]
    broken: dict[str, str]
    files: dict[str, Path]


def load_matrix(
    path: Path,
    run_type: str,
    *,
    only: Collection[str] = (),
    environ: Mapping[str, str],
) -> LoadedMatrix:
    """Read a matrix and its scenarios for a run type.

    Args:
        path: its file.
        run_type: `pr` or `daily`.
        only: ids; none: all.
        environ: variables for `${NAME}` and for keys.

    Raises:
        ConfigError: something is wrong in the matrix itself, or in every scenario of it; a line for
            each fault.
    """
    faults: list[str] = []
    tree = Tree.read(path).filled(environ, is_secret, faults)
    if faults:
        raise ConfigError("\n".join(faults))
    matrix = tree.validated(Matrix)
    choices: dict[str, Choice] = getattr(matrix.run_types, run_type)
    found: dict[str, Path] = {}
    skipped: dict[str, str] = {}
    broken: dict[str, str] = {}
    entries: list[Entry] = []
    for file in _files(matrix, tree, path, faults):
        # Which id a file has is known once it is read; what is picked of it depends on the id.
        name = _id(file, environ)
        if name in found:
            faults.append(f"{file}: id {name} is that of {found[name]} too; rename one")
            continue
        found[name] = file
        choice = choices.get(name, Choice())
        if choice.skip is not None or (only and name not in only):
            skipped[name] = choice.skip or "not among --only"
            continue
        try:
            loaded = load_scenario(file, run_type, environ=environ, choice=choice)
        except ConfigError as error:
            broken[name] = str(error)
        else:
            entries.append(Entry(loaded, choice))
    for kind, picked in matrix.run_types:
        for name in picked:
            if name not in found:
                where = tree.place(("run_types", kind, name))
                faults.append(f"{where}: run_types.{kind}.{name}: {_unknown(name, found)}")
    faults += [f"--only {name}: {_unknown(name, found)}" for name in only if name not in found]
    if faults:
        raise ConfigError("\n".join(faults))
    if broken and not entries:
        raise ConfigError("\n".join(broken.values()))
    if not entries:
        raise ConfigError(f"{path}: nothing is left to run for {run_type}")
    entries.sort(key=lambda entry: -entry.loaded.scenario.priority)
    return LoadedMatrix(matrix, path, entries, skipped, broken, found)


def _id(file: Path, environ: Mapping[str, str]) -> str:
    """Return the id of a scenario, or the file's name where it has none that can be read."""
    try:
        own = scenario_tree(file).filled(environ, is_secret, []).content.get("id")
    except ConfigError:
        own = None  # what is wrong is told when it is read as a scenario
    return own if isinstance(own, str) else file.stem


def _files(matrix: Matrix, tree: Tree, path: Path, faults: list[str]) -> list[Path]:
    found: dict[Path, None] = {}
    for place, pattern in enumerate(matrix.include):
        # Not Path.glob: it takes no absolute pattern.
        found_here = glob(str(path.parent / pattern), recursive=True)  # noqa: PTH207
        files = sorted(
            file
            for file in map(Path, found_here)
            if file.is_file() and file.name != PROVIDERS and file.resolve() != path.resolve()
        )
        if not files:
            where = tree.place(("include", place))
            faults.append(f"{where}: include: {pattern}: there is no such file in {path.parent}")
        found.update(dict.fromkeys(files))
    return list(found)


def _unknown(name: str, known: Mapping[str, Path]) -> str:
    close = get_close_matches(name, list(known), n=1)
    hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(known) or 'none'}"
    return f"is no scenario of the matrix; {hint}"
