"""Gate: a run held against a baseline, rule by rule."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Final, Literal

from benchcore.base.text import number
from benchcore.config.catalogue import higher_is_better
from benchcore.config.limits import OF_THE_RUN, GateFile, Rule
from benchcore.judge.baselines import noted, run_type_of
from benchcore.judge.comparison import (
    FEWEST_NIGHTS,
    SIGNIFICANT,
    Change,
    Key,
    Side,
    both_sides,
    change,
    key_name,
    sides,
)
from benchcore.judge.significance import Dependence, requests_needed
from benchcore.metrics.accuracy import by_question
from benchcore.metrics.batches import FEWEST, FEWEST_VALUES
from benchcore.metrics.scores import paired_difference
from benchcore.runs.checks import Checks, Verdict
from benchcore.runs.reading import RunFolder
from benchcore.runs.samples import read_samples

TOLD_AT: Final = 0.02
"""Beyond its limit: the gate says how many requests it takes to see a change of so much more."""


_FAR_WORSE: Final = 3.0


@dataclass(frozen=True, slots=True)
class Line:
    """What became of a rule at a level.

    Args:
        level: its name; empty: the rule is of the whole run.
        rule: in words.
        found: in words.
        passed: whether it does not fail.
        note: what else must be known.
        told: whether the two runs tell; where they do not, it does not fail.
    """

    level: str
    rule: str
    found: str
    passed: bool
    note: str = ""
    told: bool = True

    @property
    def verdict(self) -> Literal["pass", "fail", "cannot tell"]:
        """What became of it."""
        if not self.passed:
            return "fail"
        return "pass" if self.told else "cannot tell"

    def to_json(self) -> dict[str, Any]:
        """Return it as an object of JSON."""
        return {
            "level": self.level or None,
            "rule": self.rule,
            "found": self.found,
            "verdict": self.verdict,
            "note": self.note or None,
        }


@dataclass(slots=True)
class GateResult:
    """What became of all rules.

    Args:
        lines: in order.
        notes: what the two runs differ in, and what could not be told.
    """

    lines: list[Line] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether no rule fails, and there was at least one."""
        return bool(self.lines) and all(line.passed for line in self.lines)


def gate(
    run: RunFolder,
    baseline: RunFolder,
    rules: GateFile,
    nights: Sequence[RunFolder] = (),
) -> GateResult:
    """Hold a run against a baseline.

    A change that is only believed where it is more than chance is tested one-sided; the share of
    false alarms that is allowed is spread over all such tests, those of an eval among them
    (Bonferroni), so that it holds for the gate as a whole. Where the figure is worse than its limit
    and the two runs cannot tell that from chance, the rule does not fail and says so.

    A level or a stage that only the baseline has fails the run, unless the two were of different
    run types: a pull request's run has fewer of them than a nightly one.

    Args:
        run: that is held.
        baseline: that it is held against.
        rules: by which.
        nights: earlier runs of the same, oldest first, the baseline among them or not: with five or
            more, what differs between them tells what chance does. Where the baseline is one of
            them, the run is held against their mean.

    Raises:
        ConfigError: a file of either is damaged.
    """
    result = GateResult()
    _whole(run, result)
    ours, theirs = both_sides(run, baseline)
    types = {run_type_of(one) for one in (run, baseline)}
    if len(types) > 1:
        theirs = {key: side for key, side in theirs.items() if key in ours}
        result.notes.append(f"{run.name} and {baseline.name} are of different run types")
    result.lines += list(_validity(ours))
    pairs = [
        (rule, key)
        for rule in rules.rules
        if rule.metric not in OF_THE_RUN
        for key in {**theirs, **ours}
        if fnmatchcase(key_name(key, list(ours) + list(theirs)), rule.level)
    ]
    scored = run.eval() is not None and baseline.eval() is not None
    tests = sum(1 for rule, _ in pairs if rule.needs) + sum(
        1 for rule in rules.rules if scored and rule.metric == "accuracy.score" and rule.needs
    )
    level = rules.false_alarms / max(tests, 1)
    named = all(one.workload for folder in (run, baseline) for one in folder.levels)
    earlier = [
        theirs if night.path.resolve() == baseline.path.resolve() else sides(night, workloads=named)
        for night in nights
    ]
    for rule, key in pairs:
        name = key_name(key, list(ours) + list(theirs))
        before = [one[key] for one in earlier if key in one]
        line = _of_level(rule, name, ours.get(key), theirs.get(key), level, before)
        if line is None:
            result.notes.append(
                f"{name}: the baseline has no such level: {rule.metric} is not held"
            )
        else:
            result.lines.append(line)
    for rule in rules.rules:
        if rule.metric == "functional.pass_ratio":
            if len(types) == 1 or run.checks() is not None:
                result.lines += list(_functional(rule, run, baseline))
        elif rule.metric == "accuracy.score" and (len(types) == 1 or run.eval() is not None):
            result.lines += list(_accuracy(rule, run, baseline, level))
    if tests and len(nights) < FEWEST_NIGHTS:
        result.notes.append(
            f"judged by the requests of two runs: what else differs from run to run, only "
            f"{FEWEST_NIGHTS} earlier runs or more can tell ({len(nights)} found)"
        )
    result.notes += [str(one) for one in noted(baseline.run, run.run)]
    result.notes = list(dict.fromkeys(result.notes))
    return result


