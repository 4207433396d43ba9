"""The usual client: aiohttp on uvloop, `iter_any`, each event parsed with orjson and stamped."""

import asyncio
import gc
import time

import aiohttp
import orjson
import uvloop

from tests.bench.reader_arguments import Arguments, Usage, arguments, body, cpu_seconds


class Counts:
    """Token events and the reads that held them, so far."""

    def __init__(self) -> None:
        self.tokens = 0
        self.reads = 0
        self.requests = 0


async def user(
    session: aiohttp.ClientSession, url: str, payload: bytes, counts: Counts, delay: float
) -> None:
    """Ask, read to the end, ask again."""
    await asyncio.sleep(delay)
    headers = {"content-type": "application/json"}
    kept: list[list[int]] = []
    while True:
        stamps: list[int] = []
        rest = b""
        async with session.post(url, data=payload, headers=headers) as response:
            response.raise_for_status()
            async for piece in response.content.iter_any():
                stamp = time.perf_counter_ns()
                before = len(stamps)
                *events, rest = (rest + piece).split(b"\n\n")
                for event in events:
                    data = event.removeprefix(b"data: ")
                    if data == b"[DONE]":
                        continue
                    choices = orjson.loads(data)["choices"]
                    if choices and choices[0]["delta"].get("content"):
                        stamps.append(stamp)
                if len(stamps) > before:
                    counts.reads += 1
                    counts.tokens += len(stamps) - before
        kept.append(stamps)
        counts.requests += 1


async def measure(given: Arguments) -> Usage:
    """Run the users and return what was used inside the window."""
    url = f"http://{given.host}:{given.port}/v1/chat/completions"
    payload = body(given.tokens)
    counts = Counts()
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        step = given.tokens / 1e5
        users = [
            asyncio.create_task(user(session, url, payload, counts, step * number))
            for number in range(given.streams)
        ]
        await asyncio.sleep(step * given.streams)
        gc.freeze()
        gc.disable()
        await asyncio.sleep(given.warmup)
        before = (counts.tokens, counts.reads, counts.requests)
        cpu = cpu_seconds()
        await asyncio.sleep(given.duration)
        cpu = cpu_seconds() - cpu
        after = (counts.tokens, counts.reads, counts.requests)
        for task in users:
            task.cancel()
        ended = await asyncio.gather(*users, return_exceptions=True)
    for result in ended:
        if not isinstance(result, asyncio.CancelledError):
            raise RuntimeError("a user ended early") from result
    tokens, reads, requests = (now - then for now, then in zip(after, before, strict=True))
    return Usage(tokens, reads, cpu, requests)


if __name__ == "__main__":
    uvloop.run(measure(arguments(__doc__))).print()
