from array import array

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchcore.client.records import FAILED, Outcome
from benchcore.metrics.percentiles import HIGHEST_NS, LOWEST_NS, nearest_rank
from benchcore.metrics.throughput import Timeline

MS = 1_000_000
SECOND = 1_000 * MS
ZERO = 50 * SECOND


def closed(timeline, in_flight):
    """Close the next second and return its row."""
    number = timeline.closed
    return timeline.close().row(number, in_flight)


def growing(record, full):
    """The same request before anything of it has come."""
    one = record(scheduled=full.scheduled_ns, sent=full.sent_ns, outcome=None)
    one.done_ns = 0
    return one


def grow(one, full, upto):
    """Let arrivals up to `upto` come, as the client notes them."""
    one.stamps.extend(full.stamps[len(one.stamps) : upto])
    if full.events is not None and any(carried > 1 for carried in full.events[:upto]):
        one.events = full.events[:upto]
    if full.lanes is not None and len(set(full.lanes[:upto])) > 1:
        one.lanes, one.events = full.lanes[:upto], full.events[:upto]


def finish(one, full):
    grow(one, full, len(full.stamps))
    one.outcome, one.done_ns = full.outcome, full.done_ns
    one.first_token_ns, one.last_token_ns = full.first_token_ns, full.last_token_ns


@st.composite
def requests(draw):
    sent = ZERO + draw(st.integers(0, 3 * SECOND))
    at, stamps = sent + draw(st.integers(1, SECOND)), []
    for _ in range(draw(st.integers(0, 12))):
        stamps.append(at)
        at += draw(st.sampled_from([0, 500, 5 * MS, 300 * MS, 1100 * MS]))
    fields = {"stamps": stamps, "sent": sent, "done": at}
    kind = draw(st.sampled_from(["plain", "plain", "merged", "choices"]))
    if kind != "plain":
        fields["events"] = [draw(st.integers(1, 3)) for _ in stamps]
    if kind == "choices":
        fields["lanes"] = [draw(st.integers(0, 2)) for _ in stamps]
    fields["outcome"] = draw(
        st.sampled_from([Outcome.OK, Outcome.OK, Outcome.TIMEOUT, Outcome.CANCELLED])
    )
    return fields


