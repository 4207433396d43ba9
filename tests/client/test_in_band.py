"""What a server says of a request in its own answer is written into its record."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchcore.client.events import READERS
from benchcore.client.in_band import read_bodies, server_timings, with_headers
from benchcore.client.records import InBand, Outcome, Record
from benchcore.client.request import Prompt

VLLM = {
    "time_to_first_token_ms": 120.5,
    "generation_time_ms": 800.0,
    "queue_time_ms": 31.25,
    "mean_itl_ms": 4.0,
    "tokens_per_second": 210.0,
    "speculative_decoding": {
        "mean_acceptance_length": 2.5,
        "draft_acceptance_rate": 0.5,
        "acceptance_histogram": [10, 20, 10],
        "num_spec_steps": 40,
        "num_accepted_draft_tokens": 60,
        "num_draft_tokens": 120,
        "num_spec_tokens": 3,
    },
}
OF_VLLM = InBand(
    source="vllm",
    queue_seconds=0.03125,
    prefill_seconds=0.1205,
    decode_seconds=0.8,
    draft_tokens=120,
    accepted_tokens=60,
)
LLAMA_CPP = {
    "cache_n": 12,
    "prompt_n": 4,
    "prompt_ms": 31.5,
    "prompt_per_token_ms": 7.875,
    "prompt_per_second": 126.98,
    "predicted_n": 2,
    "predicted_ms": 20.0,
    "predicted_per_token_ms": 10.0,
    "predicted_per_second": 100.0,
}
OF_LLAMA_CPP = InBand(
    source="llama.cpp", prefill_seconds=0.0315, decode_seconds=0.02, cached_tokens=12
)
SGLANG = {"queue_time": 0.002, "e2e_latency": 0.25, "cached_tokens": 3, "spec_verify_ct": 0}
OF_SGLANG = InBand(source="sglang", queue_seconds=0.002, e2e_seconds=0.25, cached_tokens=3)
USAGE = {"prompt_tokens": 16, "completion_tokens": 2}


def whole(**beside):
    message = {"role": "assistant", "content": "ab"}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return {"choices": [choice], "usage": USAGE, **beside}


def ends(wire):
    """The ends of a stream, as servers write them, and what they say."""
    stop = wire.delta("stop")
    return {
        "vllm": ((stop, wire.event({"choices": [], "usage": USAGE, "metrics": VLLM})), OF_VLLM),
        "llama.cpp": (
            (stop, wire.event({"choices": [], "usage": USAGE, "timings": LLAMA_CPP})),
            OF_LLAMA_CPP,
        ),
        "llama.cpp without usage": (
            (
                wire.event(
                    {
                        "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}],
                        "timings": LLAMA_CPP,
                    }
                ),
            ),
            OF_LLAMA_CPP,
        ),
        "nobody": ((stop, wire.usage(16, 2)), None),
    }


@pytest.mark.parametrize("who", ["vllm", "llama.cpp", "llama.cpp without usage", "nobody"])
async def test_the_end_of_a_stream_says_it(serve, answer, connect, post, wire, who):
    end, expected = ends(wire)[who]
    head = (wire.delta(role="assistant", content=""), wire.delta(content="a"))
    server = serve(answer(wire.stream(*head, wire.delta(content="b"), *end, wire.DONE)))
    record = await post(await connect(server.url))
    assert record.outcome is Outcome.OK
    assert record.in_band == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (whole(metrics=VLLM), OF_VLLM),
        (whole(timings=LLAMA_CPP), OF_LLAMA_CPP),
        (whole(choices=[{**whole()["choices"][0], "meta_info": SGLANG}]), OF_SGLANG),
        (whole(), None),
    ],
    ids=["vllm", "llama.cpp", "sglang", "nobody"],
)
async def test_a_whole_body_says_it(serve, answer, connect, wire, body, expected):
    server = serve(answer(wire.plain(body)))
    client = await connect(server.url, stream=False)
    record = await client.send(client.prepare(Prompt("hi")))
    assert record.outcome is Outcome.OK
    assert record.in_band == expected


def test_the_end_of_a_response_says_it():
    record = Record("1")
    reader = READERS["responses"](record, keep_text=False)
    reader.event(b'{"type": "response.output_text.delta", "delta": "a"}', b"")
    reader.commit(1)
    reader.event(
        b'{"type": "response.completed", "response": {"status": "completed", '
        b'"metrics": {"queue_time_ms": 2}}}',
        b"",
    )
    reader.close()
    assert record.in_band == InBand(source="vllm", queue_seconds=0.002)


async def test_headers_say_it_where_the_body_does_not(serve, answer, connect, wire):
    headers = (
        'Server-Timing: queue;dur=1.2, prefill;dur="3";desc="a, \\"b\\";dur=9"',
        "server-timing: total;desc=all;dur=50, unknown;dur=4, edge",
        "X-Envoy-Upstream-Service-Time: 48",
    )
    server = serve(answer(wire.plain(whole(metrics={"queue_time_ms": 1.0}), "200 OK", *headers)))
    client = await connect(server.url, stream=False)
    record = await client.send(client.prepare(Prompt("hi")))
    assert record.in_band == InBand(
        source="vllm+server-timing+envoy",
        queue_seconds=0.001,
        prefill_seconds=0.003,
        e2e_seconds=pytest.approx(0.05),
        upstream_seconds=0.048,
    )


async def test_the_headers_of_a_stream_and_of_a_refusal_count_too(
    serve, answer, connect, post, wire
):
    told = wire.good().replace(b"\r\n\r\n", b"\r\nserver-timing: ttft;dur=7\r\n\r\n", 1)
    server = serve(answer(told), answer(told))
    record = await post(await connect(server.url))
    assert record.in_band == InBand(source="server-timing", ttft_seconds=0.007)
    header = "x-envoy-upstream-service-time: 3"
    refusing = serve(answer(wire.plain({"error": "no"}, "503 Unavailable", header)))
    record = await post(await connect(refusing.url))
    assert record.outcome is Outcome.HTTP_ERROR
    assert record.in_band == InBand(source="envoy", upstream_seconds=0.003)


@pytest.mark.parametrize(
    "value", [None, "12", -1, True, math.nan, math.inf, 1e300, [], {}], ids=repr
)
def test_what_is_no_number_that_can_be_is_unknown(value):
    assert read_bodies({"metrics": {"queue_time_ms": value}}) is None
    said = {"speculative_decoding": {"num_draft_tokens": value}, "queue_time_ms": 2}
    assert read_bodies({"metrics": said}) == InBand(source="vllm", queue_seconds=0.002)


@pytest.mark.parametrize("metrics", [None, [], "fast", {"speculative_decoding": "no"}], ids=repr)
def test_an_object_of_another_shape_says_nothing(metrics):
    assert read_bodies({"metrics": metrics}) is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("", []),
        ("miss", []),
        ("queue;dur=1", [("queue", 0.001)]),
        ("a;DUR = 2 , b ; x=y;dur=3", [("a", 0.002), ("b", 0.003)]),
        ('a;desc="x, y;dur=1";dur=2', [("a", 0.002)]),
        ("a;dur=1;dur=2", [("a", 0.001)]),
        ("a;dur=-1, b;dur=x, c;dur=nan, d;dur=1_0, e;dur=, f;dur=4", [("f", 0.004)]),
        ("=;;, a;dur=1", [("a", 0.001)]),
        ('a;desc="open, b;dur=1', []),
    ],
)
def test_a_server_timing_is_read_by_its_grammar(value, expected):
    assert list(server_timings(value)) == [
        (name, pytest.approx(seconds)) for name, seconds in expected
    ]


@given(st.text(alphabet='abq=;,"\\ .1e-\x00\xe9', max_size=60))
def test_no_server_timing_ends_in_anything_but_finite_seconds(value):
    for name, seconds in server_timings(value):
        assert name
        assert 0 <= seconds < math.inf


@given(
    st.lists(
        st.tuples(st.from_regex(r"[a-z]+", fullmatch=True), st.floats(0, 1e6), st.text('", ;=a')),
        max_size=5,
    )
)
def test_what_is_written_by_the_grammar_is_read_back(metrics):
    def quoted(text):
        return '"' + text.replace('"', '\\"') + '"'

    value = ",".join(f"{name};desc={quoted(text)};dur={dur!r}" for name, dur, text in metrics)
    assert list(server_timings(value)) == [(name, dur * 1e-3) for name, dur, _ in metrics]


def test_a_header_alone_that_says_nothing_known_is_nothing():
    assert with_headers(None, [(b"server-timing", b"cdn-cache;desc=HIT, edge;dur=1")]) is None
