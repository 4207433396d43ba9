"""OpenAI: what the three endpoints are asked, and what their answers mean."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

import orjson

from benchcore.base.text import AMPLE
from benchcore.client.records import Usage
from benchcore.client.request import Prompt
from benchcore.config.target import Endpoint

MOST_TOKENS = 1 << 53
"""A count of tokens beyond this is none."""

TOKEN_LIMITS = ("max_completion_tokens", "max_tokens", "max_output_tokens", "max_new_tokens")
"""Fields of a body that say how long an answer may be, the one that counts most first."""

GOOD_ENDS = frozenset(
    {
        *("stop", "eos", "eos_token", "end_turn", "stop_sequence", "stop_token", "completed"),
        *("length", "max_tokens", "max_output_tokens", "model_length", "incomplete", "limit"),
        *("tool_calls", "tool_call", "tool_use", "function_call"),
    }
)
"""Finish reasons, in lower case, of an answer that ended as it should, whoever words it."""
BROKEN_ENDS = frozenset(
    {
        *("abort", "aborted", "cancel", "cancelled", "canceled"),
        *("error", "failed", "insufficient_system_resource"),
    }
)
"""Finish reasons, in lower case, by which a server says that it broke the answer off."""
TOO_DEEP = "(nested too deeply to be shown)"
"""Stands for JSON that a parser takes and nothing else does."""


def request_body(
    endpoint: Endpoint, model: str, prompt: Prompt, *, stream: bool, extra: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the body of one request.

    Args:
        endpoint: which of the endpoints it is for.
        model: the model's name.
        prompt: what to ask.
        stream: ask for a stream of events, with usage in its last chunk.
        extra: the user's own fields; they win over everything else, `null` included.
    """
    body: dict[str, Any] = {"model": model, "stream": stream}
    messages = prompt.messages or [{"role": "user", "content": prompt.text}]
    if endpoint == "chat":
        body["messages"] = messages
    elif endpoint == "completions":
        body["prompt"] = (
            prompt.text
            if prompt.messages is None
            else "\n".join(str(message.get("content") or "") for message in prompt.messages)
        )
    else:
        body["input"] = prompt.text if prompt.messages is None else messages
    if prompt.output_tokens is not None:
        body["max_output_tokens" if endpoint == "responses" else "max_tokens"] = (
            prompt.output_tokens
        )
    if stream and endpoint != "responses":
        body["stream_options"] = {"include_usage": True}
    body.update(prompt.extra)
    body.update(extra)
    return body


def asked_tokens(body: Mapping[str, Any]) -> int | None:
    """Return how long a body lets the answer be, in tokens; `None`: the server decides."""
    for name in TOKEN_LIMITS:
        if type(value := body.get(name)) is int:
            return value
    return None


def read_usage(raw: Any) -> Usage | None:
    """Return the token counts of a `usage` object of any endpoint; `None` where it is none."""
    if not isinstance(raw, dict):
        return None

    def count(*names: str) -> int | None:
        for name in names:
            value = raw.get(name)
            if _is_count(value):
                return value
        return None

    def detail(names: tuple[str, ...], field: str) -> int | None:
        for name in names:
            inner = raw.get(name)
            if isinstance(inner, dict):
                value = inner.get(field)
                if _is_count(value):
                    return value
        return None

    return Usage(
        prompt_tokens=count("prompt_tokens", "input_tokens"),
        completion_tokens=count("completion_tokens", "output_tokens"),
        cached_tokens=detail(("prompt_tokens_details", "input_tokens_details"), "cached_tokens"),
        reasoning_tokens=detail(
            ("completion_tokens_details", "output_tokens_details"), "reasoning_tokens"
        ),
    )


def _is_count(value: Any) -> TypeGuard[int]:
    return type(value) is int and 0 <= value < MOST_TOKENS


def error_text(raw: Any) -> str:
    """Return what an error object of any server says, as it says it."""
    if isinstance(raw, dict):
        inner = raw.get("error") or raw
        if isinstance(inner, dict):
            inner = inner.get("message") or inner.get("detail") or inner.get("code") or inner
        raw = inner
    return raw if isinstance(raw, str) else _json_text(raw)


def refused_field(raw: Any) -> str:
    """Return the field that a refusal names in a place of its own; empty where it names none.

    That place is OpenAI's `error.param`, or the `loc` of one fault of pydantic's.
    """
    inner = raw.get("error") if isinstance(raw, dict) else None
    found = inner.get("param") if isinstance(inner, dict) else None
    if found is None and isinstance(raw, dict):
        faults = raw.get("detail")
        fault = faults[0] if isinstance(faults, list) and faults else None
        place = fault.get("loc") if isinstance(fault, dict) else None
        found = (
            place[1] if isinstance(place, list) and place[:1] == ["body"] and place[1:] else None
        )
    return found if isinstance(found, str) else ""


def _json_text(value: Any) -> str:
    """Return any JSON as text; it may be nested more deeply than can be written again."""
    try:
        return orjson.dumps(value).decode()
    except TypeError:
        return TOO_DEEP


@dataclass(frozen=True, slots=True)
class Answer:
    """What a plain answer says.

    Args:
        text: the text of its first choice.
        generated: whether there is output of any kind: text, reasoning, a refusal, a tool call.
        finish_reason: of its first choice; one that broke off counts first. Empty: none is given.
        refused: whether the model declined, in a field of its own.
    """

    text: str
    generated: bool
    finish_reason: str
    refused: bool = False


