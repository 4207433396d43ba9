from dataclasses import replace

import pytest

from benchcore.metrics.validity import Evidence, Thresholds, judge

GOOD = Evidence(
    reads_kernel=10_000,
    reads_userspace=10,
    token_reads=10_000,
    merged_reads=50,
    client_lag_p50_seconds=0.0001,
    client_lag_p99_seconds=0.001,
    client_lag_max_seconds=0.004,
    median_gap_seconds=0.010,
    median_ttft_seconds=0.050,
    dispatch_lag_p99_seconds=0.001,
    mean_arrival_gap_seconds=0.002,
    cpu_share=0.5,
    steal_share=0.01,
    run_delay_share=0.1,
    throttled_share=0.0,
    collector_seconds=0.001,
    little_error=0.01,
    planned=500,
    ok=500,
)


def reasons(**changes):
    found = judge(replace(GOOD, **changes))
    return found.verdict, [reason.partition(":")[0] for reason in found.reasons]


def test_a_load_generator_that_keeps_up_is_valid():
    assert reasons() == ("valid", [])
    assert judge(GOOD).reasons == []


MERGED = {"merged_reads": 101, "client_lag_p99_seconds": 0.0051}
USERSPACE = {"reads_kernel": 0, "reads_userspace": 10_000, "stamps_wanted": False}


@pytest.mark.parametrize(
    ("changes", "verdict", "reason"),
    [
        ({"counts_agree": False}, "invalid", "counts"),
        ({"unsent": 6}, "invalid", "schedule"),
        ({"little_error": 0.201}, "invalid", "little"),
        ({"little_error": 0.051}, "suspect", "little"),
        (MERGED, "suspect", "merged_reads"),
        # Few reads merged, but among them those of the first tokens.
        (MERGED | {"merged_reads": 50, "merged_first": 6}, "suspect", "merged_reads"),
        ({"reads_userspace": 102}, "suspect", "stamps"),
        (USERSPACE | {"client_lag_p99_seconds": 0.0021}, "suspect", "client_lag"),
        (
            USERSPACE | {"median_gap_seconds": None, "client_lag_p99_seconds": 0.0051},
            "suspect",
            "client_lag",
        ),
        (
            USERSPACE | {"median_gap_seconds": 1.0, "client_lag_p99_seconds": 0.0051},
            "suspect",
            "client_lag",
        ),
        ({"dispatch_lag_p99_seconds": 0.0051}, "suspect", "dispatch_lag"),
        ({"cpu_share": 0.901}, "suspect", "cpu"),
        ({"steal_share": 0.051}, "suspect", "steal"),
        ({"run_delay_share": 0.251}, "suspect", "starved"),
        # So much merged that no gap is left to compare with.
        (MERGED | {"median_gap_seconds": None}, "suspect", "merged_reads"),
        ({"throttled_share": 0.011}, "suspect", "throttled"),
        ({"collector_seconds": 0.0051}, "suspect", "collector"),
        ({"clock_steps": 1}, "suspect", "clock_steps"),
        ({"ok": 19}, "suspect", "samples"),
        ({"ok": 0, "planned": 0}, "suspect", "samples"),
        ({"ok": 19, "failed": 18}, "suspect", "samples"),
    ],
)
def test_each_reason_alone_makes_its_verdict(changes, verdict, reason):
    assert reasons(**changes) == (verdict, [reason])


