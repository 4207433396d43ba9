"""`benchcore serve`, by a client that is made from the OpenAPI document that it gives."""

import json
import re
import shutil
import signal
import socket
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import jsonschema
import pytest

from tests.conftest import Benchcore, is_there, until

pytestmark = pytest.mark.integration
TOKEN = "a-token-of-ours"
GOLDEN = Path(__file__).parents[1] / "golden" / "runs"
SMALL = {"requests": 30, "output-tokens": 4, "input-tokens": "16", "idle": "0s"}


class Api:
    """Calls the operations of a document by their names, and holds each answer to its schema."""

    def __init__(self, url, token):
        self.url, self.token = url, token
        self.document = json.loads(self.fetch("/api/openapi.json")[1])
        self.operations = {
            operation["operationId"]: (method.upper(), path, operation)
            for path, methods in self.document["paths"].items()
            for method, operation in methods.items()
        }

    def fetch(self, path, method="GET", body=None, headers=None):
        request = urllib.request.Request(self.url + path, method=method, data=body)
        if self.token:
            request.add_header("Authorization", f"Bearer {self.token}")
        for name, value in (headers or {}).items():
            request.add_header(name, value)
        try:
            with urllib.request.urlopen(request) as answer:
                return answer.status, answer.read(), answer.headers.get_content_type()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read(), error.headers.get_content_type()

    def __call__(self, name, body=None, headers=None, /, **parameters):
        method, path, operation = self.operations[name]
        wanted = {one["name"] for one in operation.get("parameters", []) if one["in"] == "path"}
        assert parameters.keys() == wanted
        for key, value in parameters.items():
            path = path.replace(f"{{{key}}}", urllib.parse.quote(value, safe=""))
        data = None if body is None else json.dumps(body).encode()
        status, content, kind = self.fetch(path, method, data, headers)
        said = operation["responses"][str(status)]["content"]
        assert kind in said or name == "getFile", (kind, status)
        if kind != "application/json":
            return status, content
        answer = json.loads(content)
        if name != "getFile":
            self.validate(answer, said[kind]["schema"])
        return status, answer

    def validate(self, value, schema):
        root = {**schema, "components": self.document["components"]}
        jsonschema.Draft202012Validator(root).validate(value)

    def events(self, number, after=0):
        headers = {"Last-Event-ID": str(after)} if after else None
        status, content = self("followJob", None, headers, id=number)
        assert status == 200
        found = re.findall(r"id: (\d+)\nevent: (\w+)\ndata: (.*)\n\n", content.decode())
        return [(int(place), kind, json.loads(data)) for place, kind, data in found]


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """The command, its API, and the folder it runs in."""
    folder = tmp_path_factory.mktemp("serve")
    runner = Benchcore(folder)
    runner.environment["BENCHCORE_SERVE_TOKEN"] = TOKEN
    process = runner.start("serve", "--port", "0")
    url = process.stdout.readline().strip()
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", url)
    yield process, Api(url.rstrip("/"), TOKEN), folder
    process.send_signal(signal.SIGINT)
    assert process.wait() == 0
    assert process.stderr.read() == ""
    process.stdout.close()
    process.stderr.close()


def test_a_run_is_started_followed_and_fetched(served, simulator):
    _, api, folder = served
    options = {"base-url": simulator.base_url, "concurrency": "1,4", "name": "asked", **SMALL}
    status, job = api("startJob", {"command": "climb", "options": options})
    assert (status, job["state"], job["run"]) == (201, "running", None)
    api.validate({"command": "climb", "options": options}, {"$ref": "#/components/schemas/Start"})
    events = api.events(job["id"])
    assert [place for place, _, _ in events] == list(range(1, len(events) + 1))
    kinds = [kind for _, kind, _ in events]
    assert kinds.count("begin") == 1
    assert [told["level"] for _, kind, told in events if kind == "level"] == ["c1", "c4"]
    assert events[-1][1:] == ("end", {"exit_code": job_of(api, job)["exit_code"], "error": None})
    assert api.events(job["id"], after=len(events) - 1) == events[-1:]
    job = job_of(api, job)
    assert job["state"] == "ended"
    assert job["exit_code"] in (0, 4)
    runs = api("listRuns")[1]["runs"]
    (run,) = [run for run in runs if run["run"] == job["run"]]
    assert (run["name"], run["status"], run["model"]) == ("asked", "complete", "sim-1")
    kept = folder / "results" / job["run"]
    assert run["files"] == sorted(path.name for path in kept.iterdir())
    assert api("getRun", id=job["run"])[1]["name"] == "asked"
    status, content = api("getFile", id=job["run"], name="requests.csv")
    assert content == (kept / "requests.csv").read_bytes()
    status, page = api("getPage", id=job["run"])
    assert page.startswith(b"<!doctype html>")
    metrics = api("getMetrics")[1].decode()
    assert "benchcore_running 0.0" in metrics
    assert "benchcore_levels_done 2.0" in metrics
    assert 'benchcore_level_output_token_throughput{level="c4"}' in metrics
    assert job["run"].encode() in api.fetch("/")[1]


