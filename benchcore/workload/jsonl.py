"""PromptFile: prompts from a file of JSON lines."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args

import orjson

from benchcore.base.errors import ConfigError
from benchcore.base.plugins import nearest
from benchcore.base.seeds import derive, stream
from benchcore.client.request import Prompt
from benchcore.config.values import Length
from benchcore.workload.token_costs import TokenCounter

Order = Literal["file", "shuffled"]

_KEYS = ("prompt", "messages", "output_tokens", "max_tokens", "input_tokens", "extra")
_FAULTS_SHOWN = 10
_FAULTS_DESCRIBED = 5


class PromptFile:
    """Prompts from a file of JSON lines, each with `prompt` or `messages`.

    A line may also have `output_tokens` (or `max_tokens`), `input_tokens` and `extra`, an object of
    fields for the request body. Blank lines are skipped. When the prompts are used up they begin
    again, and `describe` says so.

    Args:
        path: the file, UTF-8.
        output_tokens: the most tokens of an answer where a line does not say.
        seed: of the order and of drawn lengths.
        order: as in the file, every stream from its start; or shuffled once, every stream from
            another place, so that a second level does not find the prompts of the first cached.
        drop_bad: go on without lines that cannot be used, and say in `describe` how many they are.
        name: what it is called in tables and files; `None`: the name of the file.

    Raises:
        ConfigError: the file cannot be read or holds faults: the first ten, with their lines.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        output_tokens: Length | int | str | None = None,
        seed: int = 0,
        order: Order = "file",
        drop_bad: bool = False,
        name: str | None = None,
    ) -> None:
        if order not in get_args(Order):
            raise ConfigError(f"order {order!r} is not one of file, shuffled")
        self.path = Path(path)
        self.name = name if name is not None else self.path.stem
        self.seed = seed
        self.order = order
        if output_tokens is not None and not isinstance(output_tokens, Length):
            output_tokens = Length.parse(output_tokens)
        self.output_tokens: Length | None = output_tokens
        self._dropped: list[str] = []
        self._prompts = _read(self.path, self._dropped if drop_bad else None)
        self._distinct = len(
            {orjson.dumps((prompt.text, prompt.messages)) for prompt in self._prompts}
        )
        self._asked: dict[tuple[str | int, ...], int] = {}
        self._places = list(range(len(self._prompts)))
        if order == "shuffled":
            draws = stream(seed, "order")
            self._places.sort(key=lambda _: draws.random())

    @staticmethod
    def likeness(row: Mapping[str, Any]) -> int:
        """Return how many keys of a row tell of such a file; 0: one of them is not of it."""
        return len(row) if row.keys() <= set(_KEYS) and {"prompt", "messages"} & row.keys() else 0

    def __len__(self) -> int:
        return len(self._prompts)

    async def prepare(self, counter: TokenCounter | None) -> None:
        """Do nothing: the prompts are as long as the file has them."""

    def prompt(self, index: int, *path: str | int) -> Prompt:
        """Return one prompt; the same arguments give the same prompt in every process."""
        if path[:1] != ("probe",):
            self._asked[path] = max(self._asked.get(path, 0), index + 1)
        start = derive(self.seed, "start", *path) if self.order == "shuffled" else 0
        prompt = self._prompts[self._places[(start + index) % len(self._places)]]
        if prompt.output_tokens is None and self.output_tokens is not None:
            drawn = self.output_tokens.draw(stream(self.seed, "output", *path, index))
            prompt = replace(prompt, output_tokens=drawn)
        return prompt

    def describe(self) -> dict[str, Any]:
        """Return the workload for `run.json`.

        `most_asked` is of one level, `asked` of all; `wrapped`: a level used the prompts up.
        """
        most = max(self._asked.values(), default=0)
        dropped: dict[str, Any] = {}
        if self._dropped:
            dropped = {"dropped": len(self._dropped), "faults": self._dropped[:_FAULTS_DESCRIBED]}
        return {
            "name": self.name,
            "kind": "jsonl",
            "file": str(self.path),
            "prompts": len(self._prompts),
            "output_tokens": None if self.output_tokens is None else str(self.output_tokens),
            "seed": self.seed,
            "order": self.order,
            "distinct": self._distinct,
            "asked": sum(self._asked.values()),
            "most_asked": most,
            "wrapped": most > len(self._prompts),
            "lengths": {"fit": "given", "source": "file"},
            **dropped,
        }


