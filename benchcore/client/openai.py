"""OpenAI: what the three endpoints are asked, and what their answers mean."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

import orjson

from benchcore.client.prompt import Prompt
from benchcore.client.records import Usage
from benchcore.config.target import Endpoint

MOST_TOKENS = 1 << 53
"""A count of tokens beyond this is none."""

PATHS: dict[Endpoint, str] = {
    "chat": "/v1/chat/completions",
    "completions": "/v1/completions",
    "responses": "/v1/responses",
}


def request_body(
    endpoint: Endpoint, model: str, prompt: Prompt, *, stream: bool, extra: Mapping[str, Any]
) -> bytes:
    """Return the JSON of one request.

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
    return orjson.dumps(body)


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
    """Return what an error object of any server says, in one line of at most 300 characters."""
    if isinstance(raw, dict):
        inner = raw.get("error") or raw
        if isinstance(inner, dict):
            inner = inner.get("message") or inner.get("detail") or inner.get("code") or inner
        if isinstance(inner, (dict, list)):
            inner = orjson.dumps(inner).decode()
        raw = inner
    text = raw if isinstance(raw, str) else orjson.dumps(raw, default=str).decode()
    return " ".join(text.split())[:300]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a plain answer says.

    Args:
        text: the text of its first choice.
        generated: whether there is output of any kind: text, reasoning, a refusal, a tool call.
        finish_reason: of its first choice; empty where it gives none.
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
        reason = choices[0].get("finish_reason") if choices else None
        text = plain_text(texts[0]) if texts else ""
        return Answer(text, generated, str(reason or ""), refused)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"no {endpoint} answer: {error!r} in {str(answer)[:120]}") from None


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
    return Answer(text, generated, str(answer.get("status") or ""), refused)


def generated(part: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield what a chat message, or a delta of one, holds that was generated.

    Each with its kind: the pieces of one kind make one text. Where a server gives the reasoning
    under both names, it is yielded once.
    """
    for kind in ("content", "refusal"):
        if part.get(kind):
            yield kind, part[kind]
    reasoning = part.get("reasoning_content") or part.get("reasoning")
    if reasoning:
        yield "reasoning", reasoning
    calls = part.get("tool_calls")
    for place, call in enumerate(calls if isinstance(calls, list) else ()):
        if isinstance(call, dict):
            yield from _called(f"call {call.get('index', place)}", call.get("function"))
    yield from _called("call", part.get("function_call"))


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
        raise ValueError(f"no answer: {error!r} in {str(answer)[:120]}") from None


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
    """Return content as text: what is none, such as a list of parts, as its JSON."""
    if isinstance(content, str):
        return content
    return orjson.dumps(content).decode() if content else ""


_OUTPUT_FIELDS = (
    "content",
    "reasoning",
    "reasoning_content",
    "refusal",
    "tool_calls",
    "function_call",
)
