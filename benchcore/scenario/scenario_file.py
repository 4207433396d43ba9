"""Scenario file: a scenario read, with what it extends, its variables and its provider."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from benchcore.base.errors import ConfigError
from benchcore.base.plugins import nearest
from benchcore.base.secrets import is_secret
from benchcore.config.climb import LEVELS
from benchcore.config.scenario import (
    RUN_TYPES,
    Choice,
    RunType,
    Scenario,
    StageSettings,
)
from benchcore.config.servers import Asking, ProvidersFile
from benchcore.config.tree import Tree
from benchcore.scenario.stage import BaseStage
from benchcore.scenario.stages import LoadedScenario, installed_stages

_INSTEAD: Final = (
    (("launch",), ("local", "kubernetes", "simulator")),
    (("target",), ("base_url", "provider")),
    (("target",), ("api_key_env", "api_key_file")),
    (("stages", "perf"), LEVELS),
    (("stages", "perf"), ("requests", "duration_seconds")),
    (("stages", "accuracy"), ("limit", "preset")),
)
"""Keys of which a scenario has one: where an heir names one, it replaces the others."""
PROVIDERS: Final = "providers.yaml"
_YAML: Final = (".yaml", ".yml")
_PLACE: Final = re.compile(r"(.*?):(\d+): ")
_RESERVED: Final = (PROVIDERS, "matrix.yaml")


def scenarios_folder() -> Path:
    """Return where the scenarios that ship with benchcore are."""
    package = Path(str(resources.files("benchcore")))
    packed = package / "_data" / "scenarios"
    return packed if packed.is_dir() else package.parent / "scenarios"


def find_scenario(name: str) -> Path:
    """Return the file of a scenario: a path, or a name in `scenarios/` here or of benchcore.

    Raises:
        ConfigError: there is none.
    """
    path = Path(name)
    if path.suffix in _YAML or len(path.parts) > 1:
        if not path.is_file():
            raise ConfigError(f"{path}: does not exist; give the file of a scenario, or a name")
        return path
    known = {}
    for folder in (scenarios_folder(), Path("scenarios")):
        for file in sorted(folder.glob("*.y*ml")):
            if file.name not in _RESERVED:
                known[file.stem] = file
    if name in known:
        return known[name]
    raise ConfigError(f"scenario {name!r} is not known; {nearest(name, known)}")


def load_scenario(
    path: Path,
    run_type: str,
    *,
    environ: Mapping[str, str] | None = None,
    choice: Choice | None = None,
) -> LoadedScenario:
    """Read a scenario for a run type.

    Args:
        path: its file.
        run_type: `pr` or `daily`.
        environ: variables for `${NAME}` and for keys.
        choice: what a matrix picks of it.

    Raises:
        ConfigError: something is wrong; a line for each fault, with file, line and what is right.
    """
    environ = os.environ if environ is None else environ
    kind = RUN_TYPES[run_type]
    unfilled: list[str] = []
    tree = scenario_tree(path).filled(environ, is_secret, unfilled)
    faults: list[str] = []
    scenario = _scenario(tree, faults)
    known = installed_stages()
    settings = _settings(tree, kind, known, choice, faults)
    for other in RUN_TYPES.values():
        if other is not kind:
            # What is wrong there is not found out in the night.
            _settings(tree, other, known, None, faults)
    asking: Asking = Asking()
    base_url: str | None = None
    if scenario is not None:
        try:
            asking, base_url, model = _asked(scenario, tree, path, environ)
        except ConfigError as error:
            faults.append(str(error))
        else:
            scenario = scenario.model_copy(update={"model": scenario.model or model})
    # What a variable is not there for is no fault of its own.
    places = tuple(f"{': '.join(fault.split(': ', 2)[:2])}: " for fault in unfilled)
    faults = unfilled + [fault for fault in faults if not fault.startswith(places)]
    if faults:
        raise ConfigError("\n".join(sorted(dict.fromkeys(faults), key=_in_order)))
    assert scenario is not None
    stages = [_made(known[name], settings[name]) for name in known if name in settings]
    digest = _digest(scenario, settings)
    return LoadedScenario(scenario, path, kind, stages, settings, asking, base_url, environ, digest)


def _made(stage: Any, settings: StageSettings) -> BaseStage[Any]:
    try:
        made: BaseStage[Any] = stage(settings)
    except Exception as error:  # the code may be somebody else's
        text = " ".join(str(error).split())
        raise ConfigError(
            f"stage {stage.name}: cannot be made: {type(error).__name__}: {text}"
        ) from error
    return made


def _digest(scenario: Scenario, settings: Mapping[str, StageSettings]) -> str:
    """Return what tells this scenario from one of the same name that says something else."""
    said = {
        "scenario": scenario.model_dump(mode="json"),
        "stages": {name: one.model_dump(mode="json") for name, one in settings.items()},
    }
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def _in_order(fault: str) -> tuple[str, int]:
    """Return what sorts faults as their files have them."""
    place = _PLACE.match(fault)
    return ("", 0) if place is None else (place[1], int(place[2]))


def scenario_tree(path: Path) -> Tree:
    """Return what a scenario's file holds, laid over what it extends; variables stand as they are.

    Raises:
        ConfigError: a file cannot be read, or extends itself.
    """
    return _extended(path, ())


def _extended(path: Path, around: Sequence[Path]) -> Tree:
    """Return a scenario laid over the one that it extends."""
    tree = Tree.read(path)
    base = tree.content.get("extends")
    if base is None:
        return tree.without("extends")
    where = f"{tree.place(('extends',))}: extends"
    if not isinstance(base, str):
        raise ConfigError(f"{where}: name one file, relative to this one")
    beside = path.parent / base
    if not beside.is_file():
        raise ConfigError(f"{where}: {beside}: does not exist")
    if beside.resolve() in (*around, path.resolve()):
        raise ConfigError(f"{where}: {base} extends this scenario itself; take one of them out")
    own = tree.without("extends")
    return own.over(_made_way(_extended(beside, (*around, path.resolve())), own))


def _made_way(base: Tree, own: Tree) -> Tree:
    """Return what is extended without what its heir has something else for."""
    for above, group in _INSTEAD:
        given = set(own.below(*above).content) & set(group)
        if given:
            base = base.without_below(above, set(group) - given)
    return base


def _scenario(tree: Tree, faults: list[str]) -> Scenario | None:
    stages = tree.content.get("stages")
    # What is below `stages` is judged stage by stage, each by its own model.
    if stages is not None and not isinstance(stages, dict):
        faults.append(f"{tree.place(('stages',))}: stages: give settings by the name of a stage")
        tree = tree.without("stages")
    try:
        return Scenario.model_validate(tree.content)
    except ValidationError as error:
        faults.extend(tree.faults(error, Scenario))
        return None


def _settings(
    tree: Tree,
    run_type: RunType,
    known: Mapping[str, Any],
    choice: Choice | None,
    faults: list[str],
) -> dict[str, StageSettings]:
    stages = tree.below("stages")
    found: dict[str, StageSettings] = {}
    had: list[str] = []
    for name in stages.content:
        if name not in known:
            hint = nearest(str(name), known)
            faults.append(f"{stages.place((name,))}: stages.{name}: is not known; {hint}")
    for name, stage in known.items():
        if (stage.always or stage.essential) and _is_left_out(stages, name, run_type.name):
            faults.append(f"{stages.place((name,))}: stages.{name}: cannot be left out")
            continue
        given = stages.content.get(name, {} if stage.wanted else False)
        own = _of_run_type(stages, name, given, run_type.name, faults)
        if own is None:
            continue
        had.append(name)
        picked = choice is None or choice.stages is None or name in choice.stages
        if not (picked or stage.wanted):
            continue
        if choice is not None and name == "perf":
            own = _levels(own, choice)
        filled = Tree(run_type.filled(name, own.content), own.places)
        try:
            found[name] = stage.settings_model.model_validate(filled.content)
        except ValidationError as error:
            faults.extend(filled.faults(error, stage.settings_model, "stages", name))
    if choice is not None and (choice.concurrency or choice.rate) and "perf" not in had:
        faults.append(f"{tree.place(())}: has no climb for {run_type.name} to have levels")
    missing = [one for one in (choice.stages or () if choice else ()) if one not in found]
    if missing and not faults:
        has = ", ".join(one for one in had if not known[one].wanted) or "none"
        faults.append(
            f"{tree.place(())}: has no stage {missing[0]} for {run_type.name}; it has {has}"
        )
    return found


def _is_left_out(stages: Tree, name: str, run_type: str) -> bool:
    given = stages.content.get(name)
    return given is False or (isinstance(given, dict) and given.get(run_type) is False)


def _of_run_type(
    stages: Tree, name: str, given: Any, run_type: str, faults: list[str]
) -> Tree | None:
    """Return a stage's settings for a run type; `None`: it does not run there."""
    if given is False:
        return None
    if given is None or given is True:
        return Tree({}, {(): stages.place((name,))})
    if not isinstance(given, dict):
        faults.append(f"{stages.place((name,))}: stages.{name}: give its settings, true or false")
        return None
    own = stages.below(name)
    over = own.content.get(run_type)
    if over is False:
        return None
    for other in RUN_TYPES:
        if not isinstance(own.content.get(other, {}), dict | bool | None):
            faults.append(
                f"{own.place((other,))}: stages.{name}.{other}: give settings, true or false"
            )
            return None
    base = own.without(*RUN_TYPES)
    return own.below(run_type).over(base) if isinstance(over, dict) else base


