"""Texts: made-up prompts whose length in the target's tokens is known beforehand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import lru_cache, partial
from operator import truediv
from typing import Any

from benchcore.base.seeds import derive, stream
from benchcore.client.request import Prompt
from benchcore.workload.language import LanguageName, speak
from benchcore.workload.sessions import Recipe
from benchcore.workload.token_costs import Bank, Fit, TokenCounter, calibrate, learn, unfitted

# Prompts that are counted after the fit; a probe is a real request, of which the fit took four.
_CHECKS = {"tokenizer": 16, "server": 3, "usage": 2}
_BLOCKS_KEPT = 8192
"""Texts of blocks that are kept, about 2.5 kB each at 512 tokens."""
_WORD = 0x1FFFFF


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


Sample = Callable[[int], list[tuple[Prompt, int]]]
"""Makes so many prompts, each with the tokens that the fit foresees."""


class Texts:
    """Makes texts of a wanted length.

    Args:
        language: English, Chinese, or sentences of both.
        seed: the same seed gives the same texts in every process.
    """

    def __init__(self, language: LanguageName, seed: int) -> None:
        self.language = speak(language, seed)
        self.seed = seed
        self.accuracy = Accuracy()
        self._use(unfitted(self.language))

    def __getstate__(self) -> dict[str, Any]:
        """Return what another process makes it again of: not the texts that are kept."""
        return {name: value for name, value in self.__dict__.items() if name != "_block"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Make it again."""
        self.__dict__.update(state)
        self._block = lru_cache(_BLOCKS_KEPT)(self._made_block)

    @property
    def fit(self) -> Fit:
        """How lengths in tokens come from what pieces cost."""
        return self._fit

    @property
    def bank(self) -> Bank:
        """What puts texts together."""
        return self._bank

    async def prepare(
        self, counter: TokenCounter | None, usual_tokens: int, sample: Sample | None = None
    ) -> None:
        """Fit lengths to the target's tokens, and check a few prompts.

        Args:
            counter: an exact one is asked 50 times at most (a tokenizer file, some hundred times),
                one of probes six times; `None`: lengths stay nominal, and `describe` says so.
            usual_tokens: the usual length of a prompt.
            sample: makes the prompts that are checked; `None`: recipes of the usual length.
        """
        sample = sample or partial(self._sample, usual_tokens)
        fit = unfitted(self.language)
        if counter is not None and counter.exact:
            fit = await learn(self.language, counter)
        self._use(fit)
        self.accuracy = Accuracy()
        if counter is None:
            return
        if fit.kind == "exact" and await self._check(counter, sample):
            return
        note = fit.note or ("whole prompts do not add up" if fit.kind == "exact" else None)
        units = fit.units(usual_tokens)
        line = await calibrate(self._bank, fit.costs, counter, units, self.seed)
        self._use(replace(line, note=line.note or note))
        await self._check(counter, sample)

    def _sample(self, tokens: int, count: int) -> list[tuple[Prompt, int]]:
        recipes = (Recipe(tokens, key=("check", number)) for number in range(count))
        return [(self.prompt(recipe), self.predicted(tokens)) for recipe in recipes]

    async def _check(self, counter: TokenCounter, sample: Sample) -> bool:
        """Count a few prompts, keep how far off they are, return whether the fit foresaw it all."""
        errors, asked, as_foreseen = [], [], True
        for prompt, tokens in sample(_CHECKS.get(counter.source, 2)):
            asked.append(prompt.input_tokens or 0)
            counted = await counter.count(prompt.text) + counter.overhead
            errors.append(abs(counted - asked[-1]))
            as_foreseen = as_foreseen and counted == tokens
        mean = sum(map(truediv, errors, asked)) / len(errors)
        self.accuracy = Accuracy(len(errors), max(errors), round(mean, 6))
        return as_foreseen

    def units(self, tokens: int) -> int:
        """Return the cost of the pieces of a prompt of `tokens`."""
        return self._bank.nearest(self._fit.units(tokens))

    def predicted(self, tokens: int) -> int:
        """Return the tokens that a prompt of `tokens` really gets; short ones cannot be made."""
        return round(self._fit.intercept + self._fit.slope * self.units(tokens))

    def prompt(self, recipe: Recipe) -> Prompt:
        """Return the prompt of a recipe; the same recipe gives the same text in every process.

        What surrounds the pieces, the target's template included, is taken off the first block, so
        that a block that has others behind it is the same text as one that has none.
        """
        left = self._fit.units(recipe.input_tokens)
        parts = [self.language.opener]
        if recipe.blocks:
            whole = recipe.block_tokens
            for place, name in enumerate(recipe.blocks):
                wanted = self._fit.units(whole) if place == 0 else round(whole / self._fit.slope)
                units = self._bank.nearest(min(wanted, left))
                if left <= 0:
                    break
                parts.append(self._block(name, units))
                left -= units
        if left > 0 or len(parts) == 1:
            draws = stream(self.seed, "recipe", *recipe.key)
            offset = derive(self.seed, "lead", *recipe.key)
            spelled = (offset & _WORD, offset >> 21 & _WORD, offset >> 42, 0)
            parts.append(self._bank.body(self._bank.nearest(left), draws, spelled))
        parts.append(self.language.end)
        output = recipe.output_tokens
        exact = recipe.exact_output and output is not None
        return Prompt(
            text="".join(parts),
            input_tokens=recipe.input_tokens,
            output_tokens=output,
            extra={"ignore_eos": True, "min_tokens": output} if exact else {},
        )

    def describe(self) -> dict[str, Any]:
        """Return how lengths were fitted, for `run.json`.

        `fit` (`exact`, `calibrated`, `unfitted`), who counted, how many prompts were `checked` and
        how far off they were.
        """
        lengths: dict[str, Any] = {
            "fit": self._fit.kind,
            "source": self._fit.source,
            **asdict(self.accuracy),
        }
        if self._fit.kind == "calibrated":
            lengths["intercept_tokens"] = self._fit.intercept
            lengths["tokens_per_unit"] = self._fit.slope
        if self._fit.note is not None:
            lengths["note"] = self._fit.note
        return lengths

    def _use(self, fit: Fit) -> None:
        self._fit = fit
        self._bank = Bank(self.language, fit.costs, self.seed)
        self._block = lru_cache(_BLOCKS_KEPT)(self._made_block)
        self._block_leads = tuple(derive(self.seed, "blocks", n) & _WORD for n in range(6))

    def _made_block(self, name: int | str, units: int) -> str:
        """Return the text of a block: no two ids begin alike as far as their pieces reach."""
        number = name if isinstance(name, int) else derive(0, name)
        draws = stream(self.seed, "block", name)
        return self._bank.body(units, draws, (*self._block_leads, number))
