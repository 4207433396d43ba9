from __future__ import annotations

import asyncio
import json
import re
import ssl

import aiohttp
import pytest

from benchcore.sim import SimOptions
from benchcore.sim.app import start

CHAT = "/v1/chat/completions"
MESSAGES = [{"role": "user", "content": "say something"}]
SAY = {"messages": MESSAGES}
STRUCTURED = "structured_outputs"
BOGUS_TOOL = {"function": {"name": "find", "parameters": {"required": "what"}}}


def format_of(schema):
    form = {"name": "it", "strict": True, "schema": schema}
    return {"response_format": {"type": "json_schema", "json_schema": form}}


async def test_a_chat_stream_has_a_role_its_tokens_a_finish_usage_and_done(server):
    stream = await server.stream(stream_options={"include_usage": True}, max_tokens=5)
    assert stream.status == 200
    assert stream.headers["Content-Type"] == "text/event-stream; charset=utf-8"
    first, *tokens, finish, usage = stream.chunks
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert len(tokens) == 5
    assert all(chunk["choices"][0]["delta"]["content"] for chunk in tokens)
    assert finish["choices"] == [{"index": 0, "delta": {}, "finish_reason": "length"}]
    assert usage["choices"] == []
    assert usage["usage"]["completion_tokens"] == 5
    assert usage["usage"]["total_tokens"] == usage["usage"]["prompt_tokens"] + 5
    assert stream.done


async def test_a_plain_chat_answer_is_the_same_as_the_streamed_one(server):
    plain = (await server.chat(max_tokens=30)).json()
    stream = await server.stream(max_tokens=30, ignore_eos=False)
    assert plain["object"] == "chat.completion"
    assert plain["choices"][0]["message"]["content"] == "".join(stream.deltas())
    assert plain["choices"][0]["finish_reason"] == stream.chunks[-1]["choices"][0]["finish_reason"]
    assert plain["usage"]["completion_tokens"] == len(stream.deltas())


TIMES = {"time_to_first_token_ms", "generation_time_ms", "queue_time_ms", "mean_itl_ms"}


async def test_the_times_of_a_request_are_said_where_that_is_asked_for(make_server):
    server = await make_server({"request_metrics": True})
    asked = {"max_tokens": 5, "ignore_eos": True}
    final = (await server.stream(stream_options={"include_usage": True}, **asked)).chunks[-1]
    whole = (await server.chat(**asked)).json()
    completion = (await server.post("/v1/completions", {"prompt": "say", **asked})).json()
    response = await server.post("/v1/responses", {"input": "say", "max_output_tokens": 5})
    for answer in (final, whole, completion, response.json()):
        said = answer["metrics"]
        assert set(said) == {*TIMES, "tokens_per_second"}
        assert said["time_to_first_token_ms"] > 0
        assert said["queue_time_ms"] >= 0
    assert final["metrics"]["mean_itl_ms"] == pytest.approx(
        final["metrics"]["generation_time_ms"] / 4
    )
    # Those of several choices would be nobody's.
    assert "metrics" not in (await server.chat(n=2, **asked)).json()


async def test_nobody_is_told_times_unasked(server):
    stream = await server.stream(stream_options={"include_usage": True})
    assert not any("metrics" in chunk for chunk in stream.chunks)


async def test_usage_is_sent_only_when_asked_for(server):
    assert not any("usage" in chunk for chunk in (await server.stream()).chunks)


async def test_continuous_usage_counts_up_in_every_token_chunk(server):
    options = {"include_usage": True, "continuous_usage_stats": True}
    stream = await server.stream(max_tokens=4, stream_options=options)
    counts = [chunk["usage"]["completion_tokens"] for chunk in stream.chunks if "usage" in chunk]
    assert counts == [1, 2, 3, 4, 4]


async def test_several_choices_have_their_own_index_tokens_and_end(server):
    stream = await server.stream(n=3, max_tokens=6)
    answers = ["".join(stream.deltas(choice=choice)) for choice in range(3)]
    assert len(set(answers)) == 3
    assert [len(stream.deltas(choice=choice)) for choice in range(3)] == [6, 6, 6]
    plain = (await server.chat(n=3, max_tokens=6, ignore_eos=True)).json()
    assert [choice["message"]["content"] for choice in plain["choices"]] == answers


