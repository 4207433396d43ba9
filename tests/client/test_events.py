from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchcore.client.events import READERS
from benchcore.client.openai import plain_text
from benchcore.client.records import Outcome, Record, TokenCountSource, Usage


class Reading:
    """Feeds a reader as a connection does: some events, then a commit with the read's stamp."""

    def __init__(self, endpoint, *, keep_text=True):
        self.record = Record("1")
        self.reader = READERS[endpoint](self.record, keep_text=keep_text)

    def read(self, stamp, *messages, kind=b""):
        reader = self.reader
        for message in messages:
            data = message if isinstance(message, bytes) else json.dumps(message).encode()
            reader.event(data, kind)
        if not reader.pending:
            reader.note_end(stamp)
        elif reader.plain and reader.pending == 1:
            reader.pending = 0
            reader.stamps.append(stamp)
        else:
            reader.commit(stamp)

    def close(self):
        self.reader.close()
        return self.record


def chat(finish=None, index=0, usage=None, **delta):
    message = {"choices": [{"index": index, "delta": delta, "finish_reason": finish}]}
    return message if usage is None else {**message, "usage": usage}


def said(completion):
    return {"prompt_tokens": 3, "completion_tokens": completion}


def read_each(endpoint, *messages):
    reading = Reading(endpoint)
    for stamp, message in enumerate(messages, 1):
        reading.read(stamp, message)
    return reading


TOOL = {"tool_calls": [{"index": 0, "function": {"arguments": "{"}}]}


@pytest.mark.parametrize(
    ("delta", "is_token", "is_reasoning"),
    [
        ({"content": "a"}, True, False),
        ({"content": " "}, True, False),
        ({"content": ""}, False, False),
        ({"content": None}, False, False),
        ({"role": "assistant"}, False, False),
        ({"role": "assistant", "content": ""}, False, False),
        ({}, False, False),
        ({"reasoning": "a"}, True, True),
        ({"reasoning_content": "a"}, True, True),
        ({"reasoning": "", "reasoning_content": None, "content": ""}, False, False),
        ({"refusal": "no"}, True, False),
        (TOOL, True, False),
        ({"tool_calls": []}, False, False),
        ({"function_call": {"name": "f"}}, True, False),
        ({"content": "a", "reasoning": "b"}, True, False),
        ({"role": "assistant", "content": "a"}, True, False),
    ],
)
def test_which_chat_deltas_are_token_events(delta, is_token, is_reasoning):
    reading = Reading("chat")
    reading.read(7, chat(**delta))
    record = reading.close()
    assert record.token_events == is_token
    assert list(record.stamps) == [7] * is_token
    assert record.reasoning_events == is_reasoning
    assert record.first_output_ns == (7 if is_token and not is_reasoning else 0)


@pytest.mark.parametrize(
    ("message", "is_token"),
    [
        ({"choices": [{"index": 0, "text": "a"}]}, True),
        ({"choices": [{"index": 0, "text": ""}]}, False),
        ({"choices": [{"index": 0}]}, False),
        ({"choices": []}, False),
    ],
)
def test_which_completions_chunks_are_token_events(message, is_token):
    record = read_each("completions", message).close()
    assert record.token_events == is_token
    assert record.text == "a" * is_token


@pytest.mark.parametrize(
    ("message", "is_token", "is_reasoning"),
    [
        ({"type": "response.output_text.delta", "delta": "a"}, True, False),
        ({"type": "response.output_text.delta", "delta": ""}, False, False),
        ({"type": "response.refusal.delta", "delta": "a"}, True, False),
        ({"type": "response.function_call_arguments.delta", "delta": "{"}, True, False),
        ({"type": "response.reasoning_text.delta", "delta": "a"}, True, True),
        ({"type": "response.reasoning_summary_text.delta", "delta": "a"}, True, True),
        ({"type": "response.output_text.done", "text": "a"}, False, False),
        ({"type": "response.created", "response": {"status": "in_progress"}}, False, False),
        ({"type": "something.new"}, False, False),
    ],
)
def test_which_response_events_are_token_events(message, is_token, is_reasoning):
    record = read_each("responses", message).close()
    assert (record.token_events, record.reasoning_events) == (is_token, is_reasoning)
    assert (
        record.text == ("a" if message["type"] == "response.output_text.delta" else "") * is_token
    )


