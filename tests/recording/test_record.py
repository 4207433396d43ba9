"""The recording proxy: it changes no byte, and its trace says what went through."""

import asyncio
import gzip
import json
import random
import signal
from contextlib import asynccontextmanager

import orjson
import pytest

from benchcore import climb
from benchcore.config.target import Target
from benchcore.recording.proxy import Proxy
from benchcore.recording.tap import HTTPTap
from benchcore.recording.trace import Trace
from benchcore.workload.made_up import Conversation

pytestmark = [pytest.mark.integration]


class Echo(asyncio.Protocol):
    """A server that keeps every byte and answers with bytes that a test says."""

    def __init__(self, answers):
        self.answers = answers
        self.came = bytearray()
        self.ended = asyncio.Event()
        self.transport = None

    def connection_made(self, transport):
        self.transport = transport
        for piece in self.answers:
            transport.write(piece)

    def data_received(self, data):
        self.came += data

    def eof_received(self):
        self.ended.set()
        self.transport.write_eof()


class Silent:
    def sent(self, data):
        del data

    answered = sent

    def closed(self):
        pass


@asynccontextmanager
async def through(make_server, tap=Silent, problems=None):
    """A proxy before a server of a protocol; yields its port and the server's connections."""
    loop = asyncio.get_running_loop()
    made = []

    def factory():
        made.append(make_server())
        return made[-1]

    server = await loop.create_server(factory, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    said = [] if problems is None else problems
    proxy = Proxy(Target(f"http://127.0.0.1:{port}"), tap, said.append)
    base = await proxy.open("127.0.0.1", 0)
    try:
        yield int(base.rpartition(":")[2]), made
    finally:
        await proxy.close()
        server.close()


@pytest.mark.parametrize("seed", range(6))
async def test_no_byte_is_changed_in_either_direction(seed):
    draws = random.Random(seed)
    pieces = [draws.randbytes(draws.randrange(1, 200_000)) for _ in range(12)]
    answers = [draws.randbytes(draws.randrange(1, 200_000)) for _ in range(12)]
    async with through(lambda: Echo(answers)) as (port, made):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        writer.write_eof()
        got = await reader.read()
        await made[0].ended.wait()
        assert bytes(made[0].came) == b"".join(pieces)
        assert got == b"".join(answers)
        writer.close()


async def test_what_is_sent_before_the_server_is_there_is_not_lost():
    async with through(lambda: Echo([])) as (port, made):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"x" * 1_000_000)
        writer.write_eof()
        assert await reader.read() == b""
        assert bytes(made[0].came) == b"x" * 1_000_000
        writer.close()


async def test_a_server_that_is_not_there_closes_the_client_and_is_told():
    problems = []
    proxy = Proxy(Target("http://127.0.0.1:1"), Silent, problems.append)
    base = await proxy.open("127.0.0.1", 0)
    reader, _writer = await asyncio.open_connection("127.0.0.1", int(base.rpartition(":")[2]))
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await reader.readexactly(1)
    await proxy.close()
    assert len(problems) == 1
    assert problems[0].startswith("http://127.0.0.1:1 cannot be reached: ")


class Stubborn(asyncio.Protocol):
    """A server that answers and goes, or is cut off."""

    def connection_made(self, transport):
        transport.abort()


async def test_a_connection_that_the_server_cuts_is_cut():
    async with through(Stubborn) as (port, _):
        reader, _writer = await asyncio.open_connection("127.0.0.1", port)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)


# What the tap reads.

CHAT = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n"


def request(body, head=CHAT, extra=b""):
    raw = orjson.dumps(body)
    return head + extra + b"content-length: %d\r\n\r\n" % len(raw) + raw


def answer(text, prompt=100, completion=5, cut=None, **more):
    body = {
        "choices": [{"message": {"role": "assistant", "content": text}}],
        "usage": {"prompt_tokens": prompt, "completion_tokens": completion},
    } | more
    raw = orjson.dumps(body)
    return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(raw) + raw[:cut]


def stream(texts, usage=True):
    events = [{"choices": [{"index": 0, "delta": {"content": text}}]} for text in texts]
    if usage:
        tokens = {"prompt_tokens": 70, "completion_tokens": 99}
        events.append({"choices": [], "usage": tokens})
    raw = b"".join(b"data: %b\n\n" % orjson.dumps(event) for event in events) + b"data: [DONE]\n\n"
    head = (
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    )
    half = len(raw) // 2
    chunks = (b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (raw[:half], raw[half:]))
    return head + b"".join(chunks) + b"0\r\n\r\n"


def ask(*contents, **more):
    roles = ("user", "assistant")
    messages = [{"role": roles[n % 2], "content": one} for n, one in enumerate(contents)]
    return {"model": "m", "messages": messages} | more


async def recorded(tmp_path, *exchanges, form="benchcore", whole=False, **more):
    """Return the rows of a trace of exchanges on one connection each, and the trace."""
    path = tmp_path / "trace.jsonl"
    trace = Trace(path, form, salt=b"salt", **more)
    for sent, got in exchanges:
        tap = HTTPTap(trace.begun, trace.ended)
        for side, data in ((tap.sent, sent), (tap.answered, got)):
            for place in range(0, len(data), 7) if not whole else (0,):
                side(data[place : place + 7] if not whole else data)
        tap.closed()
    await trace.finish()
    text = path.read_text()
    return ([json.loads(line) for line in text.splitlines()], trace)