@pytest.mark.parametrize("key", ["reasoning_content", "reasoning"])
async def test_reasoning_is_streamed_first_under_the_configured_key(make_server, key):
    server = await make_server({"reasoning_tokens": 3, "reasoning_key": key})
    stream = await server.stream(max_tokens=5, stream_options={"include_usage": True})
    kinds = [next(iter(chunk["choices"][0]["delta"])) for chunk in stream.chunks[1:6]]
    assert kinds == [key, key, key, "content", "content"]
    details = stream.chunks[-1]["usage"]["completion_tokens_details"]
    assert details == {"reasoning_tokens": 3}
    plain = (await server.chat(max_tokens=5, ignore_eos=True)).json()
    assert plain["choices"][0]["message"][key] == "".join(stream.deltas(key))


async def test_a_tool_call_is_streamed_in_pieces(server):
    function = {"name": "find", "parameters": {"properties": {"what": {"type": "string"}}}}
    fields = {"tools": [{"type": "function", "function": function}], "tool_choice": "required"}
    stream = await server.stream(max_tokens=100, **fields)
    calls = [delta[0] for delta in stream.deltas("tool_calls")]
    assert calls[0]["id"].startswith("call_")
    assert calls[0]["function"]["name"] == "find"
    assert all("id" not in call for call in calls[1:])
    arguments = "".join(call["function"]["arguments"] for call in calls)
    assert list(json.loads(arguments)) == ["what"]
    assert stream.chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"
    message = (await server.chat(max_tokens=100, **fields)).json()["choices"][0]["message"]
    assert message["content"] is None
    assert message["tool_calls"][0]["function"] == {"name": "find", "arguments": arguments}


async def test_the_finish_reason_can_come_with_the_last_token(make_server):
    server = await make_server({"finish_with_last_token": True})
    stream = await server.stream(max_tokens=3)
    assert [chunk["choices"][0]["finish_reason"] for chunk in stream.chunks] == [
        None,
        None,
        None,
        "length",
    ]


async def test_a_completion_stream_has_text_and_a_default_of_16_tokens(server):
    body = {"prompt": "once upon", "stream": True, "ignore_eos": True}
    stream = await server.post("/v1/completions", body)
    texts = [chunk["choices"][0]["text"] for chunk in stream.chunks]
    assert len([text for text in texts if text]) == 16
    assert stream.done
    plain = (await server.post("/v1/completions", {**body, "stream": False})).json()
    assert plain["object"] == "text_completion"
    assert plain["choices"][0]["text"] == "".join(texts)
    assert plain["usage"]["prompt_tokens"] == 2


@pytest.mark.parametrize(
    ("prompt", "tokens", "answers"),
    [
        ("one two", 2, 1),
        (["one", "two three"], 3, 2),
        ([5, 6, 7], 3, 1),
        ([[5], [6, 7]], 3, 2),
    ],
)
async def test_a_completion_takes_text_or_token_ids_one_or_many(server, prompt, tokens, answers):
    body = {"prompt": prompt, "max_tokens": 2, "n": 2}
    plain = (await server.post("/v1/completions", body)).json()
    assert plain["usage"]["prompt_tokens"] == tokens
    assert [choice["index"] for choice in plain["choices"]] == list(range(2 * answers))


async def test_a_responses_stream_names_and_numbers_its_events(server):
    body = {"input": "hi", "instructions": "be brief", "stream": True, "max_output_tokens": 3}
    stream = await server.post("/v1/responses", {**body, "ignore_eos": True})
    names = [line[7:] for line in stream.body.decode().split("\n") if line.startswith("event: ")]
    assert names == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        *["response.output_text.delta"] * 3,
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.incomplete",
    ]
    assert [chunk["type"] for chunk in stream.chunks] == names
    assert [chunk["sequence_number"] for chunk in stream.chunks] == list(range(len(names)))
    assert not stream.done
    end = stream.chunks[-1]["response"]
    assert end["usage"]["output_tokens"] == 3
    text = "".join(chunk["delta"] for chunk in stream.chunks if "delta" in chunk)
    assert end["output"][0]["content"][0]["text"] == text
    plain = (
        await server.post("/v1/responses", {**body, "ignore_eos": True, "stream": False})
    ).json()
    assert plain["status"] == "incomplete"
    assert plain["output"][0]["content"] == end["output"][0]["content"]
    assert plain["usage"]["output_tokens"] == 3


