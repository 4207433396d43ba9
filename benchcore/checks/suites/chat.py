"""Chat: the few checks that are always made, plain answers, and answers to what people ask."""

from __future__ import annotations

import time
from typing import Any, Final

import orjson

from benchcore.checks.answers import shown
from benchcore.checks.attempt import CHAT, Attempt
from benchcore.checks.check import Suite
from benchcore.checks.probing import ECHO
from benchcore.workload.families import (
    ASK_WORD,
    cites_well,
    is_lesson,
    lesson_prompt,
    memory_prompt,
    remembers,
    search_prompt,
)

SMOKE = Suite("smoke", "the server is up and speaks the API at all")


@SMOKE.check("/v1/models lists models, and the one that is asked for", smoke=True)
async def models(t: Attempt) -> None:
    """OpenAI API, List models."""
    answer = t.accepted(await t.get("/v1/models"))
    t.require(answer.at("object") == "list", "object to be list", answer.find("object"))
    models = answer.at("data", a=list)
    names = [answer.at("data", index, "id", a=str) for index in range(len(models))]
    t.require(t.subject.model in names, f"{t.subject.model} among the models", names)


@SMOKE.check("a chat is answered with a message", smoke=True)
async def chat(t: Attempt) -> None:
    """OpenAI API, Create chat completion."""
    answer = await t.chat("Say hello.")
    t.require(len(answer.choices) == 1, "one choice", answer.choices)
    said = answer.text() or any(answer.message().get(key) for key in t.subject.reasoning_keys)
    t.require(said, "a message with content", answer.message())


@SMOKE.check("a streamed chat is answered with deltas", smoke=True)
async def streamed_chat(t: Attempt) -> None:
    """OpenAI API, Streaming."""
    stream = await t.stream_chat("Say hello.")
    t.require(stream.chunks, "chunks of a stream", stream.body[:300].decode(errors="replace"))
    said = stream.text() or stream.reasoning(keys=t.subject.reasoning_keys)
    t.require(said, "deltas with content", shown(stream.chunks[:5]))


@SMOKE.check("a request without messages is refused", smoke=True)
async def no_messages(t: Attempt) -> None:
    """OpenAI API, Create chat completion: `messages` is required."""
    body = t.chat_body("Hello")
    del body["messages"]
    t.refused(await t.post(CHAT, body), "a request without messages")


# Messages, roles and fields of plain chat answers.

CHAT_CORE = Suite("chat_core", "messages, roles and fields of plain chat answers")

_FINISHES: Final = frozenset({"stop", "length", "tool_calls", "content_filter", "function_call"})
_PAST: Final = 1_500_000_000
_ASKS: Final = "What is the code word?"


@CHAT_CORE.check("the answer's object is chat.completion")
async def object_is_chat_completion(t: Attempt) -> None:
    """OpenAI API, The chat completion object."""
    answer = await t.chat("Hello")
    t.require(answer.at("object") == "chat.completion", "chat.completion", answer.at("object"))


@CHAT_CORE.check("the answer has an id that is its own")
async def own_id(t: Attempt) -> None:
    """OpenAI API, The chat completion object: a unique identifier."""
    first, second = [await t.chat("Hello", max_tokens=2) for _ in range(2)]
    own, other = first.at("id", a=str), second.at("id", a=str)
    t.require(own and own != other, "two answers with ids of their own", [own, other])


@CHAT_CORE.check("created is the time of the answer, in Unix seconds")
async def created(t: Attempt) -> None:
    """OpenAI API, The chat completion object."""
    answer = await t.chat("Hello", max_tokens=2)
    value = answer.at("created", a=int)
    t.require(_PAST < value < time.time() + 86_400, "Unix seconds of about now", value)


@CHAT_CORE.check("the answer names the model that was asked")
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


@CHAT_CORE.check("the message's role is assistant")
async def role_is_assistant(t: Attempt) -> None:
    """OpenAI API, The chat completion object."""
    answer = await t.chat("Hello", max_tokens=2)
    role = answer.at("choices", 0, "message", "role")
    t.require(role == "assistant", "role assistant", role)


@CHAT_CORE.check("a choice says why it ended, with one of the known reasons")
async def finish_reason(t: Attempt) -> None:
    """OpenAI API, The chat completion object: finish_reason."""
    answer = await t.chat("Hello", max_tokens=8)
    reason = answer.at("choices", 0, "finish_reason")
    t.require(reason in _FINISHES, f"one of {', '.join(sorted(_FINISHES))}", reason)


@CHAT_CORE.check("the content type is application/json")
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


@CHAT_CORE.check("a system prompt steers the answer", needs=("instructions",), model_dependent=True)
async def system_prompt(t: Attempt) -> None:
    """OpenAI API, messages: system."""
    await _obeys_role(t, "system")


@CHAT_CORE.check(
    "a developer prompt steers the answer", needs=("instructions",), model_dependent=True
)
async def developer_prompt(t: Attempt) -> None:
    """OpenAI API, messages: developer, which replaces system."""
    await _obeys_role(t, "developer")


