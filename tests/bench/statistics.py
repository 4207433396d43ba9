"""How often intervals hold the truth, and how often verdicts are false: the tables of the docs.

Each series is drawn anew from a seed, goes through the functions that a run goes through, and is
held against what is known of the process that it was drawn from: the truth of a figure is its value
over all series of the process together.

    python -m tests.bench.statistics                # all tables, a few minutes on two cores
    python -m tests.bench.statistics --trials 1000 --seed 7 gate history

Exit code 1 where a target is missed by more than the number of trials explains.
"""

from __future__ import annotations

import sys
from pathlib import Path

# Run by its path, its own folder comes first, where the library's `statistics` would be this file.
if Path(sys.path[0]) == Path(__file__).parent:
    sys.path[0] = str(Path(__file__).parents[2])

import argparse
import heapq
import math
import random
import time
from array import array
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Any

import numpy as np

from benchcore.client.records import Outcome, Record, Usage
from benchcore.config.catalogue import title
from benchcore.config.limits import DEFAULT
from benchcore.judge.gate import gate
from benchcore.judge.history import change_points
from benchcore.load.steady import Flow, open_steady
from benchcore.metrics.level import latencies, rates
from benchcore.metrics.summary import Summary
from benchcore.runs.reading import Requests, RunFolder
from benchcore.runs.run import Level, Run
from benchcore.sim import SimProfile
from benchcore.sim.batching import Batch, Sequence, State

NS = 1_000_000_000
PERCENTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
BASELINE_NIGHTS = 5


# Processes.


def correlated(draw: np.random.Generator, count: int, carried: float) -> np.ndarray:
    """Return an autoregressive series of first order, standard normal, stationary."""
    noise = draw.standard_normal(count) * math.sqrt(1 - carried * carried)
    found = np.empty(count)
    found[0] = draw.standard_normal()
    for place in range(1, count):
        found[place] = carried * found[place - 1] + noise[place]
    return found


