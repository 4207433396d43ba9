"""Task: what an eval asks, how an answer to it is judged, and the tasks that are installed."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import orjson

from benchcore.base.errors import ConfigError
from benchcore.base.files import replace_file
from benchcore.base.plugins import Group

if TYPE_CHECKING:
    from benchcore.config.evals import EvalConfig
    from benchcore.metrics.accuracy import Sample


SECONDS: Final = 300.0
_MOST_BYTES: Final = 512 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Source:
    """A public file.

    Args:
        name: of the file, in the cache and in a folder given as data.
        url: where it is.
        sha256: of its bytes; empty: not known to benchcore, so that the first fetch notes it and
            every later use is checked against that.
        group: what its rows are counted with besides, such as a language.
        columns: names of its columns, where its first line does not say.
    """

    name: str
    url: str
    sha256: str = ""
    group: str = ""
    columns: tuple[str, ...] = ()


def cache_folder() -> Path:
    """Return where fetched files lie: `BENCHCORE_CACHE`, or the user's cache."""
    given = os.environ.get("BENCHCORE_CACHE")
    if given:
        return Path(given) / "eval"
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "benchcore" / "eval"


async def fetch(source: Source, folder: Path) -> Path:
    """Return the file of a source in the cache, fetched where it is not there yet.

    Raises:
        ConfigError: it cannot be fetched or written, or is not the file that it should be.
    """
    path = folder / source.name
    noted = path.with_name(f"{path.name}.sha256")
    if not _is_there(path):
        _keep(source, await _download(source.url), path, noted)
    _check(source, path, noted)
    return path


def _is_there(path: Path) -> bool:
    return path.exists()


def _keep(source: Source, data: bytes, path: Path, noted: Path) -> None:
    digest = hashlib.sha256(data).hexdigest()
    if source.sha256 and digest != source.sha256:
        raise ConfigError(
            f"{source.url}: is not the file that it should be (SHA-256 {digest}, not "
            f"{source.sha256}); fetch it yourself and give it with --data if that is right"
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not source.sha256:
            replace_file(noted, f"{digest}\n".encode())
        replace_file(path, data)
    except OSError as error:
        raise ConfigError(
            f"{path.parent}: cannot be written ({error.strerror}); BENCHCORE_CACHE names another "
            "folder"
        ) from None


def _check(source: Source, path: Path, noted: Path) -> None:
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        wanted = source.sha256 or noted.read_text().strip()
    except OSError as error:
        raise ConfigError(
            f"{error.filename}: {error.strerror}; remove {path} and it will be fetched again"
        ) from None
    if digest != wanted:
        raise ConfigError(
            f"{path}: has changed (SHA-256 {digest}, not {wanted}); remove it and it will be "
            "fetched again"
        )


async def _download(url: str) -> bytes:
    timeout = aiohttp.ClientTimeout(total=SECONDS, sock_connect=15)
    advice = "get the file where there is a network and give it with --data"
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, trust_env=True) as session,
            session.get(url) as response,
        ):
            if response.status != 200:
                raise ConfigError(f"{url}: answers {response.status}; {advice}")
            data = bytearray()
            async for piece in response.content.iter_chunked(1 << 16):
                data += piece
                if len(data) > _MOST_BYTES:
                    raise ConfigError(f"{url}: is larger than {_MOST_BYTES} bytes; {advice}")
            return bytes(data)
    except TimeoutError:
        raise ConfigError(f"{url}: did not arrive within {SECONDS:g} s; {advice}") from None
    except aiohttp.ClientError as error:
        raise ConfigError(f"{url}: cannot be fetched ({error}); {advice}") from None


Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Question:
    """One question, ready to be asked once.

    Args:
        index: its place in the order of asking, from 0.
        key: the same for the same question in every repeat, order and run.
        repeat: which repeat, from 0.
        text: the user turn.
        target: the right answer, as short as the task has it.
        group: what it is counted with besides, such as a subject.
        facts: what judging it needs, kept with the sample; but for those whose name begins with
            `_`, which hold text of the question.
        shots: solved questions before it, each a user turn and an answer.
    """

    index: int
    key: str
    repeat: int
    text: str
    target: str
    group: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    shots: tuple[tuple[str, str], ...] = ()

    def messages(self, system: str | None) -> list[dict[str, str]]:
        """Return it as a conversation, with a system turn where there is one."""
        turns = [] if system is None else [{"role": "system", "content": system}]
        for asked, answered in self.shots:
            turns.append({"role": "user", "content": asked})
            turns.append({"role": "assistant", "content": answered})
        return [*turns, {"role": "user", "content": self.text}]

    def plain(self, system: str | None) -> str:
        """Return it as one text, for an endpoint without turns."""
        parts = [] if system is None else [system]
        parts += [f"{asked}\n{answered}" for asked, answered in self.shots]
        return "\n\n".join([*parts, self.text])


