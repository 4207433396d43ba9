"""Pairing: our stamps beside the server's, request by request, on the same clock."""

from collections.abc import Iterator

import numpy as np

from tests.bench.climb_run import ClimbRun, climb, ramp
from tests.bench.fixture import BUILD, Ints, read_stamps, server
from tests.bench.row import Row, at_most


def differences(run: ClimbRun, sent: dict[str, Ints]) -> tuple[Ints, Ints]:
    """Return for the measured requests `stamp − write` in ns: first tokens, and all of them.

    Raises:
        RuntimeError: a request has not as many token events as the server sent.
    """
    firsts, every = [], []
    for line in run.events():
        if line["stage"] != "window" or line["outcome"] != "ok":
            continue
        events = line["events"] or [1] * len(line["stamps_ns"])
        ours = np.repeat(np.array(line["stamps_ns"], dtype=np.int64), events)
        theirs = sent[line["request_id"]]
        if len(ours) != len(theirs):
            raise RuntimeError(f"{line['request_id']}: {len(ours)} of {len(theirs)} tokens")
        firsts.append(ours[:1] - theirs[:1])
        every.append(ours - theirs)
    return np.concatenate(firsts), np.concatenate(every)


def nearest_rank(values: Ints, share: float) -> float:
    """Return a percentile in ms."""
    return float(np.sort(values)[int(np.ceil(share * len(values))) - 1]) / 1e6


CASES: dict[str, tuple[tuple[float, float] | None, str]] = {
    "256 streams × 100 tokens/s": (None, "valid"),
    "the same, loop blocked 4 ms in every 9": ((4, 9), "valid"),
    "the same, loop blocked 15 ms at a time": ((15, 34), "suspect (merged_reads)"),
}


def rows(*, seconds: float = 8) -> Iterator[Row]:
    """Measure and yield the rows of each case."""
    for case, (blocked_ms, wanted) in CASES.items():
        stamps = BUILD / "stamps.bin"
        with server(stamps=stamps) as target:
            run = climb(
                target.base_url,
                *ramp(256, 100, 10),
                "--save-events",
                duration=seconds,
                blocked_ms=blocked_ms,
            )
        first, every = differences(run, read_stamps(stamps))
        judged = run.judged()
        data = {"client": run.level["client"], "server": target.counts}
        yield Row("pairing", f"{case}:", judged, wanted, judged == wanted, data)
        for name, values in (("first token", first), ("every token", every)):
            p50, p99 = nearest_rank(values, 0.5), nearest_rank(values, 0.99)
            # Where the loop is blocked for longer than a gap, figures cannot be true.
            to_reach = wanted == "valid"
            yield Row(
                "pairing",
                f"  {name} − its write, p50 / p99",
                f"{p50:.3f} / {p99:.3f} ms",
                "≤ 0.1 / 0.3 ms" if to_reach else "",
                (p50 <= 0.1 and p99 <= 0.3) if to_reach else None,
                {
                    "p50_ms": p50,
                    "p99_ms": p99,
                    "min_ms": float(values.min()) / 1e6,
                    "max_ms": float(values.max()) / 1e6,
                    "count": len(values),
                },
            )
        run.remove()


def thousand_rows(*, seconds: float = 8) -> Iterator[Row]:
    """Yield what one process makes of 1,000 streams × 50 tokens/s."""
    with server(interval_ms=20, ttft_ms="50:70") as target:
        run = climb(target.base_url, *ramp(1000, 50, 20), tokens=50, duration=seconds)
    client = run.level["client"]
    share = client["merged_reads"] / client["token_reads"]
    stampless = run.level["timestamps"]["userspace"]
    judged = run.judged()
    yield Row(
        "thousand", "1,000 streams × 50 tokens/s:", judged, "valid", judged == "valid", client
    )
    yield at_most("thousand", "  merged reads", 100 * share, 1, " %", server=target.counts)
    yield Row("thousand", "  reads without a stamp", str(stampless), "0", stampless == 0)
    yield Row("thousand", "  CPU of the loop's thread", f"{client['cpu_share']:.0%}")
    rate = run.level["output_token_throughput"]
    yield Row("thousand", "  tokens per second", f"{rate:,.0f}")
    run.remove()
