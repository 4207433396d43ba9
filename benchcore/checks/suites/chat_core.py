"""Chat core: messages, roles and fields of plain chat answers."""

from __future__ import annotations

import time
from typing import Any, Final

import orjson

from benchcore.checks.attempt import CHAT, Attempt
from benchcore.checks.check import Suite
from benchcore.checks.probing import ECHO

SUITE = Suite("chat_core", "messages, roles and fields of plain chat answers")

_FINISHES: Final = frozenset({"stop", "length", "tool_calls", "content_filter", "function_call"})
_PAST: Final = 1_500_000_000
_ASKS: Final = "What is the code word?"


@SUITE.check("the answer's object is chat.completion")
async def object_is_chat_completion(t: Attempt) -> None:
    """OpenAI API, The chat completion object."""
    answer = await t.chat("Hello")
    t.require(answer.at("object") == "chat.completion", "chat.completion", answer.at("object"))


@SUITE.check("the answer has an id that is its own")
async def own_id(t: Attempt) -> None:
    """OpenAI API, The chat completion object: a unique identifier."""
    first, second = [await t.chat("Hello", max_tokens=2) for _ in range(2)]
    own, other = first.at("id", a=str), second.at("id", a=str)
    t.require(own and own != other, "two answers with ids of their own", [own, other])


@SUITE.check("created is the time of the answer, in Unix seconds")
async def created(t: Attempt) -> None:
    """OpenAI API, The chat completion object."""
    answer = await t.chat("Hello", max_tokens=2)
    value = answer.at("created", a=int)
    t.require(_PAST < value < time.time() + 86_400, "Unix seconds of about now", value)


@SUITE.check("the answer names the model that was asked")
async def names_model(t: Attempt) -> None:
    """OpenAI API, The chat completion object."""
    answer = await t.chat("Hello", max_tokens=2)
    model = answer.at("model", a=str)
    asked = t.subject.model
    t.require(model, "a model's name", model)
    t.prefer(
        model == asked or model.startswith(f"{asked}-"),
        f"model {asked}, or a dated version of it",
        model,
        "some engines give the path that they loaded, for an alias",
    )


@SUITE.check("the message's role is assistant")
async def role_is_assistant(t: Attempt) -> None:
    """OpenAI API, The chat completion object."""
    answer = await t.chat("Hello", max_tokens=2)
    role = answer.at("choices", 0, "message", "role")
    t.require(role == "assistant", "role assistant", role)


@SUITE.check("a choice says why it ended, with one of the known reasons")
async def finish_reason(t: Attempt) -> None:
    """OpenAI API, The chat completion object: finish_reason."""
    answer = await t.chat("Hello", max_tokens=8)
    reason = answer.at("choices", 0, "finish_reason")
    t.require(reason in _FINISHES, f"one of {', '.join(sorted(_FINISHES))}", reason)


@SUITE.check("the content type is application/json")
async def content_type(t: Attempt) -> None:
    """RFC 8259, section 11."""
    answer = await t.chat("Hello", max_tokens=2)
    value = answer.header("content-type") or "none"
    t.require(value.lower().startswith("application/json"), "application/json", value)


async def _obeys_role(t: Attempt, role: str) -> None:
    answer = await t.chat(
        [
            {"role": role, "content": "Always answer with exactly: marigold"},
            {"role": "user", "content": "What is the capital of France?"},
        ],
        f"the role {role}",
    )
    t.require("marigold" in answer.text().lower(), "an answer of marigold", answer.text())


@SUITE.check("a system prompt steers the answer", needs=("instructions",), model_dependent=True)
async def system_prompt(t: Attempt) -> None:
    """OpenAI API, messages: system."""
    await _obeys_role(t, "system")


@SUITE.check("a developer prompt steers the answer", needs=("instructions",), model_dependent=True)
async def developer_prompt(t: Attempt) -> None:
    """OpenAI API, messages: developer, which replaces system."""
    await _obeys_role(t, "developer")


@SUITE.check(
    "what was said in an earlier turn is known in the next",
    needs=("instructions",),
    model_dependent=True,
)
async def multi_turn(t: Attempt) -> None:
    """OpenAI API, messages: a list of the conversation so far."""
    answer = await t.chat(
        [
            {"role": "user", "content": "The code word is juniper."},
            {"role": "assistant", "content": "I will remember that."},
            {"role": "user", "content": _ASKS},
        ]
    )
    t.require("juniper" in answer.text().lower(), "an answer with juniper", answer.text())


