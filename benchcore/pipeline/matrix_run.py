"""Matrix run: the scenarios of a matrix, each in a process of its own."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchcore.clock import stamp_of, utc_now
from benchcore.errors import BenchcoreError, ConfigError, ResultsError
from benchcore.pipeline.matrix_file import Entry, LoadedMatrix
from benchcore.pipeline.matrix_result import FILE, MatrixEntry, MatrixResult, whole
from benchcore.pipeline.result import ScenarioResult
from benchcore.pipeline.summary import junit, markdown
from benchcore.sinks.folder import make_folder, replace_file
from benchcore.sinks.run_json import dump

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
        self.result = MatrixResult(
            loaded.matrix.name, str(loaded.path), run_type, utc_now(), options.dry_run
        )
        ids = [entry.loaded.scenario.id for entry in loaded.entries]
        # Until a scenario runs again, what it came to before stands: nothing finished is forgotten.
        before = {entry.scenario: entry for entry in options.before}
        self._entries = {
            name: before.get(name) or MatrixEntry(name, str(entry.loaded.path))
            for name, entry in zip(ids, loaded.entries, strict=True)
        }
        left_out = [
            before.get(name) or MatrixEntry(name, str(loaded.files[name]), skipped=why)
            for name, why in loaded.skipped.items()
        ]
        broken = [
            MatrixEntry(name, str(loaded.files[name]), exit_code=2, message=why)
            for name, why in loaded.broken.items()
        ]
        self.result.entries = [*self._entries.values(), *broken, *left_out]

    def interrupt(self, number: int = signal.SIGTERM) -> None:
        """Start nothing more, and pass the signal on to what runs: it is taken down in order."""
        self.result.signal = self.result.signal or number
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

        async def one(entry: Entry) -> None:
            async with places:
                found = self._entries[entry.loaded.scenario.id]
                if not self.result.signal:
                    await self._one(entry)
                elif not found.folder:
                    found.skipped = "interrupted before"
                self._save()

        try:
            await asyncio.gather(*(one(entry) for entry in self._loaded.entries))
            self.result.status = "interrupted" if self.result.signal else "complete"
        except BaseException:
            self.result.status = "failed"
            raise
        finally:
            self.result.ended_at = utc_now()
            self._save()
        return self.result

    async def _one(self, entry: Entry) -> None:
        scenario = entry.loaded.scenario
        found = self._entries[scenario.id]
        if found.folder:
            before = self._options.results / found.folder
            try:
                found.result = whole(before, entry.loaded.digest)
            except BenchcoreError as error:
                self._tell(f"{scenario.id}: runs again: {error}")
            else:
                found.exit_code, found.message = found.result.exit_code, "finished before"
                self._tell(f"{scenario.id}: {found.verdict}, finished before")
                return
        stamp = stamp_of(utc_now())
        name = f"{scenario.id}-dry-run" if self._options.dry_run else scenario.id
        folder = make_folder(self._options.results, stamp, name)
        found.folder, found.result = folder.name, None
        found.message = found.skipped = ""
        found.exit_code = 0
        self._save()
        found.exit_code = await self._process(entry, folder)
        try:
            found.result = ScenarioResult.read(folder)
        except ConfigError as error:
            found.message = f"its process ended with {found.exit_code}: {error}"
        else:
            if found.result.status == "running":
                found.message = f"its process ended with {found.exit_code} before it was done"
                found.result = None
        if found.result is None and self.result.signal:
            found.interrupted, found.exit_code = True, 0
            found.message = "interrupted before it had begun"
        elif found.result is None:
            found.exit_code = 1
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
        if self.result.signal:  # it came while the process was being made
            process.send_signal(self.result.signal)
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
        from benchcore.pipeline.leftovers import remove_run  # heavy, and an extra

        try:
            for line in await remove_run(launch.kubernetes, entry.loaded.path.parent, run_id):
                self._tell(f"{entry.loaded.scenario.id}: {line}")
        except BenchcoreError as error:
            found = self._entries[entry.loaded.scenario.id]
            found.message += f"; what it left could not be removed: {error}"

    def _save(self) -> None:
        files: Sequence[tuple[str, bytes]] = (
            (FILE, dump(self.result.to_json())),
            ("junit.xml", junit(self.result)),
            ("summary.md", markdown(self.result).encode()),
        )
        try:
            for name, data in files:
                replace_file(self._folder / name, data)
        except OSError as error:
            raise ResultsError(f"{self._folder}: cannot be written ({error.strerror})") from None
