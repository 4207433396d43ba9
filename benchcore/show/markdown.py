"""Markdown: a run short enough for a pull request's comment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchcore.base.text import printable
from benchcore.config.titles import title
from benchcore.judge.levels import Level, by_level, mean_level, spread
from benchcore.show.table import (
    level_name,
    number,
    percent,
    remarks,
    summary_milliseconds,
    unjudged,
)


def cell(text: str) -> str:
    """Return text that Markdown takes as text, whatever a server put into it."""
    clean = printable(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return clean.replace("|", "\\|").replace("`", "'").replace("[", "\\[")


def render_markdown(
    run: Mapping[str, Any],
    functional: Mapping[str, Any] | None = None,
    accuracy: Mapping[str, Any] | None = None,
) -> str:
    """Return a run as Markdown.

    Args:
        run: what `run.json` holds, finished or not.
        functional: what `functional.json` holds, where there is one.
        accuracy: what `accuracy.json` holds, likewise.
    """
    target = run.get("target") or {}
    name, model = (
        cell(str(one))
        for one in (run.get("name") or run["run_id"], target.get("model") or "unknown model")
    )
    lines = [f"**{name}**: {model}, {run['status']}, {cell(str(run['started_at']))}", ""]
    levels = run.get("levels") or []
    if levels:
        lines += _levels(levels)
        lines += ["", *(f"- {cell(line)}" for line in remarks(run))]
    if functional is not None:
        lines += ["", _functional(functional)]
    if accuracy is not None and "score" in accuracy:
        lines += ["", _accuracy(accuracy)]
    return "\n".join(lines).rstrip() + "\n"


_LATENCIES = ("ttft.p50", "ttft.p99", "itl.p99", "e2e.p99")
_HEADS = (
    "level",
    "req/s",
    "tok/s",
    *(f"{title(figure)} ms" for figure in _LATENCIES),
    "failed",
    "validity",
)


def _levels(levels: list[Level]) -> list[str]:
    scored = any(level.get("accuracy") for level in levels)
    heads = [*_HEADS, "score"] if scored else list(_HEADS)
    rules = ["---", *["--:"] * 7, "---", *(["--:"] if scored else [])]
    rows = [f"| {' | '.join(heads)} |", f"|{'|'.join(rules)}|"]
    for repeats in by_level(levels):
        level = mean_level(repeats)
        found = [
            cell(level_name(level["level"], level["repeat"])),
            number(level["request_throughput"]),
            number(level["output_token_throughput"]),
            *(summary_milliseconds(level, *figure.split(".")) for figure in _LATENCIES),
            percent(level["failure_rate"]),
            level["validity"] or "not judged",
        ]
        if scored:
            score = (level.get("accuracy") or {}).get("score")
            found.append("–" if score is None else f"{score:.4f}")
        rows.append(f"| {' | '.join(found)} |")
    rows += _spreads(levels)
    return rows


def _spreads(levels: list[Level]) -> list[str]:
    found = []
    for repeats in by_level(levels):
        if len(repeats) == 1:
            continue
        rate = spread(repeats, lambda level: level["output_token_throughput"])
        tail = spread(repeats, lambda level: (level["metrics"].get("ttft") or {}).get("p99"))
        found.append(
            f"- {cell(mean_level(repeats)['level'])}: means; standard deviation between repeats: "
            f"tok/s {percent(rate)}, TTFT p99 {percent(tail)}"
        )
    return ["", *found] if found else []


def _functional(found: Mapping[str, Any]) -> str:
    summary = found["summary"]
    failed = [one["case_id"] for one in found["results"] if one["verdict"] == "fail"]
    more = f" and {len(failed) - 10} more" if len(failed) > 10 else ""
    which = f": {', '.join(map(cell, failed[:10]))}{more}" if failed else ""
    ratio = percent(summary["pass_ratio"])
    counts = f"{summary['pass']} passed, {summary['fail']} failed ({ratio})"
    return "; ".join([f"checks: {counts}{which}", *unjudged(summary)])


def _accuracy(found: Mapping[str, Any]) -> str:
    name = f"{found['task']} {found.get('variant') or ''}".strip()
    score, interval = found["score"], found.get("interval")
    if score is None or interval is None:
        return f"{cell(name)}: no score"
    low, high = interval
    return (
        f"{cell(name)}: {score:.4f}, 95 % interval {low:.4f} to {high:.4f}, {found['n']} samples, "
        f"{found['errors']} errors"
    )
