"""Synthetic: made-up prompts of drawn lengths, no two alike."""

import copy
from dataclasses import asdict, dataclass, replace
from operator import truediv
from typing import Any, Self, get_args

from benchcore.base.errors import ConfigError
from benchcore.base.seeds import derive, stream
from benchcore.client.request import Prompt
from benchcore.config.values import Length
from benchcore.workload.kinds import TokenCounter
from benchcore.workload.language import LanguageName, speak
from benchcore.workload.token_costs import Bank, Fit, calibrate, learn, unfitted

# Prompts that are counted after the fit; a probe is a real request, of which the fit took four.
_CHECKS = {"tokenizer": 16, "server": 3, "usage": 2}


@dataclass(frozen=True, slots=True)
class Accuracy:
    """How far the lengths of a few prompts are from what was asked.

    Args:
        checked: prompts counted.
        error_tokens_max: the largest difference in tokens; `None`: none was counted.
        error_ratio_mean: the mean difference over the length asked.
    """

    checked: int = 0
    error_tokens_max: int | None = None
    error_ratio_mean: float | None = None


class Synthetic:
    """Made-up prompts: plain sentences, as long as asked.

    Every prompt differs from every other from its first words on, so that a prefix cache cannot
    flatter the server, unless it is meant to.

    Args:
        input_tokens: length of the prompt as the server counts it, its template included; a number
            or a distribution.
        output_tokens: the most tokens of the answer.
        language: English, Chinese, or sentences of both.
        seed: the same seed gives the same bytes in every process.
        shared_prefix_tokens: as many tokens at the start are the same in all prompts.
        unique: prompts differ; otherwise all are the same.
        ignore_eos: ask the server for exactly `output_tokens`, by `ignore_eos` and `min_tokens`.
        name: what it is called in tables and files.

    Raises:
        ConfigError: a length or the language is wrong, or the shared prefix leaves no room.
    """

    def __init__(
        self,
        *,
        input_tokens: Length | int | str = 512,
        output_tokens: Length | int | str = 128,
        language: LanguageName = "en",
        seed: int = 0,
        shared_prefix_tokens: int = 0,
        unique: bool = True,
        ignore_eos: bool = False,
        name: str = "synthetic",
    ) -> None:
        if language not in get_args(LanguageName):
            raise ConfigError(f"language {language!r} is not one of en, zh, mixed")
        self.name = name
        self.input_tokens = _length(input_tokens)
        self.output_tokens = _length(output_tokens)
        self.language: LanguageName = language
        self.seed = seed
        self.shared_prefix_tokens = shared_prefix_tokens
        self.unique = unique
        self.ignore_eos = ignore_eos
        least = self.input_tokens.low
        if self.input_tokens.kind == "fixed":
            least = int(self.input_tokens.a)
        if not 0 <= shared_prefix_tokens < least:
            raise ConfigError(
                f"shared_prefix_tokens {shared_prefix_tokens} must be 0 to {least - 1}: "
                f"input_tokens {self.input_tokens} may be as short as {least}"
            )
        self._language = speak(language, seed)
        self._accuracy = Accuracy()
        self._use(unfitted(self._language))

    def with_ignore_eos(self, ignore_eos: bool) -> Self:
        """Return the same workload, fit and all, that asks for exact output lengths or does not."""
        other = copy.copy(self)
        other.ignore_eos = ignore_eos
        return other

    async def prepare(self, counter: TokenCounter | None) -> None:
        """Fit the lengths to the target's tokens.

        Args:
            counter: an exact one is asked 50 times at most (a tokenizer file, some hundred times),
                one of probes six times; `None`: lengths stay nominal, and `describe` says so.
        """
        fit = unfitted(self._language)
        if counter is not None and counter.exact:
            fit = await learn(self._language, counter)
        self._use(fit)
        self._accuracy = Accuracy()
        if counter is None:
            return
        if fit.kind == "exact" and await self._check(counter):
            return
        note = fit.note or ("whole prompts do not add up" if fit.kind == "exact" else None)
        units = fit.units(round(self.input_tokens.mean))
        line = await calibrate(self._bank, fit.costs, counter, units, self.seed)
        self._use(replace(line, note=line.note or note))
        await self._check(counter)

    def prompt(self, index: int, *path: str | int) -> Prompt:
        """Return one prompt; the same arguments give the same prompt in every process."""
        draws = stream(self.seed, "prompt", *path, index)
        asked = self.input_tokens.draw(draws)
        output = self.output_tokens.draw(draws)
        spelled: tuple[int, ...] = ()
        if self.unique:
            offset = derive(self.seed, "offset", *path)
            spelled = (offset & 0x1FFFFF, offset >> 21 & 0x1FFFFF, offset >> 42, index)
        else:
            draws = stream(self.seed, "same")
            asked = self.input_tokens.draw(draws)
        bank, language = self._bank, self._language
        body = bank.body(self._units(asked), draws, spelled)
        return Prompt(
            text=f"{language.opener}{self._prefix}{body}{language.end}",
            input_tokens=asked,
            output_tokens=output,
            extra={"ignore_eos": True, "min_tokens": output} if self.ignore_eos else {},
        )

    def describe(self) -> dict[str, Any]:
        """Return the workload for `run.json`.

        `lengths` says how they were fitted (`exact`, `calibrated`, `unfitted`), who counted, how
        many prompts were `checked` and how far off they were, and the `shortest_tokens` that a
        prompt can have: what is asked below that is not met.
        """
        lengths: dict[str, Any] = {
            "fit": self._fit.kind,
            "source": self._fit.source,
            **asdict(self._accuracy),
            "shortest_tokens": self._predicted(0),
        }
        if self._fit.kind == "calibrated":
            lengths["intercept_tokens"] = self._fit.intercept
            lengths["tokens_per_unit"] = self._fit.slope
        if self._fit.note is not None:
            lengths["note"] = self._fit.note
        return {
            "name": self.name,
            "kind": "synthetic",
            "input_tokens": str(self.input_tokens),
            "output_tokens": str(self.output_tokens),
            "language": self.language,
            "seed": self.seed,
            "shared_prefix_tokens": self.shared_prefix_tokens,
            "unique": self.unique,
            "ignore_eos": self.ignore_eos,
            "lengths": lengths,
        }

    def _use(self, fit: Fit) -> None:
        self._fit = fit
        self._bank = Bank(self._language, fit.costs, self.seed)
        self._prefix, self._prefix_units = "", 0
        if self.shared_prefix_tokens:
            units = self._bank.nearest(round(self.shared_prefix_tokens / fit.slope))
            self._prefix = self._bank.body(units, stream(self.seed, "shared"))
            self._prefix_units = units

    def _units(self, asked: int) -> int:
        """Return the cost of the pieces after the shared prefix."""
        return self._bank.nearest(self._fit.units(asked) - self._prefix_units)

    def _predicted(self, asked: int) -> int:
        units = self._prefix_units + self._units(asked)
        return round(self._fit.intercept + self._fit.slope * units)

    async def _check(self, counter: TokenCounter) -> bool:
        """Count a few prompts, keep how far off they are, return whether the fit foresaw it all."""
        errors, asked, foreseen = [], [], True
        for index in range(_CHECKS.get(counter.source, 2)):
            prompt = self.prompt(index, "check")
            asked.append(prompt.input_tokens or 0)
            counted = await counter.count(prompt.text) + counter.overhead
            errors.append(abs(counted - asked[-1]))
            foreseen = foreseen and counted == self._predicted(asked[-1])
        mean = sum(map(truediv, errors, asked)) / len(errors)
        self._accuracy = Accuracy(len(errors), max(errors), round(mean, 6))
        return foreseen


def _length(value: Length | int | str) -> Length:
    return value if isinstance(value, Length) else Length.parse(value)