def _whole(run: RunFolder, result: GateResult) -> None:
    if run.unfinished:
        result.lines.append(Line("", "the run is complete", run.run.status, passed=False))


def _validity(levels: Mapping[Key, Side]) -> Iterator[Line]:
    for key, side in levels.items():
        bad = [one for one in side.levels if one.verdict == "invalid"]
        if bad:
            why = "; ".join(bad[0].reasons) or "no reason given"
            name = key_name(key, list(levels))
            yield Line(name, "the level is not invalid", f"invalid: {why}", passed=False)


def _said(figure: str, value: float | None) -> str:
    if value is None:
        return "unknown"
    if "." in figure and figure not in OF_THE_RUN:
        return f"{number(value * 1e3)} ms"
    if figure in ("failure_rate", "goodput_ratio"):
        return f"{value:.1%}".replace("%", " %")
    return number(value)


def _in_words(rule: Rule) -> str:
    parts = []
    if rule.worse_by is not None:
        sure = ", more than chance" if rule.needs else ""
        parts.append(f"at most {rule.worse_by * 100:.4g} % worse{sure}")
    if rule.min is not None:
        parts.append(f"at least {_said(rule.metric, rule.min)}")
    if rule.max is not None:
        parts.append(f"at most {_said(rule.metric, rule.max)}")
    return f"{rule.metric} {', '.join(parts)}"


def _of_level(
    rule: Rule,
    name: str,
    ours: Side | None,
    theirs: Side | None,
    level: float,
    nights: Sequence[Side],
) -> Line | None:
    words = _in_words(rule)
    if ours is None:
        return Line(name, words, "the run has no such level", passed=False)
    value = ours.value(rule.metric)
    if value is None:
        return Line(name, words, "the run has no such figure", passed=False)
    bounds = [
        rule.min is not None and value < rule.min,
        rule.max is not None and value > rule.max,
    ]
    if rule.worse_by is None:
        return Line(name, words, _said(rule.metric, value), not any(bounds))
    if theirs is None:
        return (
            None if not any(bounds) else Line(name, words, _said(rule.metric, value), passed=False)
        )
    found = change(theirs, ours, rule.metric, nights)
    if found.first is None:
        return Line(name, words, "the baseline has no such figure", passed=False)
    beyond = _is_beyond(rule, found)
    told = not beyond or rule.needs is None or _is_sure(found, level)
    return Line(
        name,
        words,
        _changed(rule.metric, found),
        not (any(bounds) or (beyond and told)),
        _note(rule, found, level, beyond=beyond),
        told=told,
    )


def _is_beyond(rule: Rule, found: Change) -> bool:
    assert rule.worse_by is not None
    worse_by = found.worse_by
    if worse_by is None:  # the baseline has 0: any at all is more
        assert found.first is not None
        assert found.second is not None
        return found.second > found.first
    return worse_by > rule.worse_by


def _is_sure(found: Change, level: float) -> bool:
    if found.worse_p is None:
        return False
    if found.blind:
        return found.worse_p < SIGNIFICANT and _is_far_worse(found)
    return found.worse_p < level


def _is_far_worse(found: Change) -> bool:
    """Whether the second is three times as bad: so much is believed of a blind pair too."""
    assert found.first is not None
    assert found.second is not None
    pair = (found.first, found.second)
    better, worse = reversed(pair) if higher_is_better(found.figure) else pair
    return worse > _FAR_WORSE * better


def _changed(figure: str, found: Change) -> str:
    change_said = "" if found.relative is None else f", {found.relative:+.1%}".replace("%", " %")
    return f"{_said(figure, found.first)} → {_said(figure, found.second)}{change_said}"


def _note(rule: Rule, found: Change, level: float, *, beyond: bool) -> str:
    if rule.needs is None or rule.worse_by is None:
        return ""
    if found.worse_p is None:
        more = f"{FEWEST_NIGHTS} earlier runs of the same would"
        return f"nothing tells whether that is chance; {more}" if beyond else ""
    notes = []
    unsure = beyond and not _is_sure(found, level)
    if found.worse_p >= level and unsure and not found.blind:
        notes.append(f"chance does as much with p {found.worse_p:.2g}, and p {level:.2g} is needed")
    if found.how == "nights":
        more = "; more of them, or runs that differ less, tell more" if unsure else ""
        notes.append(f"judged by {found.nights} earlier runs{more}")
    elif unsure and found.blind and found.reach is not None:
        notes.append(_needed(found.reach))
    if found.spread is not None and rule.worse_by:
        needed = requests_needed(found.count, found.spread, rule.worse_by + TOLD_AT, rule.worse_by)
        if needed is not None and needed > found.count:
            share = f"{(rule.worse_by + TOLD_AT) * 100:.4g} %"
            notes.append(f"to tell {share} takes about {needed:,} requests; it has {found.count:,}")
    return "; ".join(notes)


