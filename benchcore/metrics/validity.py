"""Validity: whether a level measured the server, or the load generator."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

Verdict = Literal["valid", "suspect", "invalid"]


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Every threshold of the verdict; shares are between 0 and 1."""

    merged_share: float = 0.01
    """Reads, or first reads of requests, with several token events of a choice: suspect beyond,
    where the loop stalled too."""
    stall_gaps: float = 0.5
    """A stall is a client lag (p99) beyond this many median gaps between tokens."""
    merged_lag_ttft: float = 0.1
    """The same where so much merged that there is no gap: in shares of the median TTFT."""
    unstamped_share: float = 0.01
    """Reads without a kernel stamp, where stamps were to be had."""
    userspace_lag_gaps: float = 0.2
    """Without kernel stamps the lag is in the figures: suspect beyond this many median gaps …"""
    userspace_lag_ttft: float = 0.1
    """… or this share of the median TTFT."""
    dispatch_lag_gaps: float = 1.0
    """Open loop: lag of the sender (p99) in mean gaps between arrivals …"""
    dispatch_lag_ttft: float = 0.1
    """… and in shares of the median TTFT; suspect where both are passed."""
    cpu_share: float = 0.9
    """CPU of the event loop's thread."""
    steal_share: float = 0.05
    """Processor time that the hypervisor gave to others."""
    run_delay_share: float = 0.25
    """Time in which the event loop was ready to run and no processor was free for it."""
    throttled_share: float = 0.01
    """Time in which the control group was throttled."""
    collector_seconds: float = 0.005
    """The longest pause of the garbage collector inside the window."""
    little_error: float = 0.05
    """Difference between mean in-flight as counted and as the requests' own times add up."""
    unsent_share: float = 0.01
    """Planned requests that neither left nor were dropped."""
    fewest_reads: int = 459
    """With fewer reads the median lag stands for the p99, which would be a single read."""
    fewest_ok: int = 20
    """Fewer `ok` requests carry no percentile."""


@dataclass(slots=True)
class Evidence:
    """What is known of the load generator over one window; `None`: not measured."""

    counts_agree: bool = True
    stamps_wanted: bool = True
    reads_kernel: int = 0
    reads_userspace: int = 0
    token_reads: int = 0
    merged_reads: int = 0
    merged_first: int = 0
    """Measured requests whose first token came in one read with others."""
    client_lag_p50_seconds: float | None = None
    client_lag_p99_seconds: float | None = None
    client_lag_max_seconds: float | None = None
    buffered_pieces: float | None = None
    """Pieces that answers arrive in, where something between the server and here buffers."""
    median_gap_seconds: float | None = None
    median_ttft_seconds: float | None = None
    dispatch_lag_p99_seconds: float | None = None
    mean_arrival_gap_seconds: float | None = None
    cpu_share: float | None = None
    process_cpu_seconds: float | None = None
    """Of the window alone, to hold against its tokens."""
    steal_share: float | None = None
    run_delay_share: float | None = None
    throttled_share: float | None = None
    collector_seconds: float = 0.0
    clock_steps: int = 0
    little_error: float | None = None
    planned: int = 0
    unsent: int = 0
    unprepared: int = 0
    client_faults: int = 0
    """Requests that ended by a fault of benchcore's own in reading their answers."""
    ok: int = 0
    failed: int = 0

    def beside(self, other: Evidence) -> Evidence:
        """Return the evidence of two processes that measured parts of one level.

        Counts add up, and of shares and pauses the worst stands; what only all requests together
        show is not known yet.
        """
        made = replace(self, counts_agree=self.counts_agree and other.counts_agree)
        made.stamps_wanted = self.stamps_wanted or other.stamps_wanted
        for name in _SUMS:
            mine, theirs = getattr(self, name), getattr(other, name)
            known = [value for value in (mine, theirs) if value is not None]
            setattr(made, name, sum(known) if known else None)
        for name in _WORST:
            known = [value for value in (getattr(self, name), getattr(other, name)) if value]
            setattr(made, name, max(known, default=getattr(self, name)))
        return made

    def to_json(self) -> dict[str, float | bool | None]:
        """Return it as `run.json` has it."""
        return {
            name: getattr(self, name) for name in self.__slots__ if not name.startswith("reads_")
        }