def test_a_chat_stream_from_role_to_done():
    reading = read_each(
        "chat",
        chat(role="assistant", content=""),
        chat(reasoning="hm"),
        chat(content="a"),
        chat(content="b"),
        chat("stop"),
        {"choices": [], "usage": said(3)},
        b"[DONE]",
    )
    record = reading.close()
    assert reading.reader.ended
    assert reading.reader.ended_ns == 5
    assert list(record.stamps) == [2, 3, 4]
    assert record.events is record.tokens is record.lanes is None
    assert (record.first_token_ns, record.first_output_ns, record.last_token_ns) == (2, 3, 4)
    assert record.text == "ab"
    assert record.finish_reason == "stop"
    assert record.usage == Usage(3, 3)
    assert record.output_tokens == 3
    assert record.token_count_source is TokenCountSource.USAGE


def test_done_without_a_finish_reason_is_an_end():
    reading = read_each("chat", chat(content="a"), b" [DONE] ")
    assert reading.reader.ended
    assert reading.reader.ended_ns == 2
    record = reading.close()
    assert record.finish_reason == ""
    assert record.usage is None
    assert record.token_count_source is TokenCountSource.EVENTS


def test_a_finish_in_the_chunk_of_the_last_token_is_stamped_with_it():
    reading = read_each("chat", chat(content="a"), chat(content="b"), chat("length", content="c"))
    assert reading.reader.ended_ns == 3
    reading.read(9, b"[DONE]")
    assert reading.reader.ended_ns == 3


def test_an_end_in_one_read_with_tokens_after_many_plain_reads_is_stamped():
    reading = read_each("chat", *[chat(content="a")] * 5)
    reading.read(9, chat(content="b"), chat("stop"), b"[DONE]")
    assert reading.reader.ended_ns == 9


def test_events_of_one_read_are_one_arrival():
    reading = Reading("chat")
    reading.read(1, chat(content="a"))
    reading.read(2, chat(content="b"), chat(content="c"), chat(content="d"))
    reading.read(3, chat(content="e"))
    record = reading.close()
    assert list(record.stamps) == [1, 2, 3]
    assert list(record.events) == [1, 3, 1]
    assert record.token_events == 5
    assert reading.reader.merged_reads == 1


def test_a_first_read_of_several_events_is_merged_too():
    reading = Reading("completions")
    both = {"choices": [{"index": 0, "text": "a"}]}
    reading.read(1, both, both)
    record = reading.close()
    assert (list(record.stamps), list(record.events)) == ([1], [2])
    assert reading.reader.merged_reads == 1


def test_several_choices_have_lanes_from_the_beginning():
    reading = Reading("chat")
    reading.read(1, chat(content="a"))
    reading.read(2, chat(content="b"))
    reading.read(3, chat(content="x", index=1))
    reading.read(4, chat(content="c"), chat(content="y", index=1))
    reading.read(5, chat(content="z", index=1), chat(content="z", index=1))
    record = reading.close()
    assert list(record.stamps) == [1, 2, 3, 4, 4, 5]
    assert list(record.lanes) == [0, 0, 1, 0, 1, 1]
    assert list(record.events) == [1, 1, 1, 1, 1, 2]
    assert record.token_events == 7
    assert reading.reader.merged_reads == 1
    assert record.text == "abc"


def test_choices_of_one_chunk_are_two_lanes():
    reading = Reading("completions")
    reading.read(1, {"choices": [{"index": 1, "text": "x"}, {"index": 0, "text": "a"}]})
    record = reading.close()
    assert sorted(zip(record.lanes, record.stamps, record.events, strict=True)) == [
        (0, 1, 1),
        (1, 1, 1),
    ]
    assert reading.reader.merged_reads == 0
    assert record.text == "a"


def test_several_choices_end_when_each_has_finished():
    reading = Reading("chat")
    reading.read(1, chat(content="a"), chat(content="x", index=1))
    reading.read(2, chat("stop"))
    assert not reading.reader.ended
    reading.read(3, chat(content="y", index=1))
    reading.read(4, chat("length", index=1))
    assert reading.reader.ended
    assert reading.reader.ended_ns == 4


def test_a_choice_that_begins_after_another_has_finished_takes_the_end_back():
    reading = Reading("chat")
    reading.read(1, chat(content="a"))
    reading.read(2, chat("stop"))
    assert reading.reader.ended_ns == 2
    reading.read(3, chat(content="x", index=1))
    assert not reading.reader.ended
    assert reading.reader.ended_ns == 0
    reading.read(4, chat("stop", index=1))
    assert reading.reader.ended_ns == 4