@SUITE.check("a conversation costs the tokens of all its turns")
async def turns_are_counted(t: Attempt) -> None:
    """OpenAI API, usage.prompt_tokens: tokens in the prompt, which is the whole conversation."""
    last = {"role": "user", "content": "And then?"}
    history: list[dict[str, Any]] = [
        {"role": "user", "content": "Tell me of a river that crosses four countries."},
        {"role": "assistant", "content": "It begins in the mountains and ends in a wide delta."},
    ]
    short = await t.chat([last], max_tokens=2)
    long = await t.chat([*history, last], max_tokens=2)
    counts = [answer.usage("prompt_tokens") for answer in (short, long)]
    t.require(counts[1] >= counts[0] + 10, "at least 10 more prompt_tokens", counts)


@SUITE.check("content may be a list of text parts, and none of them is lost")
async def content_parts(t: Attempt) -> None:
    """OpenAI API, messages: array of content parts."""
    first, second = "The weather by the sea was mild.", "The harbour was full of ships."
    parts = [{"type": "text", "text": first}, {"type": "text", "text": second}]
    alone = await t.chat([{"role": "user", "content": parts[:1]}], "a list of parts", max_tokens=2)
    both = await t.chat([{"role": "user", "content": parts}], "a list of parts", max_tokens=2)
    counts = [answer.usage("prompt_tokens") for answer in (alone, both)]
    t.require(counts[1] >= counts[0] + 4, "the second part to cost tokens too", counts)


@SUITE.check("a content part of an unknown type is refused, never a 5xx")
async def unknown_part(t: Attempt) -> None:
    """OpenAI API, messages: the types of content parts."""
    part = {"type": "hologram", "hologram": "x"}
    answer = await t.post(CHAT, t.chat_body([{"role": "user", "content": [part]}]))
    t.refused(answer, "a part of type hologram")


@SUITE.check("an assistant's turn with null content and tool calls is accepted")
async def null_content_history(t: Attempt) -> None:
    """OpenAI API, messages: assistant content may be null where tool_calls is there."""
    call = {
        "id": "call_1",
        "type": "function",
        "function": {"name": "lookup", "arguments": '{"key": "a"}'},
    }
    await t.chat(
        [
            {"role": "user", "content": "Look up a."},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "call_1", "content": "a is 1"},
            {"role": "user", "content": "Thanks."},
        ],
        "a history with tool calls",
        max_tokens=4,
    )


async def _round_trip(t: Attempt, text: str) -> None:
    answer = await t.chat(ECHO + text)
    t.require(text in answer.text(), f"{text} in the answer", answer.text())


@SUITE.check("emoji come back whole", needs=("instructions",), model_dependent=True)
async def emoji_round_trip(t: Attempt) -> None:
    """RFC 8259, section 8.1: JSON is UTF-8; characters beyond the BMP too."""
    await _round_trip(t, "\N{ROCKET} \N{PARTY POPPER}")


@SUITE.check("Chinese text comes back whole", needs=("instructions",), model_dependent=True)
async def cjk_round_trip(t: Attempt) -> None:
    """RFC 8259, section 8.1: JSON is UTF-8."""
    await _round_trip(t, "你好世界")


@SUITE.check("escaped and raw characters of JSON mean the same")
async def escapes(t: Attempt) -> None:
    r"""RFC 8259, section 7: `\u4f60` is the character itself."""
    body = t.chat_body("HERE", max_tokens=2)
    counts = []
    for text in (b"\xe4\xbd\xa0\xf0\x9f\x9a\x80", b"\\u4f60\\ud83d\\ude80"):
        raw = orjson.dumps(body).replace(b"HERE", text)
        counts.append(t.accepted(await t.post(CHAT, raw)).usage("prompt_tokens"))
    t.require(counts[0] == counts[1], "the same prompt_tokens for both", counts)


@SUITE.check("an unknown field of the body is ignored or refused, never a 5xx")
async def unknown_field(t: Attempt) -> None:
    """OpenAI API: forward compatibility; RFC 9110, 15.6: 5xx is the server's own fault."""
    answer = await t.post(CHAT, t.chat_body("Hello", max_tokens=2, x_unknown_field={"a": [1]}))
    t.require(answer.status < 500, "a status under 500", str(answer.status))
    if answer.status != 200:
        t.refused(answer, "an unknown field")


@SUITE.check("an unknown role is refused")
async def unknown_role(t: Attempt) -> None:
    """OpenAI API, messages: the roles."""
    answer = await t.post(CHAT, t.chat_body([{"role": "wizard", "content": "Hello"}]))
    t.refused(answer, "the role wizard")


@SUITE.check("the name of a participant is accepted")
async def participant_name(t: Attempt) -> None:
    """OpenAI API, messages: name."""
    message = {"role": "user", "name": "alice", "content": "Hello"}
    await t.chat([message], max_tokens=2)


@SUITE.check("user and metadata are accepted", tolerance="engines may refuse fields for billing")
async def user_field(t: Attempt) -> None:
    """OpenAI API, Create chat completion: user, metadata."""
    await t.chat("Hello", max_tokens=2, user="u-1", metadata={"run": "1"})
