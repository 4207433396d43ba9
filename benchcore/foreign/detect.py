"""Detection: which load generator wrote a file, and the file as a run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from benchcore.foreign.aiperf import is_aiperf, read_aiperf
from benchcore.foreign.evalscope import (
    FILES,
    SUMMARY,
    beside,
    is_evalscope,
    levels_in,
    read_evalscope,
)
from benchcore.foreign.figures import load_of, number_repeats, reject, utc
from benchcore.foreign.guidellm import is_guidellm, read_guidellm
from benchcore.foreign.sglang import is_sglang, read_sglang
from benchcore.foreign.vllm import is_vllm, read_vllm
from benchcore.runs.facts import Origin
from benchcore.runs.run import Run

_AIPERF = "profile_export_aiperf.json"


class _Tool(NamedTuple):
    claims: Callable[[Mapping[str, Any]], bool]
    read: Callable[[list[Mapping[str, Any]], str], Run]
    lines: bool
    made_by: str
    beside: Callable[[Path], Mapping[str, Any]] | None = None


_TOOLS = {
    "vllm": _Tool(is_vllm, read_vllm, True, "vllm bench serve --save-result"),
    "sglang": _Tool(is_sglang, read_sglang, True, "sglang.bench_serving --output-file"),
    "guidellm": _Tool(is_guidellm, read_guidellm, False, "guidellm, benchmarks.json"),
    "aiperf": _Tool(is_aiperf, read_aiperf, False, f"aiperf, {_AIPERF}"),
    "evalscope": _Tool(
        is_evalscope, read_evalscope, False, f"evalscope perf, {SUMMARY}", beside=beside
    ),
}
KINDS = tuple(_TOOLS)
"""The formats that are known."""


def read_foreign(path: Path, kind: str | None = None) -> Run:
    """Return another load generator's result as a run.

    It has seconds and tokens per second throughout; a figure that the tool does not give is `None`
    or absent, never 0. `run_id` is `None`, `origin` says the file, and
    each level has `definitions` of the figures it gives.

    Args:
        path: the file.
        kind: one of `KINDS`; `None`: found out from what the file holds.

    Raises:
        ConfigError: it cannot be read, is cut off, or is not of that kind or of any.
    """
    try:
        data = path.read_bytes()
        written = path.stat().st_mtime
    except OSError as error:
        raise reject(str(path), str(error.strerror), "name a result file") from None
    entries = _entries(data, path)
    if kind is None:
        kind = _detect(entries, path)
    elif kind not in _TOOLS:
        raise reject(f"--from {kind}", "is not a known format", f"known are {', '.join(KINDS)}")
    tool = _TOOLS[kind]
    if not all(tool.claims(entry) for entry in entries):
        raise reject(
            str(path),
            f"is not a result of {kind}",
            f"give the file of {tool.made_by}, or leave --from out",
        )
    if len(entries) > 1 and not tool.lines:
        raise reject(str(path), f"holds {len(entries)} objects", f"give the file of {tool.made_by}")
    name = path.name
    if tool.beside is not None:
        entries = [{**entries[0], **tool.beside(path)}]
        name = f"{path.resolve().parent.name}/{name}"
    run = tool.read(entries, str(path))
    if run.started_at is None:
        # The file is written when the run has ended.
        lasted = sum(level.window_seconds or 0.0 for level in run.levels)
        try:
            run.started_at = utc(datetime.fromtimestamp(written - lasted, UTC))
        except (ValueError, OverflowError, OSError):
            raise reject(
                str(path), f"says that it took {lasted:g} s", "copy it again, whole"
            ) from None
        for level in run.levels:
            level.notes.append(
                "the file does not say when the run began: when it was written, less the duration"
            )
    assert run.origin is not None
    run.origin.file, run.origin.sha256 = name, hashlib.sha256(data).hexdigest()
    return run


def results_in(path: Path) -> list[Path]:
    """Return the result files that a path stands for, one per level where a tool makes several.

    Args:
        path: a file, or the folder that AIPerf or EvalScope leaves.

    Raises:
        ConfigError: a folder holds no result, or several runs.
    """
    if not path.is_dir():
        return [path.with_name(SUMMARY) if path.name in FILES else path]
    found = sorted({*path.glob(_AIPERF), *path.glob(f"*/{_AIPERF}")})
    levels = levels_in(path)
    if len(found) + bool(levels) != 1:
        what = "has more than one result" if found or levels else f"has no {_AIPERF} or {SUMMARY}"
        raise reject(str(path), what, "name a result file")
    return found or levels


def _detect(entries: list[Mapping[str, Any]], path: Path) -> str:
    for kind, tool in _TOOLS.items():
        if all(tool.claims(entry) for entry in entries):
            return kind
    made_by = "; ".join(tool.made_by for tool in _TOOLS.values())
    raise reject(str(path), "is not a result of a known load generator", f"known are {made_by}")


def _entries(data: bytes, path: Path) -> list[Mapping[str, Any]]:
    """Return the objects of a file: one, or one per line.

    The standard library's reader is for the `Infinity` and `NaN` that Python programs write.
    """
    try:
        content = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise reject(
            str(path), f"byte {error.start + 1} is not UTF-8", "give a JSON file"
        ) from None
    if not content.strip():
        raise reject(str(path), "is empty", "give a result file")
    try:
        values = [json.loads(content)]
    except (json.JSONDecodeError, RecursionError) as fault:
        # Lines are tried where the first of them is whole: else the fault is that of one document.
        values = _lines(content, path) if _is_object(content.lstrip().split("\n", 1)[0]) else []
        if not values:
            raise reject(str(path), _cut(fault), "copy it again, whole") from None
    if len(values) == 1 and isinstance(values[0], list) and values[0]:
        values = values[0]  # the levels of a run as `report --format vllm` writes them
    for value in values:
        if not isinstance(value, dict):
            raise reject(str(path), "holds something other than an object", "give a result file")
    return values


def _lines(content: str, path: Path) -> list[Any]:
    values = []
    for number, line in enumerate(content.split("\n"), 1):
        if not line.strip():
            continue
        try:
            values.append(json.loads(line))
        except (json.JSONDecodeError, RecursionError) as error:
            raise reject(f"{path}:{number}", _cut(error), "remove or complete the line") from None
    return values


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (json.JSONDecodeError, RecursionError):
        return False


def _cut(error: json.JSONDecodeError | RecursionError) -> str:
    if isinstance(error, RecursionError):
        return "is nested too deep"
    if error.pos >= len(error.doc.rstrip()) or error.msg.startswith("Unterminated"):
        return f"is cut off at line {error.lineno}"
    return f"is not JSON: {error.msg} at line {error.lineno}, column {error.colno}"


def combine(runs: list[tuple[str, Run]]) -> Run:
    """Return runs of one tool as one run: their levels in order, each with its `origin_file`.

    Args:
        runs: at least one: how the user named the file, and its run.

    Raises:
        ConfigError: they are of several tools, targets or models, or a file is there twice.
    """
    first_name, first = runs[0]
    origins = [run.origin or Origin() for _, run in runs]
    seen: dict[str | None, str] = {}
    for (name, run), origin in zip(runs, origins, strict=True):
        for key, own, other in (
            ("tool", origin.tool, origins[0].tool),
            ("base_url", run.target.base_url, first.target.base_url),
            ("model", run.target.model, first.target.model),
        ):
            if own != other:
                said = f"its {key} is {own}, that of {first_name} {other}"
                raise reject(name, said, "import them one by one")
        if origin.sha256 in seen:
            raise reject(name, f"holds the same as {seen[origin.sha256]}", "name it once")
        seen[origin.sha256] = name
    levels = []
    for (_, run), origin in zip(runs, origins, strict=True):
        for level in run.levels:
            level.origin_file = origin.file
            levels.append(level)
    number_repeats(levels)
    files = [Origin(file=origin.file, sha256=origin.sha256) for origin in origins]
    statuses = [run.status for _, run in runs]
    return first.model_copy(
        update={
            "started_at": min(run.started_at or "" for _, run in runs),
            "status": next((status for status in statuses if status != "complete"), "complete"),
            "origin": origins[0].model_copy(update={"files": files}),
            "load": load_of(levels),
            "levels": levels,
        }
    )
