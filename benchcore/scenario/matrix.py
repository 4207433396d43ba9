"""Matrix: scenarios that are run one after the other, each in a process of its own."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from glob import glob
from pathlib import Path
from typing import Final

from benchcore.base.clock import stamp_of, utc_now
from benchcore.base.errors import BenchcoreError, ConfigError, ResultsError
from benchcore.base.files import make_folder, replace_file
from benchcore.base.plugins import nearest
from benchcore.base.secrets import is_secret
from benchcore.base.stored import Status
from benchcore.config.scenario import Choice, Matrix
from benchcore.config.tree import Tree
from benchcore.runs.reading import MATRIX_FILE, read_scenario, whole
from benchcore.runs.run_json import dump
from benchcore.runs.scenarios import MatrixEntry, MatrixResult, ScenarioResult
from benchcore.scenario.scenario_file import PROVIDERS, load_scenario, scenario_tree
from benchcore.scenario.stages import LoadedScenario
from benchcore.scenario.summary import junit, markdown


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
    return f"is not a scenario of the matrix; {nearest(name, known)}"


_LONGEST_LINE: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class MatrixOptions:
    """How a matrix is run.

    Args:
        results: where the folders of runs are.
        jobs: scenarios at a time; servers share GPUs, so usually one.
        dry_run: touch neither a target nor a cluster.
        allow_simulator: judge and push runs of the simulator too.
        before: what became of the scenarios in an earlier run of the matrix; what is whole of it
            is not run again.
    """

    results: Path
    jobs: int = 1
    dry_run: bool = False
    allow_simulator: bool = False
    before: Sequence[MatrixEntry] = ()


class MatrixRun:
    """Runs a matrix: a scenario that fails, or whose process dies, does not stop the others.

    Args:
        loaded: the matrix.
        run_type: `pr` or `daily`.
        folder: where `matrix.json`, `junit.xml` and `summary.md` go.
        options: how.
        tell: takes a line for people.
    """

    def __init__(
        self,
        loaded: LoadedMatrix,
        run_type: str,
        folder: Path,
        options: MatrixOptions,
        tell: Callable[[str], None] = lambda _line: None,
    ) -> None:
        self._loaded = loaded
        self._folder = folder
        self._options = options
        self._tell = tell
        self._running: set[asyncio.subprocess.Process] = set()
        self._signal = 0
        ids = [entry.loaded.scenario.id for entry in loaded.entries]
        # Until a scenario runs again, what it came to before stands: nothing finished is forgotten.
        before = {entry.scenario: entry for entry in options.before}
        self._entries = {
            name: before.get(name) or MatrixEntry.waiting(name, str(entry.loaded.path))
            for name, entry in zip(ids, loaded.entries, strict=True)
        }
        broken = [
            MatrixEntry.waiting(
                name, str(loaded.files[name]), verdict="failed", exit_code=2, message=why
            )
            for name, why in loaded.broken.items()
        ]
        left_out = [
            before.get(name)
            or MatrixEntry.waiting(name, str(loaded.files[name]), verdict="skipped", message=why)
            for name, why in loaded.skipped.items()
        ]
        self.result = MatrixResult.begun(
            loaded.matrix.name,
            str(loaded.path),
            run_type,
            utc_now(),
            dry_run=options.dry_run,
            scenarios=[*self._entries.values(), *broken, *left_out],
        )

    def interrupt(self, number: int = signal.SIGTERM) -> None:
        """Start nothing more, and pass the signal on to what runs: it is taken down in order."""
        self._signal = self._signal or number
        for process in self._running:
            if process.returncode is None:
                process.send_signal(number)

    async def __call__(self) -> MatrixResult:
        """Run, and return the result.

        Raises:
            ResultsError: it cannot be written.
        """
        self._save()
        for why in self._loaded.broken.values():
            self._tell(why)
        places = asyncio.Semaphore(self._options.jobs)

        async def run(entry: Entry) -> None:
            async with places:
                if not self._signal:
                    await self._run(entry)
                elif not self._entries[entry.loaded.scenario.id].folder:
                    self._entries[entry.loaded.scenario.id].leave_out("interrupted before")
                self._save()

        status: Status = "failed"
        try:
            await asyncio.gather(*(run(entry) for entry in self._loaded.entries))
            status = "interrupted" if self._signal else "complete"
        finally:
            self.result.end(status, self._signal)
            self._save()
        return self.result

    async def _run(self, entry: Entry) -> None:
        scenario = entry.loaded.scenario
        found = self._entries[scenario.id]
        if found.folder:
            try:
                result = whole(self._options.results / found.folder, entry.loaded.digest)
            except BenchcoreError as error:
                self._tell(f"{scenario.id}: runs again: {error}")
            else:
                found.end(result.exit_code or 0, result, "finished before")
                self._tell(f"{scenario.id}: {found.verdict}, finished before")
                return
        stamp = stamp_of(utc_now())
        name = f"{scenario.id}-dry-run" if self._options.dry_run else scenario.id
        folder = make_folder(self._options.results, stamp, name)
        found.begin(folder.name)
        self._save()
        code = await self._process(entry, folder)
        left = _left(folder)
        if isinstance(left, ScenarioResult):
            found.end(code, left)
        elif self._signal:
            found.end(0, None, "interrupted before it had begun", interrupted=True)
        else:
            found.end(1, None, f"its process ended with {code}{left}")
            await self._clean(entry, folder.name)
        self._tell(f"{scenario.id}: {found.verdict}")

    async def _process(self, entry: Entry, folder: Path) -> int:
        process = await asyncio.create_subprocess_exec(
            *self._command(entry, folder),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            # A Ctrl-C in the terminal comes to us alone, and we pass it on.
            start_new_session=True,
            limit=_LONGEST_LINE,
        )
        self._running.add(process)
        if self._signal:  # it came while the process was being made
            process.send_signal(self._signal)
        try:
            assert process.stderr is not None
            async for line in process.stderr:
                self._tell(f"{entry.loaded.scenario.id}: {line.decode(errors='replace').rstrip()}")
            return await process.wait()
        finally:
            self._running.discard(process)

    def _command(self, entry: Entry, folder: Path) -> list[str]:
        options, choice = self._options, entry.choice
        command = [sys.executable, "-m", "benchcore", "run"]
        command += ["--scenario", str(entry.loaded.path), "--run-type", self.result.run_type]
        command += ["--output", str(options.results), "--folder", str(folder)]
        command += ["--no-lock", "--with-parent", "--no-progress"]
        for stage in choice.stages or ():
            command += ["--stage", stage]
        for name, levels in (("--concurrency", choice.concurrency), ("--rate", choice.rate)):
            command += [] if levels is None else [name, ",".join(f"{one:.12g}" for one in levels)]
        command += ["--dry-run"] * options.dry_run
        command += ["--allow-simulator"] * options.allow_simulator
        return command

    async def _clean(self, entry: Entry, run_id: str) -> None:
        """Remove what a process that died has left on a cluster; a guard ends local servers."""
        launch = entry.loaded.scenario.launch
        if launch is None or launch.kubernetes is None or self._options.dry_run:
            return
        from benchcore.servers.kubernetes.removal import remove_run  # heavy, and an extra

        try:
            for line in await remove_run(launch.kubernetes, entry.loaded.path.parent, run_id):
                self._tell(f"{entry.loaded.scenario.id}: {line}")
        except BenchcoreError as error:
            found = self._entries[entry.loaded.scenario.id]
            found.message = f"{found.message}; what it left could not be removed: {error}"

    def _save(self) -> None:
        files: Sequence[tuple[str, bytes]] = (
            (MATRIX_FILE, dump(self.result.to_json())),
            ("junit.xml", junit(self.result)),
            ("summary.md", markdown(self.result).encode()),
        )
        try:
            for name, data in files:
                replace_file(self._folder / name, data)
        except OSError as error:
            raise ResultsError(f"{self._folder}: cannot be written ({error.strerror})") from None


def _left(folder: Path) -> ScenarioResult | str:
    """Return the result that a process has left, or how its end is told where there is none."""
    try:
        result = read_scenario(folder)
    except ConfigError as error:
        return f": {error}"
    return " before it was done" if result.status == "running" else result