def job_of(api, job):
    return api("getJob", id=job["id"])[1]


def test_while_one_goes_on_a_second_is_refused_and_it_can_be_stopped(served, simulator):
    _, api, _ = served
    options = {"base-url": simulator.base_url, "concurrency": "1", "duration": "600s", **SMALL}
    del options["requests"]
    _, job = api("startJob", {"command": "climb", "options": options})
    until(lambda: b"benchcore_live_in_flight" in api("getMetrics")[1])
    status, refused = api("startJob", {"command": "climb", "options": options})
    assert status == 409
    assert refused["error"] == f"run {job['id']} goes on: wait for its end, or stop it"
    assert b"benchcore_running 1.0" in api("getMetrics")[1]
    assert api("stopJob", id=job["id"])[0] == 202
    until(lambda: job_of(api, job)["state"] == "stopped")
    job = job_of(api, job)
    assert job["exit_code"] == 130
    assert api("getRun", id=job["run"])[1]["status"] == "interrupted"


def test_a_scenario_is_given_as_a_document(served, simulator):
    _, api, folder = served
    scenario = {
        "id": "by-http",
        "target": {"base_url": simulator.base_url},
        "model": "sim-1",
        "stages": {"perf": {"concurrency": [2], "requests": 20, "output_tokens": 4}},
    }
    status, job = api("startJob", {"command": "run", "scenario": scenario})
    assert status == 201, job
    api.events(job["id"])
    job = job_of(api, job)
    assert job["exit_code"] in (0, 4, 5), job
    assert job["run"].endswith("-by-http")
    assert not list((folder / "results").glob(".scenario-*"))


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"command": "prune"}, "command: 'prune' is none of climb, check, eval, run"),
        ({"command": "climb", "options": {"rat": 1}}, "options.rat: is not known; did you mean"),
        ({"command": "climb", "options": {"output": "/"}}, "options.output: is not known"),
        ({"command": "climb", "options": {"sim": "yes"}}, "options.sim: is true or false"),
        ({"command": "climb", "options": {"rate": {}}}, "options.rate: is a text or a number"),
        ({"command": "climb", "options": {"requests": 0}}, "'--requests': 0 is not in the range"),
        ({"command": "run", "options": {}}, "scenario: is the document of a run"),
        ({"command": "run", "scenario": {"id": "x", "stage": 1}}, "scenario"),
        ({"command": "climb", "scenario": {}}, "scenario: is the document of a run"),
        ({"command": "climb", "more": 1}, "more: is not known"),
        ([], "the body is an object with command and options"),
    ],
)
def test_what_cannot_be_asked_is_one_line(served, body, said):
    _, api, _ = served
    status, refused = api("startJob", body)
    assert status == 400
    assert said in refused["error"]
    assert api.fetch("/api/jobs", "POST", b"{")[0] == 400


def test_without_the_token_nothing_is_told(served):
    _, api, _ = served
    for token in ("", "another-token"):
        stranger = Api.__new__(Api)
        stranger.url, stranger.token = api.url, token
        for method, path, _ in api.operations.values():
            status, content, _ = stranger.fetch(path.replace("{id}", "x"), method)
            assert status == 401, path
            assert b"give the token" in content
    stranger.token = ""
    assert stranger.fetch(f"/metrics?token={TOKEN}")[0] == 200
    for garbage in (b"\xff\xfe", b"\xed\xa0\x80"):
        said = {"Authorization": b"Bearer " + garbage, "Cookie": b"benchcore_token=" + garbage}
        for header in said.items():
            assert stranger.fetch("/metrics", headers=dict([header]))[0] == 401


