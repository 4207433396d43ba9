from __future__ import annotations

import time
from itertools import pairwise


async def test_each_request_leaves_one_line_with_its_true_send_times(server):
    before = time.monotonic_ns()
    body = {"messages": [{"role": "user", "content": "say it"}], "max_tokens": 6}
    await server.post(
        "/v1/chat/completions",
        {**body, "ignore_eos": True, "stream": True},
        **{"x-request-id": "one"},
    )
    after = time.monotonic_ns()
    (account,) = server.accounts()
    assert account["request_id"] == "one"
    assert account["endpoint"] == "/v1/chat/completions"
    assert (account["status"], account["finish"]) == (200, "length")
    assert account["events"] == account["completion_tokens"] == 6
    assert account["prompt_tokens"] == 4
    assert (account["cached_tokens"], account["preemptions"]) == (0, 0)
    times = [account["received_ns"], account["first_write_ns"], *account["writes_ns"]]
    assert times == sorted(times)
    assert before < times[0]
    assert times[-1] < after


async def test_steps_are_paced_by_absolute_time(make_server):
    """Gaps may jitter with the loop, their mean may not: lateness does not add up."""
    server = await make_server({"decode_base_seconds": 0.005, "decode_per_sequence_seconds": 0})
    await server.stream(max_tokens=61)
    writes = server.accounts()[0]["writes_ns"]
    gaps = [after - before for before, after in pairwise(writes)]
    assert sorted(gaps)[30] > 4_500_000
    # 60 steps of 5 ms; a loop that slept 5 ms after each would be some 60 × 0.1 ms later.
    assert 299_000_000 < writes[-1] - writes[0] < 304_000_000


async def test_a_plain_answer_has_no_token_writes(server):
    await server.chat(max_tokens=4, ignore_eos=True)
    (account,) = server.accounts()
    assert account["writes_ns"] == []
    assert (account["events"], account["completion_tokens"]) == (0, 4)
    assert account["first_write_ns"] > account["received_ns"]


async def test_a_refused_request_is_accounted_for_too(server):
    await server.chat("status:503")
    await server.chat(model="nobody")
    assert [(one["status"], one["finish"]) for one in server.accounts()] == [
        (503, "http_error"),
        (404, "http_error"),
    ]
    assert [one["request_id"] for one in server.accounts()] == ["sim-1", "sim-2"]


async def test_the_same_seed_writes_the_same_events(make_server):
    options = {"include_usage": True}
    bodies = []
    for _ in range(2):
        server = await make_server(seed=5)
        stream = await server.stream(max_tokens=20, stream_options=options)
        bodies.append([{**chunk, "created": 0} for chunk in stream.chunks])
    assert bodies[0] == bodies[1]
    other = await make_server(seed=6)
    stream = await other.stream(max_tokens=20)
    assert stream.deltas() != [
        chunk["choices"][0]["delta"].get("content") for chunk in bodies[0][1:21]
    ]
