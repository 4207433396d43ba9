"""Traces of agents: fan-out and join, as Weka's JSON and OpenTelemetry's spans have them.

The fixtures are ours, written from the published descriptions:

- Weka: docs/trace_replay_tester.md of `callanjfox/kv-cache-tester`;
- OpenTelemetry: semantic conventions for generative AI spans, and the OTLP specification.
"""

import asyncio
import itertools
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchcore.base.clock import FakeClock
from benchcore.base.errors import ConfigError
from benchcore.client.records import Outcome, Record
from benchcore.load.session_run import SessionRun
from benchcore.recording.trace import Row as Recorded
from benchcore.recording.trace import Trace as Recording
from benchcore.workload.agent_traces import Weka
from benchcore.workload.reuse import PrefixReuse
from benchcore.workload.sessions import LiveSession
from benchcore.workload.spans import Otel
from tests.workload.test_traces import KINDS, MS, alone, shape, shapes

# Weka.


def weka(tmp_path, *conversations, name="t.jsonl", **fields):
    path = tmp_path / name
    usual = {"id": "t", "block_size": 64, "hash_id_scope": "local"}
    path.write_text("".join(json.dumps({**usual, **one}) + "\n" for one in conversations))
    return Weka(path=str(path), **fields)


def request(at, tokens=10, output=1, **more):
    return {"t": at, "type": "n", "in": tokens, "out": output, **more}


def subagent(at, *requests, **more):
    return {"t": at, "type": "subagent", "requests": list(requests), **more}


def test_weka_has_subagents_beside_one_another_and_a_request_that_waits_for_all():
    first, second = shapes(KINDS["weka"]())
    assert first == (
        0,
        [
            ((), 0, 0, 200, 20, "main"),
            # Both began at 10 s, when the one before had ended for 6 s.
            ((0,), 6000, 0, 130, 10, "Explore"),
            ((1,), 5000, 0, 192, 12, "Explore"),
            ((0,), 6000, 0, 131, 7, "Plan"),
            # Its think time of 38 s ran beside the subagents; the last of them ended 2 s before.
            ((0, 2, 3), 2000, 0, 260, 30, "main"),
            # The one between had no output.
            ((4,), 12_000, 0, 300, 15, "main"),
        ],
    )
    # Without think times each is due at its own time, after the one before.
    assert second == (0, [((), 0, 0, 140, 5, "main"), ((0,), 0, 20_000, 150, 6, "main")])


def test_weka_s_fan_out_and_join_on_a_clock_are_at_their_exact_times():
    session = next(KINDS["weka"]().sessions())
    lasts_ms = [1000, 500, 700, 3000, 50, 60]
    clock = FakeClock()
    sent, ends = {}, []

    def emit(_live, place, scheduled_ns, ended):
        sent[place] = (scheduled_ns / MS, clock.now_ns() / MS)
        done_ns = clock.now_ns() + lasts_ms[place] * MS
        record = Record("x", scheduled_ns=scheduled_ns, outcome=Outcome.OK, done_ns=done_ns)
        clock.call_at(done_ns, lambda: ended(record))

    SessionRun(LiveSession(session), clock, emit, clock.now_ns(), ends.append).start()
    clock.advance(100_000 * MS)
    due = {0: 0, 1: 7000, 2: 12_500, 3: 7000, 4: 15_200, 5: 27_250}
    assert sent == {place: (at, at) for place, at in due.items()}
    assert (ends[0].turns, ends[0].done_ns) == (6, 27_310 * MS)


def test_weka_s_blocks_are_of_a_conversation_of_all_or_of_each_subagent(tmp_path):
    inner = subagent(1, request(1, 130, hash_ids=[1, 2]))
    requests = [request(0, 130, hash_ids=[1, 2]), inner, request(9, 130, hash_ids=[1, 2])]

    def blocks(scope):
        both = [{"id": name, "hash_id_scope": scope, "requests": requests} for name in ("x", "y")]
        found = weka(tmp_path, *both).sessions()
        return [[turn.ask.blocks for turn in session.turns] for session in found]

    assert blocks("global") == [[(1, 2)] * 3] * 2
    assert blocks("local") == [[("x/1", "x/2")] * 3, [("y/1", "y/2")] * 3]
    assert (
        blocks("per_context")
        == blocks(None)
        == [
            [("x/1", "x/2"), ("x/1/1", "x/1/2"), ("x/1", "x/2")],
            [("y/1", "y/2"), ("y/1/1", "y/1/2"), ("y/1", "y/2")],
        ]
    )