def read_prompts(path: Path, on_bad: Callable[[int, list[str]], None]) -> Iterator[Prompt]:
    """Yield the prompts of a file of JSON lines.

    Args:
        path: of the file, UTF-8.
        on_bad: told of each line that cannot be used, with what is wrong with it.

    Raises:
        ConfigError: the file cannot be read.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; give a file of JSON lines") from None
    for number, line in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        if not line.strip():
            continue
        prompts: list[Prompt] = []
        if faults := _parse(line, prompts):
            on_bad(number, faults)
        yield from prompts


def _read(path: Path, dropped: list[str] | None) -> list[Prompt]:
    """Read a file; lines that cannot be used are dropped where there is a list for their faults."""
    faults: list[str] = []

    def on_bad(number: int, found: list[str]) -> None:
        if dropped is None:
            faults.extend(f"{path}:{number}: {fault}" for fault in found)
        else:
            dropped.append(f"{path}:{number}: {'; '.join(found)}")

    prompts = list(read_prompts(path, on_bad))
    if faults:
        shown = faults[:_FAULTS_SHOWN]
        if len(faults) > _FAULTS_SHOWN:
            shown.append(f"and {len(faults) - _FAULTS_SHOWN} more")
        raise ConfigError("\n".join(shown))
    if not prompts:
        raise ConfigError(
            f'{path}: holds no prompts; give one JSON object per line, such as {{"prompt": "Hi"}}'
        )
    return prompts


def _parse(line: bytes, prompts: list[Prompt]) -> list[str]:
    """Append the prompt of a line, or return what is wrong with it."""
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        return [f"byte {error.start + 1} is not UTF-8; save the file as UTF-8"]
    try:
        entry = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        return [f"is not JSON: {error.msg} at column {error.colno}; one object per line"]
    if not isinstance(entry, dict):
        return [f'is {_named(entry)}; write an object, such as {{"prompt": "Hi"}}']
    faults = list(_faults(entry))
    if not faults:
        output = entry.get("output_tokens", entry.get("max_tokens"))
        prompts.append(
            Prompt(
                text=entry.get("prompt", ""),
                messages=entry.get("messages"),
                input_tokens=entry.get("input_tokens"),
                output_tokens=output,
                extra=entry.get("extra", {}),
            )
        )
    return faults


def _faults(entry: Mapping[str, Any]) -> Iterator[str]:
    for key in entry:
        if key not in _KEYS:
            hint = nearest(key, _KEYS, otherwise=f"a line takes {', '.join(_KEYS)}")
            yield f"unknown key {key!r}; {hint}"
    if "prompt" in entry and "messages" in entry:
        yield "has both prompt and messages; keep one"
    elif "prompt" in entry:
        if not isinstance(entry["prompt"], str) or not entry["prompt"]:
            yield f"prompt is {_named(entry['prompt'])}; write a text that is not empty"
    elif "messages" in entry:
        yield from _message_faults(entry["messages"])
    else:
        yield "has neither prompt nor messages; give one"
    if "output_tokens" in entry and "max_tokens" in entry:
        yield "has both output_tokens and max_tokens; keep one"
    for key in ("output_tokens", "max_tokens", "input_tokens"):
        if key in entry and (type(entry[key]) is not int or entry[key] < 1):
            yield f"{key} is {_named(entry[key])}; write a whole number from 1"
    if not isinstance(entry.get("extra", {}), dict):
        yield f"extra is {_named(entry['extra'])}; write an object of request fields"


def _message_faults(messages: Any) -> Iterator[str]:
    if not isinstance(messages, list) or not messages:
        yield f"messages is {_named(messages)}; write a list of one message or more"
        return
    for place, message in enumerate(messages):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            yield (
                f"messages[{place}] is not an object with a role; write "
                '{"role": "user", "content": "Hi"}'
            )
        elif not isinstance(message.get("content"), str | list) and "tool_calls" not in message:
            yield f"messages[{place}] has no content; write a text or a list of parts"


def _named(value: Any) -> str:
    """Return a JSON value as it is named in a message."""
    if value is None or isinstance(value, bool | int | float):
        return orjson.dumps(value).decode()
    if isinstance(value, str):
        return repr(value) if len(value) < 40 else "a text"
    if isinstance(value, list):
        return "a list" if value else "an empty list"
    return "an object"
