"""Figures of other load generators, brought to the units and names of `run.json`."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from benchcore.base.errors import ConfigError
from benchcore.base.text import harmless
from benchcore.config.catalogue import RATES
from benchcore.metrics.level import TokenSums
from benchcore.metrics.percentiles import QUANTILES, low_confidence, rank
from benchcore.metrics.summary import Summary
from benchcore.runs.facts import HostFacts, LoadFacts, Origin, TargetFacts, WorkloadFacts
from benchcore.runs.run import SCHEMA_VERSION, Level, Run

_ERRORS_TOLD = 3
STATISTICS = ("count", "avg", "min", "max", "std", *QUANTILES)
"""Keys of one metric, in their order."""

_FIGURES = tuple(name for name in RATES if name != "failure_rate")
_TOKENS = ("asked_input", "input", "asked_output", "output", "cached", "reasoning")


def finite(value: object) -> float | None:
    """Return a number as a float; `None` for what is none, a boolean, NaN, infinite or absurd."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    # Larger ones are no measurement, and their squares or an integer of JSON overflow a float.
    return float(value) if abs(value) < 1e100 else None


def whole(value: object) -> int | None:
    """Return a count; `None` for what is none, is negative or has a fraction."""
    number = finite(value)
    # Beyond 2⁵³ a float has no exact count, and beyond 2⁶⁴ JSON is not written.
    if number is None or not 0 <= number < 2**53 or number != int(number):
        return None
    return int(number)


def text(value: object) -> str | None:
    """Return a text; `None` for what is none or empty."""
    return value if isinstance(value, str) and value else None


def table(value: object) -> Mapping[str, Any]:
    """Return an object of JSON; an empty one for what is none."""
    return value if isinstance(value, dict) else {}


def ratio(part: float | None, total: float | None) -> float | None:
    """Return `part ÷ total`, `None` where either is unknown or the total is no more than 0."""
    return None if part is None or total is None or total <= 0 else finite(part / total)


def metric(known: Mapping[str, float | None], requests: int | None) -> Summary | None:
    """Return one metric, every one of `STATISTICS` said; `None` where nothing is known.

    Args:
        known: what the tool says, in seconds; the rest is `None`, not zero.
        requests: how many it is of, for `low_confidence`; `None`: unknown.
    """
    if all(known.get(name) is None for name in STATISTICS if name != "count"):
        return None
    low = () if requests is None else low_confidence(requests)
    return Summary.model_validate(
        {
            **{name: known.get(name) for name in STATISTICS},
            "low_confidence": [name for name in low if known.get(name) is not None],
        }
    )


def summary_of(values: Iterable[float], requests: int) -> Summary | None:
    """Summarize samples: nearest-rank percentiles, `std` with divisor n; `None` without any.

    Args:
        values: shape (n,), seconds.
        requests: how many requests they are of.
    """
    ordered = sorted(values)
    if not ordered:
        return None
    n = len(ordered)
    mean = math.fsum(ordered) / n
    known: dict[str, float | None] = {
        "count": n,
        "avg": mean,
        "min": ordered[0],
        "max": ordered[-1],
        "std": math.sqrt(math.fsum((value - mean) ** 2 for value in ordered) / n),
        **{name: ordered[rank(quantile, n) - 1] for name, quantile in QUANTILES.items()},
    }
    return metric(known, requests)


@dataclass(frozen=True, slots=True)
class LevelLoad:
    """How a level was loaded, as the fields of a level have it."""

    level: str
    mode: Literal["closed", "open"] | None
    concurrency: int | None
    rate: float | None
    arrival: str | None
    max_inflight: int | None


def load_facts(
    *,
    concurrency: int | None,
    rate: float | None,
    arrival: str | None = None,
    other: str = "burst",
) -> LevelLoad:
    """Return how a level was loaded.

    Args:
        concurrency: users of a closed loop, or the cap of an open one.
        rate: requests per second; `None`: no rate was held.
        arrival: of an open loop.
        other: the level's name where it is neither kind of loop.
    """
    if rate is not None:
        return LevelLoad(f"r{rate:g}", "open", None, rate, arrival, concurrency)
    if concurrency is not None:
        return LevelLoad(f"c{concurrency}", "closed", concurrency, None, None, None)
    return LevelLoad(other, None, None, None, None, None)


def last_lines(errors: Iterable[object]) -> Counter[str]:
    """Count what requests failed with; a traceback ends in the error itself."""
    said = (str(error).strip().splitlines() for error in errors if error)
    return Counter(lines[-1] for lines in said if lines)


def error_notes(errors: Mapping[str, int]) -> list[str]:
    """Return the most common errors of a tool's requests as notes, in its own words.

    Args:
        errors: how often each text came.
    """
    common = sorted(errors.items(), key=lambda one: -one[1])[:_ERRORS_TOLD]
    return [f"{count} × {harmless(text)}" for text, count in common if text.strip()]


