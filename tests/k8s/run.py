"""Launches servers on a real Kubernetes API server and looks at what comes of it.

    python tests/k8s/run.py [NAME ...] [--folder DIR]

etcd, kube-apiserver and kube-controller-manager are real; the node is a stand-in, behind which
benchcore's simulator answers. One line per case goes to stdout; exits with 1 if one is not as it
should be. The programs are built at the first time, which takes some minutes.
"""

import argparse
import asyncio
import json
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
import yaml
from binaries import MissingError
from control_plane import ControlPlane
from kubelet import FATE, Node

from benchcore import SimOptions, SimulatorProcess
from benchcore.base.errors import ConfigError, TargetError
from benchcore.config.servers import KubernetesLaunch
from benchcore.servers.kubernetes.removal import find_leftovers, remove_leftovers
from benchcore.servers.kubernetes.server import KubernetesServer
from benchcore.sim.options import SimProfile

HERE = Path(__file__).parent
DEPLOY = HERE.parent.parent / "scenarios" / "deploy"
Case = Callable[["Bench"], Awaitable[None]]


class Bench:
    """What a case has at hand."""

    def __init__(self, folder: Path, kubeconfig: Path, node: Node) -> None:
        self.folder = folder
        self.kubeconfig = kubeconfig
        self.node = node
        self.told: list[str] = []

    def server(
        self, manifests: str, service: str, run: str, **settings: object
    ) -> KubernetesServer:
        """Make a launcher of some manifests."""
        shutil.copy(manifests, self.folder)
        config = KubernetesLaunch.model_validate(
            {
                "manifests": [Path(manifests).name],
                "service": service,
                "address": "node_port",
                "kubeconfig": str(self.kubeconfig),
                "ready_seconds": 60,
                "delete_seconds": 60,
                **settings,
            }
        )
        return KubernetesServer(
            config,
            base=self.folder,
            logs=self.folder / "logs" / run,
            labels={"benchcore.dev/run": run, "benchcore.dev/scenario": "test"},
            tell=self.told.append,
        )

    def fated(self, fate: str) -> str:
        """Write the hybrid manifests with pods of a fate."""
        deployment, service = yaml.safe_load_all((DEPLOY / "hybrid.yaml").read_text())
        deployment["spec"]["template"]["metadata"]["annotations"] = {FATE: fate}
        path = self.folder / "fated" / f"{fate}.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(yaml.safe_dump_all([deployment, service]))
        return str(path)

    async def clean(self) -> None:
        """Remove what a case left that went wrong."""
        where = str(self.kubeconfig)
        found = await find_leftovers(kubeconfig=where)
        await remove_leftovers(found.objects, kubeconfig=where, seconds=20, tell=self.told.append)

    async def nothing_is_left(self, run: str) -> None:
        """Check that nothing carries the label of a run."""
        found = await find_leftovers(kubeconfig=str(self.kubeconfig), run=run)
        same([one.place for one in found.objects], [])


def same(found: object, wanted: object) -> None:
    """Check that two things are the same."""
    if found != wanted:
        raise AssertionError(f"{found!r} is not {wanted!r}")


def true(found: object, what: str) -> None:
    """Check that something is so."""
    if not found:
        raise AssertionError(what)


async def models(base_url: str) -> list[str]:
    """Return the models that a server has."""
    async with aiohttp.ClientSession() as session, session.get(f"{base_url}/v1/models") as answer:
        return [one["id"] for one in (await answer.json())["data"]]


async def hybrid(bench: Bench) -> None:
    """The shipped manifests: applied, reached by a port of the node, logged, removed."""
    server = bench.server(str(DEPLOY / "hybrid.yaml"), "vllm", "hybrid")
    served = await server.start()
    true(await models(served.base_url), "no models")
    same(served.facts["cluster_version"], "v1.20.2")
    same(served.notes, ())
    (pod,) = served.facts["pods"]
    same(server.ended(), None)
    same(await server.stop(), [])
    log = bench.folder / "logs" / "hybrid" / f"service_{pod['name']}_vllm.log"
    same(log.read_text().splitlines()[-1], "ended")
    await bench.nothing_is_left("hybrid")


