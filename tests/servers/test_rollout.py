import asyncio

import pytest

from benchcore.base.errors import ConfigError, TargetError
from benchcore.servers.kubernetes.cluster import Cluster
from benchcore.servers.kubernetes.pods import (
    PodWatch,
    event_trouble,
    pod_troubles,
    rollout_troubles,
)
from benchcore.servers.kubernetes.removal import Placed
from benchcore.servers.kubernetes.resources import Access, Resource, label_selector
from benchcore.servers.kubernetes.rollout import Rollout, is_waited_for, readiness
from tests.servers.api_server import Fault, running, terminated, unschedulable, waiting
from tests.servers.written import Waits

pytest_plugins = ("tests.servers.cluster",)

DEPLOYMENT = Resource("apps/v1", "Deployment", "deployments", namespaced=True)
RUN = {"app.kubernetes.io/managed-by": "benchcore", "benchcore.dev/run": "a"}
CRASHED = {"exitCode": 1, "reason": "Error"}


@pytest.fixture
def rollout(api, tmp_path):
    """Puts a Deployment on the cluster, whose pods have a fate, and waits for it."""

    async def wait(*fate, until=(), secrets=(), then=None, before=False):
        api.fate["vllm"] = fate
        containers = [{"name": "server", "image": "vllm:1"}]
        template = {"metadata": {"labels": RUN}, "spec": {"containers": containers}}
        metadata = {"name": "vllm", "labels": RUN, "generation": 1}
        body = api.put(
            "apps/v1",
            "deployments",
            "bench",
            {"metadata": metadata, "spec": {"replicas": 1, "template": template}},
            {},
        )
        control = api._control(("apps/v1", "deployments", "bench", "vllm"))
        if before:  # everything has come about already
            api._watched.set()
            await control
        else:
            api._task(control)
        told = []
        timeout = asyncio.timeout(None)

        def tell(line):
            told.append(line)
            if until and all(any(text in line for line in told) for text in until):
                timeout.reschedule(0)  # the time is over

        access = Access(api.kubeconfig(tmp_path / "kubeconfig"))
        if then is not None:
            api._task(then())
        async with Cluster(access, sleep=Waits()) as cluster:
            one = Rollout(
                cluster,
                [Placed.read(DEPLOYMENT, body)],
                selector=label_selector("a"),
                tell=tell,
                secrets=secrets,
                timeout=lambda _: timeout,
            )
            try:
                await one.wait(5)
            except TargetError as error:
                return told, str(error)
        return told, None

    return wait


async def test_progress_is_told_when_it_changes(rollout):
    told, fault = await rollout(
        waiting("ContainerCreating"), running(ready=False), running(ready=True)
    )
    assert fault is None
    assert told[-2:] == ["Deployment vllm: 0 of 1 ready", "Deployment vllm: 1 of 1 ready"]
    assert len(told) == len(set(told))


@pytest.mark.parametrize(
    ("step", "said"),
    [
        (
            waiting("ErrImagePull", 'rpc error: "vllm:1": not found'),
            'pod vllm-5d9-0, container server: ErrImagePull: rpc error: "vllm:1": not found',
        ),
        (
            waiting("InvalidImageName", "couldn't parse image"),
            "pod vllm-5d9-0, container server: InvalidImageName: couldn't parse image",
        ),
    ],
)
async def test_it_gives_up_on_images_that_will_not_come(rollout, step, said):
    told, fault = await rollout(step)
    # The controller may not have counted yet.
    assert (
        fault.replace("updated", "ready")
        == f"will not become ready: Deployment vllm: 0 of 1 ready; {said}"
    )
    assert said in told


async def test_it_gives_up_on_a_crash_loop_with_the_last_lines(rollout, api):
    api.say("vllm-5d9-0", "server", *(f"line {number}" for number in range(9)), "no token-1234")
    steps = [
        waiting("CrashLoopBackOff", "back-off", restarts=count, last=CRASHED)
        for count in range(1, 4)
    ]
    told, fault = await rollout(*steps, secrets=["token-1234"], before=True)
    crashed = "pod vllm-5d9-0, container server: CrashLoopBackOff after"
    assert fault == (
        "will not become ready: Deployment vllm: 0 of 1 ready; "
        f"{crashed} 3 restarts: Error, exit code 1; last lines of vllm-5d9-0/server: "
        f"{' | '.join(f'line {number}' for number in range(2, 9))} | no ***"
    )
    assert f"{crashed} 3 restarts: Error, exit code 1" in told
    log = next(query for _, path, query in api.requests if path.endswith("/log"))
    assert log == {"container": "server", "tailLines": "8", "previous": "true"}


