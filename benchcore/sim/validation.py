"""Validation: what each parameter of a request may be, and the error that refuses one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from benchcore.sim.vocabulary import VOCABULARY_SIZE

if TYPE_CHECKING:
    from collections.abc import Callable

_ROLES: Final = ("system", "developer", "user", "assistant", "tool", "function")
_PARTS: Final = ("text", "image_url", "input_text", "output_text", "input_audio", "refusal")
_FORMATS: Final = ("text", "json_object", "json_schema")
_EFFORTS: Final = ("none", "minimal", "low", "medium", "high", "xhigh")
_MOST_STOPS: Final = 4


class ApiError(Exception):
    """A request that is answered with OpenAI's error envelope."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = "BadRequestError",
        param: str | None = None,
        code: str | int | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = status if code is None else code
        self.status = status
        self.message = message
        self.kind = kind
        self.param = param
        self.headers = headers or {}

    def envelope(self) -> dict[str, Any]:
        """The body: ``{"error": {...}}``."""
        return {
            "error": {
                "message": self.message,
                "type": self.kind,
                "param": self.param,
                "code": self.code,
            }
        }


def unknown_model(name: str, known: str) -> ApiError:
    """Returns the refusal of a model that is not there."""
    return ApiError(
        404,
        f"the model {name!r} does not exist; this server has {known!r}",
        kind="NotFoundError",
        param="model",
    )


@dataclass(frozen=True, slots=True)
class _Number:
    """A number within two ends; `above`: the lower end itself is not allowed."""

    low: float
    high: float
    whole: bool = False
    above: bool = False

    def fault(self, value: Any) -> str:
        """What is wrong with a value; empty where nothing is."""
        kinds = (int,) if self.whole else (int, float)
        if isinstance(value, bool) or not isinstance(value, kinds):
            return f"must be {'an integer' if self.whole else 'a number'}"
        low_fits = value > self.low if self.above else value >= self.low
        if not low_fits or value > self.high:
            return f"must be in {'(' if self.above else '['}{self.low:g}, {self.high:g}]"
        return ""


def flag_fault(value: Any) -> str:
    """What is wrong with a flag; empty where nothing is."""
    return "" if isinstance(value, bool) else "must be true or false"


def _stop(value: Any) -> str:
    if isinstance(value, str):
        return "" if value else "must not be empty"
    if not isinstance(value, list) or not all(isinstance(one, str) and one for one in value):
        return "must be a string or a list of strings, none of them empty"
    return "" if len(value) <= _MOST_STOPS else f"must be {_MOST_STOPS} strings at most"


def _ids(value: Any) -> str:
    fits = isinstance(value, list) and all(_is_id(one) for one in value)
    return "" if fits else f"must be a list of token ids from 0 to {VOCABULARY_SIZE - 1}"


def _is_id(value: Any) -> bool:
    return type(value) is int and 0 <= value < VOCABULARY_SIZE


def _bias(value: Any) -> str:
    if not isinstance(value, dict):
        return "must be an object of token ids"
    for key, bias in value.items():
        # Longer ones are none, and Python would not read one of thousands of digits.
        if not (key.isascii() and key.isdecimal() and len(key) < 12) or not _is_id(int(key)):
            return f"{key[:40]!r} is no id of the vocabulary"
        if fault := _Number(-100, 100).fault(bias):
            return f"of {key} {fault}"
    return ""


def _object(value: Any) -> str:
    return "" if isinstance(value, dict) else "must be an object"


def _effort(value: Any) -> str:
    return "" if value in _EFFORTS else f"must be one of {', '.join(_EFFORTS)}"


def _format(value: Any) -> str:
    if not isinstance(value, dict) or value.get("type") not in _FORMATS:
        return f"must be an object whose type is one of {', '.join(_FORMATS)}"
    return ""


