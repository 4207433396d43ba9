from __future__ import annotations

import asyncio
import json
import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchcore import Client, Target
from benchcore.checks.attempt import Attempt
from benchcore.checks.check import exchange
from benchcore.checks.probing import identify
from benchcore.checks.subject import UNKNOWN, Subject
from benchcore.publish.junit import junit
from benchcore.runs.checks import CheckResult, Verdict
from tests.run_folders import ended_checks

KEY = "sk-very-secret"


class Server:
    """Answers by path and keeps every request: head and body."""

    def __init__(self, answers):
        self.answers = answers
        self.seen = []

    async def __aenter__(self):
        self.server = await asyncio.start_server(self.answer, "127.0.0.1", 0)
        host, port = self.server.sockets[0].getsockname()
        self.url = f"http://{host}:{port}"
        return self

    async def __aexit__(self, *exc):
        self.server.close()
        await self.server.wait_closed()

    async def answer(self, reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)
        self.seen.append((head, await reader.readexactly(length)))
        path = head.split()[1].decode()
        status, headers, body = self.answers.get(path, ("404 Not Found", "", b"{}"))
        writer.write(
            f"HTTP/1.1 {status}\r\n{headers}content-length: {len(body)}\r\n"
            "connection: close\r\n\r\n".encode()
            + body
        )
        await writer.drain()
        writer.close()


def models(owner):
    return ("200 OK", "", json.dumps({"data": [{"id": "m", "owned_by": owner}]}).encode())


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl here")
async def test_the_curl_line_sends_the_same_again_with_the_key_of_the_variable():
    body = {"text": "it's 'quoted' $HOME \\ 你好", "n": 1}
    async with Server(
        {"/v1/x": ("400 Bad", "x-a: 1\r\n", b'{"error": {"message": "no"}}')}
    ) as server:
        target = Target(server.url, api_key=KEY, headers={"x-tenant": "gold"})
        async with Client(target) as client:
            trial = Attempt(Subject(client, "m", UNKNOWN))
            heard = await trial.post("/v1/x", body, {"x-trace": "7"})
        shown = exchange(heard, target, {KEY: "OUR_KEY"})
        line = shown["curl"].replace("x-tenant: ***", "x-tenant: gold")
        process = await asyncio.create_subprocess_exec(
            *("bash", "-c", line),
            env={"OUR_KEY": KEY, "PATH": "/usr/bin:/bin"},
            stdout=asyncio.subprocess.PIPE,
        )
        printed, _ = await process.communicate()
    (first, sent), (again, repeated) = server.seen
    assert repeated == sent
    for header in (b"authorization: bearer sk-very-secret", b"x-tenant: gold", b"x-trace: 7"):
        assert header in first.lower()
        assert header in again.lower()
    assert again.startswith(b"POST /v1/x HTTP/1.1")
    assert printed.endswith(b'{"error": {"message": "no"}}')
    assert shown["response"]["status"] == 400
    assert shown["response"]["headers"]["x-a"] == "1"


async def test_the_curl_line_of_a_made_up_key_repeats_that_key_and_not_the_right_one():
    async with Server({}) as server:
        target = Target(server.url, api_key=KEY)
        async with Client(target) as client:
            trial = Attempt(Subject(client, "m", UNKNOWN, expired_key="sk-old"))
            keys = {KEY: "OUR_KEY", "sk-old": "OLD_KEY"}
            lines = []
            for sent in ("Bearer benchcore-wrong-key", "Basic eDp5", "Bearer sk-old"):
                heard = await trial.post("/v1/x", {}, {"authorization": sent})
                lines.append(exchange(heard, target, keys)["curl"])
    assert "-H 'authorization: Bearer benchcore-wrong-key'" in lines[0]
    assert "-H 'authorization: Basic eDp5'" in lines[1]
    assert '-H "authorization: Bearer $OLD_KEY"' in lines[2]
    assert not any("OUR_KEY" in line for line in lines)


async def test_no_secret_is_in_the_evidence():
    async with Server({}) as server:
        target = Target(server.url, api_key=KEY, headers={"x-tenant": "gold-7"})
        async with Client(target) as client:
            trial = Attempt(Subject(client, "m", UNKNOWN, expired_key="sk-old"))
            heard = await trial.post("/v1/x", {}, {"authorization": "Bearer sk-old"})
            text = json.dumps(exchange(heard, target, {KEY: "K", "sk-old": "OLD"})) + repr(
                trial.subject
            )
    for secret in (KEY, "gold-7", "sk-old"):
        assert secret not in text


