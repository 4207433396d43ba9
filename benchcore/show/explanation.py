"""Explanation: why the slow requests of a level are slow, as sentences, text and Markdown."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from rich.table import Table
from rich.text import Text

from benchcore.base.text import number, percent, printable
from benchcore.judge.against import TimeDifference
from benchcore.judge.explain import Companion, Explanation, PartStands
from benchcore.judge.parts import FEWEST, Parts, Until
from benchcore.runs.run import Level
from benchcore.show.table import report_console, without_padding

_MS: Final = 1e3
_MOST_COMPANIONS: Final = 4


def sentences(explanation: Explanation | None) -> list[str]:
    """Return why the slow requests of a level are slow, in whole sentences.

    Args:
        explanation: of a level; `None`: it has too few requests.
    """
    if explanation is None:
        return [f"Fewer than {FEWEST} requests have this latency: too few to say what is usual."]
    spoken = [_summary(explanation)]
    spoken += [_reason(stands, explanation) for stands in explanation.named]
    if not explanation.named:
        spoken.append("Nothing stands out: no part is much longer for some requests than for most.")
    if explanation.companions:
        most = explanation.companions[:_MOST_COMPANIONS]
        spoken.append(f"What the slow ones have in common: {'; '.join(map(_companion, most))}.")
    if explanation.gathered is not None:
        begin, end = (f"{second:.2f}" for second in explanation.gathered)
        when = f"at {begin} s" if begin == end else f"between {begin} and {end} s"
        spoken.append(f"Over half of the slow ones were due {when}.")
    return spoken


def _summary(explanation: Explanation) -> str:
    slow, usual = explanation.slowest_seconds, explanation.middle_seconds
    where = "to the first token" if explanation.until is Until.FIRST_TOKEN else "to the end"
    return (
        f"From when it was due {where} a typical request takes {number(usual * _MS)} ms; the "
        f"slowest {explanation.slowest} of {explanation.requests:,} take {number(slow * _MS)} ms "
        f"({slow / usual - 1:+.0%}".replace("%", " %")
        + ")."
    )


def _reason(stands: PartStands, explanation: Explanation) -> str:
    title = stands.part.title.capitalize()
    told = []
    if stands.concerned:
        low, high = (number(bound * _MS) for bound in stands.interval)
        told.append(
            f"{stands.concerned:,} requests ({percent(stands.concerned / explanation.requests)}) "
            f"{stands.part.verb} {number(stands.excess * _MS)} ms more than the others (95 %: "
            f"{low} to {high} ms); {stands.among_slowest or 'none'} of the {explanation.slowest} "
            f"slowest {'are' if stands.among_slowest > 1 else 'is'} among them"
        )
    if stands.always:
        share = stands.middle / explanation.middle_seconds
        told.append(
            f"typically requests {stands.part.verb} {number(stands.middle * _MS)} ms "
            f"({percent(share)} of their time)"
        )
    if stands.leads and not stands.concerned:
        told.append(
            f"the slowest {stands.part.verb} {number(stands.slowest * _MS)} ms more than the middle"
        )
    return f"{title}: {'; '.join(told)}."


def _companion(companion: Companion) -> str:
    name = printable(companion.name)
    if companion.is_share:
        return f"{name}: {percent(companion.slow)} against {percent(companion.middle)}"
    return f"{name}: {companion.slow:,.6g} against {companion.middle:,.6g}"


def render_explanation(
    level: Level, explanations: Sequence[tuple[Until, Explanation | None]]
) -> str:
    """Return why the slow requests of a level are slow, as text of at most 100 columns.

    Args:
        level: which.
        explanations: of its requests, up to their first token and to their end.
    """
    console = report_console(out := io.StringIO(), color=False)
    for place, (until, explanation) in enumerate(explanations):
        if place:
            console.print()
        console.print(Text(f"{level.name}, to the {until.value}"))
        for sentence in sentences(explanation):
            console.print(Text(sentence))
        if explanation is not None:
            console.print()
            console.print(parts_table(explanation))
    said = server_says(level)
    if said:
        console.print()
        console.print(Text(said))
    return without_padding(out.getvalue())


def parts_table(explanation: Explanation) -> Table:
    """Return the parts of the time as a table: what is typical, and what the slowest take more."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("part", no_wrap=True)
    for head in ("typical ms", "share", "slowest, more ms"):
        table.add_column(head, justify="right", no_wrap=True)
    table.add_column("how it is known")
    for stands in explanation.parts:
        cells = [
            stands.part.title,
            number(stands.middle * _MS) if stands.middle >= 0 else f"{stands.middle * _MS:z.2f}",
            percent(max(stands.middle / explanation.middle_seconds, 0.0)),
            f"{stands.slowest * _MS:+z,.2f}",
            stands.how,
        ]
        table.add_row(*map(Text, cells))
    return table


