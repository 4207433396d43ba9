"""Gate lines: what a gate found, as text and as Markdown."""

from __future__ import annotations

from benchcore.report.gate import GateResult
from benchcore.report.markdown import cell
from benchcore.text import printable


def render_gate(result: GateResult, run: str, baseline: str, *, markdown: bool) -> str:
    """Return what a gate found, a line for each rule at each level.

    Args:
        result: what became of the rules.
        run: name of the run.
        baseline: name of what it was held against.
        markdown: as a table for a pull request's comment.
    """
    return (_markdown if markdown else _text)(result, run, baseline)


def _untold(result: GateResult) -> str:
    count = sum(1 for line in result.lines if line.verdict == "cannot tell")
    return f"; {count} of {len(result.lines)} rules cannot tell" if count else ""


def _text(result: GateResult, run: str, baseline: str) -> str:
    lines = [
        f"{run} against {baseline}: {'passed' if result.passed else 'failed'}{_untold(result)}"
    ]
    width = max((len(line.level) for line in result.lines), default=0)
    words = max((len(line.verdict) for line in result.lines), default=0)
    for line in result.lines:
        word = line.verdict if line.passed else "FAIL"
        head = f"{word:<{words}}  {line.level:<{width}}  "
        lines.append(f"{head}{line.rule}: {line.found}")
        if line.note:
            lines.append(f"{' ' * len(head)}{line.note}")
    lines += [f"note  {note}" for note in result.notes]
    return "".join(f"{printable(line)}\n" for line in lines)


def _markdown(result: GateResult, run: str, baseline: str) -> str:
    word = ("passed" if result.passed else "**failed**") + _untold(result)
    lines = [
        f"`{cell(run)}` against `{cell(baseline)}`: {word}",
        "",
        "| | level | rule | found | |",
        "|---|---|---|---|---|",
    ]
    for line in result.lines:
        cells = (
            line.verdict if line.passed else "**FAIL**",
            line.level or "run",
            line.rule,
            line.found,
        )
        lines.append(f"| {' | '.join(map(cell, cells))} | {cell(line.note)} |")
    if result.notes:
        lines += ["", *(f"- {cell(note)}" for note in result.notes)]
    return "\n".join(lines) + "\n"
