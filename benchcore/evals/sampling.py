"""Sampling: asks the questions of a task, several at a time, and makes a sample of each answer."""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from benchcore.base.clock import NS
from benchcore.base.errors import BenchcoreError, ResultsError, TargetError
from benchcore.client.records import FAILED, Outcome, Record
from benchcore.client.refusals import again, blame
from benchcore.client.request import Prompt
from benchcore.climbs.probe import ProbeResult, try_prompt
from benchcore.config.climb import Arrival
from benchcore.evals.task import Question, Task, sha256
from benchcore.load.open_loop import offsets_ns
from benchcore.metrics.accuracy import Sample, SampleOutcome

if TYPE_CHECKING:
    from benchcore.client.client import Client
    from benchcore.config.evals import EvalConfig
    from benchcore.config.target import Endpoint


_NAMES: Final = r"(?:seed:)?(?:think|thinking|thought|thoughts|reason|reasoning|reflection)"
_TAGS: Final = (
    (rf"<{_NAMES}>", rf"</{_NAMES}>"),
    (r"\u25c1think\u25b7", r"\u25c1/think\u25b7"),
    (r"\[THINK\]", r"\[/THINK\]"),
    (r"<\|START_THINKING\|>", r"<\|END_THINKING\|>"),
    (r"<\|begin_of_thought\|>", r"<\|end_of_thought\|>"),
)
# A tag in quotation marks or backticks is spoken of, not used.
_USED: Final = r"(?<![`'\"\u201c\u2018])(?:{})(?![`'\"\u201d\u2019])"
_OPEN: Final = re.compile(_USED.format("|".join(opening for opening, _ in _TAGS)), re.IGNORECASE)
_CLOSE: Final = re.compile(_USED.format("|".join(other for _, other in _TAGS)), re.IGNORECASE)
_CHANNEL: Final = re.compile(r"<\|channel\|>\s*(\w+)[^<]*<\|message\|>")
_CHANNEL_END: Final = re.compile(r"<\|(?:end|return|call|start|channel)\|>")
_BARE_ANALYSIS: Final = re.compile(r"\s*analysis(?=[A-Z])")
"""Harmony's first channel where the server has left its marks out."""
_BARE_FINAL: Final = "assistantfinal"


def without_reasoning(text: str) -> str:
    """Return a text without its reasoning, its ends stripped.

    What stands before the last closing tag is reasoning even where no tag opens it, since many
    templates open it in the prompt. A tag that nobody closes makes reasoning of all that follows
    where the text, or what is left of it, begins with it, where it has a line of its own, or where
    reasoning came before and a word follows it at once; elsewhere it is spoken of. Of Harmony's
    channels only `final` is the answer.
    """
    channels = list(_CHANNEL.finditer(text))
    if channels:
        finals = [channel for channel in channels if channel[1] == "final"]
        return _CHANNEL_END.split(text[finals[-1].end() :])[0].strip() if finals else ""
    if _BARE_ANALYSIS.match(text):
        return text.rpartition(_BARE_FINAL)[2].strip() if _BARE_FINAL in text else ""
    closed = 0
    for match in _CLOSE.finditer(text):
        closed = match.end()
    kept = text[closed:]
    for opened in _OPEN.finditer(text, closed):
        before = text[closed : opened.start()]
        line = text[opened.end() :].partition("\n")[0]
        alone = before.endswith("\n") and not line.strip() and before.count("```") % 2 == 0
        begins = bool(closed) and re.match(r"\w", line) is not None
        if alone or begins or not before.strip():
            kept = before
            break
    first = _OPEN.search(text)
    if first is not None and first.start() < closed:
        # An answer may stand before the reasoning too.
        kept = text[: first.start()] + kept
    return kept.strip()


def thinking_ended(text: str) -> bool:
    """Return whether a text shows that its reasoning, if there was any, has come to its end."""
    return _CLOSE.search(text) is not None or without_reasoning(text) != text.strip()


_IN_FORM: Final = re.compile(
    r"^[\W_]*(?:final |correct )?answer\W{0,6}:|\\f?box|####|<answer>"
    r"|^[\W_]*(?:答案|正确答案)\W{0,3}[:\uff1a]",
    re.IGNORECASE | re.MULTILINE,
)
CUT: Final = frozenset({"length", "max_tokens", "incomplete", "max_output_tokens"})
"""Finish reasons of an answer that was cut at the limit of tokens."""
LONGEST_EXTRACTED: Final = 80
_GONE: Final = frozenset({Outcome.CONNECT_ERROR, Outcome.TRUNCATED})
_FIRST_TOKENS: Final = 8
_REFUSALS: Final = frozenset({400, 401, 403, 404, 405, 413, 422})
_HOLD_SECONDS: Final = 0.01
_PATIENCE: Final = 8
"""Questions in a row that found no server, after all their tries, before the run gives up.

Also the failures before the first answer after which nothing new is asked until one has come."""
_MANY: Final = 4
"""So many times the questions that are asked at once is enough of nothing but 5xx and 429."""


