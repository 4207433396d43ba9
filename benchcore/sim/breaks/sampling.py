"""Breaks of the checks in `sampling`."""

from typing import Any

from benchcore.sim.breaks.breakage import (
    Break,
    When,
    asking,
    choices,
    counting,
    failing,
    finishing,
    ignoring,
    setting,
)
from benchcore.sim.breaks.turn import Turn


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


BREAKS: dict[str, Break] = {
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
}
