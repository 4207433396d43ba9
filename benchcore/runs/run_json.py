"""JSON: `run.json`, replaced whole at every level, and `requests.jsonl`, which grows."""

from __future__ import annotations

import math
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, ClassVar

import orjson

from benchcore.base.clock import utc_now
from benchcore.base.files import GrowingFile, replace_file
from benchcore.base.secrets import masked_fields
from benchcore.base.stored import Status
from benchcore.client.openai import TOKEN_LIMITS, asked_tokens
from benchcore.config.target import Target
from benchcore.observe.machine import host_facts
from benchcore.runs.facts import TargetFacts
from benchcore.runs.run import Level, Run
from benchcore.runs.sinks import QuietSink, RequestRow, SinkOptions
from benchcore.runs.tables import REQUESTS
from benchcore.version import __version__


def dump(value: Any) -> bytes:
    """Return indented JSON.

    Raises:
        ValueError: it holds NaN or Infinity, which JSON has not.
    """
    _check(value, "run")
    return orjson.dumps(
        value,
        option=orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE,
    )


def _check(value: Any, where: str) -> None:
    if isinstance(value, dict):
        for key, inner in value.items():
            _check(inner, f"{where}.{key}")
    elif isinstance(value, (list, tuple)):
        for index, inner in enumerate(value):
            _check(inner, f"{where}[{index}]")
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{where} is {value}, which JSON cannot hold")


class RunJsonSink(QuietSink):
    """Writes `run.json` when the run starts, after each level, and when it ends."""

    def open(self, run: Run, folder: Path, options: SinkOptions) -> None:
        """Write it with `status: running`."""
        super().open(run, folder, options)
        self._write(run)

    def level(self, run: Run, level: Level) -> None:  # noqa: ARG002
        """Write it with one more level."""
        self._write(run)

    def close(self, run: Run) -> None:
        """Write it with its final status."""
        self._write(run)

    def _write(self, run: Run) -> None:
        replace_file(self.folder / "run.json", dump(run.to_json()))


def versions() -> dict[str, str]:
    """Return the versions of benchcore, of Python and of the libraries that matter."""
    numbers = {"benchcore": __version__, "python": platform.python_version()}
    for package in ("uvloop", "httptools", "orjson", "numpy", "hdrhistogram", "aiohttp"):
        try:
            numbers[package] = version(package)
        except PackageNotFoundError:
            continue
    return numbers


def as_asked(workload: Mapping[str, Any], target: Target) -> dict[str, Any]:
    """Return what `run.json` says of a workload, with the lengths that the bodies ask for.

    Args:
        workload: as it describes itself.
        target: whose `extra_body` stands over what the workload asks for.
    """
    extra = target.extra_body
    if not any(name in extra for name in TOKEN_LIMITS):
        return dict(workload)
    asked = asked_tokens(extra)
    length = None if asked is None else str(asked)
    return {**workload, "output_tokens": length, "output_tokens_by": "extra_body"}


def target_facts(target: Target, kind: str) -> TargetFacts:
    """Return what `run.json` says of the target; no key, no header's value."""

    def shown(text: str) -> str:
        """Return an address without the keys in its query."""
        for secret in target.secrets:
            text = text.replace(secret, "***")
        return text

    changed: dict[str, Any] = {
        "path": None if target.path is None else shown(target.path),
        "omit": list(target.omit),
        "rename": dict(target.rename),
        "metrics_urls": [shown(address) for address in target.metrics_urls],
    }
    facts = {
        "kind": kind,
        "base_url": shown(target.base_url),
        "model": target.shown_model,
        "endpoint": target.endpoint,
        "stream": target.stream,
        "tls": {"verified": target.verify, "ca_file": target.ca_file} if target.tls else None,
        "timeouts": target.timeouts.model_dump(),
        "header_names": sorted(target.headers),
        "extra_body": masked_fields(target.extra_body),
        **{name: value for name, value in changed.items() if value},
    }
    return TargetFacts.model_validate(facts)


def write_head(
    folder: Path,
    started_at: str,
    status: Status,
    *,
    name: str,
    command: Sequence[str],
    target: TargetFacts,
    labels: Mapping[str, str],
) -> None:
    """Write `run.json` with what is known of every run, and no levels.

    Args:
        folder: of the run.
        started_at: UTC, ISO 8601.
        status: how far it has come.
        name: of the run.
        command: how benchcore was called.
        target: whom it asks, as `target_facts` has it.
        labels: the user's own facts.

    Raises:
        OSError: it cannot be written.
    """
    run = Run.begun(
        folder.name,
        started_at,
        name=name,
        command=list(command),
        labels=dict(labels),
        target=target,
        versions=versions(),
        host=host_facts(),
    )
    run.status = status
    if status != "running":
        run.ended_at = utc_now()
    replace_file(folder / "run.json", dump(run.to_json()))


class JsonLinesSink(QuietSink):
    """Writes `requests.jsonl`, which grows by whole lines while the run goes on."""

    optional: ClassVar[bool] = True
    _file: GrowingFile
    _run_id: str | None = None

    def open(self, run: Run, folder: Path, options: SinkOptions) -> None:
        """Begin the file."""
        super().open(run, folder, options)
        self._run_id = run.run_id
        self._file = GrowingFile(folder / "requests.jsonl")

    def requests(self, rows: list[RequestRow]) -> None:
        """Keep their lines for the next flush."""
        for row in rows:
            found = {"run_id": self._run_id, **REQUESTS.values(row)}
            self._file.write(orjson.dumps(found, option=orjson.OPT_APPEND_NEWLINE))

    def flush(self) -> None:
        """Write whole lines."""
        self._file.flush()

    def close(self, run: Run) -> None:  # noqa: ARG002
        """Finish the file."""
        self._file.close()
