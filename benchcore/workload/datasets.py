"""Data sets: prompts and conversations that somebody collected."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Final, Literal, TypeVar

from pydantic import Field, PrivateAttr, field_validator

from benchcore.base.errors import ConfigError
from benchcore.base.plugins import nearest
from benchcore.base.seeds import stream
from benchcore.client.openai import TOKEN_LIMITS
from benchcore.client.request import Prompt
from benchcore.workload.files import BadRowError, Row, read_each, rows
from benchcore.workload.kinds import FileKind
from benchcore.workload.language import nominal_length
from benchcore.workload.sessions import Session, Turn, chain
from benchcore.workload.token_costs import LocalTokenizer, TokenCounter

T = TypeVar("T")

_ROLES: Final = {
    "human": "user",
    "user": "user",
    "prompter": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "chatgpt": "assistant",
    "bing": "assistant",
    "bard": "assistant",
    "model": "assistant",
    "system": "system",
    "tool": "tool",
    "developer": "developer",
}


@dataclass(frozen=True, slots=True)
class Said:
    """A turn of a data set.

    Args:
        messages: what is asked, from the last answer on.
        reply: the recorded answer; empty: there is none.
        output_tokens: the most tokens of the answer, as the data say it; `None`: they do not.
    """

    messages: tuple[dict[str, Any], ...]
    reply: str = ""
    output_tokens: int | None = None


class DataSet(FileKind):
    """Prompts and conversations of a file, whatever their layout.

    A row has `messages` (roles and contents), `conversations` (`from` and `value`), `instruction`
    and `input`, or `prompt`; a file of text has a prompt per line. Where a file ends it begins
    again.
    """

    kind: ClassVar = "dataset"
    signs: ClassVar = tuple(
        frozenset({name})
        for name in ("messages", "conversation", "instruction", "prompt", "question", "query")
    )

    path: str = Field(
        description="a file, a folder of Parquet files, or hf:NAME[:SPLIT] of the local cache"
    )
    columns: str = Field("", description="other names of columns: prompt=question;output_tokens=n")
    replies: Literal["server", "recorded"] = Field(
        "server", description="whose answers stand in the history of a later turn"
    )
    turns: int | None = Field(None, ge=1, description="the most turns of a conversation")
    order: Literal["file", "shuffled"] = Field("file", description="of the rows")
    sample: int | None = Field(None, ge=1, description="so many rows: the first ones of the order")

    _tokenizer: LocalTokenizer | None = PrivateAttr(default=None)
    _names: dict[str, str] = PrivateAttr(default_factory=dict)

    @field_validator("columns")
    @classmethod
    def _columns_are_some(cls, value: str) -> str:
        _mapping(value)
        return value

    def model_post_init(self, context: Any) -> None:
        """Read the names of the columns."""
        super().model_post_init(context)
        self._names = _mapping(self.columns)
        if not self.path.startswith("hf:") and not Path(self.path).exists():
            raise ConfigError(f"{self.path}: No such file or directory")

    async def prepare(self, counter: TokenCounter | None) -> None:
        """Keep a tokenizer, which counts recorded answers; see `SessionKind`."""
        self._tokenizer = counter if isinstance(counter, LocalTokenizer) else None

    def facts(self) -> dict[str, Any]:
        """See `SessionKind`; who counted what is not said to be counted by the server."""
        counted = "nominal" if self._tokenizer is None else "tokenizer"
        return {"tokens_counted_by": counted, **super().facts()}

    def sessions(self, *path: str | int) -> Iterator[Session]:
        """Yield conversations; see `SessionKind`."""
        for number, said in enumerate(self._chosen()):
            yield self._session(said, (*path, number))

    # Rows.

    def _chosen(self) -> Iterator[list[Said]]:
        """Yield the conversations of the rows that are wanted, in their order."""
        self._dropped, self._faults = 0, []
        yield from self._picked(self._read(), "prompt")

    def _picked(self, read: Iterator[T], what: str) -> Iterator[T]:
        """Yield as many as the sample is of, in the order that is asked for.

        Raises:
            ConfigError: there is none; says of what.
        """
        if self.order == "shuffled":
            every = list(read)
            draws = stream(self.seed, "order")
            every.sort(key=lambda _: draws.random())
            read = iter(every)
        count = 0
        for item in itertools.islice(read, self.sample):
            count += 1
            yield item
        if not count:
            raise ConfigError(f"{self.path}: holds no {what}")

    def _read(self) -> Iterator[list[Said]]:
        return read_each(self._rows(), self.read, self.path, self._drop if self.drop_bad else None)

    def _rows(self) -> Iterator[Row]:
        on_bad = self._drop if self.drop_bad else None
        if self.path.startswith("hf:"):
            yield from _hugging_face(self.path.removeprefix("hf:"))
            return
        path = Path(self.path)
        if not path.is_dir():
            yield from rows(path, on_bad=on_bad)
            return
        files = sorted(path.rglob("*.parquet"))
        if not files:
            raise ConfigError(f"{path}: holds no Parquet files")
        for file in files:
            yield from rows(file, on_bad=on_bad)

    def read(self, row: Row) -> list[Said]:
        """Return the turns of a row.

        Raises:
            BadRowError: it has none.
        """
        value = row.value
        if isinstance(value, str):
            return [Said(({"role": "user", "content": value},))]
        if not isinstance(value, dict):
            raise BadRowError("is not an object")
        for name, column in self._names.items():
            if column not in value:
                hint = nearest(column, map(str, value))
                raise BadRowError(f"has no column {column}; {hint}")
            value = {**value, name: value[column]}
        for name in ("messages", "conversations", "conversation"):
            if value.get(name) is not None:
                return _conversation(value[name], name)
        asked = _prompt_of(value)
        length = "output_tokens" if "output_tokens" in value else "max_tokens"
        output = _whole(value.get(length), self._names.get(length, length))
        reply = next((str(value[key]) for key in _ANSWERS if isinstance(value.get(key), str)), "")
        return [Said(({"role": "user", "content": asked},), reply, output)]

    # Sessions.

    def _session(self, said: list[Said], key: tuple[str | int, ...]) -> Session:
        draws = None if self.output_tokens is None else stream(self.seed, "output", *key)
        turns = []
        for one in said[: self.turns]:
            output = one.output_tokens
            if draws is not None and self.output_tokens is not None:
                output = self.output_tokens.draw(draws)
            elif output is None and one.reply:
                output = self.tokens(one.reply)
            exact = self.ignore_eos and output is not None
            ask = Prompt(
                messages=one.messages,
                output_tokens=output,
                extra={"ignore_eos": True, "min_tokens": output} if exact else {},
            )
            turns.append(Turn(ask, reply=one.reply if self.replies == "recorded" else None))
        return Session(chain(turns))

    def tokens(self, text: str, *, special: bool = False) -> int:
        """Return how long a recorded text is: by the tokenizer, else by words and marks.

        Args:
            text: what is counted.
            special: with the tokens that a tokenizer puts around every text.
        """
        if self._tokenizer is not None:
            return max(self._tokenizer.tokens(text, special=special), 1)
        return nominal_length(text)


_PROMPTS: Final = ("prompt", "question", "query", "text", "content", "input")
_ANSWERS: Final = ("output", "response", "answer", "completion")


def _mapping(columns: str) -> dict[str, str]:
    """Read `prompt=question;output_tokens=n`.

    Raises:
        ValueError: it is not of that form.
    """
    names: dict[str, str] = {}
    for part in filter(None, (one.strip() for one in columns.split(";"))):
        name, equals, column = (one.strip() for one in part.partition("="))
        if not equals or not column:
            raise ValueError(f"{part!r} is not NAME=COLUMN")
        known = ("prompt", "messages", "conversations", "output_tokens", "instruction", "output")
        if name not in known:
            raise ValueError(f"{name}: unknown; {nearest(name, known)}")
        names[name] = column
    return names


def _whole(value: Any, column: str) -> int | None:
    if value is None or value == "":
        return None
    try:
        number = int(str(value))
    except ValueError:
        number = 0
    if number < 1 or isinstance(value, bool):
        raise BadRowError(f"{column} {str(value)[:40]!r} is not a number of tokens")
    return number


def _prompt_of(value: dict[str, Any]) -> str:
    """Return the prompt of a row without messages."""
    instruction = value.get("instruction")
    if isinstance(instruction, str) and instruction:
        more = value.get("input")
        return f"{instruction}\n\n{more}" if isinstance(more, str) and more else instruction
    for name in _PROMPTS:
        asked = value.get(name)
        if isinstance(asked, str) and asked:
            return asked
    known = ", ".join(map(str, itertools.islice(value, 8)))
    raise BadRowError(
        f"has no messages, conversations, instruction or prompt (it has {known or 'nothing'}); "
        "name its column with columns: prompt=COLUMN"
    )


def _conversation(messages: Any, name: str) -> list[Said]:
    """Return the turns of a list of messages: each ends with an answer, or the list."""
    if not isinstance(messages, list) or not messages:
        raise BadRowError(f"{name} is no list of messages")
    said: list[Said] = []
    asked: list[dict[str, Any]] = []
    for place, message in enumerate(messages):
        if not isinstance(message, dict):
            raise BadRowError(f"{name}.{place} is no message")
        raw = message.get("role", message.get("from"))
        role = _ROLES.get(str(raw).lower())
        content = message.get("content", message.get("value"))
        if role is None:
            raise BadRowError(f"{name}.{place}: role {str(raw)[:40]!r} is none")
        if role != "assistant":
            others = {k: v for k, v in message.items() if k not in _OWN}
            asked.append({**others, "role": role, "content": content})
        elif asked:
            said.append(Said(tuple(asked), content if isinstance(content, str) else ""))
            asked = []
        # An answer before any question is a greeting, and nothing that is asked.
    if any(one["role"] == "user" for one in asked):
        said.append(Said(tuple(asked)))
    if not said:
        raise BadRowError(f"{name} has no message of a user")
    return said


_OWN: Final = ("role", "from", "content", "value")


def _hugging_face(name: str) -> Iterator[Row]:
    """Yield the rows of a data set of the local cache; nothing is fetched."""
    try:
        import datasets
    except ImportError:
        raise ConfigError(
            f"hf:{name}: needs the package datasets; install it, or give its Parquet files"
        ) from None
    place, _, split = name.partition(":")
    config = datasets.DownloadConfig(local_files_only=True)
    try:
        loaded = datasets.load_dataset(
            place, split=split or "train", streaming=False, download_config=config
        )
    except (OSError, ValueError) as error:  # all that it raises where there is no such data set
        raise ConfigError(f"hf:{name}: is not in the local cache: {error}") from None
    for number, value in enumerate(loaded, 1):
        yield Row(number, value, "row")


class ShareGPT(DataSet):
    """ShareGPT's JSON: `conversations` of `from` and `value`.

    With `filters: vllm` the requests are those of `vllm bench serve`: the first question of each
    conversation of two messages or more, shuffled by the seed, with the length of the recorded
    answer; prompts and answers under 4 tokens, prompts over 1024 and pairs over 2048 are left out.
    Where `sample` asks for more than there are, some are drawn again, as its `--num-prompts` does.
    That takes the model's tokenizer (`--tokenizer`).
    """

    kind: ClassVar = "sharegpt"
    signs: ClassVar = (frozenset({"conversations"}),)

    filters: Literal["none", "vllm"] = Field("none", description="which rows are taken")

    def _chosen(self) -> Iterator[list[Said]]:
        if self.filters == "none":
            yield from super()._chosen()
            return
        self._dropped, self._faults = 0, []
        every = []
        for row in self._rows():
            value = row.value
            messages = value.get("conversations") if isinstance(value, dict) else None
            if isinstance(messages, list) and len(messages) >= 2:
                every.append(messages)
        # Its own way of drawing, so that a seed gives the same requests.
        random.Random(self.seed).shuffle(every)
        taken = 0
        again: list[list[Said]] = []
        for messages in every:
            if taken == self.sample:
                return
            asked, reply = (str(one.get("value") or "") for one in messages[:2])
            # As that counts: with what the tokenizer puts around every text.
            long, answer = (self.tokens(text, special=True) for text in (asked, reply))
            if self.output_tokens is not None:
                answer = round(self.output_tokens.mean)
            short = long < 4 or (self.output_tokens is None and answer < 4)
            if short or long > 1024 or long + answer > 2048:
                continue
            taken += 1
            said = [Said(({"role": "user", "content": asked},), reply, answer)]
            if self.sample is not None:
                again.append(said)
            yield said
        if not taken:
            raise ConfigError(f"{self.path}: no conversation is left by the filters")
        if self.sample is not None:
            draws = random.Random(self.seed)
            yield from (draws.choice(again) for _ in range(self.sample - taken))


class OpenAIBodies(DataSet):
    """JSON Lines of whole request bodies, or of OpenAI's Batch form with the body in `body`.

    Fields that benchcore does not know pass through. The model is the target's, and streaming is as
    the run asks for it.
    """

    kind: ClassVar = "openai"
    signs: ClassVar = (
        frozenset({"model", "messages"}),
        frozenset({"model", "prompt"}),
        frozenset({"model", "input"}),
        frozenset({"custom_id", "url", "body"}),
    )

    def sessions(self, *path: str | int) -> Iterator[Session]:
        """Yield the bodies; see `SessionKind`."""
        self._dropped, self._faults = 0, []
        on_bad = self._drop if self.drop_bad else None
        bodies = read_each(self._rows(), _body, self.path, on_bad)
        for number, prompt in enumerate(self._picked(bodies, "body")):
            yield Session((Turn(self._asked_for(prompt, (*path, number))),))

    def _asked_for(self, prompt: Prompt, key: tuple[str | int, ...]) -> Prompt:
        if self.output_tokens is None:
            return prompt
        output = self.output_tokens.draw(stream(self.seed, "output", *key))
        extra = {name: one for name, one in prompt.extra.items() if name not in TOKEN_LIMITS}
        if self.ignore_eos:
            extra |= {"ignore_eos": True, "min_tokens": output}
        return replace(prompt, output_tokens=output, extra=extra)


_BY_THE_RUN: Final = ("model", "stream", "stream_options", "messages", "prompt", "input")


def _body(row: Row) -> Prompt:
    body = row.value
    if isinstance(body, dict) and isinstance(body.get("body"), dict):
        body = body["body"]
    if not isinstance(body, dict):
        raise BadRowError("is not an object")
    extra = {name: value for name, value in body.items() if name not in _BY_THE_RUN}
    messages = body.get("messages", body.get("input"))
    if isinstance(messages, list) and messages and all(isinstance(one, dict) for one in messages):
        return Prompt(messages=messages, extra=extra)
    text = body.get("prompt", body.get("input"))
    if isinstance(text, str) and text:
        return Prompt(text=text, extra=extra)
    raise BadRowError("has no messages, prompt or input")
