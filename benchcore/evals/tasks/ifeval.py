"""IFEval: instructions whose following can be checked by rule (Zhou et al. 2023)."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, Final

from benchcore.base.errors import ConfigError
from benchcore.config.evals import EvalConfig
from benchcore.evals.instruction_rules import load_punkt
from benchcore.evals.instructions import INSTRUCTIONS, check_needs, followed, followed_loosely
from benchcore.evals.sampling import without_reasoning
from benchcore.evals.task import NO_ANSWER, Judgement, Question, Row, Source, Task
from benchcore.metrics.accuracy import Sample

_URL: Final = (
    "https://huggingface.co/datasets/google/IFEval/resolve/"
    "966cd89545d6b6acfd7638bc708b98261ca58e84/ifeval_input_data.jsonl"
)
_SHA256: Final = "6a85310ca8ce15eff755aa08a3a4ff931c7e273e7515ebb3c492ea85fd8288f2"


class IfEval(Task):
    """Asks IFEval: columns `key, prompt, instruction_id_list, kwargs`.

    The score is the strict one by prompt: every instruction of it followed. The other three of the
    paper stand beside: loose by prompt, strict and loose by instruction.
    """

    name: str = "ifeval"
    title: str = "IFEval: instructions whose following can be checked"
    builtin: str | None = "ifeval.jsonl"

    def sources(self, variant: str) -> tuple[Source, ...]:
        """Return the prompts."""
        del variant
        return (Source("ifeval_input_data.jsonl", _URL, _SHA256),)

    def check(self, config: EvalConfig) -> None:
        """Refuse to begin without what finds out languages."""
        super().check(config)
        check_needs(INSTRUCTIONS)
        load_punkt()

    def ask(self, row: Row, draw: random.Random) -> tuple[str, str, dict[str, Any]]:
        """Return the prompt."""
        del draw
        names = list(row["instruction_id_list"])
        unknown = [name for name in names if name not in INSTRUCTIONS]
        if unknown:
            raise ValueError(f"instruction {unknown[0]!r} is unknown")
        given = [{k: v for k, v in kwargs.items() if v is not None} for kwargs in row["kwargs"]]
        if len(given) != len(names):
            raise ValueError(f"{len(names)} instructions and {len(given)} kwargs")
        for name, kwargs in zip(names, given, strict=True):
            followed(name, kwargs, str(row["prompt"]), "")  # tells now what its values lack
        facts = {"instructions": names, "_kwargs": given}
        if "key" in row:
            facts["id"] = row["key"]
        return str(row["prompt"]), "", facts

    def said(self, row: Row) -> str:
        """Return the prompt."""
        return str(row["prompt"])

    def judge(self, question: Question, answer: str, config: EvalConfig) -> Judgement:
        """Check each instruction, strictly and loosely."""
        del config
        said = without_reasoning(answer)
        if not said:
            return NO_ANSWER
        pairs = zip(question.facts["instructions"], question.facts["_kwargs"], strict=True)
        strict, loose = [], []
        for name, given in pairs:
            strict.append(followed(name, given, question.text, said))
            loose.append(followed_loosely(name, given, question.text, said))
        return Judgement(float(all(strict)), details={"strict": strict, "loose": loose})

    def figures(self, samples: Sequence[Sample]) -> dict[str, float]:
        """Return the four figures of the paper; what has no answer followed nothing."""
        shares: dict[str, float] = {}
        done = [sample for sample in samples if sample.score is not None]
        for name in ("strict", "loose"):
            said = [_of(sample, name) for sample in done]
            checks = [is_followed for some in said for is_followed in some]
            if said:
                shares[f"prompt_{name}"] = sum(map(all, said)) / len(said)
                shares[f"instruction_{name}"] = sum(checks) / len(checks)
        return shares


def _of(sample: Sample, name: str) -> list[bool]:
    given, instructions = sample.details.get(name), sample.facts.get("instructions")
    if isinstance(given, list):
        return [followed is True for followed in given]
    if isinstance(instructions, list):
        return [False] * len(instructions)
    raise ConfigError(f"sample {sample.index} does not say which instructions it has; ask it anew")
