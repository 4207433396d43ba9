"""A small Kubernetes API server on loopback, with controllers, a kubelet and faults to order."""

import asyncio
import copy
import itertools
import json
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime

import aiohttp
import yaml
from aiohttp import web

ALL = ["create", "delete", "get", "list", "patch", "watch"]
KINDS = {
    ("v1", "namespaces"): ("Namespace", False),
    ("v1", "nodes"): ("Node", False),
    ("v1", "pods"): ("Pod", True),
    ("v1", "services"): ("Service", True),
    ("v1", "endpoints"): ("Endpoints", True),
    ("v1", "secrets"): ("Secret", True),
    ("v1", "configmaps"): ("ConfigMap", True),
    ("v1", "events"): ("Event", True),
    ("v1", "persistentvolumeclaims"): ("PersistentVolumeClaim", True),
    ("v1", "serviceaccounts"): ("ServiceAccount", True),
    ("apps/v1", "deployments"): ("Deployment", True),
    ("apps/v1", "statefulsets"): ("StatefulSet", True),
    ("apps/v1", "replicasets"): ("ReplicaSet", True),
    ("batch/v1", "jobs"): ("Job", True),
    ("apiextensions.k8s.io/v1", "customresourcedefinitions"): ("CustomResourceDefinition", False),
}
STEP = 0.002
"""Between two things that controllers do."""


@dataclass
class Fault:
    """What a request gets instead of its answer."""

    method: str
    path: str
    status: int = 0  # 0: the connection is dropped
    times: int = 1
    reason: str = ""
    message: str = "of the test"
    headers: dict = field(default_factory=dict)


def waiting(reason, message="", restarts=0, last=None):
    """A kubelet's step: the containers wait for a reason."""

    def step(pod):
        state = {"waiting": {"reason": reason, "message": message}}
        _containers(pod, state, ready=False, restarts=restarts, last=last)

    return step


def running(*, ready, restarts=0, last=None):
    """A kubelet's step: the containers run."""

    def step(pod):
        _containers(pod, {"running": {}}, ready=ready, restarts=restarts, last=last)

    return step


def terminated(code, reason, restarts=0):
    """A kubelet's step: the containers have ended."""

    def step(pod):
        state = {"terminated": {"exitCode": code, "reason": reason}}
        _containers(pod, state, ready=False, restarts=restarts)

    return step


def unschedulable(message):
    """A scheduler's step: no node is good for the pod."""

    def step(pod):
        pod["status"]["conditions"] = [
            {
                "type": "PodScheduled",
                "status": "False",
                "reason": "Unschedulable",
                "message": message,
            }
        ]

    return step


def _containers(pod, state, *, ready, restarts, last=None):
    pod["status"]["phase"] = "Running" if "waiting" not in state else "Pending"
    pod["status"]["conditions"] = [{"type": "Ready", "status": str(ready)}]
    pod["status"]["containerStatuses"] = [
        {
            "name": container["name"],
            "image": container["image"],
            "imageID": f"{container['image']}@sha256:0",
            "ready": ready,
            "restartCount": restarts,
            "state": copy.deepcopy(state),
            "lastState": {"terminated": last} if last else {},
        }
        for container in pod["spec"]["containers"]
    ]
    pod["spec"]["nodeName"] = "node-1"


READY = (waiting("ContainerCreating"), running(ready=False), running(ready=True))