async def test_what_may_heal_is_told_and_waited_for(rollout):
    told, fault = await rollout(
        unschedulable("0/2 nodes are available: 2 Insufficient nvidia.com/gpu."),
        waiting("ErrImagePull", "i/o timeout"),
        waiting("CrashLoopBackOff", "back-off", restarts=1, last=CRASHED),
        running(ready=True, restarts=1),
    )
    assert fault is None
    assert told[-1] == "Deployment vllm: 1 of 1 ready"


async def test_in_the_end_it_says_what_was_in_the_way(rollout, api):
    told, fault = await rollout(
        unschedulable("0/2 nodes are available"), until=("Unschedulable", "0 of 1 ready")
    )
    reason = "pod vllm-5d9-0: Unschedulable: 0/2 nodes are available"
    assert fault == f"not ready within 5 s: Deployment vllm: 0 of 1 ready; {reason}"
    assert reason in told


async def test_in_the_end_it_shows_the_log_of_what_is_not_ready(rollout, api):
    api.say("vllm-5d9-0", "server", "loading 10%", "loading 20%")
    _, fault = await rollout(running(ready=False), until=("0 of 1 ready",), before=True)
    assert fault == (
        "not ready within 5 s: Deployment vllm: 0 of 1 ready; "
        "last lines of vllm-5d9-0/server: loading 10% | loading 20%"
    )


async def test_a_log_that_cannot_be_read_is_said(rollout, api):
    api.faults.append(Fault("GET", "/log", 403, message="no logs for you"))
    _, fault = await rollout(running(ready=False), until=("0 of 1 ready",), before=True)
    assert fault.endswith("0 of 1 ready; its log cannot be read: 403: no logs for you")


async def test_events_of_these_objects_are_told_as_they_come(rollout, api):
    stranger = {"kind": "Pod", "metadata": {"name": "vllm-5d9-0", "uid": "of before"}}
    stranger["metadata"]["namespace"] = "bench"
    api.warn(stranger, "FailedMount", "of the run before")

    async def warn():
        await api._watched.wait()
        while api.get("pods", "vllm-5d9-0") is None:
            await api._news.wait()
        api.warn(api.get("pods", "vllm-5d9-0"), "FailedMount", "no such volume")
        api.warn(api.get("pods", "vllm-5d9-0"), "FailedMount", "no such volume, again")
        api.warn(api.get("replicasets", "vllm-5d9"), "FailedCreate", "exceeded quota")

    told, fault = await rollout(
        unschedulable("wait"), until=("FailedMount", "FailedCreate"), then=warn
    )
    # In whichever order: what an event is about may be seen after it.
    assert sorted(line for line in told if "Failed" in line) == [
        "pod vllm-5d9-0: FailedMount: no such volume",
        "replicaset vllm-5d9: FailedCreate: exceeded quota",
    ]
    assert "; replicaset vllm-5d9: FailedCreate: exceeded quota" in fault


async def test_without_events_it_waits_all_the_same(rollout, api):
    api.faults.append(Fault("GET", "/events", 403, message="no events for you"))
    told, fault = await rollout(running(ready=True))
    assert fault is None
    assert told[0] == (
        f"without events: cluster {api.url}: GET /api/v1/namespaces/bench/events: 403: "
        "no events for you; give this account the right, or give another context"
    )


async def test_without_pods_it_does_not_begin(rollout, api):
    api.faults.append(Fault("GET", "/pods", 403))
    with pytest.raises(ConfigError, match="/pods: 403: of the test; give this account the right"):
        await rollout(running(ready=True))


async def test_an_object_that_somebody_removes_is_said(rollout, api):
    async def drop():
        await api._watched.wait()
        api.drop(("apps/v1", "deployments", "bench", "vllm"))

    told, fault = await rollout(waiting("ContainerCreating"), until=("is not there",), then=drop)
    assert fault == "not ready within 5 s: Deployment vllm: is not there"
    assert told[-1] == "Deployment vllm: is not there"