def question_prompt(question: Question, config: EvalConfig, endpoint: Endpoint) -> Prompt:
    """Return what is sent for a question."""
    extra: dict[str, Any] = {"temperature": config.temperature}
    if config.top_p is not None:
        extra["top_p"] = config.top_p
    if endpoint == "completions":
        return Prompt(
            text=question.plain(config.system), output_tokens=config.max_tokens, extra=extra
        )
    messages = question.messages(config.system)
    return Prompt(messages=messages, output_tokens=config.max_tokens, extra=extra)


def first_prompt(config: EvalConfig, endpoint: Endpoint) -> Prompt:
    """Return a short request with the fields of every question, to see whether they are taken."""
    question = Question(index=0, key="", repeat=0, text="Say hello.", target="")
    asked = question_prompt(question, config, endpoint)
    return replace(asked, output_tokens=min(config.max_tokens, _FIRST_TOKENS))


def sample_of(question: Question, record: Record, task: Task, config: EvalConfig) -> Sample:
    """Return what became of a question, from the record of its last try; the text must be kept."""
    sample = Sample(
        index=question.index,
        question=question.key,
        repeat=question.repeat,
        group=question.group,
        target=question.target,
        facts={name: fact for name, fact in question.facts.items() if name[0] != "_"},
        finish_reason=record.finish_reason,
        truncated=record.finish_reason in CUT,
        tries=1,
        prompt_sha256=sha256(question.messages(config.system)),
    )
    if record.usage is not None:
        sample.input_tokens = record.usage.prompt_tokens
        sample.reasoning_tokens = record.usage.reasoning_tokens
    if config.keep_text:
        sample.prompt = question.messages(config.system)
    if record.outcome not in (Outcome.OK, Outcome.EMPTY):
        assert record.outcome is not None
        status = f" {record.status}" if record.status >= 400 else ""
        sample.error = f"{record.outcome.value}{status}: {record.error}"
        return sample
    sample.output_tokens = record.output_tokens
    sample.seconds = (record.done_ns - record.sent_ns) / NS
    text = record.text or ""
    sample.answer_sha256 = sha256(text)
    if config.keep_text:
        sample.answer = text
    if record.finish_reason == "content_filter":
        sample.outcome, sample.score = SampleOutcome.CONTENT_FILTER, 0.0
        return sample
    if record.refused:
        sample.outcome, sample.score = SampleOutcome.REFUSED, 0.0
        return sample
    try:
        score(sample, question, text, task, config)
    except BenchcoreError:
        raise
    except Exception as fault:  # noqa: BLE001  one answer that no judge has thought of
        sample.outcome, sample.error = SampleOutcome.ERROR, blame(fault)[1]
    if sample.truncated and not record.reasoning_events and guessed(text, task, config):
        # Thinking that was cut off before its end holds guesses and no answer.
        sample.outcome, sample.score = SampleOutcome.NO_ANSWER, 0.0
        sample.extracted, sample.details = None, {}
    return sample


def guessed(text: str, task: Task, config: EvalConfig) -> bool:
    """Return whether what was found in a cut text can only be a guess.

    Where the template opened the reasoning in the prompt, no tag tells it from the answer. An
    answer in its form (`Answer: …` on a line, a box, `####`, `<answer>`) counts nevertheless, and
    so does everything behind reasoning that has ended.
    """
    if task.to_the_letter(config) or thinking_ended(text):
        return False
    return _IN_FORM.search(text) is None


def score(sample: Sample, question: Question, text: str, task: Task, config: EvalConfig) -> None:
    """Write into a sample what its answer is worth."""
    judgement = task.judge(question, text, config)
    sample.extracted, sample.score = judgement.extracted, judgement.score
    if judgement.extracted is not None and not config.keep_text:
        # A task that takes all of an answer must not bring its text into the folder.
        sample.extracted = judgement.extracted[:LONGEST_EXTRACTED]
    sample.details = judgement.details
    sample.outcome = SampleOutcome.SCORED if judgement.answered else SampleOutcome.NO_ANSWER