@pytest.mark.parametrize("index", [None, "x", [], {}, -1, 1.5, True, 1 << 63, 5000])
def test_a_choice_without_a_usable_index_counts_as_the_first(index):
    reading = Reading("chat")
    reading.read(1, chat(content="a", index=index))
    reading.read(2, chat(content="b", index=index))
    reading.read(3, chat(content="x", index=1))
    reading.read(4, chat(content="c", index=index))
    reading.read(5, chat("stop", index=index))
    reading.read(6, chat("stop", index=1))
    record = reading.close()
    assert record.token_events == 4
    assert reading.reader.ended
    assert list(record.stamps) == [1, 2, 3, 4]
    if index not in (True, None):
        assert list(record.lanes) == [0, 0, 1, 0]


def test_a_choice_without_an_index_beside_others_is_the_first():
    reading = read_each(
        "chat", chat(content="a"), chat(content="x", index=1), chat(content="b", index=None)
    )
    record = reading.close()
    assert list(record.lanes) == [0, 1, 0]
    assert list(record.stamps) == [1, 2, 3]


def test_a_running_usage_says_the_tokens_of_each_arrival():
    reading = read_each(
        "chat",
        chat(role="assistant", content="", usage=said(0)),
        chat(content="a", usage=said(1)),
        chat(content="", usage=said(2)),  # half a character, held back
        chat(content="é", usage=said(3)),
        chat(content="bcd", usage=said(6)),
        chat("stop", usage=said(6)),
        {"choices": [], "usage": said(6)},
    )
    record = reading.close()
    assert list(record.tokens) == [1, 2, 3]
    assert record.usage.completion_tokens == 6


def test_a_running_usage_of_a_merged_read():
    reading = Reading("chat")
    reading.read(1, chat(content="a", usage=said(1)))
    reading.read(2, chat(content="b", usage=said(2)), chat(content="c", usage=said(4)))
    record = reading.close()
    assert (list(record.tokens), list(record.events)) == ([1, 3], [1, 2])


def test_a_running_usage_with_several_choices_tells_nothing_of_an_arrival():
    reading = Reading("chat")
    reading.read(1, chat(content="a", usage=said(1)))
    reading.read(2, chat(content="x", index=1, usage=said(2)))
    assert reading.close().tokens is None


@pytest.mark.parametrize(
    "odd", [None, {}, "2", {"completion_tokens": None}, {"completion_tokens": "2"}]
)
def test_a_running_usage_with_a_gap_is_none(odd):
    reading = Reading("chat")
    reading.read(1, chat(content="a", usage=said(1)))
    reading.read(2, chat(content="b", usage=odd))
    reading.read(3, chat(content="c", usage=said(3)))
    record = reading.close()
    assert record.tokens is None
    assert record.usage.completion_tokens == 3


def test_usage_at_the_end_only_says_nothing_of_arrivals():
    record = read_each("chat", chat(content="a"), chat(content="b", usage=said(9))).close()
    assert record.tokens is None
    assert record.usage.completion_tokens == 9


@pytest.mark.parametrize("count", [-1, 1 << 60, (1 << 64) - 1, True, 1.0, "1"])
def test_a_count_that_is_none_is_not_believed(count):
    record = read_each("chat", chat(content="a", usage={"completion_tokens": count})).close()
    assert record.usage.completion_tokens is None
    assert record.output_tokens == 1
    assert record.token_count_source is TokenCountSource.EVENTS


@pytest.mark.parametrize("endpoint", ["chat", "completions", "responses"])
@pytest.mark.parametrize(
    ("message", "kind", "text"),
    [
        ({"error": {"message": "out of memory", "code": 500}}, b"", "out of memory"),
        ({"error": "overloaded"}, b"", "overloaded"),
        ({"object": "error", "message": "bad"}, b"", "bad"),
        ({"message": "by type"}, b"error", "by type"),
        (b"boom", b"error", "boom"),
        ([1], b"error", "[1]"),
    ],
)
def test_an_error_event_in_every_shape(endpoint, message, kind, text):
    reading = Reading(endpoint)
    reading.read(3, message, kind=kind)
    assert reading.reader.outcome is Outcome.STREAM_ERROR
    assert reading.reader.error == text
    assert reading.reader.ended_ns == 3


@pytest.mark.parametrize(
    "message",
    [
        {"type": "error", "message": "bad", "code": "x"},
        {"type": "response.failed", "response": {"error": {"message": "bad"}}},
    ],
)
def test_the_errors_of_the_responses_endpoint(message):
    reading = read_each("responses", message)
    assert reading.reader.outcome is Outcome.STREAM_ERROR
    assert reading.reader.error == "bad"


