"""The scraper: reads while a level runs, and ends when it is told to."""

import asyncio

from benchcore.observe.server import Scraper

PAGE = (
    b"vllm:num_requests_running %d\n"
    b"vllm:request_queue_time_seconds_sum %d\n"
    b"vllm:request_queue_time_seconds_count %d\n"
)


class Server:
    available = True

    def __init__(self):
        self.reads = 0

    async def read(self):
        self.reads += 1
        return PAGE % (self.reads, 10 * self.reads, self.reads)


async def test_it_ends_however_its_end_meets_its_waking():
    for rounds in range(200):
        server = Server()
        scraper = Scraper(server)
        task = asyncio.create_task(scraper.run())
        for _ in range(rounds % 5):
            await asyncio.sleep(0)
        scraper.at_once()
        if rounds % 2:
            await asyncio.sleep(0)
        scraper.stop()
        task.cancel()
        done, _ = await asyncio.wait({task}, timeout=600)
        assert done == {task}


async def test_gauges_are_of_the_window_and_counters_across_it(monkeypatch):
    from benchcore.observe import server as module

    instants = iter([100, 200, 300, 400, 500])
    monkeypatch.setattr(module.time, "perf_counter_ns", lambda: next(instants))
    scraper = Scraper(Server())
    for _ in range(5):
        await scraper.read()
    found = scraper.columns(200, 300)
    assert found["server_running_max"] == 3
    assert found["server_queue_seconds_avg"] == 10
    assert scraper.columns(310, 390)["server_running_max"] == -1
    assert scraper.columns(310, 390)["server_queue_seconds_avg"] == 10