def test_a_subagent_begins_at_its_time_where_its_duration_does_not_fit_before_it(tmp_path):
    def first_wait(api_time=4, **more):
        kind = weka(
            tmp_path,
            {
                "requests": [
                    request(0, api_time=api_time),
                    subagent(10, request(0), **more),
                    request(90, think_time=86),
                ]
            },
        )
        ((_, turns),) = shapes(kind)
        return turns[1][1], turns[2][:2]

    assert first_wait() == (6000, ((0, 1), 0)), "its end is unknown: as long as it took itself"
    assert first_wait(duration_ms=5000) == (1000, ((0, 1), 80_000))
    assert first_wait(duration_ms=20_000) == (6000, ((0, 1), 60_000))
    # When the one before ended is known by the think time of the one behind.
    assert first_wait(None, duration_ms=5000)[1] == ((0, 1), 80_000)


@pytest.mark.parametrize("absolute", [True, False])
def test_times_in_a_subagent_count_from_it_or_from_the_conversation(tmp_path, absolute):
    shift = 30 if absolute else 0
    requests = [
        request(0),
        subagent(30, request(shift + 0), request(shift + 4), subagent_type="Plan"),
    ]
    ((_, turns),) = shapes(weka(tmp_path, {"requests": requests}))
    # Without `api_time` it is not known when a request ended: each is due at its own time.
    assert [(turn[0], turn[2], turn[5]) for turn in turns] == [
        ((), 0, "main"),
        ((0,), 30_000, "Plan"),
        ((1,), 34_000, "Plan"),
    ]


def test_a_subagent_in_a_subagent_is_waited_for_by_what_comes_after_both(tmp_path):
    requests = [
        request(0, 11, think_time=0),
        subagent(1, request(0, 12), subagent(1, request(0, 13), subagent_type="inner")),
        subagent(1, subagent_type="empty"),
        subagent(1, request(0, 99, output=0), subagent_type="unanswered"),
        request(9, 14),
        subagent(10, request(0, 15)),
    ]
    ((_, turns),) = shapes(weka(tmp_path, {"requests": requests}))
    assert [(turn[0], turn[3], turn[5]) for turn in turns] == [
        ((), 11, "main"),
        ((0,), 12, "subagent"),
        ((1,), 13, "inner"),
        ((0, 1, 2), 14, "main"),
        ((3,), 15, "subagent"),
    ]


def test_a_conversation_may_begin_with_a_subagent(tmp_path):
    requests = [subagent(2, request(0, 11)), request(5, 12)]
    ((at, turns),) = shapes(weka(tmp_path, {"requests": requests}))
    assert at == 0
    assert [(turn[0], turn[2], turn[3]) for turn in turns] == [((), 0, 11), ((0,), 3000, 12)]


STARTS = [{"start": start, "requests": [request(0), request(5)]} for start in (0, 10, 20)]


def test_weka_s_conversations_begin_at_their_start_and_lie_in_a_window(tmp_path):
    assert [at for at, _ in shapes(weka(tmp_path, *STARTS))] == [0, 10_000, 20_000]
    found = shapes(weka(tmp_path, *STARTS, start=12, stop=25, warm=True))
    assert [(at, [turn[2] for turn in turns], turns[0][5]) for at, turns in found] == [
        (None, [0], "main"),
        (3000, [0], "main"),
        (8000, [0], "main"),
    ]
    assert [at for at, _ in shapes(weka(tmp_path, *STARTS, limit=1))] == [0]
    with pytest.raises(ConfigError, match=r"t.jsonl:3: its time, 0, lies before"):
        shapes(weka(tmp_path, *STARTS[1:], STARTS[0]))
    kind = weka(tmp_path, *STARTS[1:], STARTS[0], sort=True)
    assert [at for at, _ in shapes(kind)] == [0, 10_000, 20_000]


def test_requests_without_blocks_have_texts_of_their_own(tmp_path):
    kind = weka(tmp_path, {"requests": [request(0, 50), request(1, 50)]})
    (session,) = kind.sessions()
    assert len({kind.made(turn.ask).text for turn in session.turns}) == 2


def test_weka_is_read_as_it_is_replayed(tmp_path):
    found = weka(tmp_path, *STARTS, {"requests": 7}).sessions()
    assert [session.at_ns for session in itertools.islice(found, 3)] == [0, 10**10, 2 * 10**10]
    with pytest.raises(ConfigError, match=r"t.jsonl:4: requests is not a list"):
        next(found)


