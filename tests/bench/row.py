"""Row: one line of the table, what was measured against what is to be reached."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(slots=True)
class Row:
    """One figure.

    Args:
        group: name of what measures it, as `--only` takes it.
        what: what it is.
        measured: the figure, as people read it.
        target: what is to be reached, as people read it; empty: nothing, for comparison only.
        met: whether it is; `None` where there is nothing to reach.
        data: the figures behind it.
    """

    group: str
    what: str
    measured: str
    target: str = ""
    met: bool | None = None
    data: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return it for the file."""
        return asdict(self)


def at_most(
    group: str, what: str, value: float, limit: float, unit: str = "", digits: int = 2, **data: Any
) -> Row:
    """Return a row that is met where `value` is no more than `limit`."""
    return Row(
        group,
        what,
        f"{value:.{digits}f}{unit}",
        f"≤ {limit:g}{unit}",
        value <= limit,
        {"value": value, "limit": limit, **data},
    )


def table(rows: Sequence[Row]) -> str:
    """Return the rows as aligned text of at most 100 columns."""
    heads = ("what", "measured", "to reach", "")
    lines = [(r.what, r.measured, r.target, _mark(r.met)) for r in rows]
    widths = [max(len(line[at]) for line in [heads, *lines]) for at in range(4)]
    return "\n".join(
        f"{what:{widths[0]}}  {measured:>{widths[1]}}  {target:{widths[2]}}  {met}".rstrip()
        for what, measured, target, met in [heads, *lines]
    )


def _mark(met: bool | None) -> str:
    return "" if met is None else "yes" if met else "NO"