@pytest.mark.parametrize(
    "changes",
    [
        {"unsent": 5},
        {"planned": 0, "unsent": 0},
        {"little_error": 0.05},
        {"little_error": None},
        # Many reads merged by a loop that was not late: the server sends so.
        {"merged_reads": 9000, "client_lag_p99_seconds": 0.005},
        {"merged_reads": 9000, "client_lag_p99_seconds": None},
        {"merged_reads": 9000, "median_gap_seconds": None},
        # A late loop that merged nothing cost nothing: the kernel stamps.
        {"merged_reads": 100, "client_lag_p99_seconds": 5.0},
        {"merged_reads": 50, "merged_first": 5, "client_lag_p99_seconds": 5.0},
        {"token_reads": 0, "merged_reads": 0, "client_lag_p99_seconds": 5.0},
        {"reads_kernel": 9900, "reads_userspace": 100},
        {"reads_kernel": 0, "reads_userspace": 0},
        # No kernel stamps where none were to be had.
        USERSPACE | {"client_lag_p99_seconds": 0.002},
        USERSPACE | {"median_gap_seconds": None, "client_lag_p99_seconds": 0.005},
        USERSPACE | {"median_gap_seconds": None, "median_ttft_seconds": None},
        USERSPACE | {"client_lag_p99_seconds": None},
        # Late against the arrivals but not against the TTFT, and the other way round.
        {"dispatch_lag_p99_seconds": 0.005},
        {"dispatch_lag_p99_seconds": 0.5, "mean_arrival_gap_seconds": 0.5},
        {"dispatch_lag_p99_seconds": 0.5, "mean_arrival_gap_seconds": None},
        {"dispatch_lag_p99_seconds": 0.5, "median_ttft_seconds": None},
        {"dispatch_lag_p99_seconds": None},
        {"cpu_share": 0.9},
        {"cpu_share": None},
        {"steal_share": 0.05},
        {"steal_share": None},
        {"run_delay_share": 0.25},
        {"run_delay_share": None},
        MERGED | {"median_gap_seconds": None, "client_lag_p99_seconds": 0.005},
        MERGED | {"median_gap_seconds": None, "median_ttft_seconds": None},
        {"throttled_share": 0.01},
        {"throttled_share": None},
        {"collector_seconds": 0.005},
        {"ok": 20},
    ],
)
def test_on_this_side_of_each_threshold_all_is_well(changes):
    assert reasons(**changes) == ("valid", [])


@pytest.mark.parametrize(("ok", "failed"), [(0, 500), (0, 1), (10, 10), (19, 481), (250, 250)])
def test_a_failing_server_is_not_an_invalid_run(ok, failed):
    assert reasons(ok=ok, failed=failed) == ("valid", [])


def test_what_makes_it_invalid_comes_first_and_decides():
    verdict, found = reasons(cpu_share=0.99, counts_agree=False, clock_steps=2, unsent=500)
    assert verdict == "invalid"
    assert found == ["counts", "schedule", "cpu", "clock_steps"]


def test_little_is_told_once():
    assert reasons(little_error=0.3)[1] == ["little"]


def test_a_loop_blocked_four_milliseconds_in_nine_is_valid():
    # 256 streams of 100 tokens a second: hardly a read merges and the lag is below half a gap.
    assert reasons(
        token_reads=1_000_000,
        merged_reads=900,
        client_lag_p50_seconds=0.0005,
        client_lag_p99_seconds=0.0041,
        client_lag_max_seconds=0.0046,
    ) == ("valid", [])


def test_a_loop_blocked_fifteen_milliseconds_at_a_time_is_suspect_for_merged_reads():
    assert reasons(
        token_reads=600_000,
        merged_reads=300_000,
        client_lag_p50_seconds=0.007,
        client_lag_p99_seconds=0.0149,
        client_lag_max_seconds=0.016,
    ) == ("suspect", ["merged_reads"])


def test_a_reason_says_what_was_seen():
    found = judge(replace(GOOD, **MERGED))
    assert found.reasons == [
        (
            "merged_reads: 1.0% of the reads held several tokens while the loop stalled "
            "(lag p99 5.1 ms, median gap 10.0 ms): TTFT and gaps are too coarse"
        )
    ]
    assert judge(replace(GOOD, unsent=50)).reasons == [
        "schedule: 50 of 500 planned requests never left"
    ]


def test_thresholds_are_in_one_place_and_can_be_others():
    strict = Thresholds(cpu_share=0.4, fewest_ok=1000)
    found = judge(GOOD, strict)
    assert [reason.partition(":")[0] for reason in found.reasons] == ["cpu", "samples"]


def test_streams_that_something_buffers_are_not_blamed_on_the_loop():
    merged = {"token_reads": 1000, "merged_reads": 900, "client_lag_p99_seconds": 0.009}
    assert reasons(**merged) == ("suspect", ["merged_reads"])
    assert reasons(**merged, buffered_pieces=5.0) == ("valid", [])
    # … nor where so much merged that there is no gap.
    assert reasons(**merged, buffered_pieces=1.0, median_gap_seconds=None) == ("valid", [])


def test_of_few_reads_the_median_lag_counts_and_not_a_single_read():
    few = {"token_reads": 130, "merged_reads": 10, "client_lag_p99_seconds": 0.009}
    assert reasons(**few, client_lag_p50_seconds=0.0001) == ("valid", [])
    assert reasons(**few, client_lag_p50_seconds=0.006) == ("suspect", ["merged_reads"])
    found = judge(replace(GOOD, **few, client_lag_p50_seconds=0.006))
    assert "(lag p50 6.0 ms, median gap 10.0 ms)" in found.reasons[0]