def test_an_error_beside_choices_and_after_the_finish_counts():
    reading = read_each("chat", chat("stop", content="a"), {**chat(), "error": {"message": "late"}})
    assert reading.reader.ended
    assert reading.reader.outcome is Outcome.STREAM_ERROR
    assert reading.reader.error == "late"


def test_an_error_that_is_null_is_none():
    reading = read_each("chat", {**chat(content="a"), "error": None}, {"error": None})
    assert reading.reader.outcome is None
    assert reading.close().token_events == 1


@pytest.mark.parametrize(
    "data", [b"{", b'{"choices": [}', b"nonsense", b'"\xff"', b'{"a": "\xc3"}']
)
def test_what_is_not_json_in_utf8_is_a_protocol_error(data):
    reading = read_each("chat", data)
    assert reading.reader.outcome is Outcome.PROTOCOL_ERROR
    assert "not JSON" in reading.reader.error


@pytest.mark.parametrize("endpoint", ["chat", "completions", "responses"])
@pytest.mark.parametrize("data", [b"5", b'"text"', b"null", b"[]", b"true"])
def test_json_that_is_no_object_is_a_protocol_error(endpoint, data):
    assert read_each(endpoint, data).reader.outcome is Outcome.PROTOCOL_ERROR


@pytest.mark.parametrize("data", [b"", b" ", b"\n"])
def test_an_event_of_nothing_is_nothing(data):
    reading = read_each("chat", data, chat(content="a"))
    assert reading.reader.outcome is None
    assert reading.close().token_events == 1


@pytest.mark.parametrize(
    "message",
    [
        {"choices": None},
        {"choices": {}},
        {"choices": "text"},
        {"choices": [None]},
        {"choices": [{"delta": "text"}]},
        {"choices": [{"delta": ["content"]}]},
        {"choices": [{"index": 0}]},
        {"choices": 5},
        {"unheard": "of"},
        {},
        {"type": None},
        {"type": "response.completed", "response": None},
    ],
)
def test_unknown_shapes_carry_no_tokens_and_no_fault(message):
    reading = read_each("chat", message)
    assert reading.reader.outcome is None
    assert reading.close().token_events == 0


def test_usage_beside_choices_that_are_null_is_read():
    record = read_each("chat", chat(content="a"), {"choices": None, "usage": said(4)}).close()
    assert record.usage.completion_tokens == 4


def test_content_that_is_no_text_is_counted_and_kept_as_json():
    record = read_each("chat", chat(content=[{"type": "text"}]), chat(content="b")).close()
    assert record.token_events == 2
    assert record.text == '[{"type":"text"}]b'


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ([{"type": "text", "text": "a"}, {"type": "reference", "reference_ids": [1]}], "a"),
        ([{"type": "text", "text": ""}], ""),
        ([{"type": "redacted_thinking", "data": "x"}], ""),
        (["a", {"type": "text", "text": "c"}], "ac"),
        (
            [{"type": "reference", "reference_ids": [1]}],
            '[{"type":"reference","reference_ids":[1]}]',
        ),
        ([1, 2], "[1,2]"),
    ],
)
def test_a_list_with_a_part_of_a_known_kind_is_its_text_and_any_other_is_json(content, text):
    record = read_each("chat", chat(content=content), chat(content="b")).close()
    assert record.token_events == 2
    assert record.text == f"{text}b"
    assert plain_text(content) == text


@pytest.mark.parametrize(
    ("kind", "status", "reason"),
    [
        ("completed", "completed", "completed"),
        ("incomplete", None, "incomplete"),
        ("completed", "incomplete", "incomplete"),
    ],
)
def test_a_response_ends_with_its_status_and_usage(kind, status, reason):
    usage = {
        "input_tokens": 5,
        "output_tokens": 2,
        "input_tokens_details": {"cached_tokens": 4},
        "output_tokens_details": {"reasoning_tokens": 1},
    }
    reading = read_each(
        "responses",
        {"type": "response.output_text.delta", "delta": "a"},
        {"type": f"response.{kind}", "response": {"status": status, "usage": usage}},
    )
    assert reading.reader.ended
    assert reading.reader.ended_ns == 2
    record = reading.close()
    assert record.finish_reason == reason
    assert record.usage == Usage(5, 2, 4, 1)