class ApiServer:
    """Keeps objects, and plays the controllers that a rollout needs.

    Attributes:
        faults: used up in order by the requests they fit.
        fate: what becomes of pods, by the begin of their name; `READY` where nothing fits.
        stuck: names of objects that a finalizer holds.
        drop_watches: so many watches end after their first event.
        gone_watches: so many watches say 410 at once.
        cut_logs: so many logs are cut after their first line.
        requests: method, path and query of each.
        ports: where a tunnel to a pod leads: its name, host and port.
    """

    def __init__(self):
        self.faults = []
        self.fate = {}
        self.stuck = set()
        self.drop_watches = 0
        self.gone_watches = 0
        self.cut_logs = 0
        self.unlisted = 0
        self.token = None
        self.ports = {}
        self.logs = {}
        self._ended = {}
        self.requests = []
        self.kinds = dict(KINDS)
        self.objects = {}
        self._history = []
        self._version = itertools.count(1)
        self._last_version = 0
        self._news = asyncio.Event()
        self._watched = asyncio.Event()
        self._tasks = set()
        for name in ("default", "bench"):
            self.put("v1", "namespaces", None, {"metadata": {"name": name}}, {"phase": "Active"})
        addresses = [
            {"type": "Hostname", "address": "node-1"},
            {"type": "InternalIP", "address": "127.0.0.1"},
        ]
        ready = [{"type": "Ready", "status": "True"}]
        node = {"conditions": ready, "addresses": addresses}
        self.put("v1", "nodes", None, {"metadata": {"name": "node-1"}}, node)

    async def __aenter__(self):
        app = web.Application(middlewares=[self._guarded])
        app.router.add_get("/version", self._version_of_server)
        app.router.add_get("/apis", self._groups)
        app.router.add_route("*", "/{tail:.*}", self._any)
        self._runner = web.AppRunner(app, shutdown_timeout=0.01)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = site._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        return self

    async def __aexit__(self, *_):
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._runner.cleanup()

    def kubeconfig(self, path, token="right"):
        """Write a kubeconfig and return its path."""
        path.write_text(
            yaml.safe_dump(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "current-context": "fake",
                    "clusters": [{"name": "fake", "cluster": {"server": self.url}}],
                    "users": [{"name": "me", "user": {"token": token}}],
                    "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "me"}}],
                }
            )
        )
        return str(path)

    # What tests look at and do.

    def get(self, plural, name, namespace="bench"):
        """Return an object, or None."""
        for (_, kind, space, known), body in self.objects.items():
            if (kind, known) == (plural, name) and space in {namespace, None}:
                return body
        return None

    def names(self, *plurals):
        """Return the names of the objects of some kinds, sorted."""
        return sorted(key[3] for key in self.objects if key[1] in plurals)

    def asked(self, method, path):
        """Count the requests that fit."""
        return sum(
            one == method and re.search(path, where) is not None for one, where, _ in self.requests
        )

    def put(self, api_version, plural, namespace, body, status=None):
        """Store an object, as a controller would."""
        key = (api_version, plural, namespace, body["metadata"]["name"])
        new = copy.deepcopy(body)
        metadata = new["metadata"]
        old = self.objects.get(key)
        version = self._next_version()
        metadata.setdefault("uid", old["metadata"]["uid"] if old else f"uid-{version}")
        metadata.setdefault("creationTimestamp", datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))
        metadata["resourceVersion"] = str(version)
        if namespace is not None:
            metadata["namespace"] = namespace
        new.setdefault("apiVersion", api_version)
        new.setdefault("kind", self.kinds[api_version, plural][0])
        if status is not None:
            new["status"] = status
        self.objects[key] = new
        self._tell("MODIFIED" if old else "ADDED", key, new)
        return new

    def change(self, key, change):
        """Change an object that is there."""
        if key in self.objects:
            new = copy.deepcopy(self.objects[key])
            change(new)
            self.put(*key[:3], new)

    def change_pods(self, prefix, *steps):
        """Play a kubelet's steps on the pods of a name."""
        for key in [key for key in self.objects if key[1] == "pods" and key[3].startswith(prefix)]:
            for step in steps:
                self.change(key, step)
        self._settle()

    def drop(self, key):
        """Remove an object and what it owns, at once."""
        body = self.objects.pop(key, None)
        if body is None:
            return
        body = {**body, "metadata": {**body["metadata"]}}
        body["metadata"]["resourceVersion"] = str(self._next_version())
        self._tell("DELETED", key, body)
        uid = body["metadata"]["uid"]
        for other in list(self.objects):
            if other not in self.objects:
                continue  # it went with another one
            owners = self.objects[other]["metadata"].get("ownerReferences", ())
            inside = key[1] == "namespaces" and other[2] == key[3]
            same = (key[1], other[1]) == ("services", "endpoints") and other[2:] == key[2:]
            if inside or same or any(owner["uid"] == uid for owner in owners):
                self.drop(other)

    def warn(self, body, reason, message):
        """Record an event about an object."""
        metadata = body["metadata"]
        about = {"kind": body["kind"], "name": metadata["name"], "uid": metadata["uid"]}
        event = {
            "metadata": {"name": f"{metadata['name']}.{self._last_version}"},
            "type": "Warning",
            "reason": reason,
            "message": message,
            "involvedObject": about,
        }
        self.put("v1", "events", metadata["namespace"], event)

    def say(self, pod, container, *lines):
        """Let a container say lines."""
        known = self.logs.setdefault((pod, container), [])
        for line in lines:
            known.append((f"2026-01-01T00:00:{len(known):02d}.5Z", line))
        self._wake()

    def end_log(self, pod, container):
        """End the logs of a container that are followed, as its end does."""
        self._ended[pod, container] = self._ended.get((pod, container), 0) + 1
        self._wake()

    # Storage.

    def _next_version(self):
        self._last_version = next(self._version)
        return self._last_version

    def _tell(self, kind, key, body):
        self._history.append((self._last_version, kind, key, copy.deepcopy(body)))
        self._wake()

    def _wake(self):
        self._news.set()
        self._news = asyncio.Event()

    def _task(self, coroutine):
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # Requests.

    @web.middleware
    async def _guarded(self, request, handler):
        self.requests.append((request.method, request.path, dict(request.query)))
        if self.token and request.headers.get("Authorization") != f"Bearer {self.token}":
            return _status(401, "Unauthorized", "Unauthorized")
        for fault in self.faults:
            if not fault.times or fault.method != request.method:
                continue
            if re.search(fault.path, request.path_qs):
                fault.times -= 1
                if not fault.status:
                    request.transport.abort()
                    return web.Response()
                answer = _status(fault.status, fault.reason, fault.message)
                answer.headers.update(fault.headers)
                return answer
        try:
            return await handler(request)
        except ConnectionError:  # whoever asked has gone
            return web.Response()

    async def _version_of_server(self, _):
        return web.json_response({"gitVersion": "v1.99.0"})

    async def _groups(self, _):
        groups = {api for api, _ in self.kinds if api != "v1"}
        return web.json_response(
            {
                "groups": [
                    {"name": api.partition("/")[0], "preferredVersion": {"groupVersion": api}}
                    for api in sorted(groups)
                ]
            }
        )

    async def _any(self, request):
        parts = request.path.strip("/").split("/")
        api_version = "v1" if parts[0] == "api" else "/".join(parts[1:3])
        parts = parts[2:] if parts[0] == "api" else parts[3:]
        if not parts:
            return self._discovery(api_version)
        namespace = None
        if parts[0] == "namespaces" and len(parts) > 2:
            namespace, parts = parts[1], parts[2:]
        plural, name, sub = (*parts, None, None)[:3]
        if (api_version, plural) not in self.kinds:
            return _status(404, "NotFound", "the server could not find the requested resource")
        key = (api_version, plural, namespace, name)
        if sub == "log":
            return await self._log(request, namespace, name)
        if sub == "portforward":
            return await self._port_forward(request, name)
        if name is None:
            if request.query.get("watch") == "true":
                return await self._watch(request, key)
            return self._list(request, key)
        if request.method == "PATCH":
            return await self._apply(request, key)
        if key not in self.objects:
            return _status(404, "NotFound", f'{plural} "{name}" not found')
        if request.method == "DELETE":
            return await self._delete(request, key)
        return web.json_response(self.objects[key])

    def _discovery(self, api_version):
        known = [
            {"name": plural, "kind": kind, "namespaced": namespaced, "verbs": ALL}
            for (api, plural), (kind, namespaced) in self.kinds.items()
            if api == api_version
        ]
        custom = api_version not in {api for api, _ in KINDS}
        if not known or (custom and self.unlisted):
            self.unlisted -= custom
            return _status(404, "NotFound", "the server could not find the requested resource")
        known.append({"name": "pods/log", "kind": "Pod", "namespaced": True, "verbs": ["get"]})
        return web.json_response({"groupVersion": api_version, "resources": known})

    def _fits(self, request, key, other, body):
        if other[:2] != key[:2] or (key[2] is not None and other[2] != key[2]):
            return False
        labels = body["metadata"].get("labels", {})
        wanted = request.query.get("labelSelector", "")
        return all(
            labels.get(name) == value
            for name, _, value in (one.partition("=") for one in wanted.split(",") if one)
        )

    def _list(self, request, key):
        items = [
            {name: part for name, part in body.items() if name not in {"kind", "apiVersion"}}
            for other, body in self.objects.items()
            if self._fits(request, key, other, body)
        ]
        begin = int(request.query.get("continue") or 0)
        page = items[begin : begin + 2]  # small pages, so that every list has several
        metadata = {"resourceVersion": str(self._last_version)}
        if begin + 2 < len(items):
            metadata["continue"] = str(begin + 2)
        return web.json_response({"kind": "List", "metadata": metadata, "items": page})

    async def _watch(self, request, key):
        response = web.StreamResponse()
        await response.prepare(request)
        if self.gone_watches:
            self.gone_watches -= 1
            gone = {"kind": "Status", "code": 410, "reason": "Expired"}
            await response.write(json.dumps({"type": "ERROR", "object": gone}).encode() + b"\n")
            return response
        if key[1] not in {"events", "pods"}:
            self._watched.set()  # somebody waits for a rollout: let it begin
        seen = int(request.query["resourceVersion"])
        while True:
            news = self._news
            for version, kind, other, body in list(self._history):
                if version > seen and self._fits(request, key, other, body):
                    line = json.dumps({"type": kind, "object": body}).encode() + b"\n"
                    if self.drop_watches:
                        self.drop_watches -= 1
                        await response.write(line[:20])
                        request.transport.abort()
                        return response
                    await response.write(line)
            seen = self._last_version
            await news.wait()

    async def _apply(self, request, key):
        assert request.content_type == "application/apply-patch+yaml"
        assert request.query["fieldManager"] == "benchcore"
        assert request.query["force"] == "true"
        body = json.loads(await request.read())
        if key[2] is not None and ("v1", "namespaces", None, key[2]) not in self.objects:
            return _status(404, "NotFound", f'namespaces "{key[2]}" not found')
        old = self.objects.get(key)
        metadata = body["metadata"]
        metadata["generation"] = old["metadata"].get("generation", 0) + 1 if old else 1
        new = self.put(*key[:3], body, copy.deepcopy(old.get("status", {})) if old else {})
        self._task(self._control(key))
        return web.json_response(new, status=200 if old else 201)

    async def _delete(self, request, key):
        options = json.loads(await request.read())
        body = self.objects[key]
        if options["preconditions"]["uid"] != body["metadata"]["uid"]:
            return _status(409, "Conflict", "the UID in the precondition is another")
        assert options["propagationPolicy"] == "Foreground"

        def mark(new):
            new["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
            held = ["example.com/held"] if key[3] in self.stuck else ["foregroundDeletion"]
            new["metadata"]["finalizers"] = held

        self.change(key, mark)
        if key[3] not in self.stuck:
            self._task(self._drop_soon(key))
        return web.json_response(self.objects[key])

    async def _drop_soon(self, key):
        await asyncio.sleep(STEP)
        self.drop(key)

    # Controllers.

    async def _control(self, key):
        await asyncio.sleep(STEP)
        body = self.objects[key]
        kind, spec, name = body["kind"], body.get("spec") or {}, key[3]
        if kind == "Namespace":
            self.change(key, lambda new: new.update(status={"phase": "Active"}))
        elif kind == "CustomResourceDefinition":
            names = spec["names"]
            api = f"{spec['group']}/{spec['versions'][0]['name']}"
            self.kinds[api, names["plural"]] = (names["kind"], spec["scope"] == "Namespaced")
            established = {"conditions": [{"type": "Established", "status": "True"}]}
            self.change(key, lambda new: new.update(status=established))
        elif kind == "Deployment":
            owner = self._own("apps/v1", "replicasets", body, f"{name}-5d9", spec["template"], {})
            pods = [f"{name}-5d9-{number}" for number in range(spec.get("replicas", 1))]
            await self._make_pods(owner, pods, spec["template"])
        elif kind == "StatefulSet":
            for claim in spec.get("volumeClaimTemplates", ()):
                new = {"metadata": {**claim["metadata"], "name": f"data-{name}-0"}}
                self.put("v1", "persistentvolumeclaims", key[2], new)
            pods = [f"{name}-{number}" for number in range(spec.get("replicas", 1))]
            await self._make_pods(body, pods, spec["template"])
        elif kind == "LeaderWorkerSet":
            template = spec["leaderWorkerTemplate"]["workerTemplate"]
            pods = [f"{name}-{number}" for number in range(spec["replicas"])]
            await self._make_pods(body, pods, template)
        elif kind == "Service":
            self._own("v1", "endpoints", None, name, body, {}, namespace=key[2])
        elif kind == "Job":
            done = {"succeeded": 1, "conditions": [{"type": "Complete", "status": "True"}]}
            self.change(key, lambda new: new.update(status=done))

    def _own(self, api, plural, owner, name, template, status, namespace=None):
        labels = template["metadata"].get("labels", {})
        body = {"metadata": {"name": name, "labels": labels}, "spec": template.get("spec", {})}
        if owner is not None:
            about = owner["metadata"]
            body["metadata"]["ownerReferences"] = [{"uid": about["uid"], "kind": owner["kind"]}]
            namespace = about["namespace"]
        return self.put(api, plural, namespace, body, status)

    async def _make_pods(self, owner, names, template):
        self._settle()
        await self._watched.wait()
        for name in names:
            self._own("v1", "pods", owner, name, template, {"phase": "Pending"})
        for name in names:
            prefix = next((one for one in self.fate if name.startswith(one)), "")
            for step in self.fate.get(prefix, READY):
                await asyncio.sleep(STEP)
                key = ("v1", "pods", owner["metadata"]["namespace"], name)
                if step is None or key not in self.objects:
                    return
                self.change(key, step)
                self._settle()

    def _settle(self):
        """Let the controllers count their pods."""
        for key in list(self.objects):
            kind = self.objects[key]["kind"]
            if kind not in {"Deployment", "StatefulSet", "LeaderWorkerSet"}:
                continue
            pods = [
                pod
                for other, pod in self.objects.items()
                if other[1] == "pods" and other[3].startswith(f"{key[3]}-") and other[2] == key[2]
            ]
            ready = sum(
                {"type": "Ready", "status": "True"} in pod["status"].get("conditions", ())
                for pod in pods
            )
            status = {
                "observedGeneration": self.objects[key]["metadata"]["generation"],
                "replicas": len(pods),
                "updatedReplicas": len(pods),
                "readyReplicas": ready,
                "availableReplicas": ready,
            }
            if kind == "LeaderWorkerSet":
                whole = ready == self.objects[key]["spec"]["replicas"]
                status["conditions"] = [{"type": "Available", "status": str(whole)}]
            if self.objects[key]["status"] != status:
                self.change(key, lambda new, status=status: new.update(status=status))

    # Pods.

    async def _log(self, request, namespace, pod):
        container = request.query["container"]
        body = self.objects.get(("v1", "pods", namespace, pod))
        if body is None:
            return _status(404, "NotFound", f'pods "{pod}" not found')
        known = self.logs.get((pod, container), [])
        if request.query.get("follow") != "true":
            tail = known[-int(request.query["tailLines"]) :]
            return web.Response(text="".join(f"{line}\n" for _, line in tail))
        response = web.StreamResponse()
        await response.prepare(request)
        since = request.query.get("sinceTime", "")[:19]
        ended = self._ended.get((pod, container))
        sent = sum(stamp[:19] < since for stamp, _ in known)
        while True:
            news = self._news
            known = self.logs.get((pod, container), [])
            for stamp, line in known[sent:]:
                await response.write(f"{stamp} {line}\n".encode())
                sent += 1
                if self.cut_logs:
                    self.cut_logs -= 1
                    await asyncio.sleep(STEP)
                    request.transport.abort()
                    return response
            there = ("v1", "pods", namespace, pod) in self.objects
            if not there or self._ended.get((pod, container)) != ended:
                return response
            await news.wait()

    async def _port_forward(self, request, pod):
        socket = web.WebSocketResponse(protocols=["v4.channel.k8s.io"])
        await socket.prepare(request)
        port = int(request.query["ports"])
        for channel in (b"\0", b"\1"):
            await socket.send_bytes(channel + port.to_bytes(2, "little"))
        if pod not in self.ports:
            await socket.send_bytes(b"\1connection refused")
            await socket.close()
            return socket
        reader, writer = await asyncio.open_connection(*self.ports[pod])

        async def down():
            while data := await reader.read(65536):
                await socket.send_bytes(b"\0" + data)
            await socket.close()

        task = asyncio.create_task(down())
        async for message in socket:
            if message.type is aiohttp.WSMsgType.BINARY:
                writer.write(message.data[1:])
        task.cancel()
        writer.close()
        return socket


def _status(code, reason, message):
    body = {"kind": "Status", "code": code, "reason": reason, "message": message}
    return web.json_response(body, status=code)
