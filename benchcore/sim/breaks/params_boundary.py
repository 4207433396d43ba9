"""Breaks of the checks in `params_boundary`."""

from typing import Any, Final

from benchcore.sim.breaks.breakage import Break, When, failing, ignoring, setting
from benchcore.sim.breaks.turn import Turn

_ASK: Final = "Good morning"
_HELLO: Final = [{"role": "user", "content": "Hello"}]

_ENDS: Final[dict[str, tuple[Any, tuple[Any, ...]]]] = {
    "temperature": (2, (-0.1, 2.1)),
    "top_p": (1, (-0.1, 1.1)),
    "presence_penalty": (2, (-2.1, 2.1)),
    "frequency_penalty": (2, (-2.1, 2.1)),
    "n": (2, (0, -1)),
    "max_tokens": (2, (-1,)),
    "max_completion_tokens": (2, (-1,)),
    "top_logprobs": (5, (-1, 21)),
    "seed": (2**31 - 1, ()),
    "min_p": (1, (-0.1, 1.1)),
    "top_k": (50, (-2,)),
    "repetition_penalty": (2, (-1,)),
    "min_tokens": (2, (-1,)),
    "logprobs": (5, (-1,)),
    "best_of": (2, (0,)),
}
"""Parameter to its upper end and to the values beyond."""


def _is(name: str, *values: Any) -> When:
    """Whether a parameter has one of some values, in the requests about boundaries."""
    return lambda turn: turn.ask == _ASK and _among(turn.asked(name), values)


def _among(value: Any, values: tuple[Any, ...]) -> bool:
    return any(value == one and type(value) is type(one) for one in values)


def _hello(turn: Turn, name: str, value: Any) -> bool:
    return turn.chat and turn.has(name) and _among(turn.asked(name), (value,))


def _taking(name: str, value: Any, instead: Any = None) -> Break:
    """Takes a bad value: as another, or as none at all."""
    if instead is None:
        return ignoring(name, when=lambda turn: _hello(turn, name, value))
    return setting(lambda turn: _hello(turn, name, value), **{name: instead})


def _raw(part: bytes) -> When:
    return lambda turn: turn.chat and part in turn.raw[:200]


BREAKS: dict[str, Break] = {
    **{
        f"params_boundary.{name}_ends": failing(_is(name, end))
        for name, (end, _beyond) in _ENDS.items()
    },
    **{
        f"params_boundary.{name}_beyond": ignoring(name, when=_is(name, *beyond))
        for name, (_end, beyond) in _ENDS.items()
        if beyond
    },
    **{f"params_boundary.{name}_type": ignoring(name, when=_is(name, "much")) for name in _ENDS},
    "params_boundary.messages_type": _taking("messages", "Hello", _HELLO),
    "params_boundary.messages_empty": _taking("messages", [], _HELLO),
    "params_boundary.messages_null": _taking("messages", None, _HELLO),
    "params_boundary.message_without_role": _taking("messages", [{"content": "x"}], _HELLO),
    "params_boundary.content_type": _taking("messages", [{"role": "user", "content": 7}], _HELLO),
    "params_boundary.model_type": _taking("model", 7),
    "params_boundary.stream_type": _taking("stream", "maybe"),
    "params_boundary.stop_type": _taking("stop", {"a": 1}),
    "params_boundary.stop_too_many": _taking("stop", ["a", "b", "c", "d", "e"]),
    "params_boundary.logit_bias_type": _taking("logit_bias", [1]),
    "params_boundary.logit_bias_range": _taking("logit_bias", {"5": 101}),
    "params_boundary.logit_bias_vocabulary": _taking("logit_bias", {"99999999": 1}),
    "params_boundary.stream_options_alone": ignoring(
        "stream_options", when=lambda turn: turn.plain_chat and turn.has("stream_options")
    ),
    "params_boundary.top_logprobs_alone": ignoring(
        "top_logprobs", when=lambda turn: turn.plain_chat and not turn.has("logprobs")
    ),
    "params_boundary.response_format_type": _taking("response_format", {"type": "poem"}),
    "params_boundary.tools_type": _taking("tools", "hammer"),
    "params_boundary.tool_choice_type": _taking("tool_choice", "perhaps"),
    "params_boundary.null_is_absent": failing(
        lambda turn: turn.chat and turn.has("top_p") and turn.asked("top_p") is None
    ),
    "params_boundary.prompt_vocabulary": setting(
        lambda turn: turn.completion and turn.asked("prompt") == [5, 6, 2_000_000_000],
        prompt=[5, 6],
    ),
    "params_boundary.bad_json": failing(_raw(b'{"model": "x", "messages": [')),
    "params_boundary.body_is_list": failing(lambda turn: turn.raw == b"[1,2,3]"),
    "params_boundary.empty_body": failing(
        lambda turn: turn.plain_chat and turn.raw == b"" and turn.headers["content-length"] == "0"
    ),
    "params_boundary.nan": failing(_raw(b"NaN")),
    "params_boundary.huge_body": failing(lambda turn: 900_000 < len(turn.raw) < 1_500_000),
    "params_boundary.deep_body": failing(_raw(b"x_deep")),
}