@dataclass(frozen=True, slots=True)
class Judgement:
    """What an answer is worth.

    Args:
        score: 0 to 1.
        extracted: the answer that was found in the text.
        answered: whether there is one.
        details: what else is known, such as which instructions were followed.
    """

    score: float
    extracted: str | None = None
    answered: bool = True
    details: dict[str, Any] = field(default_factory=dict)


NO_ANSWER = Judgement(0.0, answered=False)


class Task:
    """A kind of eval; a package of one's own offers one by the entry point `benchcore.tasks`.

    A task turns the rows of its data into questions, and judges an answer. It sends nothing.
    """

    name: str
    title: str
    variants: tuple[str, ...] = ()
    """Those that it knows, its usual one first."""
    repeats: int = 1
    """How often each question is asked where the user does not say."""
    extractions: tuple[str, ...] = ("robust",)
    builtin: str | None = None
    """Its test set in `workloads/eval`, where it has one."""
    builtin_shots: str | None = None
    """The solved questions beside it, where there are some."""

    def sources(self, variant: str) -> tuple[Source, ...]:
        """Return the public files that hold its questions."""
        raise ConfigError(f"task {self.name}: give its questions with --data (variant {variant!r})")

    def own_data(self) -> Path | None:
        """Return the file that the task itself names, where it does."""
        return None

    def shot_sources(self, variant: str) -> tuple[Source, ...]:
        """Return the public files that hold solved questions."""
        del variant
        raise ConfigError(f"task {self.name}: give solved questions with --few-shot-data")

    def check(self, config: EvalConfig) -> None:
        """Refuse what the task cannot do.

        Raises:
            ConfigError: a setting is not for it, or a package that it needs is missing.
        """
        if self.variants and config.variant and config.variant not in self.variants:
            raise ConfigError(
                f"task {self.name} has no variant {config.variant!r}; "
                f"it has {', '.join(self.variants)}"
            )
        if config.extraction not in self.extractions:
            raise ConfigError(
                f"task {self.name} has no extraction {config.extraction!r}; "
                f"it has {', '.join(self.extractions)}"
            )

    def settled(self, config: EvalConfig) -> EvalConfig:
        """Return the settings that are in force: the task's own where the user says nothing."""
        return config

    def to_the_letter(self, config: EvalConfig) -> bool:
        """Return whether answers are judged by a published rule, and by nothing besides it."""
        return config.extraction == "simple-evals"

    def variant(self, config: EvalConfig) -> str:
        """Return the variant in force."""
        return config.variant or (self.variants[0] if self.variants else "")

    def limited(self, rows: Sequence[Row], config: EvalConfig, draw: random.Random) -> list[Row]:
        """Return the rows that are asked: the first ones, where there is a limit."""
        del draw
        return list(rows[: config.limit])

    def questions(
        self, rows: Sequence[Row], config: EvalConfig, shots: Sequence[Row] = ()
    ) -> list[Question]:
        """Return the questions in the order of asking: all rows, and all again for each repeat.

        Raises:
            ConfigError: a row lacks a column, or holds what cannot be.
        """
        repeats = config.n_repeats or (1 if config.limit is not None else self.repeats)
        draw = random.Random(0)
        chosen = self.limited(rows, config, draw)
        made: list[Question] = []
        for repeat in range(repeats):
            keys = _Keys()
            for number, row in enumerate(chosen, 1):
                try:
                    text, target, facts = self.ask(row, draw)
                    text, solved = self.shown(text, row, shots)
                    key, group = keys.key(self.said(row)), self.group(row)
                except KeyError as error:
                    raise ConfigError(
                        f"task {self.name}: row {number} has no column {error}; it has "
                        f"{', '.join(map(str, row))}"
                    ) from None
                except (TypeError, ValueError, IndexError) as error:
                    raise ConfigError(f"task {self.name}: row {number}: {error}") from None
                made.append(Question(len(made), key, repeat, text, target, group, facts, solved))
        return made

    def ask(self, row: Row, draw: random.Random) -> tuple[str, str, dict[str, Any]]:
        """Return the user turn of a row, the right answer, and the facts that judging needs.

        Args:
            row: of the data.
            draw: the one generator of the run; what is drawn here must stand in the facts.
        """
        raise NotImplementedError

    def solved(self, row: Row) -> tuple[str, str]:
        """Return a row as a solved question: the user turn, and an answer in the wanted form."""
        raise ConfigError(f"task {self.name} takes no solved questions (row {row!r:.60})")

    def chosen_shots(self, rows: Sequence[dict[str, Any]], count: int) -> list[dict[str, Any]]:
        """Return the solved questions to show: the first ones.

        Raises:
            ConfigError: there are fewer.
        """
        if len(rows) < count:
            raise ConfigError(f"--few-shot {count}: there are {len(rows)} solved questions")
        return list(rows[:count])

    def shown(
        self, text: str, row: Row, shots: Sequence[Row]
    ) -> tuple[str, tuple[tuple[str, str], ...]]:
        """Return the user turn of a row, and the solved questions that are turns before it."""
        del row
        return text, tuple(self.solved(shot) for shot in shots)

    def said(self, row: Row) -> str:
        """Return the text by which a question is known, whatever the order of its choices."""
        raise NotImplementedError

    def group(self, row: Row) -> str:
        """Return what a row is counted with besides."""
        del row
        return ""

    def judge(self, question: Question, answer: str, config: EvalConfig) -> Judgement:
        """Return what an answer is worth; an answer of any text whatever raises nothing."""
        raise NotImplementedError

    def figures(self, samples: Sequence[Sample]) -> dict[str, float]:
        """Return what is said besides the score, over completed samples."""
        del samples
        return {}