async def test_a_row_has_lengths_time_model_and_session(tmp_path):
    rows, trace = await recorded(tmp_path, (request(ask("hello " * 60)), answer("fine")))
    (row,) = rows
    assert (trace.recorded, trace.passed_over) == (1, 0)
    assert row["timestamp"] == 0
    assert (row["input_length"], row["output_length"], row["model"]) == (100, 5, "m")
    assert (row["session_id"], row["turn"], row["block_size"]) == ("1", 1, 64)
    assert len(row["hash_ids"]) == 2
    assert "delay" not in row
    assert "body" not in row
    assert "hello" not in json.dumps(row)


async def test_a_conversation_is_one_session_and_has_its_delays(tmp_path):
    first = ask("one " * 50)
    second = ask("one " * 50, "fine", "and two?")
    other = ask("one " * 50, "not what was said", "and two?")
    rows, _ = await recorded(
        tmp_path,
        (request(first), stream(["fi", "ne"])),
        (request(second), answer("good")),
        (request(other), answer("good")),
    )
    assert [(row["session_id"], row["turn"]) for row in rows] == [("1", 1), ("1", 2), ("2", 1)]
    assert rows[1]["delay"] >= 0
    assert [row["output_length"] for row in rows] == [99, 5, 5]
    assert rows[0]["hash_ids"][0] == rows[1]["hash_ids"][0]


async def test_equal_prefixes_have_equal_ids_and_the_salt_decides_which(tmp_path):
    long = "a long text of a system prompt, " * 40
    exchanges = [
        (request(ask(long + "x" * 300)), answer("1", prompt=400)),
        (request(ask(long + "y" * 300)), answer("1", prompt=400)),
        (request(ask("z" + long)), answer("1", prompt=400)),
    ]
    rows, _ = await recorded(tmp_path, *exchanges)
    first, second, third = (row["hash_ids"] for row in rows)
    common = sum(one == other for one, other in zip(first, second, strict=True))
    assert 0 < common < len(first)
    assert first[:common] == second[:common]
    assert not set(third) & set(first)
    other, _ = await recorded(tmp_path, *exchanges[:1])
    assert other[0]["hash_ids"] == first
    path = tmp_path / "other.jsonl"
    trace = Trace(path, salt=b"pepper")
    tap = HTTPTap(trace.begun, trace.ended)
    tap.sent(exchanges[0][0])
    tap.answered(exchanges[0][1])
    await trace.finish()
    assert not set(json.loads(path.read_text())["hash_ids"]) & set(first)


async def test_a_stream_without_usage_counts_its_events_and_knows_no_prompt(tmp_path):
    rows, _ = await recorded(tmp_path, (request(ask("hi")), stream(["a", "b", "c"], usage=False)))
    assert (rows[0]["input_length"], rows[0]["output_length"]) == (None, 3)