async def tunnel(bench: Bench) -> None:
    """A stream of tokens goes through a port-forward of the API server."""
    server = bench.server(str(DEPLOY / "hybrid.yaml"), "vllm", "tunnel", address="port_forward")
    served = await server.start()
    (model,) = await models(served.base_url)
    asked = {"model": model, "prompt": "a b c", "max_tokens": 8, "stream": True}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{served.base_url}/v1/completions", json=asked) as answer,
    ):
        same(answer.status, 200)
        lines = [line async for line in answer.content if line.startswith(b"data:")]
    same(lines[-1].strip(), b"data: [DONE]")
    same(await server.stop(), [])
    true("tunnel" in served.notes[0], served.notes)
    await bench.nothing_is_left("tunnel")


async def prefill_decode(bench: Bench) -> None:
    """The shipped prefill and decode manifests, with a LeaderWorkerSet and its definition."""
    documents = [
        *yaml.safe_load_all((DEPLOY / "prefill-decode.yaml").read_text()),
        *yaml.safe_load_all((HERE / "leader_worker_set.yaml").read_text()),
    ]
    path = bench.folder / "fated" / "prefill-decode.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(yaml.safe_dump_all(documents))
    server = bench.server(str(path), "router", "pd", namespace="pd", create_namespace=True)
    operator = asyncio.create_task(_operate(bench.node))
    served = await server.start()
    true(await models(served.base_url), "no models")
    same(len(served.facts["objects"]), 9)
    true("LeaderWorkerSet decode-wide: Available" in bench.told, bench.told)
    logs = {path.name for path in (bench.folder / "logs" / "pd").iterdir()}
    true("service_decode-wide-1_vllm.log" in logs, logs)
    await operator
    same(await server.stop(), [])
    await bench.nothing_is_left("pd")


async def _operate(node: Node) -> None:
    while True:
        try:
            return await node.operate_leader_worker_sets()
        except ConfigError:
            await asyncio.sleep(0.1)  # not defined yet


async def image(bench: Bench) -> None:
    """An image that is not there ends the wait at once, with the reason."""
    await _fails(bench, "image", "ErrImagePull: manifest unknown")


async def crash(bench: Bench) -> None:
    """A crash loop ends the wait, with the last lines of the log."""
    fault = await _fails(bench, "crash", "CrashLoopBackOff after 3 restarts: Error, exit code 1")
    true("started, 2 restarts" in fault, fault)


async def slow(bench: Bench) -> None:
    """What does not come in time is said."""
    await _fails(bench, "slow", "not ready within 2 s", ready_seconds=2)


async def _fails(bench: Bench, fate: str, reason: str, **settings: object) -> str:
    server = bench.server(bench.fated(fate), "vllm", fate, **settings)
    try:
        await server.start()
    except TargetError as error:
        fault = str(error)
    else:
        raise AssertionError("it started")
    true(reason in fault and "\n" not in fault, fault)
    same(await server.stop(), [])
    await bench.nothing_is_left(fate)
    return fault


async def stranger(bench: Bench) -> None:
    """Somebody else's object is neither applied over nor removed."""
    first = bench.server(str(DEPLOY / "hybrid.yaml"), "vllm", "first")
    await first.start()
    path, body = (
        "/api/v1/namespaces/default/services/vllm",
        {"metadata": {"labels": {"app.kubernetes.io/managed-by": "somebody"}}},
    )
    await bench.node._cluster.ask(
        "PATCH", path, body=body, content_type="application/merge-patch+json"
    )
    second = bench.server(str(DEPLOY / "hybrid.yaml"), "vllm", "second")
    try:
        await second.start()
    except ConfigError as error:
        true("does not belong to benchcore" in str(error), error)
    else:
        raise AssertionError("it started")
    same(await second.stop(), [])
    same(await first.stop(), [])


