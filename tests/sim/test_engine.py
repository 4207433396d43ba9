"""The engine against the real clock, and what is told of it: metrics and the truth log."""

from __future__ import annotations

import asyncio
import sys
import time
from types import SimpleNamespace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from benchcore.sim import engine
from benchcore.sim.engine import LoopAlarm, TimerfdAlarm, alarm
from benchcore.sim.telemetry import Buckets

ALARMS = [LoopAlarm] + ([TimerfdAlarm] if sys.platform == "linux" else [])


@pytest.mark.parametrize("kind", ALARMS)
async def test_an_alarm_rings_once_at_its_time_and_again_when_set_again(kind):
    rang: asyncio.Queue[int] = asyncio.Queue()
    clock = kind(lambda: rang.put_nowait(time.monotonic_ns()))
    for delay_ns in (5_000_000, 0, 2_000_000):
        due = time.monotonic_ns() + delay_ns
        clock.set(due)
        at = await asyncio.wait_for(rang.get(), 600)
        assert at > due - 1_100_000  # loops round to milliseconds
    assert rang.empty()
    clock.close()


@pytest.mark.parametrize("kind", ALARMS)
async def test_a_closed_alarm_is_silent(kind):
    rang = []
    clock = kind(lambda: rang.append(1))
    clock.set(time.monotonic_ns() + 1_000_000)
    clock.close()
    await asyncio.sleep(0.005)
    assert rang == []


@pytest.mark.skipif(sys.platform != "linux", reason="timer descriptors are Linux's")
async def test_a_timer_descriptor_is_never_early():
    rang: asyncio.Queue[int] = asyncio.Queue()
    clock = TimerfdAlarm(lambda: rang.put_nowait(time.monotonic_ns()))
    for _ in range(20):
        due = time.monotonic_ns() + 1_234_567
        clock.set(due)
        assert await asyncio.wait_for(rang.get(), 600) >= due
    clock.close()


async def test_the_platform_s_finest_alarm_is_taken():
    clock = alarm(lambda: None)
    assert isinstance(clock, ALARMS[-1])
    clock.close()


async def test_each_request_leaves_one_line_with_its_true_send_times(server):
    before = time.monotonic_ns()
    body = {"messages": [{"role": "user", "content": "say it"}], "max_tokens": 6}
    await server.post(
        "/v1/chat/completions",
        {**body, "ignore_eos": True, "stream": True},
        **{"x-request-id": "one"},
    )
    after = time.monotonic_ns()
    (account,) = server.accounts()
    assert account["request_id"] == "one"
    assert account["endpoint"] == "/v1/chat/completions"
    assert (account["status"], account["finish"]) == (200, "length")
    assert account["events"] == account["completion_tokens"] == 6
    assert account["prompt_tokens"] == 4
    assert (account["cached_tokens"], account["preemptions"]) == (0, 0)
    times = [account["received_ns"], account["first_write_ns"], *account["writes_ns"]]
    assert times == sorted(times)
    assert before < times[0]
    assert times[-1] < after


class Steps:
    """A batch whose steps are all of one length, and which says when each of them began."""

    def __init__(self, count, duration_ns):
        self.begun = []
        self._left = count
        self._duration_ns = duration_ns

    def schedule(self, start_ns):
        self.begun.append(start_ns)
        self._left -= 1
        return SimpleNamespace(duration_ns=self._duration_ns) if self._left >= 0 else None

    def complete(self, step, now):
        return []

    def held_until(self, now_ns):
        return 0


class Ringer:
    """An alarm that is rung by hand."""

    def __init__(self, ring):
        self.ring = ring
        self.due_ns = 0

    def set(self, due_ns):
        self.due_ns = due_ns

    def close(self):
        pass


@pytest.fixture
def engine_of(monkeypatch):
    """Runs an engine on a clock of its own, each alarm as late as is said; returns the begins."""

    async def run(lateness_ns, duration_ns):
        now = [1_000]
        ringer = None

        def alarm_of(ring):
            nonlocal ringer
            ringer = Ringer(ring)
            return ringer

        steps = Steps(len(lateness_ns), duration_ns)
        metrics = SimpleNamespace(step=lambda step, emitted, now: None)
        with monkeypatch.context() as patch:
            patch.setattr(engine.time, "monotonic_ns", lambda: now[0])
            patch.setattr(engine, "alarm", alarm_of)
            machine = engine.Engine(steps, metrics)
            machine._start()
            for late_ns in lateness_ns:
                now[0] = ringer.due_ns - 1
                ringer.ring()  # too early: it looks, and goes on waiting
                now[0] = ringer.due_ns + late_ns
                ringer.ring()
        return steps.begun

    return run


async def test_steps_are_paced_by_absolute_time(engine_of):
    """Alarms may be late, the steps after them are not: lateness does not add up."""
    begun = await engine_of([0, 100, 2_000, 300, 700], 1_000)
    assert begun == [1_000, 2_000, 3_000, 4_000, 5_000, 6_000]


async def test_a_step_that_ends_very_late_starts_the_schedule_anew(engine_of):
    begun = await engine_of([0, 2_001, 0], 1_000)
    assert begun == [1_000, 2_000, 5_001, 6_001]