@pytest.mark.parametrize(
    ("answers", "name"),
    [
        ({"/v1/models": models("vllm")}, "vllm"),
        ({"/v1/models": models("sglang")}, "sglang"),
        ({"/v1/models": models("llamacpp")}, "llama.cpp"),
        ({"/api/version": ("200 OK", "", b'{"version": "0.9"}')}, "ollama"),
        ({"/info": ("200 OK", "", b'{"max_total_tokens": 4096}')}, "tgi"),
        ({"/info": ("200 OK", "", b"<html>")}, "unknown"),
        ({"/v1/models": models("somebody")}, "unknown"),
        ({"/v1/models": ("401 No", "openai-version: 2020-10-01\r\n", b"{}")}, "openai"),
        ({}, "unknown"),
    ],
)
async def test_the_engine_is_known_by_its_signs(answers, name):
    async with Server(answers) as server, Client(Target(server.url)) as client:
        assert (await identify(Subject(client, "m", UNKNOWN))).name == name


@given(st.text(st.characters()))
def test_whatever_a_server_says_junit_and_json_hold_nothing_that_a_terminal_obeys(said):
    from xml.etree import ElementTree as ET

    texts = {"reason": said, "expected": said, "got": said}
    results = [
        CheckResult.begun(f"a.{verdict}", "a", "t", verdict=verdict, tolerated=[said], **texts)
        for verdict in Verdict
    ]
    report = ended_checks(results)
    written = junit(report).decode()
    assert ET.fromstring(written).get("tests") == str(len(Verdict))
    json_text = json.dumps(report.to_json()["results"], ensure_ascii=False)
    for text in (written, json_text):
        assert all(char.isprintable() or char in "\n\t" for char in text)


def test_junit_counts_and_holds_nothing_that_xml_cannot():
    from xml.etree import ElementTree as ET

    evidence = {"curl": "curl x", "response": {"status": 200, "body": "a\x00\x1b[31mb\tc"}}
    results = [
        CheckResult.begun("a.one", "a", "t", verdict=Verdict.PASS, seconds=0.5),
        CheckResult.begun(
            "a.two", "a", "t", verdict=Verdict.FAIL, expected="x", got="\x00y", evidence=[evidence]
        ),
        CheckResult.begun("b.one", "b", "t", verdict=Verdict.UNSUPPORTED, reason="refused"),
        CheckResult.begun("b.two", "b", "t", verdict=Verdict.FLAKY, reason="passed 1 of 2 tries"),
        CheckResult.begun(
            "c.one", "c", "t", verdict=Verdict.UNSETTLED, reason="429 each time\u202e"
        ),
        CheckResult.begun("c.two", "c", "t", verdict=Verdict.ERROR, reason="the server had gone"),
    ]
    root = ET.fromstring(junit(ended_checks(results)))
    counts = [root.get(name) for name in ("tests", "failures", "skipped", "errors")]
    assert counts == ["6", "1", "2", "1"]
    assert [suite.get("name") for suite in root] == ["a", "b", "c"]
    unsettled, error = root[2][0][0], root[2][1][0]
    assert (unsettled.tag, unsettled.get("message")) == (
        "skipped",
        "unsettled: 429 each time\N{REPLACEMENT CHARACTER}",
    )
    assert (error.tag, error.get("message")) == ("error", "the server had gone")
    failure = root[0][1][0]
    assert failure.get("message") == "expected x; got \N{REPLACEMENT CHARACTER}y"
    assert failure.text.splitlines() == [
        "t",
        "",
        "curl x",
        "200",
        "a\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}[31mb\tc",
    ]
    assert root[1][0][0].get("message") == "unsupported: refused"
    assert root[1][1][0].text == "passed 1 of 2 tries"


def test_a_check_that_was_not_made_says_every_key_too():
    checks = ended_checks([CheckResult.begun("a.one", "a", "t", reason="not made")])
    (result,) = checks.to_json()["results"]
    assert list(result.items())[:7] == [
        ("case_id", "a.one"),
        ("suite", "a"),
        ("title", "t"),
        ("verdict", "skip"),
        ("severity", {"strict": "error", "compat": "error"}),
        ("tolerance", None),
        ("reason", "not made"),
    ]
    assert (result["tries"], result["seconds"], result["evidence"]) == (0, 0.0, [])
    assert (checks.to_json()["summary"]["skip"], checks.summary.pass_ratio) == (1, None)