def read_answer(endpoint: Endpoint, answer: Any) -> Answer:
    """Return what the JSON of a plain answer says.

    Raises:
        ValueError: the answer has not the shape of the endpoint.
    """
    try:
        if endpoint == "responses":
            return _read_response(answer)
        choices = answer["choices"]
        refused = False
        if endpoint == "completions":
            texts = [choice.get("text") for choice in choices]
            generated = any(texts)
        else:
            messages = [choice["message"] for choice in choices]
            texts = [message.get("content") for message in messages]
            generated = any(message.get(name) for message in messages for name in _OUTPUT_FIELDS)
            refused = any(message.get("refusal") for message in messages)
        reasons = [plain_text(choice.get("finish_reason")) for choice in choices]
        broken = [reason for reason in reasons if reason.lower() in BROKEN_ENDS]
        reason = (broken or reasons or [""])[0]
        text = plain_text(texts[0]) if texts else ""
        return Answer(text, generated, reason, refused)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"no {endpoint} answer: {_fault(error)} in {_json_text(answer)[:AMPLE]}"
        ) from None


def _fault(error: Exception) -> str:
    """Return an error of ours over JSON of theirs; its message may hold a value, of any length."""
    return f"{type(error).__name__}: {str(error)[:80]}"


def _read_response(answer: Any) -> Answer:
    texts = []
    generated = refused = False
    for item in answer["output"]:
        kind = item.get("type")
        parts = item.get("content") or item.get("summary") or ()
        said = [part.get("text") or part.get("refusal") for part in parts]
        generated = generated or any(said) or kind not in ("message", "reasoning")
        refused = refused or any(part.get("refusal") for part in parts)
        if kind == "message":
            texts += [part.get("text") for part in parts]
    text = "".join(map(plain_text, texts))
    return Answer(text, generated, plain_text(answer.get("status")), refused)


def generated(part: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield what a chat message, or a delta of one, holds that was generated.

    Each with its kind: the pieces of one kind make one text. Where a server gives the reasoning
    under both names, it is yielded once.
    """
    content = part.get("content")
    if isinstance(content, list):
        yield from _parts(content)
    elif content:
        yield "content", content
    if part.get("refusal"):
        yield "refusal", part["refusal"]
    reasoning = part.get("reasoning_content") or part.get("reasoning")
    if reasoning:
        yield "reasoning", reasoning
    calls = part.get("tool_calls")
    for place, call in enumerate(calls if isinstance(calls, list) else ()):
        if isinstance(call, dict):
            yield from _called(f"call {call.get('index', place)}", call.get("function"))
    yield from _called("call", part.get("function_call"))


def _parts(content: list[Any]) -> Iterator[tuple[str, Any]]:
    """Yield what a list of parts holds: thinking is reasoning, whatever it stands in.

    A list without one part of a known kind is yielded whole.
    """
    if content and not any(map(_is_known, content)):
        yield "content", content
        return
    for piece in content:
        said = part_text(piece)
        if said:
            yield "reasoning" if is_thinking(piece) else "content", said


def is_thinking(part: Any) -> bool:
    """Return whether a part of a content list is reasoning, as Mistral's and Anthropic's are."""
    return isinstance(part, dict) and (
        part.get("type") in _THINKING or ("thinking" in part and "text" not in part)
    )


# A tuple: the type may be anything, and not everything has a hash.
_THINKING = ("thinking", "reasoning", "redacted_thinking")
_SAYING = ("text", "thinking", "reasoning", "summary", "content")
"""The fields that hold the text of a part, in the order in which they are looked for."""


def _is_known(part: Any) -> bool:
    """Return whether a part of a content list is text or thinking, if only an empty one."""
    return (
        isinstance(part, str)
        or is_thinking(part)
        or bool(part_text(part))
        or (isinstance(part, dict) and any(part.get(name) == "" for name in _SAYING))
    )


def part_text(part: Any) -> str:
    """Return the text of a part of a content list; empty where it has none, such as an image."""
    if isinstance(part, str):
        return part
    if isinstance(part, list):
        return "".join(map(part_text, part))
    if not isinstance(part, dict):
        return ""
    for name in _SAYING:
        if part.get(name):
            return part_text(part[name])
    return ""


def is_all_thinking(content: Any) -> bool:
    """Return whether content is a list of parts that are reasoning and nothing else."""
    return isinstance(content, list) and bool(content) and all(map(is_thinking, content))


def _called(kind: str, function: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(function, dict):
        for field in ("name", "arguments"):
            if function.get(field):
                yield f"{kind} {field}", function[field]


def answer_texts(answer: Any) -> list[str]:
    """Return every text that was generated in the JSON of a plain answer of any endpoint.

    Raises:
        ValueError: it has the shape of none.
    """
    try:
        if "output" in answer:
            return list(_response_texts(answer["output"]))
        return [
            plain_text(piece)
            for choice in answer["choices"]
            for _, piece in (
                generated(choice["message"]) if "message" in choice else (("", choice.get("text")),)
            )
            if piece
        ]
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"no answer: {_fault(error)} in {_json_text(answer)[:AMPLE]}") from None


def _response_texts(items: Any) -> Iterator[str]:
    for item in items:
        for part in item.get("content") or item.get("summary") or ():
            said = part.get("text") or part.get("refusal")
            if said:
                yield plain_text(said)
        for field in ("name", "arguments"):
            if item.get(field):
                yield plain_text(item[field])


def plain_text(content: Any) -> str:
    """Return content as text: of a list of parts what they say, without thinking; else its JSON.

    A list is one of parts where one of them, at least, is text or thinking.
    """
    if isinstance(content, str):
        return content
    if isinstance(content, list) and any(map(_is_known, content)):
        return "".join(part_text(part) for part in content if not is_thinking(part))
    return _json_text(content) if content else ""


_OUTPUT_FIELDS = (
    "content",
    "reasoning",
    "reasoning_content",
    "refusal",
    "tool_calls",
    "function_call",
)