def test_a_folder_is_its_files_by_name_and_must_hold_some(tmp_path):
    weka(tmp_path, {"id": "b", "requests": [request(0, 12)]}, name="b.jsonl")
    weka(tmp_path, {"id": "a", "requests": [request(0, 11)]}, name="a.json")
    (tmp_path / "README.md").write_text("nothing to replay")
    assert shapes(Weka(path=str(tmp_path))) == [alone(0, 11, 1, "main"), alone(0, 12, 1, "main")]
    weka(tmp_path, {"requests": []}, {"requests": [request("x")]}, name="b.jsonl")
    with pytest.raises(ConfigError) as caught:
        shapes(Weka(path=str(tmp_path)))
    assert str(caught.value).startswith(f"{tmp_path / 'b.jsonl'}:2: requests[0]: t 'x' is not a")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"holds no \.json or \.jsonl files"):
        shapes(Weka(path=str(tmp_path / "empty")))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"block_size": None}, "has no block_size"),
        ({"block_size": 0}, "block_size 0 is not 1 to 10000000"),
        ({"hash_id_scope": "some"}, "hash_id_scope 'some' is not local, global, per_context"),
        ({"requests": None}, "has no requests"),
        ({"requests": [7]}, "requests[0] is not an object"),
        ({"requests": [request(0), {"t": 1, "type": "x"}]}, "requests[1]: type 'x' is not s, n"),
        ({"requests": [request(0, 0)]}, "requests[0]: in 0 is not 1 to 10000000"),
        ({"requests": [request(0, None)]}, "requests[0]: has no in"),
        ({"requests": [request(None)]}, "requests[0]: has no t"),
        ({"requests": [request(0, think_time=-1)]}, "requests[0]: think_time -1 is less than 0"),
        ({"requests": [request(0, api_time="x")]}, "requests[0]: api_time 'x' is not a number"),
        ({"requests": [request(0, hash_ids="x")]}, "requests[0]: hash_ids is not a list of num"),
        ({"requests": [subagent(0, 7)]}, "requests[0].requests[0] is not an object"),
        ({"requests": [subagent(None, request(0))]}, "requests[0]: has no t"),
        ({"requests": [{"t": 0, "type": "subagent"}]}, "requests[0]: has no requests"),
        (
            {"requests": [request(0), subagent(0, request(0), request(1, 0))]},
            "requests[1].requests[1]: in 0 is not 1 to 10000000",
        ),
        ({"id": []}, "id is neither a whole number nor a text"),
        ({"start": "x", "requests": []}, "start 'x' is not a number"),
    ],
)
def test_a_conversation_that_cannot_be_used_says_which_request(tmp_path, change, told):
    conversations = [{"requests": [request(0, 11)]}, {"requests": [request(0)], **change}]
    kind = weka(tmp_path, *conversations)
    with pytest.raises(ConfigError) as caught:
        shapes(kind)
    assert str(caught.value).startswith(f"{kind.path}:2: {told}")
    kind = weka(tmp_path, *conversations, drop_bad=True)
    assert shapes(kind) == [alone(0, 11, 1, "main")]
    assert kind.facts()["dropped"] == 1


def test_what_was_recorded_as_weka_is_replayed_as_it_went(tmp_path):
    rows = [
        Recorded(1000 * MS, 1400 * MS, 100, 5, [1, 2], 1, 1, None, "m"),
        Recorded(1200 * MS, 1300 * MS, 70, 4, [1, 9], 2, 1, None, "m"),
        Recorded(1900 * MS, 2000 * MS, 130, 6, [1, 3, 4], 1, 2, 500 * MS, "m"),
    ]
    path = tmp_path / "t.json"
    recording = Recording(path, "weka")
    recording._whole.extend(rows)
    asyncio.run(recording.finish())
    kind = Weka(path=str(path))
    assert shapes(kind) == [
        (0, [((), 0, 0, 100, 5, "main"), ((0,), 500, 0, 130, 6, "main")]),
        alone(200, 70, 4, "main"),
    ]
    reuse = PrefixReuse()
    for session in kind.sessions():
        reuse.add(session)
    assert (reuse.tokens, reuse.hits) == (300, 64 + 64)


# OpenTelemetry.