def level_of(
    load: LevelLoad,
    *,
    counts: Mapping[str, int | None],
    figures: Mapping[str, float | None],
    tokens: Mapping[str, int | None],
    metrics: Mapping[str, Summary | None],
    definitions: Mapping[str, str],
    notes: Iterable[str] = (),
    workload: str | None = None,
) -> Level:
    """Return an element of `levels[]`; what is not given is `None`, not zero.

    Args:
        load: see `load_facts`.
        counts: `scheduled`, `ok`, `failed`, `cancelled`.
        figures: `window_seconds`, `..._throughput`, `goodput`, `goodput_ratio`.
        tokens: `asked_input`, `input`, `asked_output`, `output`.
        metrics: by name; those that are `None` are left out.
        definitions: of every figure the tool may give; only those of the given ones are kept.
        notes: what a reader must know.
        workload: its name.
    """
    given = {name: found for name, found in metrics.items() if found is not None}
    scheduled, failed = counts.get("scheduled"), counts.get("failed")
    counted = None if scheduled is None else scheduled - (counts.get("cancelled") or 0)
    level = Level(
        level=load.level,
        workload=workload,
        mode=load.mode,
        concurrency=load.concurrency,
        rate=load.rate,
        arrival=load.arrival,
        max_inflight=load.max_inflight,
        repeat=1,
        interrupted=False,
        window_seconds=figures.get("window_seconds"),
        scheduled=scheduled,
        ok=counts.get("ok"),
        failed=failed,
        cancelled=counts.get("cancelled"),
        dropped=None,
        **{name: figures.get(name) for name in _FIGURES},
        failure_rate=ratio(failed, counted),
        itl=None,
        tokens=TokenSums.model_validate(
            {**{name: tokens.get(name) for name in _TOKENS}, "token_count_source": {}}
        ),
        validity=None,
        reasons=[],
        findings=[],
        notes=list(notes),
        server={},
        metrics=given,
    )
    level.definitions = {
        name: definition
        for name, definition in definitions.items()
        if name in given or (name in RATES and level.figure(name) is not None)
    }
    return level


def utc(moment: datetime) -> str:
    """Return a moment, without a zone one of UTC, as `2026-11-21T01:55:07Z`."""
    moment = moment if moment.tzinfo is None else moment.astimezone(UTC).replace(tzinfo=None)
    return f"{moment.isoformat(timespec='seconds')}Z"


def run_of(
    levels: list[Level],
    *,
    tool: str,
    version: str | None,
    started_at: str | None,
    target: Mapping[str, str | None],
    workload: Mapping[str, object],
) -> Run:
    """Return the run of a file, without `run_id` and the file's own facts in `origin`.

    Levels of one name are repeats of it.

    Args:
        levels: see `level_of`.
        tool: the tool's name.
        version: the tool's; `None`: the file does not say.
        started_at: UTC, ISO 8601; `None`: the file does not say.
        target: `base_url`, `model`, `endpoint`; what is missing is `None`.
        workload: what the file says of it.
    """
    number_repeats(levels)
    unknown = {"base_url": None, "model": None, "endpoint": None}
    return Run(
        schema_version=SCHEMA_VERSION,
        run_id=None,
        started_at=started_at,
        ended_at=None,
        status="complete",
        stopped=None,
        error=None,
        command=None,
        labels={},
        origin=Origin(tool=tool, version=version),
        target=TargetFacts.model_validate({"kind": "import", **unknown, **target}),
        workload=WorkloadFacts.model_validate({"name": None, "kind": "import", **workload}),
        load=load_of(levels),
        seeds={},
        versions={},
        host=HostFacts(),
        levels=levels,
    )


def number_repeats(levels: Iterable[Level]) -> None:
    """Number the levels of one name: `repeat` 1, 2, …."""
    seen: Counter[str] = Counter()
    for level in levels:
        seen[level.level] += 1
        level.repeat = seen[level.level]


def load_of(levels: Iterable[Level]) -> LoadFacts:
    """Return `load` of `run.json` from the levels."""
    levels = list(levels)
    users, rates, arrivals, caps = (
        list(dict.fromkeys(value for one in levels if (value := getattr(one, name)) is not None))
        for name in ("concurrency", "rate", "arrival", "max_inflight")
    )
    return LoadFacts.model_validate(
        {
            "concurrency": users,
            "rate": rates,
            "arrival": arrivals[0] if len(arrivals) == 1 else None,
            "max_inflight": caps[0] if len(caps) == 1 else None,
            "repeats": max((level.repeat for level in levels), default=1),
        }
    )


def completed_in(entry: Mapping[str, Any], where: str, tool: str, option: str) -> tuple[int, float]:
    """Return how many requests succeeded, and in how many seconds, of vLLM's and SGLang's form.

    Args:
        entry: of a file.
        where: which it is, for messages.
        tool: that writes such files.
        option: of the tool that saves them.

    Raises:
        ConfigError: it does not say.
    """
    completed, duration = whole(entry.get("completed")), finite(entry.get("duration"))
    if completed is None or duration is None or duration <= 0:
        what = f"has no completed and duration as {tool} writes them"
        raise reject(where, what, f"import the file of {option}")
    return completed, duration


def reject(where: str, what: str, hint: str) -> ConfigError:
    """Return the error of a file that cannot be read in: where, what, and what to do."""
    return ConfigError(f"{where}: {what}; {hint}")


def without_user(url: str | None) -> str | None:
    """Return an address without a user and password in it."""
    if url is None or "@" not in url:
        return url
    scheme, mark, rest = url.rpartition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}{mark}{host.rpartition('@')[2]}{slash}{path}"