async def test_a_watch_that_only_breaks_is_given_up(rollout, api):
    api.faults.append(Fault("GET", "watch=true", times=9999))
    _, fault = await rollout(waiting("ContainerCreating"))
    assert fault.startswith(f"cluster {api.url}: cannot be reached: ")


def test_nothing_to_wait_for_is_no_wait():
    assert not is_waited_for("v1", "ConfigMap")
    assert not is_waited_for("networking.k8s.io/v1", "Ingress")
    assert is_waited_for("apps/v1", "StatefulSet")
    assert is_waited_for("leaderworkerset.x-k8s.io/v1", "LeaderWorkerSet")
    assert is_waited_for("serving.kserve.io/v1beta1", "InferenceService")


def state(kind, status, spec=None, generation=1):
    body = {"kind": kind, "metadata": {"name": "a", "generation": generation}, "status": status}
    found = readiness({**body, "spec": spec or {}})
    return (found.ready, found.text, found.failed)


def conditions(*pairs, **more):
    return {"conditions": [{"type": one, "status": value, **more} for one, value in pairs]}


SEEN = {"observedGeneration": 1}


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (state("Deployment", SEEN, generation=2), (False, "its controller has not seen it yet")),
        (state("Deployment", {}), (False, "its controller has not seen it yet")),
        (state("Deployment", SEEN, {"replicas": 0}), (True, "0 of 0 ready")),
        (
            state("Deployment", {**SEEN, "updatedReplicas": 1, "replicas": 2}),
            (False, "pods of before are still going"),
        ),
        (state("StatefulSet", SEEN, {"replicas": 2}), (False, "0 of 2 ready")),
        (
            state(
                "StatefulSet",
                {**SEEN, "readyReplicas": 2, "currentRevision": "a", "updateRevision": "b"},
                {"replicas": 2},
            ),
            (False, "0 of 2 updated"),
        ),
        (
            state(
                "StatefulSet",
                {**SEEN, "readyReplicas": 2, "currentRevision": "a", "updateRevision": "b"},
                {"replicas": 2, "updateStrategy": {"type": "OnDelete"}},
            ),
            (True, "2 of 2 ready"),
        ),
        (state("DaemonSet", {**SEEN, "desiredNumberScheduled": 2}), (False, "0 of 2 updated")),
        (
            state(
                "DaemonSet",
                {
                    **SEEN,
                    "desiredNumberScheduled": 2,
                    "updatedNumberScheduled": 2,
                    "numberAvailable": 1,
                },
            ),
            (False, "1 of 2 ready"),
        ),
        (state("ReplicaSet", {"readyReplicas": 1}), (True, "1 of 1 ready")),
        (state("Job", {"succeeded": 1}, {"completions": 2}), (False, "1 of 2 done")),
        (state("Job", conditions(("Complete", "True"))), (True, "0 of 1 done")),
        (state("Pod", {"phase": "Pending"}), (False, "Pending")),
        (state("Pod", {"phase": "Succeeded"}), (True, "Succeeded")),
        (
            state("CustomResourceDefinition", conditions(("Established", "False"))),
            (False, "not established yet"),
        ),
        (state("Namespace", {"phase": "Active"}), (True, "Active")),
        (
            state("LeaderWorkerSet", {}, {"replicas": 1}),
            (False, "its operator has not seen it yet; is it installed?"),
        ),
        (
            state(
                "LeaderWorkerSet",
                {"readyReplicas": 1, **conditions(("Available", "True"))},
                {"replicas": 2},
            ),
            (False, "1 of 2 ready"),
        ),
        (
            state("InferenceService", conditions(("Ready", "False"), reason="X", message="y z")),
            (False, "X: y z"),
        ),
        (state("InferenceService", conditions(("Ready", "True"))), (True, "Ready")),
        (state("Model", {}), (True, "says nothing of its state")),
    ],
)
def test_readiness(found, expected):
    assert found == (*expected, None)


def test_what_failed_is_not_waited_for():
    failed = conditions(("Failed", "True"), reason="BackoffLimitExceeded", message="too often")
    assert state("Job", failed)[2] == "BackoffLimitExceeded: too often"
    assert state("Pod", {"phase": "Failed"})[2] == "its containers failed"
    assert state("Pod", {"phase": "Failed", "reason": "Evicted"})[2] == "Evicted"
    names = conditions(("NamesAccepted", "False"), reason="KindConflict")
    assert state("CustomResourceDefinition", names)[2] == "KindConflict"