def _levels(own: Tree, choice: Choice) -> Tree:
    """Return the settings of a climb with the levels that a matrix picks."""
    for name in ("concurrency", "rate"):
        levels = getattr(choice, name)
        if levels is not None:
            rest = own.without(*LEVELS)
            return Tree({**rest.content, name: levels}, rest.places)
    return own


def _asked(
    scenario: Scenario, tree: Tree, path: Path, environ: Mapping[str, str]
) -> tuple[Asking, str | None, str | None]:
    """Return how the server may be asked, where it is, and its model if the provider says."""
    target = scenario.target
    own = {
        name: getattr(target, name)
        for name in Asking.model_fields
        if name in target.model_fields_set
    }
    if target.provider is None:
        return Asking(**own), target.base_url, None
    where = f"{tree.place(('target', 'provider'))}: target.provider"
    file = path.parent / PROVIDERS
    if not file.is_file():
        raise ConfigError(f"{where}: {file}: does not exist; it holds the providers")
    unfilled: list[str] = []
    filled = Tree.read(file).filled(environ, is_secret, unfilled)
    if unfilled:
        raise ConfigError("\n".join(unfilled))
    providers = filled.validated(ProvidersFile).providers
    if target.provider not in providers:
        hint = nearest(target.provider, providers)
        raise ConfigError(f"{where}: {target.provider!r} is not in {file}; {hint}")
    provider = providers[target.provider]
    theirs = {name: getattr(provider, name) for name in Asking.model_fields}
    if "api_key_env" in own or "api_key_file" in own:
        theirs["api_key_env"] = theirs["api_key_file"] = None
    for name in ("headers", "header_envs", "extra_body", "rename"):
        if name in own:
            own[name] = {**theirs[name], **own[name]}
    return Asking(**{**theirs, **own}), provider.base_url, provider.model
