"""Breaks of the checks in `sampling`, `params_boundary` and `reasoning`."""

from __future__ import annotations

from typing import Any, Final

from benchcore.sim.breaks.breakage import (
    Break,
    Turn,
    When,
    asking,
    choices,
    counting,
    failing,
    finishing,
    ignoring,
    saying,
    setting,
)


def _story(**fields: Any) -> When:
    return asking("Tell me a story about a lighthouse.", **fields)


def _same_index(_turn: Turn, payload: dict[str, Any]) -> None:
    for choice in choices(payload):
        choice["index"] = 0


def _finish_twice(_turn: Turn, chunk: dict[str, Any]) -> object:
    return [chunk, chunk] if any(one["finish_reason"] for one in choices(chunk)) else None


def _another_seed(turn: Turn, body: dict[str, Any]) -> None:
    turn.shared["seed"] = turn.shared.get("seed", 0) + 1
    body.update(seed=turn.shared["seed"], temperature=1)


def _logprobs(payload: dict[str, Any]) -> list[dict[str, Any]]:
    """The entries of all choices' logprobs."""
    found = [choice.get("logprobs") or {} for choice in choices(payload)]
    return [entry for one in found for entry in one.get("content", [])]


def _impossible(_turn: Turn, payload: dict[str, Any]) -> None:
    for entry in _logprobs(payload):
        entry["logprob"] = 0.5


def _too_few(_turn: Turn, payload: dict[str, Any]) -> None:
    for choice in choices(payload):
        del choice["logprobs"]["content"][:2]


def _least_likely_first(_turn: Turn, payload: dict[str, Any]) -> None:
    for entry in _logprobs(payload):
        entry["top_logprobs"].reverse()


def _lose_logprobs(turn: Turn, chunk: dict[str, Any]) -> None:
    if turn.state.setdefault("chunks", []) == [] and _logprobs(chunk):
        turn.state["chunks"].append(1)
        for choice in choices(chunk):
            choice["logprobs"] = None


def _unasked(_turn: Turn, payload: dict[str, Any]) -> None:
    for choice in choices(payload):
        choice["logprobs"] = {"content": []}


def _lose_what_looked_like_a_stop(_turn: Turn, chunk: dict[str, Any]) -> object:
    said = [one["delta"].get("content") or "" for one in choices(chunk)]
    return [] if any("17" in text for text in said) else None


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


_KEY = "reasoning_content"


def _asks(number: int, **fields: Any) -> When:
    """Whether a chat asks whether a number is prime, and has these fields."""
    return asking(f"Is {number} a prime number?", **fields)


def _thoughtless(_turn: Turn, payload: dict[str, Any]) -> None:
    for choice in choices(payload):
        choice["message"].pop(_KEY, None)


def _afterthought(_turn: Turn, chunk: dict[str, Any]) -> object:
    if not any(one["finish_reason"] for one in choices(chunk)):
        return None
    piece = {"index": 0, "delta": {_KEY: " so"}, "finish_reason": None}
    return [{**chunk, "choices": [piece]}, chunk]


def _lose_a_thought(turn: Turn, chunk: dict[str, Any]) -> object:
    if turn.state.get("lost") or not any(one["delta"].get(_KEY) for one in choices(chunk)):
        return None
    turn.state["lost"] = True
    return []


def _leave_the_tag(turn: Turn, chunk: dict[str, Any]) -> None:
    for choice in choices(chunk):
        if choice["delta"].get("content") and not turn.state.get("left"):
            turn.state["left"] = True
            choice["delta"]["content"] = "</think>" + choice["delta"]["content"]


