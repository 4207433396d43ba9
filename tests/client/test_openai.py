from __future__ import annotations

import pytest

from benchcore.client.openai import (
    Answer,
    answer_texts,
    error_text,
    read_answer,
    read_usage,
    request_body,
)
from benchcore.client.records import Usage
from benchcore.client.request import Prompt

TURNS = [{"role": "user", "content": "a"}, {"role": "assistant", "content": None}]


def body(endpoint, prompt, *, stream=True, extra=None):
    return request_body(endpoint, "m", prompt, stream=stream, extra=extra or {})


@pytest.mark.parametrize(
    ("endpoint", "prompt", "stream", "expected"),
    [
        (
            "chat",
            Prompt("hi", output_tokens=4),
            True,
            {
                "model": "m",
                "stream": True,
                "messages": [{"role": "user", "content": "hi"}],
                "max_tokens": 4,
                "stream_options": {"include_usage": True},
            },
        ),
        (
            "chat",
            Prompt("ignored", messages=TURNS),
            False,
            {"model": "m", "stream": False, "messages": TURNS},
        ),
        (
            "completions",
            Prompt("hi"),
            True,
            {
                "model": "m",
                "stream": True,
                "prompt": "hi",
                "stream_options": {"include_usage": True},
            },
        ),
        (
            "completions",
            Prompt("ignored", messages=TURNS),
            False,
            {"model": "m", "stream": False, "prompt": "a\n"},
        ),
        (
            "responses",
            Prompt("hi", output_tokens=4),
            True,
            {"model": "m", "stream": True, "input": "hi", "max_output_tokens": 4},
        ),
        (
            "responses",
            Prompt("ignored", messages=TURNS),
            False,
            {"model": "m", "stream": False, "input": TURNS},
        ),
    ],
)
def test_the_body_of_each_endpoint(endpoint, prompt, stream, expected):
    assert body(endpoint, prompt, stream=stream) == expected


def test_the_users_fields_win_over_the_prompts_and_those_over_ours():
    prompt = Prompt("hi", output_tokens=4, extra={"max_tokens": 5, "min_tokens": 5, "n": 1})
    extra = {"n": 2, "stream_options": None, "nested": {"a": [1]}, "model": "other"}
    found = body("chat", prompt, extra=extra)
    assert found == {
        "model": "other",
        "stream": True,
        "messages": [{"role": "user", "content": "hi"}],
        "max_tokens": 5,
        "min_tokens": 5,
        "n": 2,
        "stream_options": None,
        "nested": {"a": [1]},
    }


@pytest.mark.parametrize(
    ("raw", "usage"),
    [
        (None, None),
        ("text", None),
        ([], None),
        ({}, Usage()),
        ({"prompt_tokens": 1, "completion_tokens": 0}, Usage(1, 0)),
        ({"input_tokens": 1, "output_tokens": 2}, Usage(1, 2)),
        ({"prompt_tokens": -1, "completion_tokens": True}, Usage()),
        ({"prompt_tokens": 1.5, "completion_tokens": 1 << 63}, Usage()),
        ({"prompt_tokens_details": {"cached_tokens": 3}}, Usage(cached_tokens=3)),
        (
            {"prompt_tokens_details": None, "input_tokens_details": {"cached_tokens": 3}},
            Usage(None, None, 3),
        ),
        ({"completion_tokens_details": {"reasoning_tokens": 2}}, Usage(reasoning_tokens=2)),
        (
            {"completion_tokens_details": [], "output_tokens_details": {"reasoning_tokens": -2}},
            Usage(),
        ),
    ],
)
def test_usage_of_any_shape(raw, usage):
    assert read_usage(raw) == usage


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ({"error": {"message": "no\n memory", "type": "x"}}, "no\n memory"),
        ({"error": "plain"}, "plain"),
        ({"error": {"code": 7}}, "7"),
        ({"detail": "not found"}, "not found"),
        ({"detail": [{"loc": ["a"], "msg": "b"}]}, '[{"loc":["a"],"msg":"b"}]'),
        ({"message": "m"}, "m"),
        ({"error": None, "message": "m"}, "m"),
        ({"other": 1}, '{"other":1}'),
        ([1, 2], "[1,2]"),
        (None, "null"),
        ("x" * 400, "x" * 400),  # bounded with the rest of the record, once it is masked
    ],
)
def test_the_text_of_any_error(raw, text):
    assert error_text(raw) == text