class Sampler:
    """Asks questions.

    Args:
        client: sends; it keeps texts.
        task: judges.
        config: how it is asked.
        on_sample: takes each sample as soon as it is there.
        sleep: waits; replaced in tests.
        seed: of the waits before another try, and of the arrivals.
        answered: whether an earlier part of the same run was answered: what is refused now is then
            about the questions that are left.
    """

    def __init__(
        self,
        client: Client,
        task: Task,
        config: EvalConfig,
        on_sample: Callable[[Sample], None],
        *,
        sleep: Callable[[float], Any] = asyncio.sleep,
        seed: int = 0,
        answered: bool = False,
    ) -> None:
        self._client = client
        self._task = task
        self._config = config
        self._on_sample = on_sample
        self._sleep = sleep
        self._draw = random.Random(seed)
        self._gone = 0
        self._failing = 0
        self._words: Counter[str] = Counter()
        self._all_refused = True
        self._probe_error: TargetError | None = None
        self._open = 0
        self._met = False  # has answered a question of this part
        self._unanswered: int | None = None if answered else 0
        """How many questions ended in a failure, as long as not one has been answered."""
        self._probing = asyncio.Lock()
        self._probed = False
        self.found = ProbeResult(client.target.model or "", models_listed=False)
        """What the server wanted otherwise than it was asked."""
        self._fault: TargetError | ResultsError | None = None

    async def ask(self, questions: Sequence[Question]) -> None:
        """Ask questions: so many at a time, or so many a second.

        Raises:
            TargetError: the server has gone, or has answered not one question.
            ResultsError: a sample could not be written.
        """
        if self._config.rate is not None:
            await self._ask_at_rate(questions, self._config.rate)
        else:
            await self._ask_in_turn(questions)
        if self._fault is None and questions and self._unanswered == len(questions):
            self._fault = self._not_one_answered()
        if self._fault is not None:
            raise self._fault

    async def _ask_in_turn(self, questions: Sequence[Question]) -> None:
        left = iter(questions)

        async def user() -> None:
            for question in left:
                await self._ask_one(question)

        async with asyncio.TaskGroup() as group:
            for _ in range(min(self._config.concurrency, len(questions))):
                group.create_task(user())

    async def _ask_at_rate(self, questions: Sequence[Question], rate: float) -> None:
        arrival = Arrival.parse("poisson")
        due = offsets_ns(arrival, rate, 0, self._draw, fewest=len(questions))
        loop = asyncio.get_running_loop()
        start = loop.time()

        async def later(question: Question, offset_ns: int) -> None:
            await self._sleep(max(0.0, start + offset_ns / NS - loop.time()))
            await self._ask_one(question)

        async with asyncio.TaskGroup() as group:
            for question, offset_ns in zip(questions, due, strict=True):
                group.create_task(later(question, offset_ns))

    async def _ask_one(self, question: Question) -> None:
        await self._hold()
        if self._fault is not None:
            return
        self._open += 1
        try:
            await self._ask(question)
        finally:
            self._open -= 1

    async def _ask(self, question: Question) -> None:
        prompt = question_prompt(question, self._config, self._client.target.endpoint)
        retried: list[str] = []
        while True:
            asked_of = self._client.target
            record = await self._client.send(self._client.prepare(prompt))
            if record.status in _REFUSALS and not self._met:
                await self._probe()
                if self._client.target is not asked_of:  # it takes the question otherwise
                    continue
            more = again(record, len(retried) + 1, self._config.retries, self._draw, time.time())
            if more is None:
                break
            retried.append(more.why)
            await self._sleep(more.seconds)
        sample = sample_of(question, record, self._task, self._config)
        sample.tries, sample.retried = len(retried) + 1, retried
        self._watch(record)
        try:
            self._on_sample(sample)
        except ResultsError as error:
            # Answers that cannot be kept need not be asked for.
            self._fault = error

    async def _probe(self) -> None:
        """See by a short request with the fields of every question whether any will be taken."""
        async with self._probing:
            if self._probed:
                return
            self._probed = True
            prompt = first_prompt(self._config, self._client.target.endpoint)
            try:
                await try_prompt(self._client, prompt, self.found, patient=True)
            except TargetError as error:
                self._probe_error = error

    async def _hold(self) -> None:
        """Where nothing but failures has come, wait for what is on its way before asking more."""
        while (
            self._unanswered is not None and self._unanswered >= _PATIENCE and self._fault is None
        ):
            if not self._open:
                self._fault = self._not_one_answered()
                return
            await asyncio.sleep(_HOLD_SECONDS)

    def _not_one_answered(self) -> TargetError:
        if self._probe_error is not None:
            return self._probe_error
        (words, _), *others = self._words.most_common()
        more = f", and {len(others)} other failures" if others else ""
        advice = "see the server's log; when it answers, go on with --resume and --retry-errors"
        if self._all_refused:
            advice = "--max-tokens, --extra-body and --omit change what is asked"
        return TargetError(
            f"{self._client.target.base_url} answered none of the first {self._unanswered} "
            f"questions ({words}{more}); {advice}"
        )

    def _watch(self, record: Record) -> None:
        """Give up where each question left would only be one more error.

        The server has gone, or has answered nothing so far, or has begun to fail at everything.
        """
        if record.outcome not in FAILED or record.outcome is Outcome.EMPTY:
            self._met, self._unanswered = True, None
        elif self._unanswered is not None:
            self._unanswered += 1
            self._words[record.cause] += 1
            self._all_refused &= record.status in _REFUSALS
        gone = record.outcome in _GONE and not record.first_token_ns
        self._gone = self._gone + 1 if gone and record.outcome in FAILED else 0
        if self._gone >= _PATIENCE:
            self._fault = TargetError(
                f"{self._client.target.base_url} has gone: {self._gone} questions in a row found "
                f"no server ({record.error}); start it again and go on with --resume"
            )
        failing = record.status == 429 or record.status >= 500
        self._failing = self._failing + 1 if failing else 0
        if self._failing >= _MANY * max(self._config.concurrency, _PATIENCE):
            self._fault = TargetError(
                f"{self._client.target.base_url} has begun to fail at everything: {self._failing} "
                f"questions in a row, each after all its tries, ended as {record.cause}; when it "
                "is well again, go on with --resume and --retry-errors"
            )