@pytest.mark.parametrize("response", [None, "text", 5, [], {}])
def test_a_response_that_ends_oddly_still_ends(response):
    reading = read_each("responses", {"type": "response.completed", "response": response})
    assert reading.reader.ended
    assert reading.close().finish_reason == "completed"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 64) - 1) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "choices",
                    "delta",
                    "index",
                    "content",
                    "text",
                    "finish_reason",
                    "usage",
                    "error",
                    "completion_tokens",
                    "type",
                    "response",
                    "status",
                    "reasoning",
                    "tool_calls",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
shaped = st.fixed_dictionaries(
    {"choices": st.lists(st.fixed_dictionaries({"index": json_values, "delta": json_values}))}
    | {"type": st.sampled_from(["response.output_text.delta", "response.completed", "error"])},
    optional={"usage": json_values, "response": json_values, "delta": json_values},
)


@settings(max_examples=60)
@given(
    st.sampled_from(["chat", "completions", "responses"]),
    st.lists(st.lists(json_values | shaped, max_size=3), max_size=5),
    st.sampled_from([b"", b"error", b"other"]),
)
def test_no_json_makes_a_reader_raise(endpoint, reads, kind):
    reading = Reading(endpoint)
    for stamp, messages in enumerate(reads, 1):
        reading.read(stamp, *messages, kind=kind)
    record = reading.close()
    assert record.token_events == sum(record.events or [1] * len(record.stamps))
    assert list(record.stamps) == sorted(record.stamps)
    for other in (record.events, record.lanes, record.tokens):
        assert other is None or len(other) == len(record.stamps)


def test_all_that_was_generated_is_kept_apart_by_choice_and_kind():
    def call(place, **function):
        return {"tool_calls": [{"index": place, "function": function}]}

    record = read_each(
        "chat",
        chat(role="assistant", content=""),
        chat(reasoning_content="thi", reasoning="thi"),
        chat(reasoning_content="nk"),
        chat(content="a", reasoning_content="!"),
        chat(content="b", index=1),
        chat(content="c"),
        chat(**call(0, name="look", arguments="")),
        chat(**call(0, arguments='{"x"')),
        chat(**call(1, name="hear")),
        chat(**call(0, arguments=":1}")),
        chat(refusal="no"),
        chat(function_call={"name": "old"}),
        chat(tool_calls="odd"),
        chat("stop"),
    ).close()
    assert record.text == "ac"
    assert sorted(record.texts) == sorted(
        ["think!", "ac", "b", "look", '{"x":1}', "hear", "no", "old"]
    )


def test_texts_of_completions_are_kept_by_choice():
    record = read_each(
        "completions",
        {"choices": [{"index": 0, "text": "a"}, {"index": 1, "text": "x"}]},
        {"choices": [{"index": 0, "text": "b"}]},
    ).close()
    assert (record.text, record.texts) == ("ab", ["ab", "x"])


def test_texts_of_a_response_are_kept_by_item_and_kind():
    def delta(kind, item, text):
        return {"type": f"response.{kind}.delta", "output_index": item, "delta": text}

    record = read_each(
        "responses",
        delta("reasoning_text", 0, "hm"),
        delta("output_text", 1, "a"),
        delta("output_text", 1, "b"),
        delta("function_call_arguments", 2, "{"),
        delta("function_call_arguments", 3, "["),
        delta("function_call_arguments", 2, "}"),
    ).close()
    assert (record.text, record.texts) == ("ab", ["hm", "ab", "{}", "["])


def test_texts_are_kept_only_where_asked():
    reading = Reading("chat", keep_text=False)
    reading.read(1, chat(content="a"), chat(reasoning="b"))
    record = reading.close()
    assert (record.text, record.texts) == (None, None)


def test_output_tokens_are_the_servers_before_they_are_counted_by_anybody_else():
    record = read_each("chat", chat(content="a b c")).close()
    assert (record.output_tokens, record.token_count_source) == (1, TokenCountSource.EVENTS)
    record.counted_tokens = 3
    assert (record.output_tokens, record.token_count_source) == (3, TokenCountSource.TOKENIZER)
    record.usage = Usage(completion_tokens=4)
    assert (record.output_tokens, record.token_count_source) == (4, TokenCountSource.USAGE)
    record.usage = Usage(prompt_tokens=4)
    assert record.output_tokens == 3


def test_a_choice_without_a_number_is_the_first():
    reading = Reading("chat", keep_text=False)
    reading.read(1, chat(content="a", index=None))
    reading.read(2, chat(content="b", index=1))
    reading.read(3, chat(content="c", index=None))
    record = reading.close()
    assert list(record.lanes) == [0, 1, 0]