class _Keys:
    """Makes keys of questions; a text that is there twice has two."""

    def __init__(self) -> None:
        self._seen: dict[str, int] = {}

    def key(self, text: str) -> str:
        digest = sha256(text)[:16]
        count = self._seen[digest] = self._seen.get(digest, 0) + 1
        return digest if count == 1 else f"{digest}-{count}"


def sha256(text: Any) -> str:
    """Return the SHA-256 of a text, or of the JSON of anything else, in hexadecimal."""
    data = text.encode(errors="surrogatepass") if isinstance(text, str) else orjson.dumps(text)
    return hashlib.sha256(data).hexdigest()


def mean_of(samples: Sequence[Sample], name: str) -> dict[str, float]:
    """Return the mean of a detail over the samples that have it; nothing where none has."""
    told = (sample.details.get(name) for sample in samples)
    values = [float(value) for value in told if isinstance(value, int | float)]
    return {name: sum(values) / len(values)} if values else {}


TASKS: Final = Group("benchcore.tasks", "task")


def find_task(name: str) -> Task:
    """Return a task by its name.

    Raises:
        ConfigError: there is no such task, or its package does not load.
    """
    made = TASKS.load(name, hint=" (one of your own is a YAML file)")
    task = made() if isinstance(made, type) else made
    if not isinstance(task, Task):
        raise ConfigError(f"task {name!r}: {TASKS.points()[name].value} is not a benchcore.Task")
    return task
