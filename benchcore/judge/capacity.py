"""Capacity: which level is tried next, and what those that were tried tell of a server.

A search doubles the load until a level no longer holds its objectives, then halves the gap in the
logarithm of the load. It is pure: levels that are over go in, and the next one comes out, so that
whoever has the same levels comes to the same verdict.

A level is `held` where the share of each objective is above its target by more than chance, and
`refuted` where that of one is below it. That a level is held takes all of its objectives, each at
the whole error (intersection-union test; Berger 1982, "Multiparameter hypothesis testing and
acceptance sampling"); that it is refuted takes only one of them, so that they share the error
(Bonferroni). Load never makes a server better: the hypotheses are nested, and levels that are told
in order need no adjustment for their number (Hsu and Berger 1999, "Stepwise confidence intervals
without multiplicity adjustment for dose-response and toxicity studies").
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from benchcore.judge.attainment import Drift, Visit, drift_of
from benchcore.judge.shares import Evidence, Share, better_p, evidence_of, look_error, worse_p

LOOKS: Final = 3
"""Visits of a level, at most, that is neither held nor refuted."""
NARROW: Final = 0.05
"""A gap between two levels of this share is narrow enough; one user always is …"""
NARROW_OPEN: Final = 0.1
"""… and one of this share is, next to a level that is neither held nor refuted: there the noise is,
and more levels would cost requests without end."""
CLIFF_SHARE: Final = 0.5
"""Of the target: where less keeps within the limit right above what is held, it is a cliff …"""
CLIFF_GAP: Final = 0.15
"""… if the two levels lie no further apart than this share."""

Decision = Literal["held", "refuted", "open", "unmeasured"]


@dataclass(frozen=True, slots=True)
class SearchRule:
    """How levels are chosen and judged.

    Args:
        targets: by objective, the share that must keep within its limit.
        lowest: level.
        highest: level.
        whole: levels are whole numbers: users.
        confidence: of each of the two bounds.
        looks: see `LOOKS`.
        narrow: see `NARROW`.
        most_requests: that the search may send; `None`: any number.
        most_seconds: that it may take; `None`: any time.
    """

    targets: Mapping[str, float]
    lowest: float
    highest: float
    whole: bool
    confidence: float = 0.95
    looks: int = LOOKS
    narrow: float = NARROW
    most_requests: int | None = None
    most_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Capacity:
    """What the visits come to.

    Args:
        at_least: the highest level that is held; `None`: none is.
        refuted: the lowest level above it that is refuted; `None`: none is.
        edge: whether the server gives way slowly between the two or falls; `None`: unknown.
        edge_why: what was seen of it.
        unmeasured: levels that were never valid.
        open: levels that are neither held nor refuted.
        drifts: each time that the first level came again.
        since: of the visits, the first that votes: those before a drift do not.
    """

    at_least: float | None
    refuted: float | None
    edge: Literal["slope", "cliff"] | None
    edge_why: str
    unmeasured: tuple[float, ...]
    open: tuple[float, ...]
    drifts: tuple[Drift, ...]
    since: int


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known of one level.

    Args:
        level: it.
        decision: about it.
        visits: of it that vote.
        tries: all its visits, those without a vote too.
        p_held: by objective, how likely chance alone makes a level that misses it look so good.
        p_refuted: likewise, one that meets it look so bad.
        shares: by objective, of all its visits together.
        grown: visits in which requests took longer and longer.
    """

    level: float
    decision: Decision
    visits: int
    tries: int
    p_held: Mapping[str, float]
    p_refuted: Mapping[str, float]
    shares: Mapping[str, Share]
    grown: int


