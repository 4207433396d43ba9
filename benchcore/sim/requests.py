"""Requests: what one asks for, read from its JSON body."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import orjson

from benchcore.sim.validation import (
    CHAT,
    COMPLETION,
    EVERYWHERE,
    ApiError,
    check_bounds,
    check_messages,
    check_prompt,
    flag_fault,
)
from benchcore.sim.vocabulary import mostly_ideographs, pieces, token_ids

if TYPE_CHECKING:
    pass

_COMPLETION_DEFAULT_TOKENS: Final = 16


@dataclass(slots=True, frozen=True)
class Tool:
    """A function that an answer may call."""

    name: str
    description: str
    parameters: dict[str, Any]


@dataclass(slots=True)
class Ask:
    """One request for an answer, whichever endpoint it came through.

    ``tool_choice`` is none, auto, required or named; ``texts`` are those of the prompts, or
    empty where they are token ids; ``batch`` is how many requests are in hand with this one.
    """

    model: str | None
    prompts: list[list[int]]
    ideographs: bool
    max_tokens: int | None
    min_tokens: int = 0
    ignore_eos: bool = False
    choices: int = 1
    stop: tuple[str, ...] = ()
    seed: int | None = None
    stream: bool = False
    include_usage: bool = False
    continuous_usage: bool = False
    tools: tuple[Tool, ...] = ()
    tool_choice: str = "none"
    named_tool: str | None = None
    batch: int = 1
    texts: list[str] = field(default_factory=list, repr=False)
    body: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def prompt_tokens(self) -> int:
        """Tokens of all prompts."""
        return sum(len(prompt) for prompt in self.prompts)


def read_object(raw: bytes) -> dict[str, Any]:
    """Reads a JSON object.

    Raises:
        ApiError: 400, the bytes are not a JSON object.
    """
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise ApiError(400, f"request body is not valid JSON: {error}") from None
    if not isinstance(body, dict):
        raise ApiError(400, "request body must be a JSON object")
    return body


def read_chat(body: dict[str, Any]) -> Ask:
    """Reads the body of /v1/chat/completions.

    Raises:
        ApiError: 400, with the name of the field at fault.
    """
    check_bounds(body, CHAT)
    check_messages(body.get("messages"))
    text = chat_text(body.get("messages"))
    newer = body.get("max_completion_tokens") is not None
    limit_key = "max_completion_tokens" if newer else "max_tokens"
    ask = _read_common(body, [token_ids(pieces(text))], text, limit_key)
    _read_tools(ask, body)
    return ask


def read_completion(body: dict[str, Any]) -> Ask:
    """Reads the body of /v1/completions: one prompt or several, as text or as token ids.

    Raises:
        ApiError: 400, with the name of the field at fault.
    """
    check_bounds(body, COMPLETION)
    check_prompt(body.get("prompt"))
    texts, prompts = _read_prompts(body.get("prompt"))
    ask = _read_common(body, prompts, "".join(texts), "max_tokens")
    ask.texts = texts
    if body.get("max_tokens") is None:
        ask.max_tokens = _COMPLETION_DEFAULT_TOKENS
    return ask


def read_response(body: dict[str, Any]) -> Ask:
    """Reads the body of /v1/responses.

    Raises:
        ApiError: 400, with the name of the field at fault.
    """
    check_bounds(body, EVERYWHERE)
    given = body.get("input")
    messages = [{"role": "user", "content": given}] if isinstance(given, str) else given
    instructions = body.get("instructions")
    if isinstance(instructions, str) and isinstance(messages, list):
        messages = [{"role": "system", "content": instructions}, *messages]
    text = chat_text(messages, param="input")
    ask = _read_common(body, [token_ids(pieces(text))], text, "max_output_tokens")
    ask.choices = 1
    ask.include_usage = True
    ask.continuous_usage = False
    return ask


def read_tokenize(body: dict[str, Any]) -> list[int]:
    """Reads the body of /tokenize, ``prompt`` or ``messages``, and returns its tokens.

    Raises:
        ApiError: 400, with the name of the field at fault.
    """
    if "messages" in body:
        open_answer = body.get("add_generation_prompt", True) is not False
        return token_ids(pieces(chat_text(body["messages"], open_answer=open_answer)))
    prompt = body.get("prompt")
    if not isinstance(prompt, str):
        raise ApiError(400, "prompt must be a string, or give messages", param="prompt")
    return token_ids(pieces(prompt))


def chat_text(messages: Any, *, param: str = "messages", open_answer: bool = True) -> str:
    """Writes a conversation as the one text that the model reads.

    Raises:
        ApiError: 400, the messages are not a list of roles and contents.
    """
    if not isinstance(messages, list) or not messages:
        raise ApiError(400, f"{param} must be a non-empty list of messages", param=param)
    parts: list[str] = []
    for index, message in enumerate(messages):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise ApiError(400, f"{param}[{index}] must be an object with a role", param=param)
        content = content_text(message.get("content"), f"{param}[{index}].content")
        parts.append(f"<|{message['role']}|>{content}")
    if open_answer:
        parts.append("<|assistant|>")
    return "".join(parts)


def content_text(content: Any, param: str = "content") -> str:
    """Returns the text of a message's content: a string, parts, or null.

    Raises:
        ApiError: 400, it is something else.
    """
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, list) and all(isinstance(part, dict) for part in content):
        return "".join(text for part in content if isinstance(text := part.get("text"), str))
    raise ApiError(400, f"{param} must be a string or a list of parts", param=param)


def _read_prompts(prompt: Any) -> tuple[list[str], list[list[int]]]:
    if isinstance(prompt, str):
        prompt = [prompt]
    if isinstance(prompt, list) and prompt:
        if all(isinstance(one, str) for one in prompt):
            return prompt, [token_ids(pieces(one)) for one in prompt]
        if _are_token_ids(prompt):
            return [], [prompt]
        if all(_are_token_ids(one) for one in prompt):
            return [], prompt
    raise ApiError(400, "prompt must be text, token ids or a list of either", param="prompt")


def _are_token_ids(given: Any) -> bool:
    return (
        isinstance(given, list)
        and bool(given)
        and all(type(one) is int and 0 <= one < 1 << 32 for one in given)
    )


def _read_common(body: dict[str, Any], prompts: list[list[int]], text: str, limit_key: str) -> Ask:
    model = body.get("model")
    if model is not None and not isinstance(model, str):
        raise ApiError(400, "model must be a string", param="model")
    if not all(prompts):
        raise ApiError(400, "the prompt is empty", param="prompt")
    stop = body.get("stop") or ()
    options = body.get("stream_options") or {}
    for name in ("include_usage", "continuous_usage_stats"):
        if options.get(name) is not None and (fault := flag_fault(options[name])):
            raise ApiError(400, f"{name} {fault}", param=name)
    return Ask(
        model=model,
        prompts=prompts,
        ideographs=mostly_ideographs(text),
        max_tokens=body.get(limit_key),
        min_tokens=body.get("min_tokens") or 0,
        ignore_eos=body.get("ignore_eos") is True,
        choices=body.get("n") or 1,
        stop=(stop,) if isinstance(stop, str) else tuple(stop),
        seed=body.get("seed"),
        stream=body.get("stream") is True,
        include_usage=options.get("include_usage") is True,
        continuous_usage=options.get("continuous_usage_stats") is True,
        body=body,
    )


def _read_tools(ask: Ask, body: dict[str, Any]) -> None:
    ask.tools = tuple(_read_tool(tool) for tool in body.get("tools") or ())
    choice = body.get("tool_choice")
    if isinstance(choice, dict):
        function = choice.get("function")
        name = function.get("name") if isinstance(function, dict) else None
        if name not in [tool.name for tool in ask.tools]:
            message = f"tool_choice names {name!r}, which is not in tools"
            raise ApiError(400, message, param="tool_choice")
        ask.tool_choice, ask.named_tool = "named", name
    elif ask.tools:
        ask.tool_choice = choice or "auto"


def _read_tool(tool: dict[str, Any]) -> Tool:
    function = tool.get("function", tool)
    parameters = function.get("parameters")
    return Tool(
        function["name"],
        str(function.get("description") or ""),
        parameters if isinstance(parameters, dict) else {},
    )
