from __future__ import annotations

import copy
import csv
import functools
import heapq
import json
import random

import numpy as np
import pytest

from benchcore.runs.checks import Checks
from benchcore.runs.facts import TargetFacts
from benchcore.sim import SimProfile
from benchcore.sim.batching import Batch, Sequence, State

COLUMNS = (
    "level",
    "repeat",
    "stage",
    "index",
    "outcome",
    "scheduled_seconds",
    "sent_seconds",
    "first_byte_seconds",
    "first_token_seconds",
    "first_output_seconds",
    "last_token_seconds",
    "done_seconds",
)
RUN = {
    "schema_version": 1,
    "run_id": "x",
    "started_at": "2026-11-21T00:00:00Z",
    "ended_at": "2026-11-21T00:01:00Z",
    "status": "complete",
    "stopped": None,
    "error": None,
    "name": "nightly",
    "labels": {},
    "target": {"kind": "server", "model": "m", "endpoint": "chat", "base_url": "http://a"},
    "workload": {"name": "synthetic", "kind": "synthetic", "input_tokens": "512", "seed": 1},
    "load": {"arrival": "poisson", "requests": 500},
    "versions": {"benchcore": "1"},
    "host": {"hostname": "h"},
}


def percentiles(values):
    ordered = np.sort(values)
    found = {
        name: float(ordered[int(np.ceil(quantile * len(ordered))) - 1])
        for name, quantile in (("p50", 0.5), ("p90", 0.9), ("p95", 0.95), ("p99", 0.99))
    }
    return {
        "count": len(values),
        "avg": float(np.mean(values)),
        "min": float(ordered[0]),
        "max": float(ordered[-1]),
        "std": float(np.std(values)),
        **found,
        "p75": found["p90"],
        "p999": found["p99"],
        "low_confidence": [],
        "intervals_95": {},
    }


@functools.cache
def simulated(seed, count, users=8, slow=1.0, tokens=20):
    """Requests of a closed loop on the simulator's engine in virtual time, a row each.

    Args:
        seed: of the engine's jitter and of the prompts' lengths.
        count: requests.
        users: of the closed loop.
        slow: everything takes so much longer.
        tokens: of each answer.
    """
    profile = SimProfile(
        decode_base_seconds=0.005 * slow,
        decode_per_sequence_seconds=0.0003 * slow,
        prefill_tokens_per_second=20_000 / slow,
        step_jitter=0.1,
        prefix_cache=False,
    )
    draw = random.Random(str(seed))
    engine = Batch(profile, draw.randrange(2**32))
    coming = [(user * 2_000_000, user) for user in range(users)]
    asked, rows, now = {}, [], 0
    warmup = 8 * users
    while len(rows) < count + warmup:
        while coming and coming[0][0] <= now:
            sent, user = heapq.heappop(coming)
            sequence = Sequence(prompt_tokens=draw.randint(300, 700), output_tokens=tokens)
            asked[id(sequence)] = (sent, user, sequence)
            engine.add(sequence, sent)
        step = engine.schedule(now)
        if step is None:
            now = coming[0][0]
            continue
        now += step.duration_ns
        for sequence in engine.complete(step, now):
            if sequence.state is State.FINISHED:
                sent, user, _ = asked.pop(id(sequence))
                rows.append((sent / 1e9, sequence.first_token_ns / 1e9, now / 1e9))
                heapq.heappush(coming, (now, user))
    # The users begin together: what they meet then is no part of the window.
    rows = sorted(rows)[warmup:][:count]
    begin = rows[0][0]
    rows = [tuple(moment - begin for moment in row) for row in rows]
    return tuple((index, *row) for index, row in enumerate(rows))


@pytest.fixture
def make_run(tmp_path):
    """Writes the folder of a run whose server is drawn from a seed."""

    def make(name, seed=0, count=500, levels=(8,), repeats=1, slow=1.0, level=None, **facts):
        folder = tmp_path / "results" / name
        folder.mkdir(parents=True)
        run = {**copy.deepcopy(RUN), "run_id": name, **facts}
        run["levels"] = []
        with (folder / "requests.csv").open("w", newline="") as file:
            out = csv.writer(file)
            out.writerow(COLUMNS)
            for users in levels:
                for repeat in range(1, repeats + 1):
                    rows = simulated((seed, users, repeat), count, users, slow)
                    run["levels"].append(_level(users, repeat, rows) | (level or {}))
                    for index, sent, first, last in rows:
                        times = (sent, sent, first, first, first, last, last)
                        out.writerow(
                            (
                                f"c{users}",
                                repeat,
                                "window",
                                index,
                                "ok",
                                *(f"{t:.9f}" for t in times),
                            )
                        )
        (folder / "run.json").write_text(json.dumps(run))
        return folder

    return make


def _level(users, repeat, rows):
    ttft = np.array([first - sent for _, sent, first, _ in rows])
    e2e = np.array([last - sent for _, sent, _, last in rows])
    # The window ends when the last request is scheduled.
    window = max(sent for _, sent, _, _ in rows)
    ended = sum(1 for row in rows if row[3] <= window)
    return {
        "level": f"c{users}",
        "workload": "synthetic",
        "mode": "closed",
        "concurrency": users,
        "rate": None,
        "repeat": repeat,
        "window_seconds": window,
        "warmup_seconds": 0.0,
        "ok": len(rows),
        "failed": 0,
        "dropped": 0,
        "request_throughput": ended / window,
        "output_token_throughput": 20 * ended / window,
        "tokens_per_second_per_user": 100.0,
        "goodput": ended / window,
        "failure_rate": 0.0,
        "itl": "exact",
        "tokens": {"token_count_source": {"usage": len(rows)}},
        "validity": "valid",
        "reasons": [],
        "findings": [],
        "notes": [],
        "metrics": {"ttft": percentiles(ttft), "e2e": percentiles(e2e)},
    }


def ended_checks(results, status="complete", target=None):
    """Checks of an engine that have come to some results, in a second."""
    checks = Checks.begun("compat", "vllm", target or TargetFacts())
    checks.end(results, status, 1.0)
    return checks