async def test_a_response_that_ends_by_itself_is_completed_and_may_reason_first(make_server):
    server = await make_server({"reasoning_tokens": 2})
    stream = await server.post("/v1/responses", {"input": MESSAGES, "stream": True})
    kinds = [chunk["type"] for chunk in stream.chunks]
    assert kinds.count("response.reasoning_text.delta") == 2
    assert kinds[-1] == "response.completed"
    end = stream.chunks[-1]["response"]
    assert [item["type"] for item in end["output"]] == ["reasoning", "message"]
    assert end["usage"]["output_tokens_details"] == {"reasoning_tokens": 2}


async def test_models_lists_the_one_model(make_server):
    server = await make_server({"model": "tiny"})
    models = (await server.get("/v1/models")).json()
    assert [(one["id"], one["max_model_len"]) for one in models["data"]] == [("tiny", 32_768)]


async def test_health_and_version_answer(server):
    assert (await server.get("/health")).status == 200
    assert (await server.get("/version")).json() == {"version": "benchcore-sim"}


async def test_tokenize_counts_what_usage_counts(server):
    for body in ({"prompt": "one two 三四"}, {"messages": MESSAGES}):
        counted = (await server.post("/tokenize", body)).json()
        assert counted["count"] == len(counted["tokens"])
        assert counted["max_model_len"] == 32_768
        path = "/v1/chat/completions" if "messages" in body else "/v1/completions"
        answer = (await server.post(path, {**body, "max_tokens": 1})).json()
        assert answer["usage"]["prompt_tokens"] == counted["count"]
    bare = await server.post("/tokenize", {"messages": MESSAGES, "add_generation_prompt": False})
    assert bare.json()["count"] == counted["count"] - 1


async def test_an_equal_prompt_is_cached_until_the_prefix_cache_is_reset(server):
    async def cached() -> int:
        body = {"prompt": "word " * 40, "max_tokens": 1}
        usage = (await server.post("/v1/completions", body)).json()["usage"]
        return usage["prompt_tokens_details"]["cached_tokens"]

    assert [await cached(), await cached()] == [0, 32]
    assert (await server.post("/reset_prefix_cache", {})).status == 200
    assert await cached() == 0


async def test_a_conversation_finds_the_answer_of_its_last_turn_in_the_cache(server):
    turn = [{"role": "user", "content": "word " * 40}]
    first = (await server.chat(messages=turn, max_tokens=64, ignore_eos=True)).json()
    answer = first["choices"][0]["message"]["content"]
    turn += [{"role": "assistant", "content": answer}, {"role": "user", "content": "and then?"}]
    second = (await server.chat(messages=turn, max_tokens=1)).json()
    usage = second["usage"]
    assert usage["prompt_tokens_details"]["cached_tokens"] > first["usage"]["prompt_tokens"]


@pytest.mark.parametrize(
    ("fields", "pattern"),
    [
        ({"guided_regex": "[0-9]{3}-[a-f]{2}"}, "[0-9]{3}-[a-f]{2}"),
        ({"guided_choice": ["north", "south"]}, "north"),
        ({"guided_grammar": 'root ::= "left" | "right"'}, "left|right"),
        ({"ebnf": 'start: "left" | "right"'}, "left|right"),
        ({"json_schema": '{"enum": ["red", 7]}'}, '"red"|7'),
        ({STRUCTURED: {"json_object": True}}, r'\{"answer":".+"\}'),
        ({"response_format": {"type": "json_object"}}, r'\{"answer":".+"\}'),
        (format_of({"type": "array", "items": {"const": 5}, "minItems": 2}), r"\[5(,5)+\]"),
    ],
)
async def test_an_answer_has_the_form_that_is_demanded(server, fields, pattern):
    plain = (await server.chat(max_tokens=100, **fields)).json()["choices"][0]
    assert re.fullmatch(pattern, plain["message"]["content"])
    assert plain["finish_reason"] == "stop"
    stream = await server.stream(max_tokens=100, ignore_eos=False, **fields)
    assert "".join(stream.deltas()) == plain["message"]["content"]