_SUMS = (
    *("reads_kernel", "reads_userspace", "token_reads", "merged_reads", "process_cpu_seconds"),
    *("clock_steps", "unprepared", "client_faults"),
)
_WORST = (*("cpu_share", "steal_share", "run_delay_share", "throttled_share", "collector_seconds"),)


@dataclass(frozen=True, slots=True)
class Validity:
    """The verdict and its reasons, each beginning with the name of its threshold."""

    verdict: Verdict
    reasons: list[str] = field(default_factory=list)


_OF_ALL = frozenset({"little", "samples"})
"""The reasons that only all workers together give."""


def judge_together(
    whole: Evidence,
    workers: Mapping[int, Evidence],
    lost: Mapping[int, str],
    thresholds: Thresholds | None = None,
) -> tuple[Validity, dict[int, Validity]]:
    """Return the verdict on a level of several workers, and on each: it is as valid as the worst.

    Args:
        whole: what is known of all of them together.
        workers: by number, what is known of each.
        lost: by number of one that died, how.
        thresholds: of the verdict.
    """
    limits = thresholds or Thresholds()
    verdicts = {
        number: Validity("invalid", [f"worker: {how}"]) for number, how in sorted(lost.items())
    }
    invalid = list(_invalid(whole, limits))
    suspect = [one for one in _suspect(whole, limits) if one.partition(":")[0] in _OF_ALL]
    for number, evidence in sorted(workers.items()):
        own = [one for one in _suspect(evidence, limits) if one.partition(":")[0] not in _OF_ALL]
        verdicts[number] = Validity("suspect" if own else "valid", own)
    for number, verdict in verdicts.items():
        reasons = invalid if verdict.verdict == "invalid" else suspect
        for reason in verdict.reasons:
            name, _, what = reason.partition(": ")
            reasons.append(f"{name}: worker {number}: {what}")
    return _verdict(invalid, suspect), verdicts


def judge(evidence: Evidence, thresholds: Thresholds | None = None) -> Validity:
    """Return whether the figures are the server's.

    `invalid`: they are not. `suspect`: they may not be. A failing server is no reason: it has a
    failure rate.
    """
    limits = thresholds or Thresholds()
    return _verdict(list(_invalid(evidence, limits)), list(_suspect(evidence, limits)))


def _verdict(invalid: list[str], suspect: list[str]) -> Validity:
    verdict: Verdict = "invalid" if invalid else "suspect" if suspect else "valid"
    return Validity(verdict, invalid + suspect)


def _invalid(seen: Evidence, limits: Thresholds) -> Iterator[str]:
    if not seen.counts_agree:
        yield "counts: planned, sent and ended requests do not agree; this is a bug in benchcore"
    if seen.planned and seen.unsent / seen.planned > limits.unsent_share:
        yield f"schedule: {seen.unsent} of {seen.planned} planned requests never left"
    if seen.little_error is not None and seen.little_error > 4 * limits.little_error:
        yield (
            f"little: requests in flight, as counted and as their times add up, differ by "
            f"{seen.little_error:.0%}"
        )


def _suspect(seen: Evidence, limits: Thresholds) -> Iterator[str]:
    if seen.client_faults:
        yield (
            f"client_fault: {seen.client_faults} request(s) ended because of a fault in benchcore "
            "itself; please report it, with the error in requests.csv"
        )
    yield from _late_reads(seen, limits)
    yield from _late_sends(seen, limits)
    yield from _machine(seen, limits)
    little = seen.little_error
    if little is not None and limits.little_error < little <= 4 * limits.little_error:
        yield (
            f"little: requests in flight, as counted and as their times add up, differ by "
            f"{little:.1%}"
        )
    # Where the requests failed there is nothing wrong with the load generator.
    if seen.ok < limits.fewest_ok and (seen.failed < seen.ok or not seen.failed):
        yield f"samples: {seen.ok} ok requests; a percentile needs {limits.fewest_ok} and more"