def closed_loop(
    draw: np.random.Generator,
    count: int,
    *,
    users: int = 8,
    e2e: float = 0.5,
    correlation: float = 0.0,
    slow: float = 1.0,
    waves: float = 0.2,
    noise: float = 0.3,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return when requests were sent, their TTFT and their e2e, in seconds.

    A request takes what it draws, times what the server is worth at that moment: a wave with the
    correlation time given (Ornstein and Uhlenbeck); 0: there is none.
    """
    step = 0.02
    steps = int(count / users * e2e * slow * 4 / step) + 2000
    wave = np.zeros(steps)
    if correlation:
        wave = waves * correlated(draw, steps, math.exp(-step / correlation))
    first, whole = np.exp(noise * draw.standard_normal((2, count)))
    coming = [(e2e * user / users, user) for user in range(users)]
    sent, ttft, lasted = np.empty(count), np.empty(count), np.empty(count)
    for place in range(count):
        at, user = heapq.heappop(coming)
        now = slow * math.exp(wave[min(int(at / step), steps - 1)])
        sent[place], ttft[place] = at, 0.2 * e2e * first[place] * now
        lasted[place] = ttft[place] + 0.8 * e2e * whole[place] * now
        heapq.heappush(coming, (at + lasted[place], user))
    return sent, ttft, lasted


def cent(share: float) -> str:
    """Return a share as it stands in a table."""
    return f"{share * 100:.3g} %"


# Tables.


class Memory(RunFolder):
    """A run that no file holds."""

    def __init__(self, name: str, repeats: Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]]):
        self.path = Path(name)
        self.run = Run(status="complete", schema_version=1)
        self._requests = {}
        for number, (sent, ttft, e2e) in enumerate(repeats, 1):
            self._requests["c8", number] = Requests(
                np.ones(len(sent), dtype=bool),
                np.ones(len(sent), dtype=bool),
                ["ok"] * len(sent),
                {
                    "scheduled_seconds": sent,
                    "sent_seconds": sent,
                    "first_token_seconds": sent + ttft,
                    "end_seconds": sent + e2e,
                    "done_seconds": sent + e2e,
                },
            )
            window = float(sent[-1])
            ended = int(np.count_nonzero(sent + e2e <= window))
            self.run.levels.append(
                Level(
                    level="c8",
                    workload="w",
                    mode="closed",
                    concurrency=8,
                    repeat=number,
                    window_seconds=window,
                    warmup_seconds=0.0,
                    ok=len(sent),
                    failure_rate=0.0,
                    request_throughput=ended / window,
                    validity="valid",
                    metrics={
                        "ttft": Summary(p99=rank(ttft)),
                        "e2e": Summary(p99=rank(e2e)),
                    },
                )
            )

    def checks(self) -> None:
        return None

    def eval(self) -> None:
        return None


def rank(values: np.ndarray) -> float:
    return float(np.sort(values)[math.ceil(0.99 * len(values)) - 1])


def one_gate(
    seed: tuple[int, ...],
    *,
    repeats: int = 1,
    slow: float = 1.0,
    effect: float = 0.0,
    nights: int = 0,
    count: int = 500,
    **process: Any,
) -> tuple[str, ...]:
    """Return the verdicts of a gate's rules."""
    draw = np.random.default_rng(seed)

    def run(name: str, slow: float) -> Memory:
        night = math.exp(effect * draw.standard_normal())
        return Memory(
            name,
            [closed_loop(draw, count, slow=slow * night, **process) for _ in range(repeats)],
        )

    earlier = [run(f"night{number}", 1.0) for number in range(max(nights, 1))]
    result = gate(run("new", slow), earlier[-1], DEFAULT, earlier if nights else ())
    return tuple(f"{line.rule.split()[0]}: {line.verdict}" for line in result.lines)


# Coverage.


def intervals(summaries: dict[str, Any], names: Iterable[str]) -> dict[str, tuple[Any, ...]]:
    """Return of each percentile its value, its interval and whether that is marked."""
    found = {}
    for name in names:
        for percentile in PERCENTILES:
            one = summaries[name]
            found[f"{name} {percentile}"] = (
                one.percentiles[percentile],
                one.intervals.get(percentile),
                percentile in one.intervals_doubtful,
            )
    return found


def rate_figures(records: list[Record], begin: int, end: int) -> dict[str, tuple[Any, ...]]:
    """Return the same of the rates of a window."""
    found = rates(records, [], begin, end, [])
    known = found["rate_intervals"]
    values = {
        "request_throughput": found["throughput"].requests,
        "output_token_throughput": found["throughput"].output_tokens,
    }
    return {
        name: (value, known.intervals.get(name), name in known.doubtful)
        for name, value in values.items()
    }


def new_record(sent: int, stamps: Iterable[int]) -> Record:
    record = Record("x", scheduled_ns=sent, outcome=Outcome.OK)
    record.sent_ns, record.stamps = sent, array("q", stamps)
    record.token_events = len(record.stamps)
    record.first_byte_ns = record.first_token_ns = record.first_output_ns = record.stamps[0]
    record.last_token_ns = record.done_ns = record.stamps[-1]
    record.usage = Usage(500, len(record.stamps))
    return record


def simulated(seed: tuple[int, ...], *, users: int, count: int) -> dict[str, tuple[Any, ...]]:
    """Return the figures of a closed loop on the simulator's engine, in virtual time."""
    draw = random.Random(str(seed))
    profile = SimProfile(step_jitter=0.1, prefix_cache=False)
    engine = Batch(profile, draw.randrange(2**32))
    coming = [(NS + user * 10_000_000, user) for user in range(users)]
    under_way: dict[int, tuple[int, int, Sequence, list[int]]] = {}
    records: list[Record] = []
    now, warmup = NS, 2 * users
    while len(records) < count + warmup + users:
        while coming and coming[0][0] <= now:
            sent, user = heapq.heappop(coming)
            asked = Sequence(
                prompt_tokens=draw.randint(300, 700), output_tokens=draw.randint(10, 30)
            )
            under_way[id(asked)] = (sent, user, asked, [])
            engine.add(asked, sent)
        step = engine.schedule(now)
        if step is None:
            now = coming[0][0]
            continue
        now += step.duration_ns
        for one in engine.complete(step, now):
            under_way[id(one)][3].append(now)
            if one.state is State.FINISHED:
                sent, user, _, stamps = under_way.pop(id(one))
                records.append(new_record(sent, stamps))
                heapq.heappush(coming, (now, user))
    records.sort(key=lambda record: record.scheduled_ns)
    measured = records[warmup : warmup + count]
    found = intervals(
        latencies(measured, open_loop=False, failures=None), ("ttft", "e2e", "itl", "icl")
    )
    begin, end = measured[0].scheduled_ns, measured[-1].scheduled_ns
    return found | rate_figures(records, begin, end)


def series(
    seed: tuple[int, ...],
    *,
    count: int,
    carried: float = 0.0,
    shape: str = "lognormal",
) -> dict[str, tuple[Any, ...]]:
    """Return the figures of requests at equal distances that resemble those before them."""
    draw = np.random.default_rng((*seed, len(shape)))
    normal = correlated(draw, count, carried)
    if shape == "lognormal":
        values = 0.2 * np.exp(0.3 * normal)
    elif shape == "exponential":
        values = -0.2 * np.log(normal_tail(normal))
    else:  # a tenth of the requests takes three times as long
        values = 0.2 * np.exp(0.1 * normal) * np.where(normal_tail(normal) < 0.1, 3.0, 1.0)
    sent = NS + np.arange(count) * (NS // 4)
    ends = sent + (values * NS).astype(np.int64)
    records = [new_record(int(at), [int(end)]) for at, end in zip(sent, ends, strict=True)]
    return intervals(latencies(records, open_loop=False, failures=None), ("ttft", "e2e"))


def normal_tail(values: np.ndarray) -> np.ndarray:
    """Return P(Z > z) of each value."""
    return np.array([0.5 * math.erfc(value / math.sqrt(2)) for value in values.tolist()])


def looped(seed: tuple[int, ...], *, count: int, **process: Any) -> dict[str, tuple[Any, ...]]:
    """Return the figures of a closed loop whose server has waves."""
    draw = np.random.default_rng(seed)
    sent, ttft, e2e = closed_loop(draw, count + 32, **process)
    records = []
    for at, first, whole in zip(sent.tolist(), ttft.tolist(), e2e.tolist(), strict=True):
        pace = (whole - first) / 9
        moments = [first + pace * place for place in range(10)]
        records.append(
            new_record(NS + round(at * NS), [NS + round((at + one) * NS) for one in moments])
        )
    measured = records[16 : 16 + count]
    found = intervals(
        latencies(measured, open_loop=False, failures=None), ("ttft", "e2e", "itl", "icl")
    )
    begin, end = measured[0].scheduled_ns, measured[-1].scheduled_ns
    return found | rate_figures(records, begin, end)


# What a table is made of.


def open_loop(
    seed: tuple[int, ...],
    *,
    rate: float,
    slots: int | None,
    service: float,
    seconds: float,
    warmup: float = 2.0,
    spread: float = 0.3,
    arrival: str = "poisson",
) -> bool:
    """Return whether an open loop on a server of some slots is said to saturate it."""
    draw = np.random.default_rng(seed)
    number = int(rate * (seconds + warmup) * 1.5) + 50
    gaps = draw.exponential(1 / rate, number) if arrival == "poisson" else np.full(number, 1 / rate)
    at = np.cumsum(gaps)
    at = at[at < seconds + warmup]
    sigma = math.sqrt(math.log1p(spread * spread))
    takes = service * np.exp(sigma * draw.standard_normal(len(at)) - sigma * sigma / 2)
    end = at + takes
    if slots is not None:
        free = [0.0] * slots
        for place, moment in enumerate(at.tolist()):
            end[place] = max(heapq.heappop(free), moment) + takes[place]
            heapq.heappush(free, float(end[place]))
    inside = at >= warmup
    last = warmup + seconds
    flow = Flow(warmup, last, at[inside], (end - at)[inside], end[(end > warmup) & (end <= last)])
    seconds_of = np.arange(int(warmup), int(last))
    means = [float(np.count_nonzero((at <= one) & (end > one))) for one in seconds_of]
    return open_steady(means, int(warmup), flow).grows


def nights(
    seed: tuple[int, ...],
    *,
    count: int = 60,
    carried: float = 0.0,
    noise: float = 0.03,
    change: float = 1.0,
    shape: str = "normal",
) -> bool:
    """Return whether a change is found in a series of nights, of which the last five differ."""
    draw = np.random.default_rng(seed)
    if shape == "normal":
        drawn = correlated(draw, count, carried)
    elif shape == "exponential":
        drawn = draw.exponential(1.0, count) - 1
    else:
        drawn = draw.standard_t(3, count) / math.sqrt(3)
    values = 100 * np.exp(noise * drawn)
    values[-5:] *= change
    return bool(change_points(values.tolist()))


Trials = Callable[[Callable[..., Any], int, dict[str, Any]], list[Any]]


def coverage_table(trials: Trials, many: int) -> bool:
    print("### Coverage of 95 % intervals, 2,000 requests\n")
    print("Held · marked · missed and not marked · none.\n")
    print("| process | figure | p50, or the rate | p90 | p99 |\n|---|---|--:|--:|--:|")
    fine = True
    cases: list[tuple[str, Callable[..., Any], dict[str, Any], int]] = [
        *(
            (f"simulator c{users}", simulated, {"users": users, "count": 2000}, max(many // 2, 20))
            for users in (1, 16, 64)
        ),
        ("independent", series, {"count": 2000}, many),
        ("AR 0.5", series, {"count": 2000, "carried": 0.5}, many),
        ("AR 0.9", series, {"count": 2000, "carried": 0.9}, many),
        (
            "AR 0.5, exponential",
            series,
            {"count": 2000, "carried": 0.5, "shape": "exponential"},
            many,
        ),
        ("AR 0.5, a tenth slow", series, {"count": 2000, "carried": 0.5, "shape": "two"}, many),
        ("closed loop c8, 2 s", looped, {"count": 2000, "correlation": 2.0}, many),
        (
            "closed loop c16, 2 s",
            looped,
            {"count": 2000, "correlation": 2.0, "users": 16, "e2e": 1.0},
            many,
        ),
        ("closed loop c8, 10 s", looped, {"count": 2000, "correlation": 10.0}, many),
    ]
    for name, call, given, number in cases:
        found = trials(call, number, given)
        rows: dict[str, list[str]] = {}
        for figure in found[0]:
            held, marked, unseen, none = _coverage([one[figure] for one in found])
            # Three standard errors of so many trials.
            fine = fine and unseen <= 0.1 + 3 * math.sqrt(0.09 / number)
            cell = " · ".join(cent(share) for share in (held, marked, unseen, none))
            rows.setdefault(figure.partition(" ")[0], []).append(cell)
        for metric, cells in rows.items():
            print(f"| {name} | {title(metric)} | {' | '.join(cells + [''] * (3 - len(cells)))} |")
    print()
    return fine


def _coverage(values: list[tuple[Any, ...]]) -> tuple[float, float, float, float]:
    """Return which share of intervals holds the truth, is marked, misses unmarked, is not there."""
    truth = float(np.median([value for value, _, _ in values]))
    known = [one for one in values if one[1] is not None]
    held = [one[1][0] <= truth <= one[1][1] for one in known]
    many = max(len(known), 1)
    marked = sum(one[2] for one in known)
    unseen = sum(not one[2] and not inside for one, inside in zip(known, held, strict=True))
    return sum(held) / many, marked / many, unseen / many, 1 - len(known) / len(values)


def gate_table(trials: Trials, many: int) -> bool:
    print(f"### The gate, {many} pairs each, 500 requests a run\n")
    print("| what | fails | rules that cannot tell |\n|---|--:|--:|")
    fine, power = True, {}
    waves = {"correlation": 2.0}, {"correlation": 10.0}
    same: list[tuple[str, dict[str, Any]]] = [
        ("independent", {}),
        ("correlation time 2 s", waves[0]),
        ("correlation time 10 s", waves[1]),
        ("10 s, waves of a tenth", waves[1] | {"waves": 0.1}),
        ("10 s, answers of 2 s", waves[1] | {"e2e": 2.0}),
        ("3 % from night to night, five nights", {"effect": 0.03, "nights": BASELINE_NIGHTS}),
    ]
    for name, given in same:
        failed, untold = _verdicts(trials(one_gate, many, given))
        fine = fine and failed <= 0.015 + 3 * math.sqrt(0.015 / many)
        print(f"| nothing changed: {name} | {cent(failed)} | {cent(untold)} |")
    for change in (1.10, 1.25):
        for repeats in (1, 2, 3, 5):
            given = {"slow": change, "repeats": repeats}
            failed, untold = _verdicts(trials(one_gate, many, given))
            power[change, repeats] = failed
            text = f"{cent(change - 1)} slower, {repeats} repeat(s)"
            print(f"| {text} | {cent(failed)} | {cent(untold)} |")
    given = {"slow": 1.25, "effect": 0.03, "nights": 10}
    failed, untold = _verdicts(trials(one_gate, many, given))
    text = "+25 % slower, 3 % from night to night, ten nights"
    print(f"| {text} | {cent(failed)} | {cent(untold)} |\n")
    return fine and power[1.25, 1] >= 0.9


def _verdicts(found: list[tuple[str, ...]]) -> tuple[float, float]:
    judged = [[line for line in one if "failure_rate" not in line] for one in found]
    failed = sum(any(line.endswith("fail") for line in one) for one in judged)
    untold = Counter(line.endswith("cannot tell") for one in judged for line in one)
    return failed / len(found), untold[True] / untold.total()


def share_table(
    title: str,
    head: str,
    cases: list[tuple[str, Callable[..., Any], dict[str, Any], str, float]],
    trials: Trials,
    many: int,
) -> bool:
    print(f"### {title}\n\n| {head} | found | target |\n|---|--:|--:|")
    fine = True
    for name, call, given, sign, target in cases:
        share = float(np.mean(trials(call, many, given)))
        room = 3 * math.sqrt(max(target * (1 - target), 1e-4) / many)
        if sign:
            fine = fine and (share <= target + room if sign == "≤" else share >= target - room)
        said = f"{sign} {cent(target)}" if sign else "–"
        print(f"| {name} | {cent(share)} | {said} |")
    print()
    return fine


def history_table(trials: Trials, many: int) -> bool:
    cases = [
        ("nothing, ρ = 0", nights, {}, "≤", 0.01),
        ("nothing, ρ = 0.3", nights, {"carried": 0.3}, "≤", 0.03),
        ("nothing, heavy tails", nights, {"shape": "t"}, "≤", 0.01),
        ("nothing, one-sided tails", nights, {"shape": "exponential"}, "≤", 0.01),
        ("+10 %, noise 3 %", nights, {"change": 1.1}, "≥", 0.9),
        ("+10 %, noise 2 %", nights, {"change": 1.1, "noise": 0.02}, "≥", 0.9),
        ("+10 %, noise 3 %, heavy tails", nights, {"change": 1.1, "shape": "t"}, "≥", 0.9),
        ("+10 %, noise 4 %", nights, {"change": 1.1, "noise": 0.04}, "", 0.0),
        ("+10 %, noise 5 %", nights, {"change": 1.1, "noise": 0.05}, "", 0.0),
        ("+10 %, noise 3 %, ρ = 0.3", nights, {"change": 1.1, "carried": 0.3}, "", 0.0),
    ]
    title = f"Changes of the last 5 of 60 nights, {many} series each"
    return share_table(title, "what changed", cases, trials, many)


def saturated_table(trials: Trials, many: int) -> bool:
    free = {"rate": 2.0, "slots": None, "service": 10.0, "seconds": 120.0}
    ten = {"slots": 10, "service": 1.0}
    cases = [
        ("2/s × 10 s, room for all", open_loop, free, "≤", 0.01),
        (
            "the same, answers of very different length",
            open_loop,
            free | {"spread": 1.0},
            "≤",
            0.01,
        ),
        ("the same, 10 s of warm-up", open_loop, free | {"warmup": 10.0}, "≤", 0.01),
        ("the same, constant arrivals", open_loop, free | {"arrival": "constant"}, "≤", 0.01),
        ("0.8 × 10/s", open_loop, {"rate": 8.0, "seconds": 62.0, **ten}, "", 0.0),
        ("1.1 × 10/s, 120 s", open_loop, {"rate": 11.0, "seconds": 120.0, **ten}, "≥", 0.95),
        (
            "1.1 × 10/s, constant arrivals, 45 s",
            open_loop,
            {"rate": 11.0, "seconds": 45.0, "arrival": "constant", **ten},
            "≥",
            0.95,
        ),
        ("1.1 × 10/s, 45 s", open_loop, {"rate": 11.0, "seconds": 45.0, **ten}, "", 0.0),
        (
            "1.1 × 34/s, 48 at a time, 60 s",
            open_loop,
            {"rate": 37.4, "slots": 48, "service": 48 / 34, "seconds": 60.0},
            "≥",
            0.95,
        ),
        ("2 × 10/s, 25 s", open_loop, {"rate": 20.0, "seconds": 25.0, **ten}, "≥", 0.95),
    ]
    title = f"`server_saturated`, {many} windows each"
    return share_table(title, "server and load", cases, trials, many)


TABLES = {
    "coverage": coverage_table,
    "gate": gate_table,
    "history": history_table,
    "saturated": saturated_table,
}


def main() -> int:
    """Print the tables that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tables", nargs="*", help=f"of {', '.join(TABLES)}; all when left out")
    parser.add_argument("--trials", type=int, default=400, help="of each process")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    unknown = set(options.tables) - set(TABLES)
    if unknown:
        parser.error(f"no table {', '.join(sorted(unknown))}: there are {', '.join(TABLES)}")
    fine = True
    begin = time.monotonic()
    with ProcessPoolExecutor(options.processes) as pool:

        def trials(call: Callable[..., Any], many: int, given: dict[str, Any]) -> list[Any]:
            seeds = [(options.seed, number) for number in range(many)]
            return list(pool.map(partial(call, **given), seeds, chunksize=max(many // 40, 1)))

        for name in options.tables or TABLES:
            fine = TABLES[name](trials, options.trials) and fine
            sys.stdout.flush()
    print(f"seed {options.seed}, {options.trials} trials, {time.monotonic() - begin:.0f} s")
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