def server_says(level: Level) -> str:
    """Return what the server's own metrics say of a mean request of the window; empty: nothing."""
    known = [
        (name, value)
        for name in ("queue", "prefill", "decode")
        for value in [(level.server or {}).get(f"server_{name}_seconds_avg")]
        if value is not None and value >= 0
    ]
    if not known:
        return ""
    told = ", ".join(f"{name} {number(value * _MS)} ms" for name, value in known)
    return f"The server's metrics say, as means over the window: {told}."


def render_request(name: str, spent: Parts, place: int) -> str:
    """Return the parts of one request beside what is typical, as text.

    Args:
        name: its id.
        spent: the parts of its level's requests.
        place: which of them it is.
    """
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("part", no_wrap=True)
    for head in ("ms", "share", "typical ms"):
        table.add_column(head, justify="right", no_wrap=True)
    table.add_column("how it is known")
    total = float(spent.total[place])
    for part, how in spent.how.items():
        value = float(spent.of[part][place])
        if np.isnan(value):
            continue
        usual = float(np.median(np.nan_to_num(spent.of[part])))
        cells = [part.title, f"{value * _MS:z,.3f}", percent(max(value / total, 0.0))]
        table.add_row(*map(Text, [*cells, f"{usual * _MS:z,.3f}", how]))
    typical = f"{float(np.median(spent.total)) * _MS:,.3f}"
    table.add_row(*map(Text, ["whole", f"{total * _MS:,.3f}", percent(1.0), typical, ""]))
    console = report_console(out := io.StringIO(), color=False)
    console.print(Text(printable(name)))
    console.print(table)
    return without_padding(out.getvalue())


def to_json(explanation: Explanation) -> Mapping[str, object]:
    """Return an explanation as JSON has it; seconds throughout."""
    return {
        "until": explanation.until.value,
        "requests": explanation.requests,
        "slowest": explanation.slowest,
        "middle_seconds": explanation.middle_seconds,
        "slowest_seconds": explanation.slowest_seconds,
        "residual_ratio": explanation.residual,
        "parts": [
            {
                "part": stands.part.key,
                "how": stands.how,
                "middle_seconds": stands.middle,
                "slowest_more_seconds": stands.slowest,
                "named": stands.is_named,
                "always": stands.always,
                "concerned": stands.concerned,
                "concerned_among_slowest": stands.among_slowest,
                "excess_seconds": stands.excess if stands.concerned else None,
                "excess_95_seconds": list(stands.interval) if stands.concerned else None,
            }
            for stands in explanation.parts
        ],
        "companions": [
            {
                "name": companion.name,
                "slow": companion.slow,
                "middle": companion.middle,
                "is_share": companion.is_share,
                "probability_more": companion.probability,
                "interval": list(companion.interval),
            }
            for companion in explanation.companions
        ],
        "gathered_seconds": list(explanation.gathered) if explanation.gathered else None,
    }


def difference_sentences(found: Sequence[TimeDifference] | None, other: str) -> list[str]:
    """Return what has changed from another run, in whole sentences.

    Args:
        found: of a level; `None`: one of the runs has too few requests of it.
        other: what the other run is called.
    """
    if found is None:
        return [f"Fewer than {FEWEST} requests have this latency in one of the runs."]
    return [_changed(difference, other) for difference in found]


def _changed(difference: TimeDifference, other: str) -> str:
    where = "to the first token" if difference.until is Until.FIRST_TOKEN else "to the end"
    who = "A typical request" if difference.of == "typical" else "The slowest hundredth"
    takes = "takes" if difference.of == "typical" else "take"
    before, now = number(difference.before * _MS), number(difference.now * _MS)
    change = difference.now - difference.before
    begin = f"{who} {takes} {now} ms {where}, {change * _MS:+,.1f} ms against {before} in {other}"
    reasons = [
        f"{part.part.title} {part.change * _MS:+,.1f} ms (95 %: {part.interval[0] * _MS:+,.1f} to "
        f"{part.interval[1] * _MS:+,.1f})"
        for part in difference.named
    ]
    return f"{begin}: {'; '.join(reasons) or 'no part has changed by more than chance'}."


def render_differences(
    name: str, other: str, differences: Sequence[tuple[Until, Sequence[TimeDifference] | None]]
) -> str:
    """Return what has changed from another run as text of at most 100 columns.

    Args:
        name: of the level.
        other: what the other run is called.
        differences: up to the first token, and to the end.
    """
    console = report_console(out := io.StringIO(), color=False)
    console.print(Text(printable(name)))
    for _, found in differences:
        for sentence in difference_sentences(found, printable(other)):
            console.print(Text(sentence))
    return without_padding(out.getvalue())


def differences_json(found: Sequence[TimeDifference] | None) -> list[Mapping[str, object]] | None:
    """Return what has changed as JSON has it; seconds throughout."""
    if found is None:
        return None
    return [
        {
            "until": difference.until.value,
            "of": difference.of,
            "before_seconds": difference.before,
            "now_seconds": difference.now,
            "parts": [
                {
                    "part": part.part.key,
                    "before_seconds": part.before,
                    "now_seconds": part.now,
                    "change_95_seconds": list(part.interval),
                    "named": part.is_named,
                }
                for part in difference.parts
            ],
        }
        for difference in found
    ]
