"""`clean` as a user types it, and a killed scenario of a matrix, on a fake cluster."""

import asyncio

import pytest
from click.testing import CliRunner

from benchcore.base.errors import TargetError
from benchcore.cli.upkeep import clean
from benchcore.config.servers import KubernetesLaunch
from benchcore.servers.kubernetes.removal import remove_run
from tests.servers.test_leftovers import metadata, where  # noqa: F401  a fixture

pytest_plugins = ("tests.servers.cluster",)


async def call(folder, *args):
    """The output of `clean`; it has an event loop of its own, in a thread."""
    args = ["--kubeconfig", str(folder / "kubeconfig"), *args]
    done = await asyncio.to_thread(CliRunner().invoke, clean, args, standalone_mode=False)
    if done.exception is not None:
        raise done.exception
    return done.output.splitlines()


async def test_a_dry_run_names_what_would_go_and_touches_nothing(api, where, tmp_path):  # noqa: F811
    assert sorted(await call(tmp_path, "--dry-run")) == [
        "would remove Deployment one in namespace bench, of run a",
        "would remove Namespace other, of run b",
        "would remove Secret two in namespace other, of run b",
        "would remove Service one in namespace bench, of run a",
    ]
    assert api.get("deployments", "one") is not None


async def test_what_is_of_a_run_goes_and_the_rest_stays(api, where, tmp_path):  # noqa: F811
    said = await call(tmp_path, "--run", "a")
    assert said[-1] == "nothing of benchcore is left"
    assert api.names("deployments", "services", "secrets") == ["mine", "two"]


async def test_what_is_young_stays(api, where, tmp_path):  # noqa: F811
    await call(tmp_path, "--older-than", "1h")
    assert api.get("deployments", "one") is None
    assert api.get("services", "one") is not None


async def test_a_cluster_that_is_not_there_is_one_line(tmp_path, api):
    api.kubeconfig(tmp_path / "kubeconfig")
    text = (tmp_path / "kubeconfig").read_text()
    (tmp_path / "kubeconfig").write_text(text.replace(api.url, "http://127.0.0.1:1"))
    with pytest.raises(TargetError) as told:
        await call(tmp_path, "--dry-run")
    assert "\n" not in str(told.value)


async def test_what_a_killed_scenario_left_is_removed(api, where, tmp_path):  # noqa: F811
    launch = KubernetesLaunch(manifests=["x.yaml"], service="one", kubeconfig="kubeconfig")
    said = await remove_run(launch, tmp_path, "a")
    assert any("Deployment one" in line for line in said)
    assert api.names("deployments", "services", "secrets") == ["mine", "two"]
    assert await remove_run(launch, tmp_path, "a") == []