def _needed(reach: Dependence) -> str:
    """Return what it takes where a window tells too little of itself."""
    if not reach.batches:
        return f"the window is too short for {FEWEST} batches of {FEWEST_VALUES} requests"
    times = max(2, math.ceil(1 / (1 - min(reach.carried, 0.9))))
    return (
        "what happens in one moment reaches far into the window (batches beside one another "
        f"correlate by {reach.carried:.2f}): {times} times the duration tells, "
        f"or {FEWEST_NIGHTS} earlier runs"
    )


def _functional(rule: Rule, run: RunFolder, baseline: RunFolder) -> Iterator[Line]:
    found, before = run.checks(), baseline.checks()
    if found is None and before is None:
        return
    words = _in_words(rule)
    if found is None:
        yield Line("", words, "the run has no functional checks", passed=False)
        return
    ratio = found.summary.pass_ratio
    verdicts = Counter(one.verdict for one in found.results)
    gone, unsettled = verdicts[Verdict.ERROR], verdicts[Verdict.UNSETTLED]
    unjudged = []
    if gone:
        unjudged.append(f"{gone} checks met a server that had gone")
    if unsettled:
        unjudged.append(f"{unsettled} checks are unsettled: the server put them off with 429")
    if ratio is None:
        # A run that was put off says nothing of the server; one without anything to judge fails.
        said = f"none of {len(found.results)} checks was judged"
        put_off = bool(unsettled) and not gone
        yield Line("", words, said, put_off, "; ".join(unjudged), told=False)
        return
    old = None if before is None else before.summary.pass_ratio
    lower = (
        rule.worse_by is not None and old is not None and ratio < old * (1 - rule.worse_by) - 1e-12
    )
    bounded = (rule.min is not None and ratio < rule.min) or (
        rule.max is not None and ratio > rule.max
    )
    said = f"{ratio:.4f}" if old is None else f"{old:.4f} → {ratio:.4f}"
    notes = [_lost(found, before), *unjudged]
    passed = not (lower or bounded or gone)
    yield Line("", words, said, passed, "; ".join(filter(None, notes)), told=not unsettled)


def _lost(found: Checks, before: Checks | None) -> str:
    if before is None:
        return ""
    old = {one.case_id: one.verdict for one in before.results}
    passed = (Verdict.PASS, Verdict.FLAKY)
    lost = [one.case_id for one in found.failures if old.get(one.case_id) in passed]
    more = f" and {len(lost) - 5} more" if len(lost) > 5 else ""
    return f"new failures: {', '.join(lost[:5])}{more}" if lost else ""


def _accuracy(rule: Rule, run: RunFolder, baseline: RunFolder, level: float) -> Iterator[Line]:
    evaluated, before = run.eval(), baseline.eval()
    if not any(side is not None and side.scored for side in (evaluated, before)):
        return
    words = _in_words(rule)
    score = None if evaluated is None else evaluated.mean
    if evaluated is None or score is None:
        yield Line("", words, "the run has no score", passed=False)
        return
    least = rule.min if rule.min is not None else evaluated.min_score
    # What the eval itself was held to is judged as there: by the upper bound of the interval.
    most = score if rule.min is not None else (evaluated.interval or (score, score))[1]
    bounded = (least is not None and most < least) or (rule.max is not None and score > rule.max)
    said, note, lower, told = f"{score:.4f}", "", False, True
    if before is not None and before.mean is not None and rule.worse_by is not None:
        old = before.mean
        said = f"{old:.4f} → {score:.4f}"
        lower = score < old * (1 - rule.worse_by) - 1e-12
        if rule.needs is not None:
            paired = paired_difference(
                by_question(read_samples(baseline.path)), by_question(read_samples(run.path))
            )
            told = not lower
            note = "nothing tells whether that is chance" if lower else ""
            if paired is not None:
                told = not lower or paired.worse_p < level
                low, high = paired.low, paired.high
                note = f"{paired.questions} questions in both: {low:+.4f} to {high:+.4f}"
                if not told:
                    note += f"; chance does as much with p {paired.worse_p:.2g}"
    if least is not None:
        reached = ", which the upper bound of its interval reaches" if score < least <= most else ""
        note = "; ".join(filter(None, (note, f"at least {least:g} is asked for{reached}")))
    yield Line("", words, said, not (bounded or (lower and told)), note, told=told)
