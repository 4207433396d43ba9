"""Sessions on the simulator: histories, prefix caches, replay, figures by turn and class."""

import json
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest

import benchcore
from benchcore.base.errors import ConfigError
from benchcore.client.request import Prompt
from benchcore.show.progress import Silent
from benchcore.sim.batching import block_digests
from benchcore.sim.requests import read_chat
from benchcore.sim.vocabulary import pieces, token_ids
from benchcore.workload.kinds import SessionKind
from benchcore.workload.made_up import Conversation, SharedPrefixes
from benchcore.workload.mixture import Mixture
from benchcore.workload.sessions import Session, Turn, chain, single

pytestmark = [pytest.mark.integration, pytest.mark.perf]

BLOCK = 16
MS = 1_000_000


def climb(url, workload, **settings):
    settings = {"idle_seconds": 0, "warmup_requests": 0, "seed": 3} | settings
    return benchcore.climb(benchcore.Target(url), workload=workload, **settings)


class Cache:
    """A prefix cache without end: whole blocks of the prompts and answers that there were."""

    def __init__(self):
        self.known = set()

    def hit(self, body, answer):
        tokens = read_chat(body).prompts[0]
        digests = block_digests(tokens, BLOCK)
        limit = (len(tokens) - 1) // BLOCK
        hit = 0
        for digest in digests[:limit]:
            if digest not in self.known:
                break
            hit += 1
        # The last token of an answer is said, and not read again.
        whole = block_digests(tokens + token_ids(pieces(answer)), BLOCK)
        self.known.update(whole[: (len(tokens) + len(pieces(answer)) - 1) // BLOCK])
        return hit * BLOCK


def bodies_of(monkeypatch):
    """Keep the body of every request that is prepared, by its id."""
    from benchcore.client.client import Client

    bodies, prepare = {}, Client.prepare

    def keeping(self, prompt, **more):
        request = prepare(self, prompt, **more)
        bodies[request.request_id] = json.loads(request.payload.partition(b"\r\n\r\n")[2])
        return request

    monkeypatch.setattr(Client, "prepare", keeping)
    return bodies


@pytest.mark.parametrize(
    "workload",
    [
        Conversation(
            turns=4, input_tokens=100, follow_up_tokens=40, output_tokens=20, ignore_eos=True
        ),
        SharedPrefixes(groups=3, prefix_tokens=300, input_tokens=50, output_tokens=4),
    ],
    ids=["conversation", "prefix"],
)
async def test_the_servers_cache_hits_what_was_computed_beforehand(
    simulator_with, monkeypatch, workload
):
    bodies = bodies_of(monkeypatch)
    url = simulator_with().base_url
    run = await climb(url, workload, concurrency=[1], requests=40, save_text=True)
    (level,) = run.levels
    assert level.ok == 40
    cache = Cache()
    expected, reported = [], []
    for record in sorted(level.records, key=lambda one: one.sent_ns):
        expected.append(cache.hit(bodies[record.request_id], record.text))
        reported.append(record.usage.cached_tokens)
    # The probes before the level left something in the cache; after the first few it shows no more.
    assert reported[8:] == expected[8:]
    assert sum(reported) > 0.5 * sum(record.usage.prompt_tokens for record in level.records)
    shares = level.prefix_cache
    assert shares.block_tokens == 16
    assert shares.ideal == pytest.approx(shares.reported, abs=0.002)


async def test_a_conversation_holds_what_the_server_said(simulator, monkeypatch):
    bodies = bodies_of(monkeypatch)
    workload = Conversation(turns=3, input_tokens=20, output_tokens=8, think_time=0.01)
    run = await climb(simulator.base_url, workload, concurrency=[2], requests=12, save_text=True)
    (level,) = run.levels
    by_place = {(one.session, one.turn): one for one in level.records}
    last = [key for key in by_place if key[1] == 3]
    assert last
    for session, _ in last:
        messages = bodies[by_place[session, 3].request_id]["messages"]
        assert [one["role"] for one in messages] == ["user", "assistant"] * 2 + ["user"]
        assert messages[1]["content"] == by_place[session, 1].text
        assert messages[3]["content"] == by_place[session, 2].text
        gap_ns = by_place[session, 2].scheduled_ns - by_place[session, 1].done_ns
        assert gap_ns == 10 * MS
    assert level.sessions.ended >= 2
    assert [(group.by, group.value) for group in level.groups] == [
        *[("turn", "1"), ("turn", "2"), ("turn", "3")]
    ]
    assert sum(group.scheduled for group in level.groups) == level.scheduled


async def test_texts_are_not_kept_where_no_turn_goes_on_with_them(simulator):
    workload = Conversation(turns=2, input_tokens=20, output_tokens=8)
    run = await climb(simulator.base_url, workload, concurrency=[1], requests=6)
    assert all(record.text is None for record in run.levels[0].records)


async def test_a_long_history_is_cut_by_whole_turns(simulator, monkeypatch):
    bodies = bodies_of(monkeypatch)
    workload = Conversation(
        turns=6, input_tokens=50, output_tokens=10, ignore_eos=True, context_tokens=180
    )
    run = await climb(simulator.base_url, workload, concurrency=[1], requests=6)
    lengths = [
        len(bodies[one.request_id]["messages"])
        for one in sorted(run.levels[0].records, key=lambda one: one.turn)
    ]
    # A turn is 50 + 10 tokens, and 180 - 50 leave room for two of them.
    assert lengths == [1, 3, 5, 5, 5, 5]


class Timed(SessionKind):
    """Sessions at times of their own."""

    kind = "timed"
    timed = True
    times: list[int]
    turns: int = 1
    bad_after: int | None = None

    def sessions(self, *path):
        del path
        turns = [Turn(Prompt("go on", output_tokens=2), wait_ns=5 * MS)] * self.turns
        for number, at in enumerate(self.times):
            if number == self.bad_after:
                raise ConfigError("trace.jsonl:7: is not JSON")
            yield Session(chain(turns), at_ns=at * MS)


async def test_a_trace_is_replayed_at_its_own_times_and_faster(simulator):
    workload = Timed(times=[0, 100, 150, 400], turns=2)
    run = await climb(simulator.base_url, workload, speed=[1, 4])
    assert [level.level for level in run.levels] == ["s1", "s4"]
    for level, speed in zip(run.levels, (1, 4), strict=True):
        assert (level.mode, level.rate, level.arrival) == ("open", None, f"trace x{speed}")
        assert level.scheduled == level.ok == 8
        firsts = sorted(one.scheduled_ns for one in level.records if one.turn == 1)
        assert [at - firsts[0] for at in firsts] == [at * MS // speed for at in (0, 100, 150, 400)]
        assert (level.sessions.begun, level.sessions.ended) == (4, 3)
        assert level.steady_state.found is None


async def test_sessions_before_the_window_warm_up_unmeasured(simulator):
    class Warm(Timed):
        def sessions(self, *path):
            yield replace(single(Prompt("before", output_tokens=2), at_ns=0), warms_up=True)
            yield from super().sessions(*path)

    run = await climb(simulator.base_url, Warm(times=[0, 10]), speed=[1])
    assert run.levels[0].scheduled == 2


async def test_a_bad_row_ends_the_climb_and_keeps_what_was_measured(simulator, tmp_path):
    workload = Timed(times=[0, 20, 40, 60], bad_after=3)
    run = await climb(simulator.base_url, workload, speed=[1, 2], output=tmp_path)
    assert (run.status, run.stopped) == ("failed", "bad workload")
    assert run.error == "trace.jsonl:7: is not JSON"
    assert [(level.level, level.ok) for level in run.levels] == [("s1", 3)]
    written = json.loads((Path(run.folder) / "run.json").read_text())
    assert written["levels"][0]["scheduled"] == 3


async def test_a_workload_without_times_is_not_replayed(simulator):
    with pytest.raises(ConfigError, match="has no times of its own"):
        await climb(simulator.base_url, Conversation(), speed=[1])


async def test_figures_of_classes_and_their_own_limits(simulator):
    workload = Mixture(
        mix=[
            {"workload": "conversation,turns=2,input_tokens=20,output_tokens=4", "class": "chat"},
            {
                "workload": "prefix,prefix_tokens=30,input_tokens=20,output_tokens=4",
                "class": "rag",
                "slos": ["e2e:1ns"],
            },
        ]
    )
    run = await climb(simulator.base_url, workload, concurrency=[3], requests=40, slos=["e2e:60s"])
    (level,) = run.levels
    classes = {one.value: one for one in level.groups if one.by == "class"}
    assert set(classes) == {"chat", "rag"}
    assert classes["chat"].good == classes["chat"].ok > 0
    assert (classes["rag"].good, classes["rag"].ok > 0) == (0, True)
    assert sum(one.scheduled for one in classes.values()) == 40
    assert classes["rag"].metrics["ttft"].count == classes["rag"].ok


async def test_a_shape_sends_as_many_as_its_area(simulator):
    workload = benchcore.Synthetic(input_tokens=16, output_tokens=2)
    run = await climb(
        simulator.base_url, workload, shape="ramp:10..50/1s,hold:20/500ms", arrival="constant"
    )
    (level,) = run.levels
    assert (level.level, level.scheduled, level.rate) == ("shape", 40, pytest.approx(40 / 1.5))
    assert level.window_seconds == pytest.approx(1.5, abs=0.01)
    assert level.arrival == "constant ramp:10..50/1s,hold:20/500ms"


async def test_users_of_a_shape_are_as_many_as_it_says(simulator):
    workload = benchcore.Synthetic(input_tokens=16, output_tokens=2)
    run = await climb(simulator.base_url, workload, user_shape="hold:1/400ms,hold:4/400ms")
    (level,) = run.levels
    assert (level.level, level.mode, level.concurrency) == ("users", "closed", 4)
    start_ns = min(one.scheduled_ns for one in level.records)
    at_once = [0] * 8
    for number in range(8):
        at_ns = start_ns + (number * 100 + 50) * MS
        at_once[number] = sum(one.sent_ns <= at_ns < one.done_ns for one in level.records)
    assert max(at_once[:4]) == 1
    assert 2 <= max(at_once[4:]) <= 4


async def test_answers_of_a_family_are_judged_and_counted(simulator, monkeypatch):
    from benchcore.workload import families

    run = await climb(simulator.base_url, families.LessonPack(), concurrency=[2], requests=8)
    answers = run.levels[0].answers
    assert (answers.judged, answers.good, answers.wrong) == (8, 8, {})
    # The simulator cites the first two sources: with one it has one to cite.
    wrong = families.SearchQA(sources=4)
    monkeypatch.setattr(
        families, "cites_well", lambda answer, *, sources: "is short" if sources == 4 else ""
    )
    run = await climb(simulator.base_url, wrong, concurrency=[2], requests=8)
    answers = run.levels[0].answers
    assert (answers.judged, answers.good, answers.wrong) == (8, 0, {"is short": 8})
    assert all(record.text is None for record in run.levels[0].records)


async def test_sessions_that_warm_up_are_no_load_of_a_closed_loop_either(simulator):
    class Warm(Timed):
        def sessions(self, *path):
            yield replace(single(Prompt("before", output_tokens=2), at_ns=0), warms_up=True)
            yield from super().sessions(*path)

    run = await climb(simulator.base_url, Warm(times=[0, 10]), concurrency=[1], requests=6)
    (level,) = run.levels
    # Two sessions come again and again, and what warms up is never among them.
    assert (level.scheduled, {one.kind for one in level.records}) == (6, {""})


async def test_warm_ups_that_fail_are_told(simulator):
    class Warm(Timed):
        def sessions(self, *path):
            yield replace(single(Prompt("", messages=[{"role": "boss"}]), at_ns=0), warms_up=True)
            yield from super().sessions(*path)

    class Told(Silent):
        lines: ClassVar = []

        def say(self, text):
            self.lines.append(text)

    run = await climb(simulator.base_url, Warm(times=[0, 10]), speed=[1], progress=Told())
    assert run.levels[0].ok == 2
    assert "s1: 1 of 1 warm-up request(s) failed" in Told.lines


async def test_turns_beyond_the_memory_for_them_are_made_when_they_are_due(simulator, monkeypatch):
    from benchcore.climbs import requests

    monkeypatch.setattr(requests, "AHEAD_BYTES", 0)
    workload = Conversation(turns=3, input_tokens=20, output_tokens=4, think_time=0.01)
    run = await climb(simulator.base_url, workload, concurrency=[2], requests=12)
    (level,) = run.levels
    assert (level.ok, [one.value for one in level.groups]) == (12, ["1", "2", "3"])
