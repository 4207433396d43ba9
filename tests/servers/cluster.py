"""Fixtures: a fake cluster, manifests, and the launcher between them."""

import pytest

from benchcore.config.servers import KubernetesLaunch
from benchcore.servers.kubernetes.server import KubernetesServer
from benchcore.servers.kubernetes.sidecar import SidecarProcess
from tests.servers.api_server import ApiServer
from tests.servers.written import DEPLOYMENT, LABELS, SERVICE, Waits


@pytest.fixture
async def api():
    """A fake API server."""
    pytest.importorskip("kubernetes_asyncio")
    async with ApiServer() as server:
        yield server


@pytest.fixture
def manifests(tmp_path):
    """Writes manifests; the usual ones are a Deployment and its Service."""

    def write(*texts, name="server.yaml"):
        (tmp_path / name).write_text("\n---\n".join(texts or (DEPLOYMENT, SERVICE)))
        return name

    return write


class Nobody(SidecarProcess):
    """Attends nothing: most tests need no process beside, which takes half a second."""

    async def start(self):
        pass

    async def guard(self):
        pass


@pytest.fixture
async def server(api, manifests, tmp_path):
    """Makes launchers of the fake cluster, and takes down what the test left."""
    made = []

    def make(*texts, labels=LABELS, attended=False, **settings):
        settings = {"namespace": "bench", "service": "vllm", "address": "node_port", **settings}
        config = KubernetesLaunch(
            manifests=(manifests(*texts),),
            kubeconfig=api.kubeconfig(tmp_path / "kubeconfig"),
            **settings,
        )
        told, waits = [], Waits()
        made.append(
            KubernetesServer(
                config,
                base=tmp_path,
                logs=tmp_path / "logs",
                labels=labels,
                tell=told.append,
                sleep=waits,
                attend=SidecarProcess if attended else Nobody,
            )
        )
        made[-1].told, made[-1].waits = told, waits
        return made[-1]

    yield make
    for one in made:
        await one.stop()