@dataclass(slots=True)
class Search:
    """A search for the highest level that holds.

    Args:
        rule: how levels are chosen and judged.
        visits: so far, in their order.
    """

    rule: SearchRule
    visits: list[Visit] = field(default_factory=list)
    ended: str = ""

    # What is known.

    def standings(self) -> list[Standing]:
        """Return what is known of each level since the last drift, the lowest first."""
        return self._standings(self._restarts()[1])

    @property
    def error_held(self) -> float:
        """The chance at which a look at a level may hold it in error."""
        return look_error(1 - self.rule.confidence, self.rule.looks)

    @property
    def error_refuted(self) -> float:
        """The chance at which a look at one of its objectives may refute it in error."""
        return look_error((1 - self.rule.confidence) / len(self.rule.targets), self.rule.looks)

    def _standings(self, since: int) -> list[Standing]:
        by_level: dict[float, list[Visit]] = {}
        for visit in self.visits[since:]:
            by_level.setdefault(visit.level, []).append(visit)
        voting = {
            level: some
            for level in sorted(by_level)
            if (some := [visit for visit in by_level[level] if visit.valid])
        }
        evidence = {
            name: evidence_of(
                {level: [visit.shares[name] for visit in some] for level, some in voting.items()}
            )
            for name in self.rule.targets
        }
        return [
            self._standing(
                voting[level],
                len(by_level[level]),
                {name: evidence[name][level] for name in evidence},
            )
            if level in voting
            else Standing(level, "unmeasured", 0, len(by_level[level]), {}, {}, {}, 0)
            for level in sorted(by_level)
        ]

    def _standing(
        self, visits: Sequence[Visit], tries: int, evidence: Mapping[str, Evidence]
    ) -> Standing:
        rule = self.rule
        held = {name: better_p(one.above, rule.targets[name]) for name, one in evidence.items()}
        bad = {name: worse_p(one.below, rule.targets[name]) for name, one in evidence.items()}
        grown = sum(visit.grows for visit in visits)
        decision: Decision = "open"
        if min(bad.values()) < self.error_refuted or grown > 1:
            decision = "refuted"
        elif max(held.values()) < self.error_held:
            # A queue that grows breaks any limit in the end: it is looked at once more.
            decision = "open" if grown else "held"
        shares = {name: one.own for name, one in evidence.items()}
        return Standing(visits[0].level, decision, len(visits), tries, held, bad, shares, grown)

    def _restarts(self) -> tuple[list[Drift], int]:
        """Return how the first level came again, and the first visit that votes."""
        drifts: list[Drift] = []
        since = reference = 0
        while reference < len(self.visits) and not self.visits[reference].valid:
            reference += 1
        if reference == len(self.visits):
            return drifts, since
        first = self.visits[reference]
        for place in range(reference + 1, len(self.visits)):
            visit, before = self.visits[place], self.visits[place - 1]
            if visit.level != first.level or before.level == first.level or not visit.valid:
                continue
            drift = drift_of(first, visit)
            if drift is None:
                continue
            drifts.append(drift)
            if drift.noticed and since == 0:
                since, first = place, visit
        return drifts, since

    def verdict(self) -> Capacity:
        """Return what the visits come to."""
        drifts, since = self._restarts()
        standings = self._standings(since)
        held, refuted = _bounds(standings)
        edge, why = self._edge(standings, held, refuted)
        return Capacity(
            at_least=held,
            refuted=refuted,
            edge=edge,
            edge_why=why,
            unmeasured=tuple(one.level for one in standings if one.decision == "unmeasured"),
            open=tuple(one.level for one in standings if one.decision == "open"),
            drifts=tuple(drifts),
            since=since,
        )

    def _edge(
        self, standings: Sequence[Standing], held: float | None, refuted: float | None
    ) -> tuple[Literal["slope", "cliff"] | None, str]:
        above = next((one for one in standings if one.level == refuted), None)
        if above is None:
            return None, ""
        if above.grown:
            return "cliff", f"at {refuted:g} requests take longer and longer: the queue grows"
        worst = min(
            (share.share / self.rule.targets[name], name)
            for name, share in above.shares.items()
            if share.share is not None
        )
        found = above.shares[worst[1]].share
        assert found is not None
        near = held is not None and above.level <= max(held * (1 + CLIFF_GAP), held + 1)
        if near and worst[0] < CLIFF_SHARE:
            return "cliff", f"at {refuted:g} only {found:.1%} keep {worst[1]}"
        return "slope", f"at {refuted:g} still {found:.1%} keep {worst[1]}"

    # What comes next.

    def next(self) -> float | None:
        """Return the level to run next; `None`: the search is over, and `ended` says why."""
        if not self.visits:
            return self.rule.lowest
        wanted = self._wanted()
        if wanted is None:
            return self._last("settled")
        if self._over_budget(wanted):
            return self._last("budget")
        return wanted

    def stray(self) -> int | None:
        """Return the first visit of a level that the search would not have run; `None`: none is."""
        for place, visit in enumerate(self.visits):
            if Search(self.rule, self.visits[:place]).next() != visit.level:
                return place
        return None

    def _last(self, ended: str) -> float | None:
        """Return the first level once more, so that drift shows; `None`: it has come."""
        drifts, _ = self._restarts()
        first = self.visits[0].level
        tail = [visit for visit in self.visits[-2:] if visit.level == first]
        others = any(visit.level != first for visit in self.visits)
        came = self.visits[-1].level == first and (self.visits[-1].valid or len(tail) > 1)
        if others and not came and not (ended == "budget" and self._over_budget(first)):
            return first
        self.ended = ended
        if drifts and drifts[-1].noticed and len([one for one in drifts if one.noticed]) > 1:
            self.ended = "drift"
        return None

    def _wanted(self) -> float | None:
        last = self.visits[-1]
        _, since = self._restarts()
        if not last.valid and (len(self.visits) < 2 or self.visits[-2].level != last.level):
            return last.level
        standings = self._standings(since)
        held, refuted = _bounds(standings)
        hint = self._hint(held, refuted, since)
        if hint is not None:
            return hint
        top = standings[-1]
        if refuted is None and (top.decision == "held" or self._looks_good(top)):
            further = self._doubled(top.level)
            if further is not None:
                return further
        shut = [one for one in standings if held is None or one.level > held]
        again = self._again(shut)
        if again is not None:
            return again
        if held is None or not shut:
            return None
        inside = self._middle(held, shut[0])
        return self._brought_down(held, shut) if inside is None else inside

    def _again(self, shut: Sequence[Standing]) -> float | None:
        """Return the level that is looked at again; `None`: none is.

        Of those that look good the highest, since where it holds all below hold.
        """
        good = None
        for one in shut:
            if not self._looks_good(one):
                break
            good = one.level if self._may_come_again(one) else good
        if good is None and shut and shut[0].decision == "open":
            return shut[0].level if self._may_come_again(shut[0]) else None
        return good

    def _may_come_again(self, standing: Standing) -> bool:
        """Whether a level that is open has looks left; one visit of it may have been in vain."""
        looks = self.rule.looks
        return standing.visits < looks and standing.tries <= looks

    def _looks_good(self, standing: Standing) -> bool:
        """Whether nothing but the number of its requests keeps a level from being held."""
        return (
            standing.decision == "open"
            and not standing.grown
            and all(
                share.share is not None and share.share >= self.rule.targets[name]
                for name, share in standing.shares.items()
            )
        )

    def _brought_down(self, held: float, shut: Sequence[Standing]) -> float | None:
        """Return a level between what is open and what is refuted; `None`: they are close."""
        below = held
        for one in shut:
            if one.decision == "unmeasured":
                return None
            if one.decision == "refuted":
                between = [other for other in shut if other.level == below]
                return self._middle(below, one) if between else None
            below = one.level
            if self._may_come_again(one):
                return one.level
        return self._doubled(below)

    def _doubled(self, level: float) -> float | None:
        return None if level >= self.rule.highest else min(2 * level, self.rule.highest)

    def _middle(self, low: float, above: Standing) -> float | None:
        """Return the level halfway to another, in logarithms; `None`: they are close enough."""
        high = above.level
        near = any(one == "open" for one in (above.decision, self._decision(low)))
        if high <= low * (1 + (NARROW_OPEN if near else self.rule.narrow)):
            return None
        return halfway(low, high, whole=self.rule.whole)

    def _decision(self, level: float) -> Decision:
        return next(one.decision for one in self.standings() if one.level == level)

    def _hint(self, held: float | None, refuted: float | None, since: int) -> float | None:
        """Return a level that was a bound before the server drifted, and has not come again."""
        if not since:
            return None
        tried = {visit.level for visit in self.visits[since:]}
        before = Search(self.rule, self.visits[:since])
        low, high = held or 0.0, refuted or math.inf
        for level in _bounds(before._standings(0)):
            if level is not None and low < level < high and level not in tried:
                return level
        return None

    def _over_budget(self, level: float) -> bool:
        """Whether another visit, and the first level again, would go beyond what may be spent."""
        rule, first = self.rule, self.visits[0]
        near = min(self.visits, key=lambda visit: abs(math.log(visit.level / level)))
        again = first if level != first.level else None
        if rule.most_requests is not None:
            spent = sum(visit.requests for visit in self.visits) + near.requests
            if spent + (again.requests if again else 0) > rule.most_requests:
                return True
        if rule.most_seconds is not None:
            took = sum(visit.seconds for visit in self.visits) + near.seconds
            return took + (again.seconds if again else 0.0) > rule.most_seconds
        return False


def halfway(low: float, high: float, *, whole: bool) -> float | None:
    """Return the level halfway between two, in logarithms; `None`: there is none.

    Args:
        low: level.
        high: level.
        whole: levels are whole numbers.
    """
    middle = math.sqrt(low * high)
    if whole:
        return None if high - low <= 1 else min(max(round(middle), low + 1), high - 1)
    return float(f"{middle:.4g}")


def _bounds(standings: Sequence[Standing]) -> tuple[float | None, float | None]:
    """Return the highest level held below any that is refuted, and the lowest refuted one."""
    refuted = next((one.level for one in standings if one.decision == "refuted"), None)
    held = [
        one.level
        for one in standings
        if one.decision == "held" and (refuted is None or one.level < refuted)
    ]
    return (held[-1] if held else None), refuted