@CHAT_CORE.check(
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


@CHAT_CORE.check("a conversation costs the tokens of all its turns")
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


@CHAT_CORE.check("content may be a list of text parts, and none of them is lost")
async def content_parts(t: Attempt) -> None:
    """OpenAI API, messages: array of content parts."""
    first, second = "The weather by the sea was mild.", "The harbour was full of ships."
    parts = [{"type": "text", "text": first}, {"type": "text", "text": second}]
    alone = await t.chat([{"role": "user", "content": parts[:1]}], "a list of parts", max_tokens=2)
    both = await t.chat([{"role": "user", "content": parts}], "a list of parts", max_tokens=2)
    counts = [answer.usage("prompt_tokens") for answer in (alone, both)]
    t.require(counts[1] >= counts[0] + 4, "the second part to cost tokens too", counts)


@CHAT_CORE.check("a content part of an unknown type is refused, never a 5xx")
async def unknown_part(t: Attempt) -> None:
    """OpenAI API, messages: the types of content parts."""
    part = {"type": "hologram", "hologram": "x"}
    answer = await t.post(CHAT, t.chat_body([{"role": "user", "content": [part]}]))
    t.refused(answer, "a part of type hologram")


@CHAT_CORE.check("an assistant's turn with null content and tool calls is accepted")
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


@CHAT_CORE.check("emoji come back whole", needs=("instructions",), model_dependent=True)
async def emoji_round_trip(t: Attempt) -> None:
    """RFC 8259, section 8.1: JSON is UTF-8; characters beyond the BMP too."""
    await _round_trip(t, "\N{ROCKET} \N{PARTY POPPER}")


@CHAT_CORE.check("Chinese text comes back whole", needs=("instructions",), model_dependent=True)
async def cjk_round_trip(t: Attempt) -> None:
    """RFC 8259, section 8.1: JSON is UTF-8."""
    await _round_trip(t, "你好世界")


@CHAT_CORE.check("escaped and raw characters of JSON mean the same")
async def escapes(t: Attempt) -> None:
    r"""RFC 8259, section 7: `\u4f60` is the character itself."""
    body = t.chat_body("HERE", max_tokens=2)
    counts = []
    for text in (b"\xe4\xbd\xa0\xf0\x9f\x9a\x80", b"\\u4f60\\ud83d\\ude80"):
        raw = orjson.dumps(body).replace(b"HERE", text)
        counts.append(t.accepted(await t.post(CHAT, raw)).usage("prompt_tokens"))
    t.require(counts[0] == counts[1], "the same prompt_tokens for both", counts)


@CHAT_CORE.check("an unknown field of the body is ignored or refused, never a 5xx")
async def unknown_field(t: Attempt) -> None:
    """OpenAI API: forward compatibility; RFC 9110, 15.6: 5xx is the server's own fault."""
    answer = await t.post(CHAT, t.chat_body("Hello", max_tokens=2, x_unknown_field={"a": [1]}))
    t.require(answer.status < 500, "a status under 500", str(answer.status))
    if answer.status != 200:
        t.refused(answer, "an unknown field")


@CHAT_CORE.check("an unknown role is refused")
async def unknown_role(t: Attempt) -> None:
    """OpenAI API, messages: the roles."""
    answer = await t.post(CHAT, t.chat_body([{"role": "wizard", "content": "Hello"}]))
    t.refused(answer, "the role wizard")


@CHAT_CORE.check("the name of a participant is accepted")
async def participant_name(t: Attempt) -> None:
    """OpenAI API, messages: name."""
    message = {"role": "user", "name": "alice", "content": "Hello"}
    await t.chat([message], max_tokens=2)


@CHAT_CORE.check(
    "user and metadata are accepted", tolerance="engines may refuse fields for billing"
)
async def user_field(t: Attempt) -> None:
    """OpenAI API, Create chat completion: user, metadata."""
    await t.chat("Hello", max_tokens=2, user="u-1", metadata={"run": "1"})


# Answers to what people really ask: search, lessons, conversations. The words and the judges are
# those of the workloads of the same names.

FAMILIES = Suite("families", "answers to what people really ask")

_OF_A_MODEL: Final[dict[str, Any]] = {
    "needs": ("instructions",),
    "model_dependent": True,
    "tolerance": "a weak model does not do all that it is told",
}
_SOURCES: Final = [
    "A river bends where its bank is soft.",
    "Most rivers of the plain flood in spring.",
    "The bridge of the old town was built in 1781.",
]


def _found(wrong: str, text: str) -> str:
    return f"an answer that {wrong}: {text}"


@FAMILIES.check(
    "a question with sources is answered with citations that exist",
    **_OF_A_MODEL,
)
async def search_qa(t: Attempt) -> None:
    """Every source that is cited is one of those given, and every one that is listed is used."""
    answer = await t.chat(search_prompt(_SOURCES, "rivers"), max_tokens=200)
    wrong = cites_well(answer.text(), sources=len(_SOURCES))
    t.require(not wrong, "citations of sources 1 to 3", _found(wrong, answer.text()))


@FAMILIES.check(
    "a lesson has the structure that it was asked for",
    **_OF_A_MODEL,
)
async def lesson_pack(t: Attempt) -> None:
    """One title, three sections, the last one the summary, lists where they are asked for."""
    answer = await t.chat(lesson_prompt("tides", 3), max_tokens=600)
    wrong = is_lesson(answer.text(), sections=3)
    t.require(
        not wrong,
        "a lesson of a title and three sections",
        _found(wrong, answer.text()),
    )


@FAMILIES.check(
    "a conversation remembers what was said at its beginning",
    **_OF_A_MODEL,
)
async def memory_chat(t: Attempt) -> None:
    """The code word of the first message is known in the third."""
    messages = [{"role": "user", "content": memory_prompt("saffron", "Good morning.")}]
    for text in ("Name a color.", ASK_WORD):
        answer = await t.chat(messages, max_tokens=48)
        messages += [
            {"role": "assistant", "content": answer.text()},
            {"role": "user", "content": text},
        ]
    answer = await t.chat(messages, max_tokens=48)
    wrong = remembers(answer.text(), word="saffron")
    t.require(not wrong, "the code word, saffron", _found(wrong, answer.text()))
