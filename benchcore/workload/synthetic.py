"""Synthetic: made-up prompts of drawn lengths, no two alike."""

import copy
from typing import Any, Self, get_args

from benchcore.base.errors import ConfigError
from benchcore.base.seeds import derive, stream
from benchcore.client.request import Prompt
from benchcore.config.values import Length
from benchcore.workload.language import LanguageName
from benchcore.workload.texts import Texts
from benchcore.workload.token_costs import TokenCounter


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
        self._texts = Texts(language, seed)
        self._offset_of: tuple[str | int, ...] | None = None
        self._level_offset = 0
        self._share()

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
        await self._texts.prepare(counter, round(self.input_tokens.mean), self._sample)
        self._share()

    def prompt(self, index: int, *path: str | int) -> Prompt:
        """Return one prompt; the same arguments give the same prompt in every process."""
        draws = stream(self.seed, "prompt", *path, index)
        asked = self.input_tokens.draw(draws)
        output = self.output_tokens.draw(draws)
        spelled: tuple[int, ...] = ()
        if self.unique:
            offset = self._offset(path)
            spelled = (offset & 0x1FFFFF, offset >> 21 & 0x1FFFFF, offset >> 42, index)
        else:
            draws = stream(self.seed, "same")
            asked = self.input_tokens.draw(draws)
        language = self._texts.language
        body = self._texts.bank.body(self._units(asked), draws, spelled)
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
        lengths = {**self._texts.describe(), "shortest_tokens": self._predicted(0)}
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

    def _share(self) -> None:
        """Make the shared prefix anew: the fit has changed."""
        bank, fit = self._texts.bank, self._texts.fit
        self._prefix, self._prefix_units = "", 0
        if self.shared_prefix_tokens:
            units = bank.nearest(round(self.shared_prefix_tokens / fit.slope))
            self._prefix = bank.body(units, stream(self.seed, "shared"))
            self._prefix_units = units

    def _offset(self, path: tuple[str | int, ...]) -> int:
        """Return the number that tells the prompts of a level from those of all others."""
        if path != self._offset_of:
            self._offset_of, self._level_offset = path, derive(self.seed, "offset", *path)
        return self._level_offset

    def _units(self, asked: int) -> int:
        """Return the cost of the pieces after the shared prefix."""
        return self._texts.bank.nearest(self._texts.fit.units(asked) - self._prefix_units)

    def _predicted(self, asked: int) -> int:
        fit = self._texts.fit
        return round(fit.intercept + fit.slope * (self._prefix_units + self._units(asked)))

    def _sample(self, count: int) -> list[tuple[Prompt, int]]:
        self._share()  # the fit has changed
        prompts = [self.prompt(index, "check") for index in range(count)]
        return [(prompt, self._predicted(prompt.input_tokens or 0)) for prompt in prompts]


def _length(value: Length | int | str) -> Length:
    return value if isinstance(value, Length) else Length.parse(value)