async def test_tokens_are_never_sent_before_their_time(make_server):
    server = await make_server({"decode_base_seconds": 0.005, "decode_per_sequence_seconds": 0})
    await server.stream(max_tokens=61)
    account = server.accounts()[0]
    assert len(account["writes_ns"]) == 61
    for number, write_ns in enumerate(account["writes_ns"]):
        assert write_ns - account["received_ns"] >= number * 5_000_000


async def test_a_plain_answer_has_no_token_writes(server):
    await server.chat(max_tokens=4, ignore_eos=True)
    (account,) = server.accounts()
    assert account["writes_ns"] == []
    assert (account["events"], account["completion_tokens"]) == (0, 4)
    assert account["first_write_ns"] > account["received_ns"]


async def test_a_refused_request_is_accounted_for_too(server):
    await server.chat("status:503")
    await server.chat(model="nobody")
    assert [(one["status"], one["finish"]) for one in server.accounts()] == [
        (503, "http_error"),
        (404, "http_error"),
    ]
    assert [one["request_id"] for one in server.accounts()] == ["sim-1", "sim-2"]


async def test_the_same_seed_writes_the_same_events(make_server):
    options = {"include_usage": True}
    bodies = []
    for _ in range(2):
        server = await make_server(seed=5)
        stream = await server.stream(max_tokens=20, stream_options=options)
        bodies.append([{**chunk, "created": 0} for chunk in stream.chunks])
    assert bodies[0] == bodies[1]
    other = await make_server(seed=6)
    stream = await other.stream(max_tokens=20)
    assert stream.deltas() != [
        chunk["choices"][0]["delta"].get("content") for chunk in bodies[0][1:21]
    ]


async def scrape(server) -> dict[str, float]:
    answer = await server.get("/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    return {
        sample.name + sample.labels.get("finished_reason", ""): sample.value
        for family in text_string_to_metric_families(answer.body.decode())
        for sample in family.samples
        if "le" not in sample.labels
    }


async def test_metrics_have_the_names_that_vllm_gives_them(server):
    await server.stream()
    names = set(await scrape(server))
    assert names >= {
        "vllm:num_requests_running",
        "vllm:num_requests_waiting",
        "vllm:kv_cache_usage_perc",
        "vllm:prefix_cache_queries_total",
        "vllm:prefix_cache_hits_total",
        "vllm:num_preemptions_total",
        "vllm:prompt_tokens_total",
        "vllm:generation_tokens_total",
        "vllm:request_success_totallength",
        "vllm:cache_config_info",
        "vllm:iteration_tokens_total_sum",
        "vllm:time_to_first_token_seconds_sum",
        "vllm:inter_token_latency_seconds_sum",
        "vllm:request_time_per_output_token_seconds_sum",
        "vllm:e2e_request_latency_seconds_sum",
        "vllm:request_queue_time_seconds_sum",
        "vllm:request_inference_time_seconds_sum",
        "vllm:request_prefill_time_seconds_sum",
        "vllm:request_decode_time_seconds_sum",
        "vllm:request_prompt_tokens_sum",
        "vllm:request_generation_tokens_sum",
    }


async def test_metrics_count_what_was_served(server):
    for _ in range(2):
        await server.chat(messages=[{"role": "user", "content": "word " * 40}], max_tokens=5)
    await server.chat(max_tokens=5, min_tokens=5, model="nobody")
    found = await scrape(server)
    assert found["vllm:generation_tokens_total"] == 10
    assert found["vllm:request_generation_tokens_sum"] == 10
    assert found["vllm:request_success_totallength"] == 2
    assert found["vllm:prefix_cache_queries_total"] == found["vllm:request_prompt_tokens_sum"]
    assert found["vllm:prefix_cache_hits_total"] == 32
    assert found["vllm:prompt_tokens_total"] == found["vllm:request_prompt_tokens_sum"]
    assert found["vllm:inter_token_latency_seconds_count"] == 8
    assert found["vllm:num_requests_running"] == found["vllm:num_requests_waiting"] == 0
    assert found["vllm:kv_cache_usage_perc"] == 0


async def test_times_of_a_request_add_up(server):
    await server.stream(max_tokens=20)
    found = await scrape(server)
    parts = ("queue", "prefill", "decode")
    whole = sum(found[f"vllm:request_{part}_time_seconds_sum"] for part in parts)
    assert abs(found["vllm:e2e_request_latency_seconds_sum"] - whole) < 1e-9
    assert found["vllm:request_decode_time_seconds_sum"] > 0.015


async def test_preemptions_are_counted(make_server):
    figures = {"blocks": 8, "max_model_len": 100, "prefix_cache": False}
    server = await make_server(figures)
    await server.stream(n=2, max_tokens=90)
    assert (await scrape(server))["vllm:num_preemptions_total"] == 1
    assert server.accounts()[0]["preemptions"] == 1


def test_a_tally_counts_each_value_in_the_bucket_that_it_does_not_exceed():
    tally = Buckets((0.125, 0.25))
    for value in (0.0625, 0.125, 0.1875, 0.5):
        tally.add(value)
    family = tally.family("name", "words", ("model", "0"))
    assert {sample.labels.get("le"): sample.value for sample in family.samples} == {
        "0.125": 2,
        "0.25": 3,
        "+Inf": 4,
        None: 0.875,
    }
