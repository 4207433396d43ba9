"""The climb as a library, against the simulator and against servers with habits."""

import asyncio
import gc
import json
from functools import partial

import pytest
from aiohttp import web

import benchcore
from benchcore.client.records import Outcome, Record
from benchcore.climbs import books
from benchcore.climbs.climb import Climb
from benchcore.climbs.plan import Part
from benchcore.config.climb import ClimbConfig
from benchcore.metrics.level import count_tokens, latencies
from benchcore.metrics.spool import Spool
from benchcore.show.progress import Silent

pytestmark = [pytest.mark.integration, pytest.mark.perf]

TINY = {"input_tokens": 16, "output_tokens": 4, "seed": 1}


class Server:
    """A small OpenAI-like server whose habits a test sets."""

    def __init__(self):
        self.models = lambda: web.json_response({"data": [{"id": "m"}]})
        self.usage = True
        self.tokenize = False
        self.refuse_ignore_eos = False
        self.metrics = None
        self.bodies = []
        self.status = 200
        self.error = {"error": {"message": "no"}}
        self.reset_calls = 0
        self.reset_status = 200

    async def chat(self, request):
        body = await request.json()
        self.bodies.append(body)
        if self.status != 200:
            return web.json_response(self.error, status=self.status)
        if self.refuse_ignore_eos and "ignore_eos" in body:
            return web.json_response({"detail": "unexpected field"}, status=422)
        reply = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await reply.prepare(request)
        count = body.get("max_tokens", 4)
        for index in range(count):
            choice = {"index": 0, "delta": {"content": "x "}}
            if index == count - 1:
                choice["finish_reason"] = "length"
            await reply.write(b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n")
        if self.usage:
            prompt = len(body["messages"][0]["content"].split()) + 5
            usage = {"prompt_tokens": prompt, "completion_tokens": count}
            line = json.dumps({"choices": [], "usage": usage})
            await reply.write(f"data: {line}\n\n".encode())
        await reply.write(b"data: [DONE]\n\n")
        return reply

    async def count(self, request):
        if not self.tokenize:
            return web.Response(status=404)
        text = (await request.json())["prompt"]
        return web.json_response({"count": len(text.split()), "tokens": []})

    async def list_models(self, _request):
        return self.models()

    async def page(self, _request):
        if self.metrics is None:
            return web.Response(status=404)
        return web.Response(text=self.metrics())

    async def reset(self, _request):
        self.reset_calls += 1
        return web.Response(status=self.reset_status)

    def app(self):
        app = web.Application()
        app.router.add_get("/v1/models", self.list_models)
        app.router.add_post("/v1/chat/completions", self.chat)
        app.router.add_post("/tokenize", self.count)
        app.router.add_get("/metrics", self.page)
        app.router.add_post("/reset_prefix_cache", self.reset)
        return app


@pytest.fixture
async def server():
    habits = Server()
    runner = web.AppRunner(habits.app())
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    habits.url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"
    yield habits
    await runner.cleanup()


def climb(url, **settings):
    settings = {"requests": 10, "idle_seconds": 0, "concurrency": [2]} | settings
    target = url if isinstance(url, benchcore.Target) else benchcore.Target(url)
    workload = settings.pop("workload", None) or benchcore.Synthetic(**TINY)
    return benchcore.climb(target, workload=workload, **settings)


async def test_figures_and_their_definitions_hang_together(simulator):
    run = await climb(simulator.base_url, concurrency=[4], requests=60)
    (level,) = run.levels
    assert level.ttft.count == level.e2e.count == 60
    assert level.ttft.p50 <= level.e2e.p50
    assert level.evidence.counts_agree
    assert level.evidence.reads_userspace == 0
    assert level.evidence.reads_kernel > 60
    assert level.output_token_throughput == pytest.approx(level.request_throughput * 4, rel=0.2)
    for record in level.records:
        assert record.scheduled_ns <= record.sent_ns <= record.first_byte_ns
        assert record.first_byte_ns <= record.first_token_ns <= record.last_token_ns
        assert record.last_token_ns <= record.done_ns
    assert run.status == "complete"
    assert run.folder is None


async def test_the_collector_is_still_while_a_level_runs_and_works_again_after(simulator):
    gc.unfreeze()  # a command that was run in this process leaves all it had frozen
    gc.enable()
    seen = []

    class Watching(Silent):
        def live(self, live):
            seen.append(gc.isenabled())

    await climb(simulator.base_url, requests=None, duration_seconds=1.2, progress=Watching())
    assert seen
    assert not any(seen)
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0


async def test_a_second_engine_runs_beside_the_first(simulator):
    runs = await asyncio.gather(climb(simulator.base_url), climb(simulator.base_url))
    assert [run.levels[0].ok for run in runs] == [10, 10]
    ids = {record.request_id for run in runs for record in run.levels[0].records}
    assert len(ids) == 20


async def test_models_that_answers_500_needs_a_model_and_then_does_no_harm(server):
    server.models = lambda: web.Response(status=500, text="boom")
    with pytest.raises(benchcore.TargetError, match=r"not name a model \(http_error 500: boom\)"):
        await climb(server.url)
    run = await climb(benchcore.Target(server.url, model="m"))
    assert run.levels[0].ok == 10
    assert run.to_json()["target"]["probe"]["notes"][0].startswith("/v1/models listed nothing")


async def test_a_server_without_usage_has_its_events_counted_and_says_so(server):
    server.usage = False
    (level,) = (await climb(server.url)).levels
    assert level.tokens.token_count_source == {"events": 10}
    assert level.tokens.output == 40
    assert level.tokens.input is None
    assert level.itl_kind == "estimated"
    run = await climb(server.url)
    assert run.to_json()["workload"]["lengths"]["fit"] == "unfitted"


async def test_lengths_are_fitted_through_tokenize_where_it_is_offered(server):
    server.tokenize = True
    run = await climb(server.url)
    lengths = run.to_json()["workload"]["lengths"]
    assert (lengths["fit"], lengths["source"]) == ("exact", "server")
    assert run.levels[0].tokens.input == run.levels[0].tokens.asked_input == 160


async def test_lengths_are_calibrated_by_usage_elsewhere(server):
    run = await climb(server.url)
    lengths = run.to_json()["workload"]["lengths"]
    assert (lengths["fit"], lengths["source"]) == ("calibrated", "usage")
    assert run.levels[0].tokens.input == pytest.approx(160, rel=0.1)


async def test_ignore_eos_is_switched_off_where_it_is_refused(server):
    server.refuse_ignore_eos = True
    workload = benchcore.Synthetic(**TINY, ignore_eos=True)
    run = await climb(server.url, workload=workload)
    assert run.levels[0].ok == 10
    assert run.to_json()["target"]["probe"]["ignore_eos"] is False
    server.refuse_ignore_eos = False
    server.bodies.clear()
    run = await climb(server.url, workload=workload)
    assert run.to_json()["target"]["probe"]["ignore_eos"] is True
    assert server.bodies[-1]["ignore_eos"] is True
    assert server.bodies[-1]["min_tokens"] == server.bodies[-1]["max_tokens"] == 4


async def test_a_target_that_refuses_the_first_request_is_told_with_its_words(server):
    server.status, server.error = 400, {"error": {"message": "too long: 9000 > 4096"}}
    with pytest.raises(benchcore.TargetError, match="http_error 400: too long: 9000 > 4096"):
        await climb(server.url)


async def test_advice_fits_a_server_that_runs_out_of_memory(server):
    class Breaking(Silent):
        def begin(self, run, levels):
            server.status = 500
            server.error = {"error": {"message": "CUDA out of memory. Tried to allocate 2 GiB"}}

    run = await climb(server.url, requests=3, warmup_requests=0, progress=Breaking())
    (level,) = run.levels
    assert level.outcomes == {"http_error": 3}
    assert level.failure_rate == 1.0
    assert level.metrics == {}
    assert level.findings[0] == "3 × http_error 500: CUDA out of memory. Tried to allocate 2 GiB"
    assert level.findings[1].startswith("advice: the server ran out of memory")
    # What is said may be of a busy machine, and is not of the requests that failed.
    of_requests = ("counts", "schedule", "little", "client_fault", "samples")
    assert not [why for why in level.validity.reasons if why.startswith(of_requests)]


async def test_a_level_waits_until_the_server_is_idle(server):
    busy = iter([3.0, 1.0, 0.0])
    left = []

    def page():
        left.append(next(busy, 0.0))
        return f"vllm:num_requests_running {left[-1]}\nvllm:num_requests_waiting 0.0\n"

    server.metrics = page
    await climb(server.url, idle_seconds=30)
    assert left[:3] == [3.0, 1.0, 0.0]


async def test_waiting_for_an_idle_server_has_an_end(server):
    server.metrics = lambda: "vllm:num_requests_running 7.0\n"
    told = []

    class Listening(Silent):
        def say(self, text):
            told.append(text)

    run = await climb(server.url, idle_seconds=0.3, progress=Listening())
    assert run.levels[0].ok == 10
    assert "c2: after 0.3 s the server still has 7 request(s)" in told
    assert run.levels[0].server["server_running_max"] == 7.0
    assert run.levels[0].server["gpu_utilization_avg"] == -1


async def test_the_prefix_cache_is_reset_before_each_level(server):
    run = await climb(server.url, concurrency=[1, 2], reset_prefix_cache=True)
    assert len(run.levels) == 2
    assert server.reset_calls == 2


async def test_a_server_that_cannot_reset_its_cache_is_told(server):
    server.reset_status = 404
    with pytest.raises(benchcore.TargetError, match="/reset_prefix_cache answers 404"):
        await climb(server.url, reset_prefix_cache=True)


async def test_no_higher_where_throughput_is_flat(server):
    run = await climb(
        server.url, concurrency=[2, 3, 4, 5], stop_when_flat=True, flat_gain=50.0, requests=20
    )
    assert [level.level for level in run.levels] == ["c2", "c3"]
    assert run.stopped.startswith("throughput grew by less than")


async def test_an_interrupt_while_probing_leaves_a_run_without_levels(server, tmp_path):
    workload = benchcore.Synthetic(**TINY)
    machine = Climb(
        benchcore.Target(server.url),
        [Part("x", workload, ClimbConfig(concurrency=(1,)))],
        output=tmp_path,
    )
    machine.interrupt()
    run = await machine()
    assert run.status == "interrupted"
    assert run.levels == []
    assert list(tmp_path.iterdir()) == []


async def test_a_level_that_cannot_be_held_is_refused_before_anything(monkeypatch):
    import resource

    monkeypatch.setattr(resource, "getrlimit", lambda _which: (256, 256))
    with pytest.raises(benchcore.CapacityError, match="1000 connections need 1064 open files"):
        await climb("http://127.0.0.1:1", concurrency=[1000])


async def test_prompts_differ_between_levels_and_repeats_and_follow_the_seed(server):
    async def texts(seed):
        server.bodies.clear()
        workload = benchcore.Synthetic(input_tokens=16, output_tokens=4, seed=seed)
        await climb(
            server.url, workload=workload, concurrency=[1, 2], repeats=2, requests=4, seed=seed
        )
        return [body["messages"][0]["content"] for body in server.bodies]

    first = await texts(1)
    again = await texts(1)
    other = await texts(2)
    probes = 8
    assert len(set(first[probes:])) == len(first[probes:])
    assert set(first[probes:]) & set(again[probes:])
    assert not set(first[probes:]) & set(other[probes:])


async def test_goodput_counts_requests_that_meet_every_slo(simulator):
    run = await climb(simulator.base_url, requests=20, slos=("ttft:10s", "itl:10s"))
    assert run.levels[0].good == 20
    assert run.levels[0].goodput_ratio == 1.0
    run = await climb(simulator.base_url, requests=20, slos=("ttft:1us",))
    assert run.levels[0].good == 0
    assert run.levels[0].goodput == 0.0


async def test_where_every_request_fails_the_figures_are_infinite(server, tmp_path):
    class Breaking(Silent):
        def begin(self, run, levels):
            server.status = 500

    run = await climb(server.url, count_failures=True, progress=Breaking(), output=tmp_path)
    (level,) = run.levels
    assert (level.ok, level.failed) == (0, 10)
    (told,) = json.loads((run.folder / "run.json").read_text())["levels"]
    assert told["metrics"]["ttft"]["with_failures"]["p50"] is None
    assert "p50" in told["metrics"]["ttft"]["infinite"]
    assert "itl" not in told["metrics"]


async def test_a_stop_by_slo(simulator):
    run = await climb(simulator.base_url, concurrency=[1, 2], slos=("e2e:1us",), stop_on_slo=True)
    assert len(run.levels) == 1
    assert run.levels[0].findings[0].startswith("SLO e2e:0.001ms broken: p99 ")
    assert run.stopped.startswith("c1: e2e:0.001ms broken: p99 ")


async def test_drops_are_counted_and_reported(simulator):
    slow = benchcore.Target(simulator.base_url, headers={"x-sim-fault": "stall_first:0.3"})
    run = await climb(
        slow,
        concurrency=[],
        rate=[50],
        arrival="constant",
        max_inflight=1,
        requests=None,
        duration_seconds=1.0,
        warmup_requests=0,
        drain_seconds=5,
    )
    (level,) = run.levels
    assert level.scheduled == 50
    assert level.dropped + level.ok == 50
    assert level.dropped > 40
    assert level.failure_rate == level.dropped / 50
    assert {r.outcome for r in level.records} == {Outcome.OK, Outcome.DROPPED}


async def test_no_request_of_an_open_loop_leaves_before_its_instant(simulator):
    run = await climb(
        simulator.base_url,
        concurrency=[],
        rate=[200],
        requests=None,
        duration_seconds=1.0,
        warmup_requests=0,
    )
    (level,) = run.levels
    assert level.ok == level.scheduled > 100
    assert all(record.sent_ns >= record.scheduled_ns for record in level.records)


@pytest.mark.parametrize("load", [{"concurrency": [8]}, {"concurrency": [], "rate": [200]}])
async def test_a_fault_in_a_callback_ends_the_run_and_surfaces(simulator, monkeypatch, load):
    from benchcore.climbs.requests import SessionSender

    start = SessionSender.start

    def faulty(self, live, place, scheduled_ns, on_done):
        if live.number == 50:
            raise ZeroDivisionError("in the middle of a read")
        return start(self, live, place, scheduled_ns, on_done)

    monkeypatch.setattr(SessionSender, "start", faulty)
    with pytest.raises(ZeroDivisionError, match="in the middle of a read"):
        await climb(simulator.base_url, requests=None, duration_seconds=600, **load)
    assert gc.isenabled()
    assert asyncio.get_running_loop().get_exception_handler() is None


async def test_every_second_is_closed_while_thousands_of_requests_end(simulator):
    closed = []

    class Watching(Silent):
        def live(self, live):
            if live.tokens_per_second and live.elapsed_seconds >= 3:
                closed.append(live.tokens_per_second)
                machine.interrupt()

    workload = benchcore.Synthetic(input_tokens=8, output_tokens=1)
    # It is interrupted as soon as a second is closed.
    config = ClimbConfig(concurrency=(32,), duration_seconds=300, idle_seconds=0)
    parts = [Part("x", workload, config)]
    machine = Climb(benchcore.Target(simulator.base_url), parts, progress=Watching())
    run = await machine()
    assert run.status == "interrupted"
    assert closed
    rows = run.levels[0].rows
    assert [row.second for row in rows] == list(range(len(rows)))
    assert len(rows) >= 3
    assert sum(row.done for row in rows) >= run.levels[0].ok * 0.9


async def test_requests_that_have_ended_leave_memory_while_the_level_runs(
    simulator, tmp_path, monkeypatch
):
    monkeypatch.setattr(books, "Spool", partial(Spool, most_bytes=0))
    alive = []

    class Count(Silent):
        def live(self, _live):
            alive.append(sum(isinstance(one, Record) for one in gc.get_objects()))

    run = await climb(
        simulator.base_url,
        concurrency=[8],
        requests=1000,
        output=tmp_path,
        progress=Count(),
    )
    (level,) = run.levels
    assert len(level.records) == level.scheduled == 1000
    # Those on their way, and those whose rows are just being written.
    assert max(alive) < 300
    assert not any(path.name.startswith(".") for path in run.folder.iterdir())


async def test_a_level_read_back_from_its_file_says_what_one_in_memory_says(
    simulator, tmp_path, monkeypatch
):
    monkeypatch.setattr(books, "Spool", partial(Spool, most_bytes=0))
    run = await climb(simulator.base_url, concurrency=[8], requests=120, output=tmp_path)
    (level,) = run.levels
    records = list(level.records)
    assert [one.index for one in records] == sorted(one.index for one in records)
    again = latencies(records, open_loop=False, failures=None)
    written = json.loads((run.folder / "run.json").read_text())["levels"][0]
    found = {name: summary.to_json() for name, summary in again.items()}
    assert json.loads(json.dumps(found)) == written["metrics"]
    assert count_tokens(records).to_json() == written["tokens"]
    assert [one.request_id for one in level.records] == [one.request_id for one in records]