@pytest.mark.parametrize(
    "exchange",
    [
        (b"GET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n", answer("x")),
        (request(ask("x"), b"POST /v1/embeddings HTTP/1.1\r\n"), answer("x")),
        (request(ask("x")), b"HTTP/1.1 429 Slow\r\ncontent-length: 2\r\n\r\n{}"),
        (request(ask("x")), b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n{x}"),
        (request(ask("x")), answer("x", cut=-4)),
        (request(ask("x")), answer("x", error={"message": "no"})),
        (request([1]), answer("x")),
        (request(ask("x")), b""),
        (request(ask("x"), extra=b"content-encoding: br\r\n"), answer("x")),
    ],
    ids=["get", "path", "429", "no json", "cut", "error", "list", "silence", "brotli"],
)
async def test_what_is_no_answered_generation_is_passed_over_and_counted(tmp_path, exchange):
    rows, trace = await recorded(tmp_path, exchange, (request(ask("x")), answer("x")))
    assert len(rows) == trace.recorded == 1
    assert trace.passed_over == 1


async def test_bodies_in_gzip_are_read(tmp_path):
    raw = gzip.compress(orjson.dumps(ask("hello")))
    head = CHAT + b"content-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(raw)
    whole = answer("fine").partition(b"\r\n\r\n")[2]
    packed = gzip.compress(whole)
    got = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(packed)
    rows, _ = await recorded(tmp_path, (head + raw, got + packed))
    assert rows[0]["input_length"] == 100


async def test_an_answer_that_ends_with_its_connection_is_whole(tmp_path):
    body = answer("fine").partition(b"\r\n\r\n")[2]
    rows, _ = await recorded(
        tmp_path, (request(ask("x")), b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n" + body)
    )
    assert rows[0]["output_length"] == 5


async def test_a_100_before_the_answer_is_not_the_answer(tmp_path):
    got = b"HTTP/1.1 100 Continue\r\n\r\n" + answer("fine")
    rows, _ = await recorded(tmp_path, (request(ask("x"), extra=b"expect: 100-continue\r\n"), got))
    assert rows[0]["output_length"] == 5


async def test_pipelined_requests_have_their_own_answers(tmp_path):
    sent = request(ask("one")) + request(ask("two"))
    got = answer("1", completion=1) + answer("2", completion=2)
    rows, _ = await recorded(tmp_path, (sent, got))
    assert [row["output_length"] for row in rows] == [1, 2]


async def test_texts_are_kept_where_they_are_asked_for(tmp_path):
    body = ask("a secret?", temperature=0)
    rows, _ = await recorded(tmp_path, (request(body), answer("yes")), texts=True)
    assert (rows[0]["body"], rows[0]["answer"]) == (body, "yes")


async def test_what_is_not_http_goes_through_and_is_said_once(tmp_path):
    trace = Trace(tmp_path / "t.jsonl")
    unread = []
    tap = HTTPTap(trace.begun, trace.ended, lambda: unread.append(1))
    tap.sent(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    tap.sent(b"\x00" * 100)
    tap.answered(b"\x00" * 100)
    tap.closed()
    assert unread == [1]


async def test_rows_are_in_the_order_of_their_begin(tmp_path):
    path = tmp_path / "trace.jsonl"
    trace = Trace(path, salt=b"s")
    slow, fast = (HTTPTap(trace.begun, trace.ended) for _ in range(2))
    slow.sent(request(ask("slow")))
    fast.sent(request(ask("fast")))
    fast.answered(answer("x", completion=2))
    making = asyncio.create_task(trace.run())
    await asyncio.sleep(0.01)
    assert path.read_text() == ""  # the one that began first has not ended
    slow.answered(answer("x", completion=1))
    while path.read_text().count("\n") < 2:
        await asyncio.sleep(0.001)
    making.cancel()
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [row["output_length"] for row in rows] == [1, 2]
    await trace.finish()


async def test_the_form_of_mooncake_has_its_block_size(tmp_path):
    rows, _ = await recorded(
        tmp_path, (request(ask("word " * 3000)), answer("x", prompt=3000)), form="mooncake"
    )
    assert len(rows[0]["hash_ids"]) == 6  # of 512 tokens
    assert set(rows[0]) == {
        *("timestamp", "input_length", "output_length", "hash_ids", "session_id"),
    }


async def test_the_form_of_weka_is_sessions_of_requests(tmp_path):
    (sessions,), _ = await recorded(
        tmp_path,
        (request(ask("one")), answer("fine")),
        (request(ask("one", "fine", "two")), answer("good")),
        (request(ask("other")), answer("good")),
        form="weka",
    )
    assert [len(session["requests"]) for session in sessions] == [2, 1]
    assert sessions[0]["block_size"] == 64
    first, second = sessions[0]["requests"]
    assert (first["t"], first["in"], first["out"], first["think_time"]) == (0, 100, 5, 0)
    assert second["t"] >= second["think_time"] >= 0


# The command, before the simulator.


def start_recording(url, benchcore, *more):
    path = benchcore.folder / "trace.jsonl"
    process = benchcore.start("record", "--to", url, "--port", "0", *more)
    line = process.stdout.readline()
    assert line.startswith(f"recording {url} at http://127.0.0.1:"), process.stderr.read()
    return process, line.split(" at ")[1].split(" into ")[0], path


async def test_a_climb_through_the_proxy_is_recorded(simulator, benchcore):
    process, url, path = start_recording(simulator.base_url, benchcore)
    try:
        run = await climb(
            Target(url),
            workload=Conversation(turns=3, input_tokens=80, output_tokens=6),
            concurrency=[3],
            requests=30,
            idle_seconds=0,
        )
    finally:
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    (level,) = run.levels
    assert level.ok == 30
    assert f"{len(rows)} request(s) recorded" in out
    assert [row["timestamp"] for row in rows] == sorted(row["timestamp"] for row in rows)
    turns = {row["session_id"]: row["turn"] for row in rows}
    assert max(turns.values()) == 3
    measured = sorted(one.usage.prompt_tokens for one in level.records)
    lengths = sorted(row["input_length"] for row in rows)
    assert set(measured) <= set(lengths)


def test_what_was_recorded_is_told_as_json(simulator, benchcore):
    process = benchcore.start("record", "--to", simulator.base_url, "--port", "0", "--json")
    assert process.stderr.readline().startswith("recording ")
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=30)
    assert json.loads(out) == {
        "recorded": 0,
        "passed_over": 0,
        "file": "trace.jsonl",
        "format": "benchcore",
    }


def test_a_file_that_is_there_is_not_written_over(tmp_path, benchcore):
    path = tmp_path / "trace.jsonl"
    path.write_text("mine")
    done = benchcore.run("record", "--to", "http://127.0.0.1:1", "--output", str(path))
    assert done.returncode == 2
    assert "is there already; name another file" in done.stderr
    assert path.read_text() == "mine"


def test_texts_have_no_place_in_other_forms(tmp_path, benchcore):
    done = benchcore.run("record", "--to", "http://h", "--texts", "--format", "weka")
    assert done.returncode == 2
    assert "the format weka has no place for texts" in done.stderr
