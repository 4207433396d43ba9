"""Baselines: runs that others are held against, kept by scenario and name.

And what two runs were asked differently, so that one cannot be held against the other.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchcore.base.errors import ConfigError
from benchcore.runs.facts import Part, PartName
from benchcore.runs.reading import RunFolder
from benchcore.runs.run import Run

FOLDER: Final = "baselines"
NIGHTLY: Final = "daily"
MOST_NIGHTS: Final = 10
"""Earlier runs that tell what differs between runs: older ones are of an older server."""
_KEPT: Final = (
    "run.json",
    "summary.csv",
    "requests.csv",
    "functional.json",
    "accuracy.json",
    "samples.jsonl",
    "result.json",
)
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}\Z")


@dataclass(frozen=True, slots=True)
class Baseline:
    """A run that is kept.

    Args:
        scenario: what it is of.
        name: of the baseline.
        path: where it lies.
    """

    scenario: str
    name: str
    path: Path


def scenario_of(run: RunFolder) -> str:
    """Return what a run is of: its label `scenario`, else its name."""
    return run.run.label("scenario") or run.run.name or "run"


def run_type_of(run: RunFolder) -> str:
    """Return how thoroughly a scenario was run: its label `run_type`; empty: it was none."""
    return run.run.label("run_type")


def set_baseline(run: RunFolder, results: Path, name: str, *, simulator: bool = False) -> Baseline:
    """Keep a run as a baseline; one of that name is replaced.

    Args:
        run: complete, and with no invalid level.
        results: the folder of results.
        name: of the baseline.
        simulator: take a run of the simulator too.

    Raises:
        ConfigError: the run or the name will not do, or it cannot be written.
    """
    if not _NAME.match(name):
        raise ConfigError(f"--name {name!r}: write letters, digits, '.', '_' and '-'")
    reason = unfit(run, simulator=simulator)
    if reason:
        raise ConfigError(f"{run.path}: cannot be a baseline: {reason}")
    scenario = re.sub(r"[^A-Za-z0-9._-]+", "-", scenario_of(run)).strip("-.") or "run"
    place = results / FOLDER / scenario / name
    new = place.with_name(f".{name}.new")
    try:
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(parents=True)
        for file in _KEPT:
            if (run.path / file).is_file():
                shutil.copyfile(run.path / file, new / file)
        shutil.rmtree(place, ignore_errors=True)
        new.rename(place)
    except OSError as error:
        raise ConfigError(f"{place}: cannot be written ({error.strerror})") from None
    return Baseline(scenario, name, place)


def unfit(run: RunFolder, *, simulator: bool) -> str:
    """Return why a run is no baseline; empty where it is one."""
    if run.run.status != "complete":
        return f"it is {run.run.status}"
    invalid = [level.level for level in run.levels if level.verdict == "invalid"]
    if invalid:
        return f"level {invalid[0]} is invalid"
    if run.run.simulated and not simulator:
        return "it comes from the simulator; --allow-simulator takes it all the same"
    return ""


def baselines(results: Path) -> list[Baseline]:
    """Return all that are kept, by scenario and name."""
    found = sorted((results / FOLDER).glob("*/*/run.json"))
    return [Baseline(file.parent.parent.name, file.parent.name, file.parent) for file in found]


def find_baseline(run: RunFolder, results: Path, wanted: str | None) -> RunFolder:
    """Return what a run is held against.

    Args:
        run: that is held.
        results: the folder of results.
        wanted: the name of a baseline, `SCENARIO/NAME`, or else the folder of a run; `None`: the
            latest earlier run of the same that is valid, a nightly one where there are any.

    Raises:
        ConfigError: there is none, or what is wanted is damaged.
    """
    if wanted is None:
        return _latest(run, results)
    kept = baselines(results)
    scenario, slash, name = wanted.rpartition("/")
    own = scenario if slash else scenario_of(run)
    matching = [one for one in kept if one.name == name and one.scenario == own]
    if not matching and not slash:
        matching = [one for one in kept if one.name == name]
    if len(matching) == 1:
        return RunFolder(matching[0].path)
    # Only now: a folder `main` that happens to lie here must not hide the baseline of that name.
    folder = Path(wanted)
    if (folder / "run.json").is_file():
        return RunFolder(folder)
    known = ", ".join(f"{one.scenario}/{one.name}" for one in kept) or "there is none"
    what = "is a folder without a run.json" if folder.is_dir() else "is not a folder"
    raise ConfigError(f"baseline {wanted}: {what} and not a baseline of {results}: {known}")


def _kind(run: RunFolder) -> tuple[bool, bool, str]:
    """Return what a run holds: levels, checks, and the task of an eval."""
    score = run.eval()
    return bool(run.levels), run.checks() is not None, "" if score is None else score.task


def _comparable(run: RunFolder, other: RunFolder) -> bool:
    """Tell whether a run holds what another does; of a shorter run type, something of it."""
    ours, theirs = _kind(run), _kind(other)
    if run_type_of(run) == run_type_of(other):
        return ours == theirs
    return any(mine and mine == its for mine, its in zip(ours[:2], theirs[:2], strict=True)) or (
        ours[2] == theirs[2] != ""
    )


def _latest(run: RunFolder, results: Path) -> RunFolder:
    found = earlier_like(run, results)
    if not found:
        raise ConfigError(f"{results}: holds no earlier valid run like {run.name}; name a baseline")
    return found[-1]


def earlier_like(run: RunFolder, results: Path, most: int = MOST_NIGHTS) -> list[RunFolder]:
    """Return the latest earlier valid runs that were asked the same, oldest first.

    Nightly ones alone where there are any.
    """
    _kind(run)  # where this run itself is damaged, that is told and not taken for a neighbour's
    found: list[RunFolder] = []
    nightly: list[RunFolder] = []
    for file in sorted(results.glob("*/run.json"), reverse=True):
        if file.parent.name >= run.path.resolve().name:
            continue
        try:
            other = RunFolder(file.parent)
            same = scenario_of(other) == scenario_of(run) and not forbidding(other.run, run.run)
            if same and _comparable(run, other) and not unfit(other, simulator=run.run.simulated):
                (nightly if run_type_of(other) == NIGHTLY else found).append(other)
        except ConfigError:
            continue  # a broken neighbour is no reason to judge nothing
        if len(nightly) >= most:
            break
    if nightly or run_type_of(run) == NIGHTLY:
        found = nightly  # a pull request's run has less in it
    return found[:most][::-1]


# What two runs were asked differently.

_TARGET: Final = ("kind", "model", "endpoint", "stream", "extra_body", "omit", "rename")
_WORKLOAD: Final = (
    "name",
    "kind",
    "task",
    "variant",
    "questions",
    "file",
    "prompts",
    "input_tokens",
    "output_tokens",
    "language",
    "shared_prefix_tokens",
    "unique",
    "ignore_eos",
    "order",
)
_LOAD: Final = (
    "arrival",
    "max_inflight",
    "think_time_seconds",
    "slos",
    "count_failures",
    "reset_prefix_cache",
)
_FORBIDDING: Final[tuple[tuple[PartName, tuple[str, ...]], ...]] = (
    ("target", _TARGET),
    ("workload", _WORKLOAD),
    ("load", _LOAD),
)
_NOTED: Final[tuple[tuple[PartName, str], ...]] = (
    ("target", "base_url"),
    ("workload", "seed"),
    ("load", "requests"),
    ("load", "duration_seconds"),
    ("load", "warmup_requests"),
    ("load", "warmup_seconds"),
    ("load", "repeats"),
    ("versions", "benchcore"),
    ("host", "hostname"),
)


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing in which two runs differ.

    Args:
        where: such as `workload.input_tokens`.
        first: what the first run has.
        second: what the second has.
    """

    where: str
    first: object
    second: object

    def __str__(self) -> str:
        """Return it as a phrase."""
        return f"{self.where} is {self.first!r} in one and {self.second!r} in the other"


def forbidding(first: Run, second: Run) -> list[Difference]:
    """Return in what two runs differ that makes their figures those of different things."""
    found = []
    for part, names in _FORBIDDING:
        found += list(_differing(first.part(part), second.part(part), part, names))
    return found


def noted(first: Run, second: Run) -> list[Difference]:
    """Return in what else two runs differ: allowed, and said."""
    found = []
    for part, name in _NOTED:
        found += list(_differing(first.part(part), second.part(part), part, (name,)))
    return found


def _differing(
    first: Part, second: Part, where: str, names: tuple[str, ...]
) -> Iterator[Difference]:
    one, other = first.said, second.said
    for name in names:
        # What one of them does not say at all cannot differ: an older run knew less.
        if name in one and name in other and one[name] != other[name]:
            yield Difference(f"{where}.{name}", one[name], other[name])
    if not first.parts:
        return
    if len(first.parts) != len(second.parts):
        yield Difference(f"{where}.parts", len(first.parts), len(second.parts))
        return
    for place, pair in enumerate(zip(first.parts, second.parts, strict=True)):
        yield from _differing(*pair, f"{where}.parts[{place}]", names)
