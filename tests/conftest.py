import asyncio
import contextlib
import logging
import os
import subprocess
import sys
import tempfile
import time

import pytest
from hypothesis import settings

from benchcore.cli.main import run as cli_run
from benchcore.sim import SimOptions, SimProfile, SimulatorProcess
from tests.forked_simulator import ForkedSimulator, simulators_by, stop_forking
from tests.run_folders import make_run

__all__ = ["make_run"]  # a fixture that is a chapter of its own

# On a busy machine any example may take its time: what is slow is measured by `make bench`.
settings.register_profile("benchcore", deadline=None, max_examples=50)
settings.register_profile("full", deadline=None, max_examples=500)
settings.load_profile("benchcore")

_SKIPPED = []
os.environ.pop("COLUMNS", None)  # tables have the width that they have in a pipe


def pytest_runtest_logreport(report):
    """Remember what was skipped."""
    # A wire between two network namespaces takes root, and a device that some machines lack.
    needs_root = report.skipped and "no wire: " in str(report.longrepr)
    if report.skipped and not hasattr(report, "wasxfail") and not needs_root:
        _SKIPPED.append(f"{report.nodeid}: {report.longrepr[2]}")


def pytest_sessionfinish(session):
    """Fail where something is skipped in CI: there, whatever a test needs is installed."""
    controller = not hasattr(session.config, "workerinput")
    if os.environ.get("CI") and controller and _SKIPPED:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter):
    """Say which skips have failed the session."""
    if os.environ.get("CI") and _SKIPPED:
        terminalreporter.section("skipped, which fails here")
        for line in _SKIPPED:
            terminalreporter.write_line(line)


@contextlib.contextmanager
def logging_restored():
    """Take back what a command that is called in this process sets up."""
    logger = logging.getLogger("benchcore")
    before = logger.handlers[:], logger.level, logger.propagate
    try:
        yield
    finally:
        logger.handlers[:], logger.level, logger.propagate = before


@pytest.fixture(scope="session", autouse=True)
def cache_of_its_own(tmp_path_factory):
    """Keep what `doctor` has found out on this machine out of the tests."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def logging_as_it_was():
    with logging_restored():
        yield


@pytest.fixture(scope="session", autouse=True)
def _forked_simulators():
    with simulators_by(ForkedSimulator):
        yield
    stop_forking()


@pytest.fixture(scope="session")
def simulator():
    """A fast simulator in a process of its own, for the whole session."""
    with SimulatorProcess(SimOptions(profile=SimProfile.named("fast"))) as process:
        yield process


@pytest.fixture
def simulator_with():
    """Starts fast simulators with options of their own, stopped at the end."""
    started = []

    def start(**options):
        options = {"profile": SimProfile.named("fast"), **options}
        started.append(SimulatorProcess(SimOptions(**options)).start())
        return started[-1]

    yield start
    for process in started:
        process.stop()


# The others serve, or hold a server up, until a signal comes.
HERE = {
    *("baseline", "check", "clean", "climb", "compare", "doctor", "eval", "explain", "gate"),
    "verify",
    *(
        "history",
        "import",
        "new",
        "plan",
        "prune",
        "push",
        "report",
        "run",
        "run-matrix",
        "undeploy",
    ),
    "workload",
}


def _in_a_loop():
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def bare_environment(**more):
    """Return what a process of benchcore's is started with: without our variables.

    It measures no coverage, which would cost a third of its time: what processes run is nearly all
    run in this process too.
    """
    ours = ("BENCHCORE_", "COVERAGE_", "OPENAI_")
    return {k: text for k, text in os.environ.items() if not k.startswith(ours)} | more


class Benchcore:
    """Runs the command line as a process."""

    def __init__(self, folder):
        self.folder = folder
        self.environment = bare_environment()

    def command(self, *args):
        return [sys.executable, "-m", "benchcore", *map(str, args)]

    def run(self, *args, env=None, **kwargs):
        """Run a command to its end: in this process where that is possible, which saves a start.

        Commands that start servers, a test inside an event loop and whatever else needs to be a
        process (`stdin`, signals, a closed standard output) get one of their own.
        """
        ends = str(args[0]) in HERE or "--csv" in args
        if kwargs or not ends or _in_a_loop():
            return self.process(*args, env=env, **kwargs)
        environment = {**self.environment, **(env or {})}
        before, argv = dict(os.environ), sys.argv
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            os.environ.clear()
            os.environ.update(environment)
            sys.argv = ["benchcore", *map(str, args)]
            try:
                with (
                    logging_restored(),
                    contextlib.chdir(self.folder),
                    contextlib.redirect_stdout(out),
                    contextlib.redirect_stderr(err),
                ):
                    code = cli_run()
            finally:
                sys.argv = argv
                os.environ.clear()
                os.environ.update(before)
            out.seek(0)
            err.seek(0)
            command = self.command(*args)
            return subprocess.CompletedProcess(command, code, out.read(), err.read())

    def process(self, *args, env=None, **kwargs):
        """Run a command as a process, to its end."""
        return subprocess.run(
            self.command(*args),
            cwd=self.folder,
            env={**self.environment, **(env or {})},
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
            **kwargs,
        )

    def measure(self, *args, **kwargs):
        """Run a load test; that its run is invalid is no fault.

        Whether the machine was calm enough for figures to count is what `make bench` is about.
        """
        done = self.run(*args, **kwargs)
        if done.returncode == 4:
            told, line, _ = done.stderr.rpartition("benchcore: the run is invalid: ")
            assert line, done.stderr
            done.returncode, done.stderr = 0, told
        return done

    def start(self, *args):
        return subprocess.Popen(
            self.command(*args),
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


@pytest.fixture
def benchcore(tmp_path):
    """The command line, in an empty folder and without our variables."""
    return Benchcore(tmp_path)


def until(condition, seconds=600.0):
    """Wait for something another process does."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def is_there(pid):
    """Whether a process lives; one that has ended and was not yet fetched does not."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.fixture(name="until")
def until_fixture():
    return until
