"""What several processes measured, put together: counts are added up, percentiles never."""

import pickle
from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from benchcore.metrics.percentiles import QUANTILES, Histogram
from benchcore.metrics.throughput import Second
from benchcore.metrics.validity import Evidence, Thresholds, judge, judge_together

VALUES = st.lists(st.integers(1, 10**13), max_size=40)


def histogram(values):
    made = Histogram()
    made.add(np.array(values, dtype=np.int64))
    return made


def known(made):
    return made.__getstate__(), len(made)


@given(parts=st.lists(VALUES, min_size=1, max_size=5))
@settings(max_examples=60)
def test_merged_histograms_are_one_histogram_of_all(parts):
    merged = Histogram()
    for part in parts:
        merged.merge(pickle.loads(pickle.dumps(histogram(part))))
    whole = histogram([value for part in parts for value in part])
    assert known(merged) == known(whole)
    if len(whole):
        for quantile in QUANTILES.values():
            assert merged.percentile(quantile) == whole.percentile(quantile)
        assert merged.mean == whole.mean


@given(parts=st.lists(st.tuples(VALUES, VALUES, st.integers(0, 9)), min_size=1, max_size=4))
@settings(max_examples=60)
def test_a_second_of_several_workers_is_the_second_of_all_their_requests(parts):
    def second(ttfts, gaps, count):
        made = Second(
            sent=count, done=count + 1, failed=count + 2, tokens=count + 3, ttfts_ns=ttfts
        )
        made.gaps = histogram(gaps) if gaps else None
        return made

    merged = Second()
    for ttfts, gaps, count in parts:
        merged.add(second(list(ttfts), gaps, count))
    total, many = sum(count for _, _, count in parts), len(parts)
    whole = second(
        [value for ttfts, _, _ in parts for value in ttfts],
        [value for _, gaps, _ in parts for value in gaps],
        0,
    )
    whole.sent, whole.done, whole.failed, whole.tokens = (
        total,
        total + many,
        total + 2 * many,
        total + 3 * many,
    )
    assert merged.row(4, 2.5) == whole.row(4, 2.5)


QUIET = Evidence(
    reads_kernel=1000,
    token_reads=1000,
    median_gap_seconds=0.01,
    median_ttft_seconds=0.1,
    mean_arrival_gap_seconds=0.01,
    cpu_share=0.3,
    steal_share=0.0,
    ok=500,
    planned=500,
)


def test_counts_add_up_and_the_worst_share_stands():
    first = replace(QUIET, cpu_share=0.2, steal_share=None, merged_reads=2, clock_steps=1)
    second = replace(QUIET, cpu_share=0.7, steal_share=0.01, merged_reads=3, client_faults=4)
    both = first.beside(second)
    assert (both.cpu_share, both.steal_share) == (0.7, 0.01)
    assert (both.reads_kernel, both.merged_reads) == (2000, 5)
    assert (both.clock_steps, both.client_faults) == (1, 4)
    assert both.process_cpu_seconds is None
    assert (first.merged_reads, first.cpu_share) == (2, 0.2)


def test_a_level_is_as_valid_as_its_worst_worker_and_says_which():
    busy = replace(QUIET, cpu_share=0.97)
    whole = QUIET.beside(busy)
    whole.ok, whole.planned = 1000, 1000
    verdict, of_each = judge_together(whole, {1: QUIET, 2: busy}, {})
    assert verdict.verdict == "suspect"
    assert verdict.reasons == ["cpu: worker 2: the event loop used 97% of a processor"]
    assert of_each[1] == judge(QUIET)
    assert (of_each[2].verdict, of_each[2].reasons) == (
        "suspect",
        ["cpu: the event loop used 97% of a processor"],
    )


def test_what_only_all_requests_show_is_said_once():
    few = replace(QUIET, ok=5)
    whole = replace(few.beside(few), ok=10, little_error=0.4, counts_agree=False)
    verdict, of_each = judge_together(whole, {1: few, 2: few}, {})
    assert verdict.verdict == "invalid"
    assert [reason.partition(":")[0] for reason in verdict.reasons] == [
        "counts",
        "little",
        "samples",
    ]
    assert {one.verdict for one in of_each.values()} == {"valid"}


def test_a_worker_that_died_makes_a_level_invalid():
    verdict, of_each = judge_together(QUIET, {1: QUIET}, {2: "it died (killed by SIGKILL)"})
    assert verdict.verdict == "invalid"
    assert verdict.reasons == ["worker: worker 2: it died (killed by SIGKILL)"]
    assert of_each[2].reasons == ["worker: it died (killed by SIGKILL)"]


def test_thresholds_of_ones_own_hold_for_workers_too():
    limits = Thresholds(cpu_share=0.25)
    verdict, _ = judge_together(QUIET, {1: QUIET}, {}, limits)
    assert verdict.reasons == ["cpu: worker 1: the event loop used 30% of a processor"]
