"""Breaks of the checks in `completions_core`."""

from typing import Any

from benchcore.sim.breaks.breakage import (
    Break,
    When,
    choices,
    counting,
    failing,
    ignoring,
    saying,
    setting,
)
from benchcore.sim.breaks.turn import Turn


def _asks(**fields: Any) -> When:
    """Whether a completion has these fields, `None`: has them not."""
    return lambda turn: (
        turn.completion and all(turn.asked(name) == value for name, value in fields.items())
    )


def _same_index(_turn: Turn, payload: dict[str, Any]) -> None:
    for choice in choices(payload):
        choice["index"] = 0


def _swapped(_turn: Turn, payload: dict[str, Any]) -> None:
    texts = [choice["text"] for choice in choices(payload)]
    for choice, text in zip(choices(payload), reversed(texts), strict=True):
        choice["text"] = text


def _one_more(_turn: Turn, payload: dict[str, Any]) -> None:
    found = choices(payload)
    found.append({**found[0], "index": len(found)})


def _one_less(_turn: Turn, payload: dict[str, Any]) -> None:
    choices(payload).pop()


def _without_offsets(_turn: Turn, payload: dict[str, Any]) -> None:
    for choice in choices(payload):
        del choice["logprobs"]["text_offset"]


def _one_alternative(_turn: Turn, payload: dict[str, Any]) -> None:
    for choice in choices(payload):
        tops = choice["logprobs"]["top_logprobs"]
        tops[:] = [dict(list(top.items())[:1]) for top in tops]


def _offsets_of_bytes(_turn: Turn, payload: dict[str, Any]) -> None:
    for choice in choices(payload):
        offsets = choice["logprobs"]["text_offset"]
        offsets[:] = [0 for _ in offsets]


def _lose_a_piece(turn: Turn, chunk: dict[str, Any]) -> object:
    if turn.state.get("lost") or not any(one["text"] for one in choices(chunk)):
        return None
    turn.state["lost"] = True
    return []


def _bill_the_echo(usage: dict[str, Any]) -> None:
    usage["completion_tokens"] += usage["prompt_tokens"]


BREAKS: dict[str, Break] = {
    "completions_core.object_is_text_completion": Break(
        when=lambda turn: turn.completion and not turn.stream,
        payload=lambda _turn, payload: payload.update(object="text"),
    ),
    "completions_core.prompt_string": saying(
        _asks(max_tokens=8, suffix=None, stream=None), lambda _text: ""
    ),
    "completions_core.prompt_list": Break(
        when=lambda turn: turn.completion and len(turn.asked("prompt") or "") == 3,
        payload=_same_index,
    ),
    "completions_core.prompts_keep_order": Break(
        when=lambda turn: (
            turn.completion
            and isinstance(turn.asked("prompt"), list)
            and turn.asked("max_tokens") == 6
        ),
        payload=_swapped,
    ),
    "completions_core.prompt_token_ids": counting(
        _asks(prompt=[5, 6, 7, 8]), lambda usage: usage.update(prompt_tokens=40)
    ),
    "completions_core.echo": ignoring("echo", when=_asks(echo=True, max_tokens=4)),
    "completions_core.echo_is_not_billed": counting(_asks(echo=True, max_tokens=3), _bill_the_echo),
    "completions_core.suffix": saying(
        lambda turn: turn.completion and turn.has("suffix"), lambda text: f"{text}\n    return y"
    ),
    "completions_core.best_of": Break(when=_asks(best_of=3, n=2), payload=_one_more),
    "completions_core.best_of_below_n": failing(_asks(best_of=1, n=2)),
    "completions_core.logprobs_shape": Break(when=_asks(logprobs=2), payload=_without_offsets),
    "completions_core.logprobs_count": Break(when=_asks(logprobs=3), payload=_one_alternative),
    "completions_core.text_offsets": Break(
        when=_asks(logprobs=1, max_tokens=4), payload=_offsets_of_bytes
    ),
    "completions_core.prompts_times_n": Break(
        when=_asks(prompt=["a", "b"], n=2), payload=_one_less
    ),
    "completions_core.stream_equals_plain": Break(
        when=_asks(stream=True, max_tokens=10), chunk=_lose_a_piece
    ),
    "completions_core.stream_chunks": Break(
        when=_asks(stream=True), chunk=lambda _turn, chunk: chunk.update(object="text")
    ),
    "completions_core.default_max_tokens": setting(
        lambda turn: turn.completion and turn.body is not None and not turn.has("max_tokens"),
        max_tokens=40,
        ignore_eos=True,
    ),
}