def _tools(value: Any) -> str:
    if not isinstance(value, list):
        return "must be a list"
    for index, tool in enumerate(value):
        function = tool.get("function", tool) if isinstance(tool, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            return f"[{index}] must be a function with a name"
    return ""


def _tool_choice(value: Any) -> str:
    if value in ("none", "auto", "required") or isinstance(value, dict):
        return ""
    return "must be none, auto, required or name a function"


EVERYWHERE: Final[dict[str, Callable[[Any], str]]] = {
    "temperature": _Number(0, 2).fault,
    "top_p": _Number(0, 1, above=True).fault,
    "min_p": _Number(0, 1).fault,
    "top_k": _Number(-1, 1 << 31, whole=True).fault,
    "presence_penalty": _Number(-2, 2).fault,
    "frequency_penalty": _Number(-2, 2).fault,
    "repetition_penalty": _Number(0, 2, above=True).fault,
    "length_penalty": _Number(-10, 10).fault,
    "n": _Number(1, 128, whole=True).fault,
    "max_tokens": _Number(1, 1 << 31, whole=True).fault,
    "max_completion_tokens": _Number(1, 1 << 31, whole=True).fault,
    "max_output_tokens": _Number(1, 1 << 31, whole=True).fault,
    "min_tokens": _Number(0, 1 << 31, whole=True).fault,
    "seed": _Number(-(1 << 63), (1 << 63) - 1, whole=True).fault,
    "stop": _stop,
    "stop_token_ids": _ids,
    "logit_bias": _bias,
    "stream": flag_fault,
    "ignore_eos": flag_fault,
    "use_beam_search": flag_fault,
    "early_stopping": flag_fault,
    "parallel_tool_calls": flag_fault,
    "stream_options": _object,
    "chat_template_kwargs": _object,
    "response_format": _format,
    "reasoning_effort": _effort,
    "tools": _tools,
    "tool_choice": _tool_choice,
}
CHAT: Final[dict[str, Callable[[Any], str]]] = {
    **EVERYWHERE,
    "logprobs": flag_fault,
    "top_logprobs": _Number(0, 20, whole=True).fault,
}
COMPLETION: Final[dict[str, Callable[[Any], str]]] = {
    **EVERYWHERE,
    "logprobs": _Number(0, 20, whole=True).fault,
    "best_of": _Number(1, 20, whole=True).fault,
    "echo": flag_fault,
}


def check_bounds(body: dict[str, Any], faults: dict[str, Callable[[Any], str]]) -> None:
    """Refuses a parameter that is not what it may be; null is as if it were absent.

    Args:
        body: the request's.
        faults: of each parameter what finds its fault.

    Raises:
        ApiError: 400, with the name of the parameter at fault.
    """
    for name, value in body.items():
        find_fault = faults.get(name)
        if find_fault is not None and value is not None and (fault := find_fault(value)):
            raise ApiError(400, f"{name} {fault}", param=name)
    _check_pairs(body, chat=faults is CHAT)


def _check_pairs(body: dict[str, Any], *, chat: bool) -> None:
    """Refuses parameters that do not go together."""
    if body.get("stream_options") is not None and body.get("stream") is not True:
        raise ApiError(400, "stream_options needs stream: true", param="stream_options")
    if chat and body.get("top_logprobs") is not None and body.get("logprobs") is not True:
        raise ApiError(400, "top_logprobs needs logprobs: true", param="top_logprobs")
    best_of, choices = body.get("best_of"), body.get("n") or 1
    if best_of is not None and best_of < choices:
        raise ApiError(400, "best_of must be n at least", param="best_of")
    choice = body.get("tool_choice")
    if choice not in (None, "none", "auto") and not body.get("tools"):
        raise ApiError(400, "tool_choice needs tools", param="tool_choice")


def check_messages(messages: Any) -> None:
    """Refuses a role or a part of a content that there is not.

    Raises:
        ApiError: 400.
    """
    for index, message in enumerate(messages if isinstance(messages, list) else ()):
        if not isinstance(message, dict):
            continue
        place = f"messages[{index}]"
        if message.get("role") not in _ROLES:
            raise ApiError(400, f"{place}.role must be one of {', '.join(_ROLES)}", param=place)
        content = message.get("content")
        for part in content if isinstance(content, list) else ():
            if not isinstance(part, dict) or part.get("type") not in _PARTS:
                raise ApiError(400, f"{place}.content: a part of an unknown type", param=place)


def check_prompt(prompt: Any) -> None:
    """Refuses a token id that is not in the vocabulary.

    Raises:
        ApiError: 400.
    """
    for one in prompt if isinstance(prompt, list) else ():
        for token in one if isinstance(one, list) else (one,):
            if isinstance(token, int) and not _is_id(token):
                raise ApiError(400, f"{token} is no id of the vocabulary", param="prompt")