async def refused(bench: Bench) -> None:
    """What the API server refuses names the file and the line."""
    path = bench.folder / "fated" / "refused.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(
        (DEPLOY / "hybrid.yaml")
        .read_text()
        .replace("{app: vllm}\n  template", "{app: x}\n  template")
    )
    server = bench.server(str(path), "vllm", "refused")
    try:
        await server.start()
    except ConfigError as error:
        true(":3: Deployment vllm: cluster https://127.0.0.1:" in str(error), error)
        true("422" in str(error) and "\n" not in str(error), error)
    else:
        raise AssertionError("it started")
    same(await server.stop(), [])


async def killed(bench: Bench) -> None:
    """What a killed run leaves is found by its label and removed; its helper ends by itself."""
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        __file__,
        "--start-only",
        str(bench.kubeconfig),
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    assert child.stdout is not None
    line = await child.stdout.readline()
    true(line, "it did not start")
    helper = json.loads(line)["helper"]
    child.send_signal(signal.SIGKILL)
    await child.wait()
    found = await find_leftovers(kubeconfig=str(bench.kubeconfig), run="killed")
    same(found.unread, ())
    roots = sorted(one.place for one in found.objects if not one.owned)
    same(roots, ["Deployment vllm in namespace default", "Service vllm in namespace default"])
    same(
        await remove_leftovers(
            found.objects, kubeconfig=str(bench.kubeconfig), tell=bench.told.append
        ),
        [],
    )
    await bench.nothing_is_left("killed")
    for _ in range(100):
        if not Path(f"/proc/{helper}/cmdline").exists():
            return
        await asyncio.sleep(0.1)
    raise AssertionError("the helper is still there")


SCENARIO = """
id: on-cluster
extends: {shipped}
model: sim-1
launch:
  kubernetes: {{manifests: [{manifests}], kubeconfig: {kubeconfig}}}
stages:
  functional: {{suite: false}}
  perf: {{workload: short, pr: {{concurrency: [2], requests: {requests}}}}}
"""


async def command(bench: Bench, *args: str) -> tuple[int, str]:
    """Run a command of benchcore, and return its exit code and all that it said."""
    process = await _begin(bench, *args)
    said, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, said.decode()


async def _begin(bench: Bench, *args: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchcore", *args),
        cwd=bench.folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )


def scenario(bench: Bench, requests: int) -> Path:
    """Write a scenario that is laid over the shipped one, and return the folder of its results."""
    text = SCENARIO.format(
        shipped=DEPLOY.parent / "k8s-hybrid.yaml",
        manifests=DEPLOY / "hybrid.yaml",
        kubeconfig=bench.kubeconfig,
        requests=requests,
    )
    (bench.folder / "on-cluster.yaml").write_text(text)
    return bench.folder / "results"


async def pipeline(bench: Bench) -> None:
    """The shipped scenario, from the apply to the clean-up, by the command line."""
    results = scenario(bench, 20)
    code, said = await command(bench, "run", "--scenario", "on-cluster.yaml")
    same((code, said if code else ""), (0, ""))
    (path,) = results.glob("*-on-cluster/result.json")
    result = json.loads(path.read_bytes())
    found = {stage["name"]: stage["status"] for stage in result["stages"]}
    passed = dict.fromkeys(("launch", "health", "functional", "perf"), "passed")
    same(found, passed | {"gate": "skipped", "sinks": "skipped", "cleanup": "passed"})
    logs = sorted(log.name for log in (path.parent / "logs").iterdir())
    true(logs[0] == "benchcore.log" and logs[1].startswith("service_vllm-"), logs)
    true((path.parent / "launch" / "manifests.yaml").is_file(), "no manifests are kept")
    await bench.nothing_is_left(result["run_id"])