def test_the_cookie_of_a_browser_shows_and_starts_nothing(served):
    _, api, _ = served
    with urllib.request.urlopen(f"{api.url}/metrics?token={TOKEN}") as answer:
        cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    kept = {"Cookie": cookie.partition(";")[0]}
    stranger = Api.__new__(Api)
    stranger.url, stranger.token = api.url, ""
    assert stranger.fetch("/metrics", headers=kept)[0] == 200
    assert stranger.fetch("/api/jobs", "POST", b'{"command": "climb"}', kept)[0] == 401
    assert stranger.fetch("/api/jobs/x/stop", "POST", b"", kept)[0] == 401


def test_two_services_on_one_host_keep_their_cookies_apart(served, benchcore):
    _, api, _ = served
    process = benchcore.start("serve", "--port", "0")
    try:
        url = process.stdout.readline().strip()
        names = set()
        for address in (url, f"{api.url}/?token={TOKEN}"):
            with urllib.request.urlopen(address) as answer:
                names.add(answer.headers["Set-Cookie"].partition("=")[0])
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate()
    assert len(names) == 2


def test_keys_in_what_is_asked_are_not_told_again(served):
    _, api, _ = served
    options = {
        "base-url": "http://127.0.0.1:1",
        "header": ["X-Api-Key=one-key-of-ours", "Authorization=Bearer another-key-of-ours"],
        "extra-body": json.dumps({"api_key": "third-key-of-ours", "top_k": 1}),
    }
    status, job = api("startJob", {"command": "climb", "options": options})
    assert status == 201
    said = {"header": ["X-Api-Key=***", "Authorization=***"]}
    said["extra-body"] = '{"api_key":"***","top_k":1}'
    assert job["options"] == {**options, **said}
    events = api.events(job["id"])
    assert "key-of-ours" not in json.dumps([job_of(api, job), api("listJobs"), events])


def test_what_cannot_be_started_and_lines_without_end_leave_no_run_behind(served, simulator):
    _, api, _ = served
    options = {"base-url": simulator.base_url, "concurrency": "1", **SMALL}
    # Longer than an argument may be, and than a line that asyncio reads unless it is told to.
    unstarted = "cannot be started: Argument list too long"
    for length, code, said in ((200_000, None, unstarted), (100_000, 3, "ended as http_error 40")):
        asked = {**options, "model": "x" * length}
        _, job = api("startJob", {"command": "climb", "options": asked})
        events = api.events(job["id"])
        assert events[-1][1] == "end"
        job = job_of(api, job)
        assert job["exit_code"] == code
        assert said in job["error"]
    assert api("startJob", {"command": "climb", "options": {"name": "a\0b"}})[0] == 400


def test_the_number_of_an_event_may_be_anything(served):
    _, api, _ = served
    _, job = api("startJob", {"command": "climb", "options": {"base-url": "nonsense"}})
    every = api.events(job["id"])
    for number in ("\xc2\xb2", "9" * 5000, "-1"):
        headers = {"Last-Event-ID": number}
        assert api("followJob", None, headers, id=job["id"])[0] == 200
    assert every[-1][1] == "end"


def test_what_is_not_there_is_not_found(served, tmp_path):
    _, api, folder = served
    assert api("getJob", id="x")[0] == 404
    assert api("getRun", id="..")[0] == 404
    assert api("getPage", id="a\r\nb")[0] == 404
    (folder / "secret").write_text("secret")
    run = "20261128T000000Z-ours"
    shutil.copytree(GOLDEN / "closed", folder / "results" / run, dirs_exist_ok=True)
    assert api("getFile", id=run, name="../../secret")[0] == 404
    (folder / "results" / run / "link").symlink_to(folder / "secret")
    assert api("getFile", id=run, name="link")[0] == 404


