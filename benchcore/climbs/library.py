"""Library: a climb as one call, for other programs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchcore.climbs.climb import Climb
from benchcore.climbs.plan import Part
from benchcore.config.climb import ClimbConfig
from benchcore.config.target import Target
from benchcore.runs.sinks import ClimbRun
from benchcore.show.progress import Progress
from benchcore.workload.kinds import Workload
from benchcore.workload.synthetic import Synthetic


async def climb(
    target: Target | str,
    *,
    concurrency: Sequence[int] = (),
    rate: Sequence[float] = (),
    workload: Workload | None = None,
    output: str | Path | None = None,
    name: str = "climb",
    tokenizer: str | Path | None = None,
    sinks: Sequence[str] = (),
    progress: Progress | None = None,
    **settings: Any,
) -> ClimbRun:
    """Climb levels on a target and return what was measured.

    Args:
        target: the server, or its address.
        concurrency: users of each level of a closed loop.
        rate: requests per second of each level of an open loop.
        workload: what to ask; synthetic prompts when left out.
        output: where to write a run folder while it runs; `None`: nowhere.
        name: of the run.
        tokenizer: a `tokenizer.json`, or its folder: counts prompts, and answers without usage.
        sinks: names of optional sinks, such as `jsonl`; they write beside the run, into `output`.
        progress: told how it goes.
        settings: further fields of `ClimbConfig`, such as `duration_seconds=60`.

    Raises:
        BenchcoreError: see `benchcore.base.errors`; pydantic's ValidationError for a bad setting.
    """
    config = ClimbConfig(concurrency=tuple(concurrency), rate=tuple(rate), **settings)
    workload = workload or Synthetic(seed=config.seed)
    return await Climb(
        Target(target) if isinstance(target, str) else target,
        [Part(workload.name, workload, config)],
        output=None if output is None else Path(output),
        name=name,
        tokenizer=None if tokenizer is None else str(tokenizer),
        sinks=sinks,
        progress=progress,
    )()
