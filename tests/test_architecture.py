"""The house: floors, the public surface, and what an import costs."""

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

import benchcore

ROOT = Path(benchcore.__file__).parent
FLOORS = {
    "version": 0,
    "base": 0,
    "config": 1,
    "client": 2,
    "observe": 2,
    "metrics": 3,
    "load": 4,
    "workload": 4,
    "runs": 5,
    "recording": 6,
    "foreign": 6,
    "judge": 7,
    "show": 7,
    "publish": 7,
    "servers": 8,
    "fleet": 8,
    "climbs": 9,
    "checks": 9,
    "evals": 9,
    "scenario": 10,
    "serve": 11,
    "cli": 12,
}
WING = "sim"  # the simulator: only scenarios and the command line may know it
TOP = {"__init__", "__main__"}


def modules():
    """Return every module by its dotted name below the package."""
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for path in sorted(ROOT.rglob("*.py"))
    }


def imports(name, path, known):
    """Yield the modules that one imports: at its top, inside functions, and for types alone."""
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for full in names:
            other = full.removeprefix("benchcore.")
            for found in (other, other.rpartition(".")[0]):
                if full.startswith("benchcore.") and found in known and found != name:
                    yield found
                    break


@pytest.fixture(scope="module")
def graph():
    known = modules()
    return {
        name: set(imports(name, path, known)) for name, path in known.items() if name not in TOP
    }


def points_down(name, other):
    room, target = name.partition(".")[0], other.partition(".")[0]
    if room == WING:
        return target == WING or FLOORS[target] <= FLOORS["config"]
    if target == WING:
        return FLOORS[room] >= FLOORS["scenario"]
    return FLOORS[target] <= FLOORS[room]


def test_imports_point_down(graph):
    up = [(name, other) for name in graph for other in graph[name] if not points_down(name, other)]
    assert up == []


def test_imports_go_round_in_no_circle(graph):
    order = graphlib.TopologicalSorter(graph)
    order.prepare()  # raises CycleError with the circle


def test_the_public_surface_is_this():
    assert benchcore.__all__ == [
        "AccuracyReport",
        "BenchcoreError",
        "CapacityError",
        "Client",
        "ClimbConfig",
        "ClimbRun",
        "ConfigError",
        "EvalConfig",
        "InvalidRunError",
        "Judgement",
        "Length",
        "LevelResult",
        "LockError",
        "Outcome",
        "Phase",
        "Prompt",
        "PromptFile",
        "Recipe",
        "Record",
        "ResultsError",
        "Session",
        "SessionKind",
        "SimOptions",
        "SimProfile",
        "SimulatorProcess",
        "Summary",
        "Synthetic",
        "Target",
        "TargetError",
        "Task",
        "Timeouts",
        "Turn",
        "Usage",
        "UsageError",
        "Validity",
        "VerdictError",
        "__version__",
        "climb",
        "evaluate",
        "load_workload",
    ]
    assert benchcore.__all__ == sorted(benchcore.__all__)
    for name in benchcore.__all__:
        assert getattr(benchcore, name).__doc__
    assert dir(benchcore) == benchcore.__all__
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        benchcore.nothing  # noqa: B018


def test_no_public_name_is_that_of_a_room():
    # Importing the room would put the module in the name's place.
    assert [name for name in benchcore.__all__ if name in FLOORS or name == WING] == []


def test_importing_the_package_imports_nothing_else_and_touches_no_global_state():
    code = (
        "import sys, signal, logging, gc\n"
        "before = set(sys.modules)\n"
        "handlers = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]\n"
        "import benchcore\n"
        "after = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "assert handlers == [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]\n"
        "assert logging.getLogger().handlers == [] and gc.isenabled()\n"
        "print(sorted(after - set(sys.stdlib_module_names)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['benchcore']"


def test_modules_stay_small():
    long = {
        name: count
        for name, path in modules().items()
        if (count := len(path.read_text().splitlines())) > 450
    }
    assert long == {}
