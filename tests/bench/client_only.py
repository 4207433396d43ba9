"""benchcore's client alone: closed-loop users on it, without level, metrics or files."""

import asyncio
import gc
import time

import uvloop

from benchcore.client.client import Client
from benchcore.client.records import Outcome, Record
from benchcore.client.request import Prompt
from benchcore.config.target import Target
from tests.bench.reader_arguments import Arguments, Usage, arguments, cpu_seconds


async def measure(given: Arguments) -> Usage:
    """Run the users and return what was used inside the window."""
    target = Target(f"http://{given.host}:{given.port}", model="bench")
    prompt = Prompt("Say something.", output_tokens=given.tokens)
    records: list[Record] = []
    async with Client(target) as client:

        def again(record: Record) -> None:
            if record.outcome is Outcome.CANCELLED:
                return  # by the end of the run
            if record.outcome is not Outcome.OK:
                raise RuntimeError(f"{record.outcome}: {record.error}")
            records.append(record)
            client.start(client.prepare(prompt), record.done_ns, again)

        await client.connect_ahead(given.streams)
        for _ in range(given.streams):
            client.start(client.prepare(prompt), time.perf_counter_ns(), again)
            await asyncio.sleep(given.tokens / 1e5)
        gc.freeze()
        gc.disable()
        await asyncio.sleep(given.warmup)
        start_ns, cpu = time.perf_counter_ns(), cpu_seconds()
        await asyncio.sleep(given.duration)
        end_ns, cpu = time.perf_counter_ns(), cpu_seconds() - cpu
        running = [exchange.record for exchange in client.in_flight]
    tokens = reads = 0
    for record in records + running:
        for stamp, events in zip(
            record.stamps, record.events or [1] * len(record.stamps), strict=True
        ):
            if start_ns <= stamp < end_ns:
                tokens += events
                reads += 1
    ended = sum(start_ns <= record.done_ns < end_ns for record in records)
    return Usage(tokens, reads, cpu, ended)


if __name__ == "__main__":
    uvloop.run(measure(arguments(__doc__))).print()
