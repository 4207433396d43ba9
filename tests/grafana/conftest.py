"""Programs of Prometheus, and runs of the simulator that are pushed to them."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

GRAFANA = Path(__file__).parents[2] / "grafana"
RUN = {
    "model": "org/model-7b",
    "quant": "fp8",
    "scenario": "chat",
    "run_type": "daily",
    "instance": "gpu0.example",
}
# A gateway writes an empty label where there is none.
EMPTY = re.compile(r'\w+="",?')
DAYS_AGO = {1: 0.8, 7: 0.5}
"""What the pushed values are multiplied by, so many days ago."""


def program(*names):
    """The path of a program; a test that has none is skipped, and in CI it fails."""
    for name in names:
        if path := shutil.which(name):
            return path
    if os.environ.get("CI"):
        pytest.fail(f"no {names[0]}")
    pytest.skip(f"no {names[0]}")


@pytest.fixture(scope="session")
def promtool():
    """Runs promtool."""
    path = program("promtool")

    def run(*args, stdin=None):
        return subprocess.run(
            [path, *map(str, args)],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )

    return run


def benchcore(folder, *args, **variables):
    """What a command prints, run in a folder and without our variables but these."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("BENCHCORE_", "OPENAI_", "PROM_"))
    }
    done = subprocess.run(
        [sys.executable, "-m", "benchcore", *map(str, args)],
        cwd=folder,
        env={**environment, **variables},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def command():
    """Runs a command of benchcore."""
    return benchcore


@pytest.fixture(scope="session")
def labels():
    """Those of the run that is pushed."""
    return RUN


SCENARIO = f"""
id: {RUN["scenario"]}
model: {RUN["model"]}
quant: {RUN["quant"]}
labels: {{instance: {RUN["instance"]}}}
launch: {{simulator: {{profile: fast, settings: {{model: {RUN["model"]}, ability: 0.7}}}}}}
stages:
  functional: {{suite: false}}
  perf: {{concurrency: [1, 4], requests: 20, input_tokens: 32, output_tokens: 8}}
  accuracy: {{task: mmlu, data: builtin, limit: 5}}
"""


@pytest.fixture(scope="session")
def gateway(tmp_path_factory):
    """A real Pushgateway."""
    path = program("prometheus-pushgateway", "pushgateway")
    address = f"127.0.0.1:{free_port()}"
    # Debian's keeps what it has in a file of the system by default.
    kept = tmp_path_factory.mktemp("gateway") / "pushed"
    options = (f"--web.listen-address={address}", "--log.level=error", f"--persistence.file={kept}")
    with served(path, *options):
        wait_for(lambda: fetch(f"http://{address}/-/ready"), "the Pushgateway")
        yield address


@pytest.fixture(scope="session")
def run_folder(gateway, tmp_path_factory):
    """A daily run of a scenario on the simulator, which has pushed itself."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "chat.yaml").write_text(SCENARIO)
    benchcore(
        folder,
        *("run", "--scenario", "chat.yaml", "--run-type", "daily", "--allow-simulator"),
        PROM_PUSHGATEWAY_URL=f"http://{gateway}",
    )
    (run,) = (folder / "results").glob("*-chat")
    return run


@pytest.fixture(scope="session")
def bare_folder(run_folder, tmp_path_factory):
    """The same run with no label at all: most are then empty, which is none to Prometheus."""
    folder = tmp_path_factory.mktemp("bare") / "run"
    shutil.copytree(run_folder, folder)
    path = folder / "run.json"
    run = json.loads(path.read_text())
    other = {"name": "climb", "labels": {}, "target": run["target"] | {"model": "sim-1"}}
    path.write_text(json.dumps(run | other))
    return folder


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def fetch(url):
    with urllib.request.urlopen(url, timeout=600) as answer:
        return answer.read().decode()


def wait_for(condition, what):
    for _ in range(6000):
        try:
            if condition():
                return
        except OSError:
            pass
        time.sleep(0.05)
    pytest.fail(f"{what}: not in time")


@contextmanager
def served(*command):
    """A process that runs until the end, and no longer."""
    with subprocess.Popen(command) as process:
        try:
            yield process
        finally:
            process.terminate()
            process.wait(timeout=600)


class Prometheus:
    """A running Prometheus, asked as Grafana asks it."""

    def __init__(self, url):
        self.url = url

    def get(self, path, **fields):
        try:
            answer = fetch(f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(fields)}")
        except urllib.error.HTTPError as error:
            pytest.fail(f"{fields}: {error.read().decode()}")
        return json.loads(answer)["data"]

    def query(self, expr):
        """The values of a query now, each with its labels."""
        found = self.get("query", query=expr)["result"]
        return [(one["metric"], float(one["value"][1])) for one in found]

    def label_values(self, label, series):
        return self.get(f"label/{label}/values", **{"match[]": series})


@pytest.fixture(scope="session")
def programs():
    """Paths of Prometheus and promtool."""
    return program("prometheus"), program("promtool")


@pytest.fixture(scope="session")
def prometheus(programs, gateway, run_folder, bare_folder, tmp_path_factory):
    """A real Prometheus that scrapes a real Pushgateway with both runs, and has their history."""
    folder = tmp_path_factory.mktemp("prometheus")
    url = f"127.0.0.1:{free_port()}"
    with ExitStack() as stack:
        benchcore(folder, "push", bare_folder, "--allow-simulator", "--url", f"http://{gateway}")
        data = history(programs[1], fetch(f"http://{gateway}/metrics"), folder)
        config = (GRAFANA / "prometheus.yml").read_text()
        config = config.replace("localhost:9091", gateway).replace("30s", "500ms")
        (folder / "prometheus.yml").write_text(config)
        shutil.copy(GRAFANA / "alerts.yml", folder)
        stack.enter_context(
            served(
                *(programs[0], f"--web.listen-address={url}", "--log.level=error"),
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={data}",
            )
        )
        running = Prometheus(f"http://{url}")
        wait_for(lambda: fetch(f"{running.url}/-/ready"), "Prometheus")
        wait_for(lambda: running.query("benchcore_run_timestamp_seconds"), "a scrape")
        yield running


def history(promtool, metrics, folder):
    """Make a Prometheus' data of what a gateway shows now, as it was some days ago."""
    now = int(time.time())
    shown = [line for line in metrics.splitlines() if line.startswith("benchcore_")]
    lines = []
    for days, factor in DAYS_AGO.items():
        # A value is seen for five minutes: enough of them for the length of a session.
        for minutes in range(-5, 15, 2):
            then = now - days * 86400 + minutes * 60
            for line in shown:
                series, value = EMPTY.sub("", line).rsplit(" ", 1)
                lines.append(f"{series} {float(value) * factor} {then}")
    text = folder / "history.txt"
    text.write_text("\n".join([*lines, "# EOF", ""]))
    data = folder / "data"
    subprocess.run(
        [promtool, "tsdb", "create-blocks-from", "openmetrics", text, data],
        check=True,
        capture_output=True,
        timeout=600,
    )
    return data
