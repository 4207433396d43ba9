import asyncio

from benchcore import Client, Outcome, Target


async def server(script):
    """Serves one connection: reads a request, writes the pieces of `script`, closes."""
    seen = []
    over = asyncio.Event()

    async def answer(reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        seen.append(head + await reader.readexactly(length))
        for piece in script:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.01)  # so that each piece is a read of its own
        writer.close()
        over.set()

    listening = await asyncio.start_server(answer, "127.0.0.1", 0)
    host, port = listening.sockets[0].getsockname()
    return listening, f"http://{host}:{port}", seen, over


async def exchange(script, method="POST", path="/v1/x", **fields):
    listening, url, seen, over = await server(script)
    async with listening, Client(Target(url, api_key="k3y")) as client:
        record = await client.send(client.prepare_raw(method, path, **fields))
        await over.wait()
    return record, seen[0]


async def test_a_raw_answer_is_kept_as_it_came_whatever_its_status():
    record, _ = await exchange(
        [b"HTTP/1.1 418 Teapot\r\nX-A: 1\r\nx-a: 2\r\nContent-Length: 6\r\n\r\nabc", b"def"]
    )
    assert record.outcome is Outcome.OK
    assert record.reply.status == 418
    assert record.reply.header("X-A") == "1, 2"
    assert record.reply.header("x-b") is None
    assert record.reply.pieces == [b"abc", b"def"]
    assert record.reply.body == b"abcdef"
    assert len(record.reply.stamps) == 2
    assert record.reply.stamps[1] - record.reply.stamps[0] > 5_000_000


async def test_an_event_stream_is_not_read_and_trailers_are_kept_apart():
    record, _ = await exchange(
        [
            b"HTTP/1.1 100 Continue\r\nX-Early: 1\r\n\r\n",
            (
                b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                b"Transfer-Encoding: chunked\r\n\r\n8\r\ndata: a\n\r\n"
            ),
            b"0\r\nX-Sum: 7\r\n\r\n",
        ]
    )
    assert record.reply.body == b"data: a\n"
    assert record.reply.headers == [
        ("content-type", "text/event-stream"),
        ("transfer-encoding", "chunked"),
    ]
    assert record.reply.trailers == [("x-sum", "7")]
    assert record.token_events == 0


async def test_what_came_before_the_end_of_a_broken_answer_is_kept():
    record, _ = await exchange([b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"])
    assert record.outcome is Outcome.TRUNCATED
    assert record.reply.body == b"abc"


async def test_headers_replace_the_usual_ones_or_leave_them_out():
    _, sent = await exchange(
        [b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"],
        method="PUT",
        body=b"{not json",
        headers={"authorization": None, "content-type": "text/plain", "x-request-id": "r1"},
    )
    head, _, body = sent.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    assert lines[0] == b"PUT /v1/x HTTP/1.1"
    assert b"content-type: text/plain" in lines
    assert b"x-request-id: r1" in lines
    assert not [line for line in lines if line.startswith(b"authorization")]
    assert body == b"{not json"