def test_spans_wait_for_those_that_had_ended_where_their_branches_part():
    first, second = shapes(KINDS["otel"]())
    assert first == (
        0,
        [
            ((), 0, 0, 100, 10, "large"),
            ((0,), 2000, 0, 50, 5, "small"),
            ((0,), 3000, 0, 60, 6, "small"),
            ((1,), 2000, 0, 55, 4, "small"),
            ((2,), 2000, 0, 70, 7, "small"),
            ((3, 4), 3000, 0, 180, 20, "large"),
        ],
    )
    # One conversation in two traces; the failed call and the embedding are left out.
    assert second == (1500, [((), 0, 0, 40, 8, "large"), ((0,), 3000, 0, 64, 9, "large")])


def attribute(key, value):
    kind = "intValue" if isinstance(value, int) else "stringValue"
    return {"key": f"gen_ai.{key}", "value": {kind: str(value)}}


def span(name, begin, end, parent="", tokens=None, **more):
    facts = {} if tokens is None else {"usage.input_tokens": tokens, "usage.output_tokens": 1}
    return {
        "traceId": "t",
        "spanId": name,
        "parentSpanId": parent,
        "name": f"span {name}",
        "startTimeUnixNano": str(begin),
        "endTimeUnixNano": str(end),
        "attributes": [attribute(*one) for one in facts.items()],
        **more,
    }


def otel(tmp_path, *spans, name="t.jsonl", **fields):
    path = tmp_path / name
    path.write_text(json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": list(spans)}]}]}))
    return Otel(path=str(path), **fields)


def test_the_inner_of_two_spans_of_one_call_counts(tmp_path):
    kind = otel(tmp_path, span("a", 0, 10 * MS, tokens=99), span("b", MS, 9 * MS, "a", tokens=50))
    assert shapes(kind) == [alone(0, 50, 1)]


@pytest.mark.parametrize(
    ("name", "indent"), [("t.jsonl", None), ("t.json", None), ("t.json", 1), ("t", None), ("t", 1)]
)
def test_an_export_may_be_one_value(tmp_path, name, indent):
    path = tmp_path / name
    kind = otel(tmp_path, span("a", 0, MS, tokens=50), name=name)
    value = json.loads(path.read_text())
    path.write_text(json.dumps(value, indent=indent))
    assert shapes(kind) == [alone(0, 50, 1)]
    path.write_text(json.dumps({**value, "more": 1}, indent=indent))
    assert shapes(kind) == [alone(0, 50, 1)]


def test_spans_are_cut_to_a_window(tmp_path):
    second = 1000 * MS
    spans = [
        span("a", 0, second, tokens=11),
        span("b", 2 * second, 3 * second, tokens=12),
        span("c", 4 * second, 5 * second, tokens=13),
        span("d", 9 * second, 10 * second, tokens=14),
    ]
    assert shapes(otel(tmp_path, *spans[::-1], start=1.5, stop=6, warm=True)) == [
        (None, [((), 0, 0, 11, 1, "")]),
        (500, [((), 0, 0, 12, 1, ""), ((0,), 1000, 0, 13, 1, "")]),
    ]


def test_spans_in_a_circle_are_read_all_the_same(tmp_path):
    spans = [span("a", 0, 9, "b"), span("b", 0, 9, "a"), span("c", 1, 2, "a", tokens=5)]
    assert shapes(otel(tmp_path, *spans)) == [alone(0, 5, 1)]


def test_a_deep_tree_of_spans_is_no_recursion(tmp_path):
    spans = [span(str(n), n, 20_000 - n, str(n - 1) if n else "") for n in range(5000)]
    spans.append(span("call", 6000, 6001, "4999", tokens=5))
    assert shapes(otel(tmp_path, *spans)) == [alone(0, 5, 1)]


CALL = span("b", 0, MS, tokens=5)


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        ({**CALL, "startTimeUnixNano": None}, "span 'span b': has no startTimeUnixNano"),
        ({**CALL, "endTimeUnixNano": "soon"}, "span 'span b': endTimeUnixNano 'soon' is no numb"),
        ({**CALL, "startTimeUnixNano": -1}, "span 'span b': startTimeUnixNano '-1' is no number"),
        ({**CALL, "spanId": ""}, "span 'span b': has no spanId"),
        ({**CALL, "traceId": [1]}, "span 'span b': traceId is neither a whole number nor a text"),
        ({**CALL, "attributes": 7}, "span 'span b': attributes is not a list of objects"),
        (
            {**CALL, "attributes": [attribute("operation.name", "chat")]},
            "span 'span b': has no gen_ai.usage.output_tokens",
        ),
        (
            {
                **CALL,
                "attributes": [
                    attribute("usage.output_tokens", 4),
                    attribute("usage.input_tokens", 0),
                ],
            },
            "span 'span b': gen_ai.usage.input_tokens 0 is not 1 to 10000000",
        ),
        (7, "spans is not a list of objects"),
    ],
)
def test_a_span_that_cannot_be_used_is_told_of_by_its_name(tmp_path, bad, told):
    kind = otel(tmp_path, span("a", 0, MS, tokens=11), bad)
    with pytest.raises(ConfigError) as caught:
        shapes(kind)
    assert str(caught.value).startswith(f"{kind.path}:1: {told}")
    kind = otel(tmp_path, span("a", 0, MS, tokens=11), bad, drop_bad=True)
    if bad == 7:
        with pytest.raises(ConfigError, match="holds no request; a request is a span with"):
            shapes(kind)
    else:
        assert shapes(kind) == [alone(0, 11, 1)]
    assert kind.facts()["dropped"] == 1