@pytest.mark.parametrize(
    ("path", "body", "status", "param"),
    [
        (CHAT, b"{", 400, None),
        (CHAT, b"[]", 400, None),
        (CHAT, {}, 400, "messages"),
        (CHAT, {"messages": []}, 400, "messages"),
        (CHAT, {"messages": ["hi"]}, 400, "messages"),
        (CHAT, {"messages": [{"role": "user", "content": 5}]}, 400, "messages[0].content"),
        (CHAT, {**SAY, "model": "other"}, 404, "model"),
        (CHAT, {**SAY, "model": 7}, 400, "model"),
        (CHAT, {**SAY, "max_tokens": 0}, 400, "max_tokens"),
        (CHAT, {**SAY, "max_tokens": True}, 400, "max_tokens"),
        (CHAT, {**SAY, "max_tokens": 40_000}, 400, "messages"),
        (CHAT, {**SAY, "max_tokens": 2, "min_tokens": 3}, 400, "min_tokens"),
        (CHAT, {**SAY, "min_tokens": 40_000}, 400, "messages"),
        (CHAT, {**SAY, "stream": "yes"}, 400, "stream"),
        (CHAT, {**SAY, "stream_options": 1}, 400, "stream_options"),
        (CHAT, {**SAY, "stop": [1]}, 400, "stop"),
        (
            CHAT,
            {**SAY, "stream_options": {"include_usage": 1}, "stream": True},
            400,
            "include_usage",
        ),
        (CHAT, {**SAY, "n": 129}, 400, "n"),
        (CHAT, {"messages": [{"role": "wizard", "content": "hi"}]}, 400, "messages[0]"),
        (
            CHAT,
            {"messages": [{"role": "user", "content": [{"type": "smell"}]}]},
            400,
            "messages[0]",
        ),
        (CHAT, {**SAY, **format_of({"type": "gibberish"})}, 400, "response_format"),
        (CHAT, {**SAY, **format_of(7)}, 400, "response_format"),
        (CHAT, {**SAY, "guided_json": "{"}, 400, "guided_json"),
        (CHAT, {**SAY, "guided_choice": []}, 400, "guided_choice"),
        (CHAT, {**SAY, "regex": "([a-z"}, 400, "regex"),
        (CHAT, {**SAY, "ebnf": "root ::= a"}, 400, "ebnf"),
        (CHAT, {**SAY, "structured_outputs": {"regex": "a", "choice": ["b"]}}, 400, STRUCTURED),
        (CHAT, {**SAY, "tools": [BOGUS_TOOL], "tool_choice": "required"}, 400, "tools"),
        (CHAT, {**SAY, "tool_choice": "required"}, 400, "tool_choice"),
        (CHAT, {**SAY, "tool_choice": "odd", "tools": [{}]}, 400, "tool_choice"),
        (CHAT, {**SAY, "tool_choice": "required", "tools": [{}]}, 400, "tools"),
        (
            CHAT,
            {
                **SAY,
                "tool_choice": {"function": {"name": "b"}},
                "tools": [{"function": {"name": "a"}}],
            },
            400,
            "tool_choice",
        ),
        ("/v1/completions", {"prompt": []}, 400, "prompt"),
        ("/v1/completions", {"prompt": ""}, 400, "prompt"),
        ("/v1/completions", {"prompt": [1, "a"]}, 400, "prompt"),
        ("/v1/completions", {"prompt": [1, 2_000_000_000]}, 400, "prompt"),
        ("/v1/completions", {"prompt": "word " * 33_000}, 400, "messages"),
        ("/v1/responses", {"input": 5}, 400, "input"),
        ("/tokenize", {"prompt": 5}, 400, "prompt"),
        ("/nowhere", {}, 404, None),
        ("/health", {}, 405, None),
    ],
)
async def test_a_bad_request_gets_the_error_envelope(server, path, body, status, param):
    answer = await server.post(path, body)
    assert answer.status == status
    error = answer.json()["error"]
    assert (error["code"], error["param"]) == (status, param)
    assert error["message"]


async def test_content_may_be_a_list_of_parts(server):
    parts = [
        {"type": "text", "text": "say "},
        {"type": "image_url"},
        {"type": "text", "text": "it"},
    ]
    split = [{"role": "user", "content": parts}, {"role": "assistant", "content": None}]
    whole = [{"role": "user", "content": "say it"}, {"role": "assistant", "content": ""}]
    counts = [(await server.post("/tokenize", {"messages": one})).json() for one in (split, whole)]
    assert counts[0] == counts[1]