def pod(step=None, name="a", **status):
    body = {
        "metadata": {"name": name, "uid": name},
        "spec": {"containers": [{"name": "s", "image": "i"}]},
        "status": status,
    }
    if step is not None:
        step(body)
    return body


@pytest.mark.parametrize(
    ("body", "text", "fatal"),
    [
        (
            pod(waiting("ImagePullBackOff", 'Back-off pulling image "i"')),
            'pod a, container s: ImagePullBackOff: Back-off pulling image "i"',
            False,
        ),
        (
            pod(waiting("ImagePullBackOff", "pull access denied")),
            "pod a, container s: ImagePullBackOff: pull access denied",
            True,
        ),
        (
            pod(waiting("CreateContainerConfigError", 'secret "a" not found')),
            'pod a, container s: CreateContainerConfigError: secret "a" not found',
            False,
        ),
        (
            pod(terminated(137, "OOMKilled")),
            "pod a, container s: OOMKilled, exit code 137",
            False,
        ),
        (
            pod(phase="Failed", reason="Evicted", message="The node was low on\nmemory"),
            "pod a: Evicted: The node was low on memory",
            False,
        ),
    ],
)
def test_troubles_of_pods(body, text, fatal):
    assert [(one.text, one.fatal) for one in pod_troubles(body)] == [(text, fatal)]


def test_a_pod_without_trouble_has_none():
    assert list(pod_troubles(pod(waiting("ContainerCreating")))) == []
    assert list(pod_troubles(pod(running(ready=True)))) == []
    assert list(pod_troubles(pod(terminated(0, "Completed")))) == []


def test_a_rollout_past_its_deadline_is_told_and_may_come_all_the_same():
    body = {"kind": "Deployment", "metadata": {"name": "a"}}
    body["status"] = {
        "conditions": [
            {"type": "Progressing", "reason": "ProgressDeadlineExceeded", "message": "timed out"},
            {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "q"},
        ]
    }
    assert [(one.text, one.fatal) for one in rollout_troubles(body)] == [
        ("Deployment a: ProgressDeadlineExceeded: timed out", False),
        ("Deployment a: FailedCreate: q", False),
    ]


def event(reason, message="m", kind="Warning"):
    about = {"kind": "Pod", "name": "a"}
    return {"type": kind, "reason": reason, "message": message, "involvedObject": about}


def test_troubles_of_events():
    assert event_trouble(event("Pulled", kind="Normal")) is None
    assert event_trouble(event("BackOff")) is None
    assert event_trouble(event("Failed", "Error: ImagePullBackOff")) is None
    pull = event_trouble(event("Failed", 'Failed to pull image "i": manifest unknown'))
    assert (pull.text, pull.fatal) == (
        'pod a: Failed: Failed to pull image "i": manifest unknown',
        True,
    )
    first, again = (event_trouble(event("Unhealthy", text)) for text in ("503", "refused"))
    assert first.key == again.key
    long = event_trouble(event("FailedMount", "x" * 1000))
    assert long.text == f"pod a: FailedMount: {'x' * 299}…"


def test_a_watch_tells_what_is_lost():
    def one(step, **metadata):
        body = pod(step)
        body["metadata"].update(metadata)
        return {"a": body}

    watch = PodWatch(one(running(ready=True, restarts=2)))
    assert watch.loss(one(running(ready=True, restarts=2))) is None
    assert watch.loss({}) == "pod a is gone"
    assert watch.loss(one(running(ready=True), deletionTimestamp="x")) == "pod a is being removed"
    assert watch.loss({"a": pod(phase="Failed", reason="Evicted")}) == "pod a failed: Evicted"
    assert watch.loss({"a": pod(phase="Failed")}) == "pod a failed: it does not say why"


def test_a_watch_lets_done_work_go():
    done = pod(terminated(0, "Completed"))
    assert PodWatch({"a": done}).loss({"a": done}) is None
    done["status"]["phase"] = "Succeeded"
    assert PodWatch({"a": done}).loss({}) is None