def test_a_file_of_other_objects_is_no_export(tmp_path):
    path = tmp_path / "t.jsonl"
    path.write_text('{"resourceLogs": []}\n')
    with pytest.raises(ConfigError, match=r"t.jsonl:1: has no resourceSpans"):
        shapes(Otel(path=str(path)))


TREES = st.lists(
    st.tuples(st.integers(-1, 11), st.integers(0, 40), st.integers(0, 15), st.booleans()),
    min_size=1,
    max_size=12,
)


def oracle(tree):
    """Return which requests come before which, slowly: by the two branches where they part."""
    calls = {
        n
        for n, node in enumerate(tree)
        if node[3] and not any(is_in(tree, m, n) for m, other in enumerate(tree) if other[3])
    }

    held = {n for n in range(len(tree)) if n in calls or any(is_in(tree, m, n) for m in calls)}

    def extent(node):
        inside = [tree[n] for n in held if n == node or is_in(tree, n, node)]
        return (
            min(begin for _, begin, _, _ in inside),
            max(max(begin + lasts, begin + 1) for _, begin, lasts, _ in inside),
        )

    def path(node):
        found = [node]
        while tree[found[-1]][0] >= 0:
            found.append(tree[found[-1]][0])
        return found[::-1]

    before = set()
    for one, other in itertools.permutations(calls, 2):
        parting = next((a, b) for a, b in zip(path(one), path(other), strict=False) if a != b)
        if extent(parting[0])[1] <= extent(parting[1])[0]:
            before.add((one, other))
    return calls, before


def is_in(tree, node, outer):
    while tree[node][0] >= 0:
        node = tree[node][0]
        if node == outer:
            return True
    return False


@settings(max_examples=settings().max_examples * 2)
@given(TREES)
def test_spans_wait_for_all_that_an_oracle_has_before_them(tmp_path_factory, tree):
    tree = [(min(node[0], n - 1), *node[1:]) for n, node in enumerate(tree)]
    spans = [
        span(
            str(n),
            begin,
            begin + lasts,
            "" if parent < 0 else str(parent),
            tokens=n + 1 if is_call else None,
        )
        for n, (parent, begin, lasts, is_call) in enumerate(tree)
    ]
    calls, before = oracle(tree)
    kind = otel(tmp_path_factory.mktemp("otel"), *spans)
    if not calls:
        with pytest.raises(ConfigError, match="holds no request"):
            shapes(kind)
        return
    (session,) = kind.sessions()
    names = [turn.ask.input_tokens - 1 for turn in session.turns]
    assert sorted(names) == sorted(calls)
    found = {
        (names[other], names[place])
        for place in range(len(names))
        for other in session.ancestors(place)
    }
    assert found == before
    for place, turn in enumerate(session.turns):
        begin = tree[names[place]][1]
        ends = [
            max(tree[names[other]][1] + tree[names[other]][2], tree[names[other]][1] + 1)
            for other in turn.after
        ]
        assert turn.wait_ns == (begin - max(ends) if ends else 0)
        # None that it waits for comes before another that it waits for.
        assert not any((names[a], names[b]) in before for a in turn.after for b in turn.after)
        if not ends:
            assert turn.at_ns == begin - min(tree[name][1] for name in names)
        assert shape(turn)[3] == names[place] + 1