def slow_rows(fulls, seconds):
    """One second after the other, from whole requests."""
    rows = []
    for number in range(seconds):
        begin, end = ZERO + number * SECOND, ZERO + (number + 1) * SECOND
        tokens, gaps, ttfts = 0, [], []
        for full in fulls:
            events = full.events or [1] * len(full.stamps)
            lanes = full.lanes or [0] * len(full.stamps)
            last = {}
            for stamp, carried, lane in zip(full.stamps, events, lanes, strict=True):
                if begin <= stamp < end:
                    tokens += carried
                    if lane in last:
                        gaps += [(stamp - last[lane]) // carried] * carried
                last[lane] = stamp
            if full.outcome is Outcome.OK and begin <= full.done_ns < end and full.stamps:
                ttfts.append(full.first_token_ns - full.sent_ns)
        rows.append(
            {
                "second": number,
                "sent": sum(begin <= full.sent_ns < end for full in fulls),
                "done": sum(
                    full.outcome is Outcome.OK and begin <= full.done_ns < end for full in fulls
                ),
                "failed": sum(
                    full.outcome in FAILED and begin <= full.done_ns < end for full in fulls
                ),
                "tokens": tokens,
                "ttfts": sorted(ttfts),
                "gaps": sorted(min(max(gap, LOWEST_NS), HIGHEST_NS) for gap in gaps),
            }
        )
    return rows


def assert_row(row, expected):
    for name in ("second", "sent", "done", "failed", "tokens"):
        assert getattr(row, name) == expected[name], name
    ttfts, gaps = expected["ttfts"], expected["gaps"]
    for name, quantile in (("p50", 0.5), ("p99", 0.99)):
        found = getattr(row, f"ttft_{name}_seconds")
        assert found == (nearest_rank(ttfts, quantile) / 1e9 if ttfts else None)
        found = getattr(row, f"itl_{name}_seconds")
        if gaps:
            exact = nearest_rank(gaps, quantile) / 1e9
            # Three digits, and no finer than 2^9 ns.
            assert exact <= found <= exact + max(exact / 1000, 512e-9)
        else:
            assert found is None


@pytest.mark.no_cover
@given(fields=st.lists(requests(), max_size=6), data=st.data())
@settings(max_examples=settings().max_examples // 3)
def test_any_order_of_visits_gives_the_rows_of_the_oracle(record, fields, data):
    fulls = [record(**one) for one in fields]
    timeline = Timeline(ZERO)
    on_their_way = [(growing(record, full), full) for full in fulls]
    while on_their_way:
        place = data.draw(st.integers(0, len(on_their_way) - 1))
        one, full = on_their_way[place]
        seen = len(one.stamps)
        step = data.draw(st.sampled_from(["grow", "grow", "visit", "fold", "end"]))
        if step == "end":
            finish(one, full)
            timeline.visit(one)  # too late: it is left to `ended`
            timeline.ended(one)
            timeline.visit(one)
            on_their_way.pop(place)
        elif step == "fold":
            timeline.fold(data.draw(st.integers(1, 5)))
        else:
            if step == "grow":
                grow(one, full, data.draw(st.integers(seen, len(full.stamps))))
            timeline.visit(one)
    while timeline.waiting:
        timeline.fold()
    seconds = 25
    rows = [closed(timeline, float(n)) for n in range(seconds)]
    for row, expected in zip(rows, slow_rows(fulls, seconds), strict=True):
        assert_row(row, expected)
    assert [row.in_flight for row in rows] == [float(n) for n in range(seconds)]
    assert not timeline._seen, "a request that has ended is forgotten"
    assert not timeline._seconds


@given(fields=st.lists(requests(), min_size=1, max_size=5), closings=st.lists(st.integers(0, 5)))
@settings(max_examples=60)
def test_what_comes_late_for_a_closed_second_is_counted_in_the_next(record, fields, closings):
    fulls = [record(**one) for one in fields]
    timeline = Timeline(ZERO)
    rows = []
    for full, closing in zip(fulls, [*closings, *[0] * len(fulls)], strict=False):
        rows += [closed(timeline, 0.0) for _ in range(closing)]
        timeline.ended(full)
        timeline.fold(1000)
    rows += [closed(timeline, 0.0) for _ in range(40)]
    assert sum(row.tokens for row in rows) == sum(full.token_events for full in fulls)
    assert sum(row.sent for row in rows) == len(fulls)
    assert sum(row.done + row.failed for row in rows) == sum(
        full.outcome is not Outcome.CANCELLED for full in fulls
    )
    assert not timeline._seconds


def test_a_request_is_counted_as_sent_in_its_second_however_late_it_is_visited(record):
    timeline = Timeline(ZERO)
    one = record(sent=ZERO + 500 * MS, outcome=None)
    timeline.visit(one)
    one.stamps = array("q", [ZERO + 1500 * MS, ZERO + 2500 * MS])
    timeline.visit(one)
    rows = [closed(timeline, 1.0) for _ in range(3)]
    assert [row.sent for row in rows] == [1, 0, 0]
    assert [row.tokens for row in rows] == [0, 1, 1]


def test_a_request_still_connecting_is_not_sent(record):
    timeline = Timeline(ZERO)
    one = record(sent=0, outcome=None)
    timeline.visit(one)
    one.sent_ns = ZERO + 1200 * MS
    timeline.visit(one)
    assert [closed(timeline, 1.0).sent for _ in range(2)] == [0, 1]


def test_a_drop_is_neither_sent_nor_done_nor_failed(record):
    timeline = Timeline(ZERO)
    timeline.ended(record(sent=0, done=ZERO + 5, outcome=Outcome.DROPPED))
    row = closed(timeline, 0.0)
    assert (row.sent, row.done, row.failed) == (0, 0, 0)


def test_a_stamp_from_before_the_start_counts_in_the_first_second(record):
    timeline = Timeline(ZERO)
    timeline.ended(record([ZERO - 5, ZERO + 5], sent=ZERO - 9, done=ZERO + 6))
    row = closed(timeline, 0.0)
    assert (row.sent, row.done, row.tokens) == (1, 1, 2)


def test_a_gap_belongs_to_the_second_of_its_later_arrival(record):
    timeline = Timeline(ZERO)
    timeline.ended(record([ZERO + 900 * MS, ZERO + 1100 * MS], done=ZERO + 1100 * MS))
    timeline.fold()
    rows = [closed(timeline, 0.0) for _ in range(2)]
    assert rows[0].itl_p50_seconds is None
    assert rows[1].itl_p50_seconds == pytest.approx(0.2, rel=1e-3)


def test_a_gap_folded_after_its_second_was_closed_is_not_lost(record):
    timeline = Timeline(ZERO)
    timeline.ended(record([ZERO + 100 * MS, ZERO + 200 * MS], done=ZERO + 200 * MS))
    assert timeline.waiting == 1
    assert closed(timeline, 0.0).itl_p50_seconds is None
    timeline.fold()
    assert timeline.waiting == 0
    assert closed(timeline, 0.0).itl_p50_seconds == pytest.approx(0.1, rel=1e-3)


def test_a_fold_takes_no_more_pieces_than_it_is_told(record):
    timeline = Timeline(ZERO)
    for n in range(30):
        timeline.ended(record([ZERO + n, ZERO + n + 5 * MS]))
    timeline.fold(24)
    assert timeline.waiting == 6
    timeline.fold(24)
    assert timeline.waiting == 0


def test_a_quiet_second_is_a_row_of_nothing():
    row = closed(Timeline(ZERO), 0.0)
    assert (row.sent, row.done, row.failed, row.tokens) == (0, 0, 0, 0)
    assert row.ttft_p50_seconds is row.itl_p99_seconds is None
