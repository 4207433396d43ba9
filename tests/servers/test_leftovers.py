import pytest

from benchcore.base.errors import ConfigError
from benchcore.servers.kubernetes.removal import find_leftovers, remove_leftovers
from tests.servers.api_server import Fault
from tests.servers.written import Waits

pytest_plugins = ("tests.servers.cluster",)

OLD = "2020-01-01T00:00:00Z"


def metadata(name, run="a", **more):
    labels = {
        "app.kubernetes.io/managed-by": "benchcore",
        "benchcore.dev/run": run,
        "benchcore.dev/scenario": "s",
    }
    return {"metadata": {"name": name, "labels": labels, **more}}


@pytest.fixture
def where(api, tmp_path):
    """The cluster, with the leftovers of two runs and what is nobody's."""
    deployment = api.put("apps/v1", "deployments", "bench", metadata("one", creationTimestamp=OLD))
    owner = {"ownerReferences": [{"uid": deployment["metadata"]["uid"]}]}
    api.put("v1", "pods", "bench", metadata("one-0", **owner))
    api.put("v1", "services", "bench", metadata("one"))
    api.put("v1", "endpoints", "bench", metadata("one"))
    api.put("v1", "namespaces", None, metadata("other", run="b"))
    api.put("v1", "secrets", "other", metadata("two", run="b"))
    api.put("v1", "secrets", "bench", {"metadata": {"name": "mine"}})
    api.put("v1", "events", "bench", metadata("event"))
    return {"kubeconfig": api.kubeconfig(tmp_path / "kubeconfig"), "sleep": Waits()}


def named(found):
    return sorted((str(one), one.namespace, one.run, one.owned) for one in found.objects)


async def test_everything_with_our_label_is_found(where):
    found = await find_leftovers(**where)
    assert named(found) == [
        ("Deployment one", "bench", "a", False),
        ("Endpoints one", "bench", "a", True),
        ("Namespace other", None, "b", False),
        ("Pod one-0", "bench", "a", True),
        ("Secret two", "other", "b", False),
        ("Service one", "bench", "a", False),
    ]
    assert found.unread == ()
    assert {one.scenario for one in found.objects} == {"s"}


@pytest.mark.parametrize(
    ("asked", "names"),
    [
        ({"run": "b"}, ["Namespace other", "Secret two"]),
        ({"run": "none"}, []),
        ({"namespace": "other"}, ["Secret two"]),
        ({"namespace": "bench", "run": "b"}, ["Namespace other"]),
        ({"older_than_seconds": 86400.0}, ["Deployment one"]),
    ],
)
async def test_only_what_is_asked_for_is_found(where, asked, names):
    found = await find_leftovers(**where, **asked)
    assert sorted(map(str, found.objects)) == names


async def test_what_cannot_be_looked_at_is_said(where, api):
    api.faults.append(Fault("GET", "/secrets", 403, times=9))
    api.faults.append(Fault("GET", "/apis/batch/v1", 503, times=9))
    found = await find_leftovers(**where)
    hint = "of the test; give this account the right, or give another context"
    assert list(found.unread) == [
        f"batch/v1: cluster {api.url}: GET /apis/batch/v1: 503: of the test",
        f"secrets of v1: cluster {api.url}: GET /api/v1/secrets: 403: {hint}",
    ]
    assert "Secret two" not in map(str, found.objects)


async def test_a_cluster_that_refuses_is_one_line(where, api):
    api.faults.append(Fault("GET", "^/apis$", 403))
    with pytest.raises(ConfigError, match="GET /apis: 403: of the test; give this account"):
        await find_leftovers(**where)


async def test_they_are_removed_owners_first_and_namespaces_last(where, api):
    found = await find_leftovers(**where)
    told = []
    assert await remove_leftovers(found.objects, **where, seconds=5, tell=told.append) == []
    assert len(told) == 2
    assert told[1] == "removing Namespace other"
    left = api.names("deployments", "pods", "services", "endpoints", "secrets", "namespaces")
    assert left == ["bench", "default", "mine"]
    deleted = [path.split("/")[-2:] for method, path, _ in api.requests if method == "DELETE"]
    assert deleted[-1] == ["namespaces", "other"]
    assert ["pods", "one-0"] not in deleted


async def test_what_is_held_or_refused_is_left(where, api):
    found = await find_leftovers(**where, run="b")
    api.stuck.add("other")
    api.faults.append(Fault("DELETE", "secrets/two", 403, times=9))
    left = await remove_leftovers(found.objects, **where, seconds=0.02, tell=print)
    assert left == [
        (
            f"Secret two in namespace other: not removed: cluster {api.url}: DELETE "
            "/api/v1/namespaces/other/secrets/two: 403: of the test; give this account the right, "
            "or give another context"
        ),
        "Namespace other: still there after 0.02 s, held by finalizers example.com/held",
    ]


async def test_an_object_that_somebody_made_anew_is_not_removed(where, api):
    found = await find_leftovers(**where, run="b", namespace="other")
    api.drop(("v1", "secrets", "other", "two"))
    api.put("v1", "secrets", "other", {"metadata": {"name": "two"}})
    secrets = [one for one in found.objects if one.resource.kind == "Secret"]
    assert await remove_leftovers(secrets, **where, seconds=5, tell=print) == []
    assert api.names("secrets") == ["mine", "two"]


async def test_what_is_gone_already_is_no_fault(where, api):
    found = await find_leftovers(**where)
    for key in list(api.objects):
        if key[3] in {"one", "other"}:
            api.drop(key)
    assert await remove_leftovers(found.objects, **where, seconds=5, tell=print) == []
