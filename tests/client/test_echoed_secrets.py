"""A server that repeats the credentials it was shown: none of it is in a file, table or log."""

import asyncio
import base64
import html
import json
from urllib.parse import quote

import pytest

from benchcore.cli.main import main
from benchcore.client.client import Client
from benchcore.client.request import Prompt
from benchcore.config.target import Target

KEY = 'sk-Very/secret+"zq"=42'
COOKIE = "S3SS10N-cookie"
HEADERS = {"Authorization": f"Bearer {KEY}", "Cookie": f"sid={COOKIE}; theme=dark"}
FIELD = "body-secret-value"
SAID = (KEY, COOKIE, FIELD)


def chunk(data):
    return b"%x\r\n%b\r\n" % (len(data), data)


def event(found):
    return b"data: " + json.dumps(found).encode() + b"\n\n"


def stream(text="tok", reason="stop"):
    events = [{"choices": [{"index": 0, "delta": {"content": text}}]}] * 3
    events.append({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
    events.append({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 3}})
    body = b"".join(chunk(event(one)) for one in events) + chunk(b"data: [DONE]\n\n")
    head = (
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    )
    return head + body + b"0\r\n\r\n"


def plain(code, body, *headers, kind=b"application/json"):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [b"content-type: " + kind, b"content-length: %d" % len(data), *headers]
    return b"HTTP/1.1 %d X\r\n%b\r\n\r\n%b" % (code, b"\r\n".join(lines), data)


def error(text):
    return plain(401, {"error": {"message": text}})


MODES = {
    "whole": lambda said: error(f"Bad key: Bearer {said}"),
    "bare": lambda said: error(f"Incorrect API key provided: {said}."),
    "at the cut": lambda said: error("." * (301 - len(said)) + said),
    "at the cut of bytes": lambda said: plain(401, b"." * (301 - len(said)) + said.encode()),
    "an event that is no JSON": lambda said: (
        stream()[:-20] + chunk(b"data: " + b"." * (81 - len(said)) + said.encode() + b"\n\n")
    ),
    "a list": lambda said: plain(401, {"error": [f"Bearer {said}"]}),
    "json in json": lambda said: error(json.dumps({"key": said})),
    "address": lambda said: error(quote(said, safe="")),
    "html": lambda said: error(html.escape(said)),
    "base64": lambda said: error(base64.b64encode(f"user:{said}".encode()).decode()),
    "retry-after": lambda said: plain(429, {}, b"retry-after: " + said.encode()),
    "server": lambda said: plain(502, b"", b"server: " + said.encode()),
    "a title": lambda said: plain(502, f"<title>{said}</title>".encode(), kind=b"text/html"),
    "finish_reason": lambda said: stream(reason=f"stop {said}"),
    "text": lambda said: stream(text=f"your key is {said}"),
    "far into a long text": lambda said: plain(401, b" " * (65_537 - len(said)) + said.encode()),
}


class Echo:
    """Answers well `good` times, then in a mode's way with one of the secrets in it."""

    def __init__(self, mode, good):
        self.mode, self.good, self.asked = MODES[mode], good, 0

    async def __aenter__(self):
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        port = self.server.sockets[0].getsockname()[1]
        self.base_url = f"http://127.0.0.1:{port}"
        return self

    async def __aexit__(self, *_exc):
        self.server.close()

    async def serve(self, reader, writer):
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                lines = dict(
                    line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if line
                )
                await reader.readexactly(int(lines.get(b"content-length", 0)))
                if b"/models" in head:
                    writer.write(plain(200, {"object": "list", "data": [{"id": f"m-{KEY}"}]}))
                elif b"completions" not in head.split(b"\r\n")[0]:
                    writer.write(plain(404, {}))
                else:
                    self.asked += 1
                    said = SAID[self.asked % len(SAID)]
                    writer.write(stream() if self.asked <= self.good else self.mode(said))
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


def parts_of(secret):
    """Return what must not be found: any four characters in a row, in the usual forms."""
    forms = {secret, json.dumps(secret)[1:-1], quote(secret, safe=""), html.escape(secret)}
    return {form[at : at + 8] for form in forms for at in range(len(form) - 7)}


def leaks(text):
    return [secret for secret in SAID if any(part in text for part in parts_of(secret))]


@pytest.mark.parametrize("mode", MODES)
async def test_no_part_of_a_secret_is_in_a_record(mode):
    async with Echo(mode, 0) as echo:
        target = Target(echo.base_url, model="m", headers=HEADERS, extra_body={"api_key": FIELD})
        async with Client(target, keep=True) as client:
            for _ in SAID:
                record = await client.send(client.prepare(Prompt("hi")))
                assert leaks(repr(record)) == [], record
                raw = await client.send(client.prepare_raw("POST", "/v1/chat/completions", b"{}"))
                assert leaks(repr(raw)) == [], raw


@pytest.mark.parametrize(
    "mode", ["at the cut", "json in json", "retry-after", "finish_reason", "text"]
)
def test_no_part_of_a_secret_leaves_a_climb(mode, tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("BENCHCORE_API_KEY", KEY)
    body = json.dumps({"api_key": FIELD})

    async def climb():
        # As many users as fail each but twice: whoever fails again waits twice as long.
        async with Echo(mode, 20) as echo:
            args = ["climb", "--base-url", echo.base_url, "--requests", "14", "--idle", "0s"]
            args += ["--concurrency", "7", "--header", f"Cookie=sid={COOKIE}; theme=dark"]
            args += ["--extra-body", body, "--output", str(tmp_path), "--log-level", "debug"]
            args += ["--save-text", "--save-events", "--sink", "jsonl", "--sink", "openmetrics"]
            monkeypatch.setattr("sys.argv", ["benchcore", *args])
            await asyncio.to_thread(run_main, args)
            assert echo.asked >= echo.good + len(SAID)  # each secret was said

    asyncio.run(climb())
    told = capfd.readouterr()
    assert leaks(told.out + told.err) == []
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {"run.json", "requests.csv", "requests.jsonl", "report.html"} <= {
        path.name for path in files
    }
    for path in files:
        text = path.read_bytes().decode(errors="replace")
        assert leaks(text) == [], (path.name, where(text))


def run_main(args):
    from benchcore.cli import driver

    # Signals are for the main thread alone.
    driver.catch_signals = lambda _interrupt: []
    with pytest.raises(SystemExit):
        main(args)


def where(text):
    found = [text.find(part) for secret in SAID for part in parts_of(secret)]
    at = min(place for place in found if place >= 0)
    return text[max(0, at - 60) : at + 60]


async def test_a_short_key_spoils_no_answer():
    async with Echo("text", 9) as echo:
        client = Client(Target(echo.base_url, model="m", api_key="k"), keep=True)
        async with client:
            record = await client.send(client.prepare(Prompt("hi")))
            raw = await client.send(client.prepare_raw("POST", "/v1/chat/completions", b"{}"))
    assert record.text == "toktoktok"
    assert b'"content": "tok"' in raw.reply.body