BREAKS: Final[dict[str, Break]] = {
    "sampling.max_tokens": setting(
        _story(max_tokens=5, stream=None, n=None, logprobs=None), max_tokens=6
    ),
    "sampling.max_tokens_says_length": finishing(_story(max_tokens=3, stream=None), "stop"),
    "sampling.max_tokens_says_length_streamed": finishing(
        _story(max_tokens=3, stream=True), "stop"
    ),
    "sampling.max_completion_tokens": ignoring(
        "max_completion_tokens", when=_story(max_completion_tokens=5)
    ),
    "sampling.ignore_eos": ignoring("ignore_eos", when=asking(max_tokens=90)),
    "sampling.min_tokens": ignoring("min_tokens", when=asking(min_tokens=80)),
    "sampling.n_choices": Break(when=asking(n=3, stream=None), payload=_same_index),
    "sampling.n_choices_streamed": Break(when=asking(n=3, stream=True), chunk=_same_index),
    "sampling.n_finishes_streamed": Break(when=asking(n=2, stream=True), chunk=_finish_twice),
    "sampling.n_is_billed": counting(asking(n=4), lambda usage: usage.update(completion_tokens=6)),
    "sampling.stop_string": ignoring("stop", when=asking(stop="5")),
    "sampling.stop_array": setting(asking(stop=["9", "6"]), stop=["9"]),
    "sampling.stop_spans_tokens": ignoring("stop", when=asking(stop=["4, 5, 6"])),
    "sampling.stop_says_stop": finishing(asking(stop=["8"]), "length"),
    "sampling.stop_streamed": setting(asking(stop=["3, 4, 5"]), stop=[" 4, 5"]),
    "sampling.stop_prefix_kept": Break(
        when=asking(stop=["17, 99"]), chunk=_lose_what_looked_like_a_stop
    ),
    "sampling.stop_token_ids": ignoring("stop_token_ids"),
    "sampling.greedy_repeats": Break(when=_story(max_tokens=12), body=_another_seed),
    "sampling.seed_repeats": Break(when=_story(seed=7), body=_another_seed),
    "sampling.seeds_differ": ignoring(
        "seed", when=lambda turn: turn.chat and turn.asked("seed") in (101, 202, 303)
    ),
    "sampling.top_p": ignoring("top_p", when=_story(top_p=1e-6)),
    "sampling.top_k": ignoring("top_k", when=_story(top_k=1)),
    "sampling.min_p": ignoring("min_p", when=_story(min_p=1)),
    "sampling.logit_bias_forces": ignoring("logit_bias", when=_story(max_tokens=6)),
    "sampling.logit_bias_bans": ignoring(
        "logit_bias",
        when=_story(max_tokens=8),
    ),
    "sampling.penalties": failing(asking(presence_penalty=0.5)),
    "sampling.repetition_penalty": failing(asking(repetition_penalty=1.1)),
    "sampling.beam_search": ignoring("use_beam_search", when=_story(use_beam_search=True)),
    "sampling.length_penalty": failing(asking(length_penalty=1.2)),
    "sampling.early_stopping": failing(asking(early_stopping=True)),
    "sampling.logprobs_shape": Break(when=_story(top_logprobs=3), payload=_impossible),
    "sampling.logprobs_count": Break(when=_story(top_logprobs=1), payload=_too_few),
    "sampling.top_logprobs": Break(when=_story(top_logprobs=4), payload=_least_likely_first),
    "sampling.logprobs_streamed": Break(
        when=_story(top_logprobs=2, stream=True), chunk=_lose_logprobs
    ),
    "sampling.logprobs_absent": Break(
        when=lambda turn: turn.plain_chat and turn.asked("logprobs") is None, payload=_unasked
    ),
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
    "reasoning.present": Break(
        when=_asks(91, stream=None, reasoning_effort="low", max_tokens=2000),
        payload=_thoughtless,
    ),
    "reasoning.before_content": Break(
        when=_asks(91, stream=True, reasoning_effort="low"), chunk=_afterthought
    ),
    "reasoning.streamed_equals_plain": Break(
        when=_asks(91, stream=True, reasoning_effort="medium"), chunk=_lose_a_thought
    ),
    "reasoning.no_tags_left": saying(_asks(97, stream=None), lambda text: f"</think>{text}"),
    "reasoning.no_tags_left_streamed": Break(when=_asks(97, stream=True), chunk=_leave_the_tag),
    "reasoning.budget_says_length": finishing(_asks(91, reasoning_effort="high"), "stop"),
    "reasoning.efforts": failing(
        lambda turn: turn.ask == "Hello" and turn.asked("reasoning_effort") == "medium"
    ),
    "reasoning.unknown_effort": ignoring(
        "reasoning_effort", when=lambda turn: turn.asked("reasoning_effort") == "heroic"
    ),
    "reasoning.thinking_off": setting(
        lambda turn: turn.asked("chat_template_kwargs", "enable_thinking") is False,
        chat_template_kwargs={"enable_thinking": True},
    ),
}