async def test_the_request_id_comes_back_on_every_answer(server):
    body = {"messages": MESSAGES, "max_tokens": 1}
    for path, given in (
        ("/v1/chat/completions", body),
        ("/v1/chat/completions", {**body, "stream": True}),
        ("/v1/chat/completions", b"{"),
    ):
        answer = await server.post(path, given, **{"x-request-id": "mine-7"})
        assert answer.headers["X-Request-ID"] == "mine-7"
    made = {(await server.get("/health")).headers["X-Request-ID"] for _ in range(2)}
    assert len(made) == 2


async def test_a_key_is_asked_for_on_the_api_and_not_on_health(make_server):
    server = await make_server(api_key="open sesame")
    body = {"messages": MESSAGES, "max_tokens": 1}
    path = "/v1/chat/completions"
    assert (await server.post(path, body)).status == 401
    assert (await server.post(path, body, Authorization="Bearer wrong")).status == 401
    assert (await server.post(path, body, Authorization="Bearer open sesame")).status == 200
    assert (await server.get("/v1/models")).status == 401
    assert (await server.get("/health")).status == 200


async def test_a_client_that_leaves_frees_its_place(server, caplog):
    async with server.session.post(
        server.base_url + "/v1/chat/completions",
        json={"messages": MESSAGES, "max_tokens": 30_000, "ignore_eos": True, "stream": True},
    ) as response:
        await response.content.readany()
        assert 'num_requests_running{engine="0",model_name="sim-1"} 1.0' in (
            (await server.get("/metrics")).body.decode()
        )
        response.close()
    for _ in range(200):
        if server.accounts():
            break
        await asyncio.sleep(0.005)
    assert server.accounts()[0]["finish"] == "cancelled"
    assert caplog.records == []
    assert 'num_requests_running{engine="0",model_name="sim-1"} 0.0' in (
        (await server.get("/metrics")).body.decode()
    )


async def test_an_http_1_0_client_gets_an_unchunked_stream(server):
    body = json.dumps({"messages": MESSAGES, "max_tokens": 3, "stream": True}).encode()
    port = int(server.base_url.rsplit(":", 1)[1])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = b"POST /v1/chat/completions HTTP/1.0\r\nContent-Length: %d\r\n\r\n" % len(body)
    writer.write(head + body)
    answer = await reader.read()
    assert b"chunked" not in answer.lower()
    assert answer.split(b"\r\n\r\n", 1)[1].startswith(b"data: {")
    assert answer.endswith(b"data: [DONE]\n\n")
    writer.close()


async def test_it_listens_on_ipv6(make_server):
    server = await make_server(host="::1")
    assert server.base_url.startswith("http://[::1]:")
    assert (await server.stream()).done


async def test_it_listens_on_a_unix_socket(tmp_path):
    runner, base_url = await start(SimOptions(uds=tmp_path / "sim.sock"))
    connector = aiohttp.UnixConnector(str(tmp_path / "sim.sock"))
    async with aiohttp.ClientSession(base_url, connector=connector) as session:
        body = {"messages": MESSAGES, "max_tokens": 2, "stream": True}
        async with session.post("/v1/chat/completions", json=body) as response:
            assert (await response.read()).endswith(b"data: [DONE]\n\n")
    await runner.cleanup()


async def test_it_serves_tls(tmp_path, certificate):
    certfile, keyfile = certificate
    runner, base_url = await start(SimOptions(certfile=certfile, keyfile=keyfile))
    context = ssl.create_default_context(cafile=certfile)
    async with aiohttp.ClientSession(base_url) as session:
        body = {"messages": MESSAGES, "max_tokens": 20, "stream": True}
        async with session.post("/v1/chat/completions", json=body, ssl=context) as response:
            assert (await response.read()).endswith(b"data: [DONE]\n\n")
    await runner.cleanup()


async def test_a_port_in_use_is_an_os_error_and_leaves_nothing_running(server):
    port = int(server.base_url.rsplit(":", 1)[1])
    with pytest.raises(OSError, match="in use"):
        await start(SimOptions(port=port))
