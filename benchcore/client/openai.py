"""OpenAI: what the three endpoints are asked, and what their answers mean."""

from collections.abc import Mapping
from typing import Any

import orjson

from benchcore.client.prompt import Prompt
from benchcore.client.records import Usage
from benchcore.config.target import Endpoint

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
            if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
                return value
        return None

    def detail(names: tuple[str, ...], field: str) -> int | None:
        for name in names:
            inner = raw.get(name)
            if isinstance(inner, dict):
                value = inner.get(field)
                if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
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


def error_text(raw: Any) -> str:
    """Return what an error object of any server says, in one line of at most 300 characters."""
    if isinstance(raw, dict):
        inner = raw.get("error", raw)
        if isinstance(inner, dict):
            inner = inner.get("message") or inner.get("detail") or inner.get("code") or inner
        if isinstance(inner, (dict, list)):
            inner = orjson.dumps(inner).decode()
        raw = inner
    text = raw if isinstance(raw, str) else orjson.dumps(raw, default=str).decode()
    return " ".join(text.split())[:300]


def answer_text(endpoint: Endpoint, answer: Any) -> tuple[str, str]:
    """Return what a plain answer generated, as one text, and its finish reason.

    Everything generated counts: every choice, reasoning, refusals, tool calls.

    Raises:
        ValueError: the answer has not the shape of the endpoint.
    """
    try:
        if endpoint == "responses":
            pieces = [
                orjson.dumps(item).decode()
                if item.get("type") not in ("message", "reasoning")
                else "".join(str(part.get("text") or part.get("refusal") or "") for part in parts)
                for item in answer["output"]
                for parts in [item.get("content") or item.get("summary") or []]
            ]
            return "".join(pieces), str(answer.get("status") or "")
        pieces = []
        for choice in answer["choices"]:
            if endpoint == "completions":
                pieces.append(choice.get("text") or "")
                continue
            message = choice["message"]
            pieces.extend(message.get(name) or "" for name in _TEXT_FIELDS)
            pieces.extend(orjson.dumps(call).decode() for call in message.get("tool_calls") or ())
        reason = answer["choices"][0].get("finish_reason") if answer["choices"] else ""
        return "".join(map(str, pieces)), str(reason or "")
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"no {endpoint} answer: {error!r} in {str(answer)[:120]}") from None


_TEXT_FIELDS = ("reasoning", "reasoning_content", "content", "refusal")