def test_a_run_ends_with_the_service(benchcore, simulator, tmp_path):
    benchcore.environment["BENCHCORE_SERVE_TOKEN"] = TOKEN
    process = benchcore.start("serve", "--port", "0")
    try:
        api = Api(process.stdout.readline().strip().rstrip("/"), TOKEN)
        options = {"base-url": simulator.base_url, "concurrency": "1", "duration": "600s"}
        api("startJob", {"command": "climb", "options": options})
        until(lambda: b"benchcore_live_in_flight" in api("getMetrics")[1])
        children = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(process.pid)], capture_output=True, check=True
        )
        (child,) = map(int, children.stdout.split())
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 143
        process.stdout.close()
        process.stderr.close()
    assert not is_there(child)
    (folder,) = (tmp_path / "results").iterdir()
    assert json.loads((folder / "run.json").read_bytes())["status"] == "interrupted"


def test_a_short_token_and_a_taken_port_are_one_line(benchcore):
    benchcore.environment["BENCHCORE_SERVE_TOKEN"] = "short"
    done = benchcore.process("serve", "--port", "0")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "benchcore: BENCHCORE_SERVE_TOKEN: is shorter than 8 characters\n"
    del benchcore.environment["BENCHCORE_SERVE_TOKEN"]
    done = benchcore.process("serve", "--host", "192.0.2.1")
    assert done.returncode == 2
    assert done.stderr.startswith("benchcore: --host 192.0.2.1 --port 8090: cannot be listened on")


def test_where_a_report_is_shown_is_asked_for_in_its_own_words(benchcore):
    run = GOLDEN / "closed"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = benchcore.run("report", run, "--serve", "--port", port)
    assert done.returncode == 2
    assert done.stderr.startswith(f"benchcore: --port {port}: cannot be listened on")
    done = benchcore.run("report", run, "--port", port)
    assert done.returncode == 2
    assert "--port is where --serve listens: give both" in done.stderr


def test_a_climb_alone_shows_its_figures(benchcore, simulator):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = benchcore.run(
            *("climb", "--base-url", simulator.base_url, "--concurrency", "1"),
            *("--metrics-port", port, "--requests", "5"),
        )
        assert done.returncode == 2
        assert f"--metrics-port {port}: cannot be listened on" in done.stderr
    process = benchcore.start(
        *("climb", "--base-url", simulator.base_url, "--concurrency", "2", "--duration", "600s"),
        *("--metrics-port", port, "--output-tokens", "8"),
    )
    try:
        api = Api.__new__(Api)
        api.url, api.token = f"http://127.0.0.1:{port}", ""

        def shown():
            try:
                return api.fetch("/metrics")[1].decode()
            except urllib.error.URLError:
                return ""

        until(lambda: "benchcore_live_tokens_per_second" in shown())
        page = shown()
        assert 'benchcore_live_in_flight{level="c2"} 2.0' in page
        assert "benchcore_running 1.0" in page
    finally:
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGINT)
        process.communicate()


def test_the_page_of_a_run_that_goes_on_is_shown_and_kept_up_to_date(
    benchcore, simulator, tmp_path
):
    climb = benchcore.start(
        *("climb", "--base-url", simulator.base_url, "--concurrency", "1,2", "--duration", "600s"),
        *("--output-tokens", "8"),
    )
    process = None
    try:
        until(lambda: list((tmp_path / "results").glob("*/run.json")))
        process = benchcore.start("report", "--serve")
        url = process.stdout.readline().strip()
        run = next((tmp_path / "results").iterdir()).name
        found = re.fullmatch(rf"(http://127\.0\.0\.1:\d+)/runs/{run}\?token=(\S+)", url)
        with urllib.request.urlopen(url) as answer:
            assert answer.headers["Refresh"] == "5"
            assert b"is running: it holds what was measured until then" in answer.read()
        api = Api.__new__(Api)
        api.url, api.token = found.groups()
        status, refused, _ = api.fetch("/api/jobs", "POST", b'{"command": "climb"}')
        assert status == 400
        assert b"command: 'climb' is none of " in refused
        climb.send_signal(signal.SIGINT)
        climb.wait()
        with urllib.request.urlopen(url) as answer:
            assert answer.headers["Refresh"] is None
    finally:
        for started in filter(None, (climb, process)):
            started.send_signal(signal.SIGINT)
            started.communicate()