def _late_reads(seen: Evidence, limits: Thresholds) -> Iterator[str]:
    lag, gap, ttft = (
        seen.client_lag_p99_seconds,
        seen.median_gap_seconds,
        seen.median_ttft_seconds,
    )
    if seen.buffered_pieces is not None:
        # Reads and gaps are those of what buffers: they say nothing of the loop.
        gap, share = None, None
    else:
        share = _merged(seen, limits)
    which = "p99"
    if 0 < seen.token_reads < limits.fewest_reads and seen.client_lag_p50_seconds is not None:
        which, lag = "p50", seen.client_lag_p50_seconds  # a p99 of so few is one late read
    if share is not None:
        if lag is not None and gap is not None and lag > limits.stall_gaps * gap:
            yield (
                f"merged_reads: {share} while the loop stalled (lag {which} {lag * 1e3:.1f} ms, "
                f"median gap {gap * 1e3:.1f} ms): TTFT and gaps are too coarse"
            )
        elif (
            gap is None
            and lag is not None
            and ttft is not None
            and lag > limits.merged_lag_ttft * ttft
        ):
            yield (
                f"merged_reads: {share}, so that no gap is left, while the loop stalled (lag "
                f"{which} {lag * 1e3:.1f} ms, median TTFT {ttft * 1e3:.1f} ms): TTFT is too coarse"
            )
    reads = seen.reads_kernel + seen.reads_userspace
    if seen.stamps_wanted and reads and seen.reads_userspace / reads > limits.unstamped_share:
        yield f"stamps: {seen.reads_userspace} of {reads} reads came without a kernel stamp"
    if seen.reads_userspace > seen.reads_kernel and lag is not None:
        if gap is not None and lag > limits.userspace_lag_gaps * gap:
            yield (
                f"client_lag: {which} {lag * 1e3:.1f} ms of lateness is in the gaps (median "
                f"{gap * 1e3:.1f} ms): no kernel stamps"
            )
        elif ttft is not None and lag > limits.userspace_lag_ttft * ttft:
            yield (
                f"client_lag: {which} {lag * 1e3:.1f} ms of lateness is in the TTFT (median "
                f"{ttft * 1e3:.1f} ms): no kernel stamps"
            )


def _merged(seen: Evidence, limits: Thresholds) -> str | None:
    """Return how much merged, where it is too much."""
    if seen.token_reads and seen.merged_reads / seen.token_reads > limits.merged_share:
        return f"{seen.merged_reads / seen.token_reads:.1%} of the reads held several tokens"
    # A p99 of TTFT rests on one request in a hundred.
    if seen.ok and seen.merged_first / seen.ok > limits.merged_share:
        return f"{seen.merged_first / seen.ok:.1%} of the first tokens came with others in one read"
    return None


def _late_sends(seen: Evidence, limits: Thresholds) -> Iterator[str]:
    lag, gap, ttft = (
        seen.dispatch_lag_p99_seconds,
        seen.mean_arrival_gap_seconds,
        seen.median_ttft_seconds,
    )
    if (
        lag is not None
        and gap is not None
        and ttft is not None
        and lag > limits.dispatch_lag_gaps * gap
        and lag > limits.dispatch_lag_ttft * ttft
    ):
        yield (
            f"dispatch_lag: p99 {lag * 1e3:.1f} ms, against {gap * 1e3:.1f} ms between arrivals "
            f"and a TTFT of {ttft * 1e3:.1f} ms: the load was not the one planned"
        )


def _machine(seen: Evidence, limits: Thresholds) -> Iterator[str]:
    if seen.cpu_share is not None and seen.cpu_share > limits.cpu_share:
        yield f"cpu: the event loop used {seen.cpu_share:.0%} of a processor"
    if seen.steal_share is not None and seen.steal_share > limits.steal_share:
        yield f"steal: the hypervisor took {seen.steal_share:.1%} of the processors' time"
    if seen.run_delay_share is not None and seen.run_delay_share > limits.run_delay_share:
        yield (
            f"starved: the event loop waited {seen.run_delay_share:.0%} of the time for a "
            "processor; give it a machine of its own, or one processor more"
        )
    if seen.throttled_share is not None and seen.throttled_share > limits.throttled_share:
        yield f"throttled: the control group was throttled {seen.throttled_share:.1%} of the time"
    if seen.collector_seconds > limits.collector_seconds:
        yield f"collector: the garbage collector paused for {seen.collector_seconds * 1e3:.0f} ms"
    if seen.clock_steps:
        yield f"clock_steps: the wall clock stepped {seen.clock_steps} time(s)"
