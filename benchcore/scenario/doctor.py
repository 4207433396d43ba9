"""Doctor: what this machine can drive, and how truly it can measure."""

from __future__ import annotations

import asyncio
import math
import resource
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from benchcore.base.clock import LoopClock
from benchcore.client.connection import SPARE_DESCRIPTORS
from benchcore.client.native.library import chosen, wanted
from benchcore.client.stamps import Stamper
from benchcore.climbs.ceiling import COMFORT, Ceiling, most_workers, save_ceiling
from benchcore.climbs.library import climb
from benchcore.config.target import Target
from benchcore.metrics.percentiles import nearest_rank
from benchcore.metrics.validity import Thresholds
from benchcore.observe.machine import clock_source, mark, processor_name, spent, usable_processors
from benchcore.runs.run import Level
from benchcore.sim.options import SimOptions, SimProfile
from benchcore.sim.process import SimulatorProcess
from benchcore.workload.synthetic import Synthetic

STREAMS = 64
TOKENS = 50
STEP_SECONDS = 0.01
GOOD_CLOCKS = ("tsc", "kvm-clock", "arch_sys_counter", "hyperv_clocksource_tsc_page")
_STAMP_CONNECTIONS = 20
_TIMER_SAMPLES = 200


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Args:
        what: its name.
        found: its value, as text.
        ok: whether it is as it should be.
        advice: what to do where it is not.
    """

    what: str
    found: str
    ok: bool = True
    advice: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return asdict(self)


async def check_stamps() -> Finding:
    """Read once from each of some fresh connections and count the kernel's stamps."""
    stamper = Stamper()
    loop = asyncio.get_running_loop()
    listener = socket.create_server(("127.0.0.1", 0), backlog=_STAMP_CONNECTIONS)
    stamped = 0
    try:
        for _ in range(_STAMP_CONNECTIONS):
            sock = socket.create_connection(listener.getsockname())
            peer, _ = listener.accept()
            with sock, peer:
                stamper.attach(sock)
                peer.send(b"x")
                await loop.run_in_executor(None, sock.recvmsg, 0, 0, socket.MSG_PEEK)
                _, ancillary, _, _ = sock.recvmsg(16, 64)
                before = stamper.userspace
                stamper.stamp(ancillary, time.perf_counter_ns(), 0)
                stamped += stamper.userspace == before
    finally:
        listener.close()
        stamper.close()
    found = f"{stamped} of {_STAMP_CONNECTIONS} first reads stamped by the kernel"
    if stamped == _STAMP_CONNECTIONS:
        return Finding("receive stamps", found)
    return Finding(
        "receive stamps",
        found,
        ok=False,
        advice="userspace stamps are used: the lateness of this process is in the figures; "
        "keep it idle, or measure from Linux over TCP",
    )


def check_reader() -> Finding:
    """Say which reader there is."""
    library, said = chosen()
    built = library is not None or sys.platform != "linux" or wanted() == "python"
    return Finding(
        "reader",
        said,
        ok=built,
        advice=""
        if built
        else "reading costs more processor time: install a C compiler with its headers (gcc "
        "libc6-dev), then install benchcore again",
    )


async def check_timers() -> Finding:
    """Measure how late a request leaves that is due in 5 ms."""
    clock, loop = LoopClock(), asyncio.get_running_loop()
    late = []
    for _ in range(_TIMER_SAMPLES):
        over = loop.create_future()
        due_ns = clock.now_ns() + 5_000_000
        clock.call_at(due_ns, partial(over.set_result, None))
        await over
        late.append(clock.now_ns() - due_ns)
    clock.close()
    late.sort()
    p50, p99 = nearest_rank(late, 0.5) / 1e6, nearest_rank(late, 0.99) / 1e6
    return Finding(
        "timers",
        f"{LoopClock.kind()}, late by {p50:.2f} ms (p50), {p99:.2f} ms (p99)",
        ok=p99 < 5.0,
        advice="" if p99 < 5.0 else "something else uses these processors: open loops leave late",
    )


def check_machine() -> Iterator[Finding]:
    """Look at processors, clock and limits."""
    cores = usable_processors()
    yield Finding(
        "processors",
        f"{cores} × {processor_name() or 'unknown'}",
        ok=cores >= 2,
        advice="" if cores >= 2 else "a server on this machine too takes the only processor away",
    )
    source = clock_source()
    yield Finding(
        "clock source",
        source or "unknown",
        ok=source is None or source in GOOD_CLOCKS,
        advice=""
        if source is None or source in GOOD_CLOCKS
        else "reading this clock is slow; boot with clocksource=tsc where the processor allows",
    )
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    room = "unlimited" if hard == resource.RLIM_INFINITY else str(hard - SPARE_DESCRIPTORS)
    low = hard != resource.RLIM_INFINITY and hard < 4096
    yield Finding(
        "open files",
        f"{soft}, raised by itself up to {hard if hard != resource.RLIM_INFINITY else 'any'}: "
        f"{room} connections",
        ok=not low,
        advice="ulimit -Hn 65536 before, or LimitNOFILE= of the service" if low else "",
    )


async def check_idle(seconds: float = 0.5) -> Finding:
    """Measure what the hypervisor and the control group take while nothing is done."""
    before = mark()
    await asyncio.sleep(seconds)
    used = spent(before, mark(), [])
    limits = Thresholds()
    taken = used.steal_share or 0.0
    throttled = used.throttled_share or 0.0
    ok = taken <= limits.steal_share and throttled <= limits.throttled_share
    return Finding(
        "processor time",
        f"{taken:.1%} stolen, {throttled:.1%} throttled",
        ok=ok,
        advice="" if ok else "this machine does not get its processors whole: figures are noisy",
    )