async def swept(bench: Bench) -> None:
    """A killed run's leftovers are found and removed by `benchcore clean`."""
    results = scenario(bench, 100_000)
    process = await _begin(bench, "run", "--scenario", "on-cluster.yaml")
    while not any(
        "perf: begins" in log.read_text() for log in results.glob("*/logs/benchcore.log")
    ):
        await asyncio.sleep(0.1)
    process.kill()
    await process.communicate()
    where = ("clean", "--kubeconfig", str(bench.kubeconfig))
    code, said = await command(bench, *where, "--dry-run")
    same(code, 0)
    (run,) = (path.name for path in results.iterdir() if path.is_dir())
    true(f"would remove Deployment vllm in namespace benchcore, of run {run}\n" in said, said)
    code, said = await command(bench, *where, "--older-than", "1h")
    same((code, said), (0, "nothing of benchcore is left\n"))
    code, said = await command(bench, *where)
    same((code, said.splitlines()[-1]), (0, "nothing of benchcore is left"))
    await bench.nothing_is_left(run)


async def deployed(bench: Bench) -> None:
    """A server is brought up alone, stays when the command has ended, and is taken down."""
    scenario(bench, 1)
    code, said = await command(bench, "deploy", "on-cluster.yaml", "--quiet")
    same(code, 0)
    true(await models(said.split()[-1]), "no models")
    code, said = await command(bench, "deploy", "on-cluster.yaml")
    same(code, 2)
    true("is deployed already" in said, said)
    code, said = await command(bench, "undeploy", "on-cluster.yaml")
    same((code, said.splitlines()[-1]), (0, "on-cluster is down"))
    await bench.nothing_is_left("deploy-on-cluster")


async def _start_only(kubeconfig: str) -> None:
    folder = Path(tempfile.mkdtemp(dir=Path(kubeconfig).parent))
    bench = Bench(folder, Path(kubeconfig), None)  # type: ignore[arg-type]
    server = bench.server(str(DEPLOY / "hybrid.yaml"), "vllm", "killed")
    await server.start()
    print(json.dumps({"helper": server._sidecar._process.pid}), flush=True)
    await asyncio.sleep(600)


CASES: dict[str, Case] = {
    case.__name__: case
    for case in (
        hybrid,
        tunnel,
        prefill_decode,
        image,
        crash,
        slow,
        stranger,
        refused,
        killed,
        pipeline,
        swept,
        deployed,
    )
}


async def run(names: list[str], folder: Path) -> int:
    """Run cases, and return how many are not as they should be."""
    wrong = 0
    profile = SimProfile.named("fast")
    with (
        ControlPlane(folder / "plane") as plane,
        SimulatorProcess(SimOptions(profile=profile)) as simulator,
    ):
        port = int(simulator.base_url.rpartition(":")[2])
        async with Node(plane.kubeconfig, folder, ("127.0.0.1", port)) as node:
            for name in names:
                bench = Bench(folder / name, plane.kubeconfig, node)
                bench.folder.mkdir()
                begin = time.monotonic()
                try:
                    async with asyncio.timeout(180):
                        await CASES[name](bench)
                except (AssertionError, ConfigError, TargetError, TimeoutError) as error:
                    wrong += 1
                    print(f"{name}: WRONG: {type(error).__name__}: {error}", flush=True)
                    print(*bench.told, sep="\n", file=sys.stderr)
                    await bench.clean()
                else:
                    print(f"{name}: as it should be, {time.monotonic() - begin:.1f} s", flush=True)
    return wrong


def main() -> int:
    """Run what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(CASES)}")
    parser.add_argument("--folder", type=Path, help="keep data and logs there")
    parser.add_argument("--start-only", metavar="KUBECONFIG", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.start_only:
        asyncio.run(_start_only(arguments.start_only))
        return 0
    if unknown := set(arguments.names) - CASES.keys():
        parser.error(f"there is no {', '.join(sorted(unknown))}; known are {', '.join(CASES)}")
    with tempfile.TemporaryDirectory(prefix="benchcore-k8s-") as temporary:
        folder = arguments.folder or Path(temporary)
        try:
            return min(1, asyncio.run(run(arguments.names or list(CASES), folder)))
        except MissingError as error:
            print(error, file=sys.stderr)
            return 1


if __name__ == "__main__":
    sys.exit(main())
