"""Answer: what a run came to, in four short lines, before anything else on its page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from benchcore.base.text import number, percent
from benchcore.client.records import FAILED
from benchcore.config.limits import Slo
from benchcore.judge.levels import by_level, knee, mean_level
from benchcore.runs.run import Level, Run

Kind = Literal["good", "warn", "bad", "dim"]


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the answer.

    Args:
        question: that it answers.
        answer: in a word or two.
        more: the figures behind it.
        kind: how good that is; `dim`: neither.
    """

    question: str
    answer: str
    more: str
    kind: Kind = "dim"


def answers(run: Run) -> Iterator[Line]:
    """Yield what a climb came to: what it can serve, the knee, validity, failures."""
    levels = [mean_level(repeats) for repeats in by_level(run.levels)]
    yield _served(levels, slos_of(run))
    yield _knee(run.levels)
    yield _validity(run.levels)
    yield _failures(run.levels)


def slos_of(run: Run) -> list[Slo]:
    """Return the SLOs of a run, those of each of its loads once."""
    load = run.part("load")
    texts: dict[str, None] = {}
    for part in (load, *load.parts):
        given = part.said.get("slos")
        if isinstance(given, list):
            texts.update(dict.fromkeys(str(slo) for slo in given))
    return [Slo.parse(slo) for slo in texts]


def broken(level: Level, slos: Iterable[Slo]) -> list[Slo] | None:
    """Return the SLOs that the p99 of a level is above; `None`: a figure of it is not known."""
    figures = [(slo, level.figure(f"{slo.metric}.p99")) for slo in slos]
    if any(value is None for _, value in figures):
        return None
    return [slo for slo, value in figures if value is not None and value * 1e9 > slo.limit_ns]


def _load(level: Level) -> float:
    return float(level.concurrency or level.rate or 0)


def _rates(level: Level) -> list[str]:
    parts = [f"{number(level.request_throughput)} requests/s"]
    if level.output_token_throughput:
        parts.append(f"{number(level.output_token_throughput)} tokens/s")
    return parts


def _failing(level: Level) -> list[str]:
    return [f"{percent(level.failure_rate)} failed"] if level.failure_rate else []


def _served(levels: Sequence[Level], slos: Sequence[Slo]) -> Line:
    question = f"What holds {', '.join(map(str, slos))}?"
    if not slos:
        rates = [level for level in levels if level.request_throughput is not None]
        if not rates:
            return Line("Highest throughput", "unknown", "no level tells one")
        best = max(rates, key=lambda level: level.request_throughput or 0.0)
        *_, answer = _rates(best)
        more = ", ".join([f"{best.name}: {', '.join(_rates(best))}", *_failing(best)])
        return Line("Highest throughput", answer, f"{more}; no --slo says what it should hold")
    judged = [(level, broken(level, slos)) for level in levels if level.verdict != "invalid"]
    holds = [level for level, faults in judged if faults == []]
    if holds:
        best = max(holds, key=_load)
        beyond = [level for level, faults in judged if faults and _load(level) > _load(best)]
        more = ", ".join([*_rates(best), *_failing(best)])
        if beyond:
            first = min(beyond, key=_load)
            more += f"; {first.name} breaks {_named(broken(first, slos))}"
        elif best is max(levels, key=_load):
            more += "; no higher level was measured"
        if best.verdict == "valid":
            return Line(question, best.name, more, "good")
        return Line(question, best.name, f"{more}; {best.verdict or 'not judged'}", "warn")
    if not any(faults for _, faults in judged):
        return Line(question, "unknown", "no valid level tells the p99 of these figures")
    lowest = min((level for level, faults in judged if faults), key=_load)
    more = f"even {lowest.name} breaks {_named(broken(lowest, slos))}"
    return Line(question, "no level", more, "bad")


def _named(slos: Iterable[Slo] | None) -> str:
    return ", ".join(map(str, slos or ()))


def _knee(levels: Sequence[Level]) -> Line:
    bend = knee(levels)
    if bend is None:
        return Line("The knee", "unknown", "it takes two levels that tell a throughput")
    sentence = str(bend).removeprefix(f"{bend.level} ").partition(": the knee lies")[0]
    return Line("The knee", bend.level if bend.beyond else f"beyond {bend.level}", sentence)


def _validity(levels: Sequence[Level]) -> Line:
    counts: Counter[str] = Counter(level.verdict or "not judged" for level in levels)
    if counts["valid"] == len(levels):
        return Line("Validity", "valid", f"all {len(levels)} levels", "good")
    worst = next(name for name in ("invalid", "suspect", "not judged") if counts[name])
    kinds: dict[str, Kind] = {"invalid": "bad", "suspect": "warn"}
    told = ", ".join(f"{level.name} {level.verdict}" for level in levels if level.reasons)
    more = told or f"{counts[worst]} of {len(levels)} levels"
    return Line("Validity", worst, more, kinds.get(worst, "dim"))


def _failures(levels: Sequence[Level]) -> Line:
    if any(level.failed is None or level.ok is None for level in levels):
        return Line("Failures", "unknown", "not every level tells how many requests failed")
    outcomes: Counter[str] = Counter()
    for level in levels:
        outcomes.update(level.outcomes)
    total = sum(level.ok or 0 for level in levels) + sum(level.failed or 0 for level in levels)
    failed = sum(level.failed or 0 for level in levels)
    if not failed:
        return Line("Failures", "none", f"{total:,} requests", "good")
    bad = {outcome.value for outcome in FAILED}
    kinds = ", ".join(
        f"{count:,} × {name}" for name, count in outcomes.most_common() if name in bad
    )
    share = percent(failed / total)
    return Line("Failures", share, f"{failed:,} of {total:,} requests: {kinds or 'unknown'}", "bad")