async def measure_ceiling(seconds: float = 3.0) -> tuple[Ceiling, Level]:
    """Drive the simulator for a while and take what each token and request cost.

    The simulator may be slower than the client: what is measured is the client's processor time
    at a steady pace with a read per token, and the ceiling is where that fills the processor.

    Args:
        seconds: of each of two windows.
    """
    options = SimOptions(
        profile=SimProfile.named(
            "fast",
            decode_base_seconds=STEP_SECONDS,
            decode_per_sequence_seconds=0.0,
            max_running=STREAMS,
        )
    )
    with SimulatorProcess(options) as simulator:
        target = Target(simulator.base_url)
        short = await climb(
            target,
            concurrency=[16],
            workload=Synthetic(input_tokens=32, output_tokens=1),
            duration_seconds=seconds,
        )
        long = await climb(
            target,
            concurrency=[STREAMS],
            workload=Synthetic(input_tokens=32, output_tokens=TOKENS, ignore_eos=True),
            duration_seconds=seconds,
        )
    return ceiling(short.levels[0], long.levels[0]), long.levels[0]


def ceiling(short: Level, long: Level) -> Ceiling:
    """Solve the two levels' processor time for the cost of a token and of a request.

    Args:
        short: requests of one token.
        long: requests of many.
    """

    def rates(level: Level) -> tuple[float, float, float]:
        cpu = None if level.evidence is None else level.evidence.cpu_share
        requests, tokens = level.request_throughput, level.output_token_throughput
        assert cpu is not None
        assert requests is not None
        assert tokens is not None
        return cpu, requests, tokens

    cpu_short, requests_short, tokens_short = rates(short)
    cpu_long, requests_long, tokens_long = rates(long)
    determinant = tokens_long * requests_short - tokens_short * requests_long
    per_token = (cpu_long * requests_short - cpu_short * requests_long) / determinant
    per_request = (tokens_long * cpu_short - tokens_short * cpu_long) / determinant
    return Ceiling(max(per_token, 1e-7), max(per_request, 1e-6))


def check_ceiling(found: Ceiling, level: Level) -> Iterator[Finding]:
    """Say what the ceiling is and whether the level that showed it was sound."""
    yield Finding(
        "ceiling",
        f"about {found.tokens_per_second:,.0f} tokens/s ({found.cpu_per_token * 1e6:.1f} µs each), "
        f"{found.requests_per_second:,.0f} requests/s ({found.cpu_per_request * 1e6:.0f} µs each), "
        f"from what {level.output_token_throughput or 0:,.0f} tokens/s cost",
    )
    workers = most_workers()
    yield Finding(
        "with workers",
        f"about {workers * found.tokens_per_second:,.0f} tokens/s, "
        f"{workers * found.requests_per_second:,.0f} requests/s from {workers} worker(s), "
        "one processor left to merge them, if no server is on this machine",
    )
    verdict = level.verdict
    yield Finding(
        "trial level",
        f"{STREAMS} streams at {1 / STEP_SECONDS:.0f} tokens/s: {verdict}",
        ok=verdict == "valid",
        advice="; ".join(level.reasons),
    )


def keep_ceiling(found: Ceiling) -> Finding:
    """Keep the ceiling where climbs find it, and say where that is."""
    try:
        path = save_ceiling(found)
    except OSError as error:
        return Finding(
            "kept for climbs",
            f"no: {error.strerror}: {error.filename}",
            ok=False,
            advice="climbs warn of no load that is above the ceiling; give XDG_CACHE_HOME",
        )
    return Finding("kept for climbs", str(path))


def check_plan(found: Ceiling, concurrency: int, tps: float) -> Finding:
    """Hold a planned load against the ceiling.

    Args:
        found: of this machine.
        concurrency: streams at once.
        tps: tokens per second of each.
    """
    asked = concurrency * tps
    share = asked / found.tokens_per_second
    text = f"{concurrency} streams × {tps:g} tokens/s = {asked:,.0f} tokens/s: {share:.0%}"
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and concurrency + SPARE_DESCRIPTORS > hard:
        return Finding(
            "planned load",
            text,
            ok=False,
            advice=f"{concurrency} connections pass the limit of {hard} open files",
        )
    if share > most_workers():
        return Finding(
            "planned load",
            f"{text} of the ceiling",
            ok=False,
            advice="too much for this machine: split it over several",
        )
    if share > 1:
        return Finding(
            "planned load",
            f"{text} of the ceiling",
            ok=False,
            advice=f"too much for one process: give climb --workers {math.ceil(share / COMFORT)}",
        )
    if share > COMFORT:
        return Finding(
            "planned load",
            f"{text} of the ceiling",
            ok=False,
            advice="tight: leave the machine to benchcore alone, with the server elsewhere",
        )
    return Finding("planned load", f"{text} of the ceiling")


async def examine(
    *, concurrency: int | None = None, tps: float | None = None, seconds: float = 3.0
) -> list[Finding]:
    """Look at everything.

    Args:
        concurrency: of a planned load …
        tps: … and its tokens per second per stream.
        seconds: how long each of two trial windows is; 0: no trial.
    """
    findings = [
        *check_machine(),
        check_reader(),
        await check_stamps(),
        await check_timers(),
        await check_idle(),
    ]
    if seconds > 0:
        found, level = await measure_ceiling(seconds)
        findings += check_ceiling(found, level)
        findings.append(keep_ceiling(found))
        if concurrency is not None and tps is not None:
            findings.append(check_plan(found, concurrency, tps))
    return findings