def choice(**message):
    return {"choices": [{"message": message, "finish_reason": "stop"}]}


@pytest.mark.parametrize(
    ("endpoint", "answer", "expected"),
    [
        ("chat", choice(content="a"), Answer("a", True, "stop")),
        ("chat", choice(content=""), Answer("", False, "stop")),
        ("chat", choice(content=None, reasoning="r"), Answer("", True, "stop")),
        ("chat", choice(reasoning_content="r", content="a"), Answer("a", True, "stop")),
        ("chat", choice(refusal="no"), Answer("", True, "stop", refused=True)),
        ("chat", choice(tool_calls=[{"id": "1"}]), Answer("", True, "stop")),
        ("chat", choice(tool_calls=[]), Answer("", False, "stop")),
        ("chat", choice(content=[{"text": "a"}]), Answer("a", True, "stop")),
        (
            "chat",
            choice(content=[{"type": "thinking", "thinking": "x"}, {"text": "a"}]),
            Answer("a", True, "stop"),
        ),
        ("chat", {"choices": []}, Answer("", False, "")),
        (
            "chat",
            {"choices": [{"message": {}}, {"message": {"content": "b"}}]},
            Answer("", True, ""),
        ),
        ("completions", {"choices": [{"text": "a"}, {"text": "b"}]}, Answer("a", True, "")),
        ("completions", {"choices": [{"text": ""}]}, Answer("", False, "")),
        ("completions", {"choices": [{}]}, Answer("", False, "")),
        (
            "responses",
            {
                "status": "completed",
                "output": [
                    {"type": "reasoning", "summary": [{"text": "hm"}]},
                    {"type": "message", "content": [{"text": "a"}, {"text": "b"}]},
                ],
            },
            Answer("ab", True, "completed"),
        ),
        ("responses", {"output": []}, Answer("", False, "")),
        ("responses", {"output": [{"type": "message", "content": []}]}, Answer("", False, "")),
        ("responses", {"output": [{"type": "reasoning", "summary": []}]}, Answer("", False, "")),
        ("responses", {"output": [{"type": "function_call"}]}, Answer("", True, "")),
        (
            "responses",
            {"output": [{"type": "message", "content": [{"refusal": "no"}]}]},
            Answer("", True, "", refused=True),
        ),
    ],
)
def test_what_a_plain_answer_says(endpoint, answer, expected):
    assert read_answer(endpoint, answer) == expected


@pytest.mark.parametrize("endpoint", ["chat", "completions", "responses"])
@pytest.mark.parametrize(
    "answer",
    [
        None,
        5,
        "text",
        [],
        {},
        {"choices": None, "output": None},
        {"choices": [5], "output": [5]},
        {"choices": 1, "output": 1},
        {"choices": {"a": 1}, "output": {"a": 1}},
    ],
)
def test_an_answer_without_the_shape_of_its_endpoint_is_refused(endpoint, answer):
    with pytest.raises(ValueError, match=f"no {endpoint} answer"):
        read_answer(endpoint, answer)


@pytest.mark.parametrize(
    ("answer", "texts"),
    [
        ({"choices": [{"message": {"content": "a"}}, {"message": {"content": "b"}}]}, ["a", "b"]),
        ({"choices": [{"message": {"content": None, "reasoning": "hm"}}]}, ["hm"]),
        (
            {
                "choices": [
                    {
                        "message": {
                            "content": "",
                            "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}, 5],
                        }
                    }
                ]
            },
            ["f", "{}"],
        ),
        ({"choices": [{"text": "a"}, {"text": ""}, {"text": None}]}, ["a"]),
        ({"choices": []}, []),
        (
            {
                "output": [
                    {"type": "reasoning", "summary": [{"text": "hm"}]},
                    {"type": "message", "content": [{"text": "a"}, {"refusal": "no"}]},
                    {"type": "function_call", "name": "f", "arguments": "{}"},
                ]
            },
            ["hm", "a", "no", "f", "{}"],
        ),
    ],
)
def test_every_text_of_a_plain_answer(answer, texts):
    assert answer_texts(answer) == texts


@pytest.mark.parametrize("answer", [None, 5, {}, {"choices": 5}, {"choices": [5]}, {"output": [5]}])
def test_what_is_no_answer_has_no_texts(answer):
    with pytest.raises(ValueError, match="no answer"):
        answer_texts(answer)
