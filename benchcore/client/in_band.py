"""In-band: what a server says of one request in its own answer, in the body or in a header.

One table says which field of which server is which of ours. A field that is missing, or that is
no number that can be, is unknown and never zero.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from benchcore.client.records import InBand

MILLISECONDS: Final = 1e-3
SECONDS: Final = 1.0
COUNT: Final = 0
_MOST_SECONDS: Final = 1e7
_MOST_COUNT: Final = 1 << 53


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a server's, and what it is of ours.

    Args:
        path: of it, from the object that it stands in.
        name: the field of `InBand`.
        unit: in seconds; `COUNT`: it counts something.
    """

    path: tuple[str, ...]
    name: str
    unit: float


@dataclass(frozen=True, slots=True)
class Source:
    """An object of an answer that says something of its request.

    Args:
        name: whose it is, as `server_source` has it.
        key: of the object: of the whole answer or of its last event, or of a choice.
        fields: of it.
    """

    name: str
    key: str
    fields: tuple[Field, ...]


def _fields(unit: float, **names: str) -> Iterator[Field]:
    for name, path in names.items():
        yield Field(tuple(path.split(".")), name, unit)


SOURCES: Final = (
    # vLLM with --enable-per-request-metrics: in whole bodies, and in the usage event of a stream.
    # Its time to the first token runs from scheduling, so that it is what others call prefill.
    Source(
        "vllm",
        "metrics",
        (
            *_fields(
                MILLISECONDS,
                queue_seconds="queue_time_ms",
                prefill_seconds="time_to_first_token_ms",
                decode_seconds="generation_time_ms",
            ),
            *_fields(
                COUNT,
                draft_tokens="speculative_decoding.num_draft_tokens",
                accepted_tokens="speculative_decoding.num_accepted_draft_tokens",
            ),
        ),
    ),
    # llama-server: in whole bodies, and in the last event of a stream.
    Source(
        "llama.cpp",
        "timings",
        (
            *_fields(MILLISECONDS, prefill_seconds="prompt_ms", decode_seconds="predicted_ms"),
            *_fields(
                COUNT,
                cached_tokens="cache_n",
                draft_tokens="draft_n",
                accepted_tokens="draft_n_accepted",
            ),
        ),
    ),
    # SGLang where `return_meta_info` is asked for: in each choice of a whole body.
    Source(
        "sglang",
        "meta_info",
        (
            *_fields(SECONDS, queue_seconds="queue_time", e2e_seconds="e2e_latency"),
            *_fields(
                COUNT,
                cached_tokens="cached_tokens",
                draft_tokens="spec_proposed_drafts",
                accepted_tokens="spec_accepted_drafts",
            ),
            # What older ones call the last two.
            *_fields(
                COUNT, draft_tokens="spec_draft_token_num", accepted_tokens="spec_accept_token_num"
            ),
        ),
    ),
)
"""What bodies say, by server; the first of a field counts."""

IN_BAND_KEYS: Final = tuple(source.key for source in SOURCES)

SERVER_TIMING: Final = "server-timing"
ENVOY: Final = "envoy"
_ENVOY_HEADER: Final = b"x-envoy-upstream-service-time"
IN_BAND_HEADERS: Final = frozenset({SERVER_TIMING.encode(), _ENVOY_HEADER})
"""Names of headers, in lower case."""

SERVER_TIMINGS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("queue", "queued", "queue_time", "wait"), "queue_seconds"),
    **dict.fromkeys(("prefill", "prefill_time", "prompt"), "prefill_seconds"),
    **dict.fromkeys(("ttft", "first_token", "time_to_first_token"), "ttft_seconds"),
    **dict.fromkeys(("decode", "decode_time", "generation"), "decode_seconds"),
    **dict.fromkeys(("total", "e2e", "request"), "e2e_seconds"),
}
"""Metrics of a `Server-Timing` header, in lower case and with `_` for `-`, that are ours.

Their names are anybody's: there is a grammar (W3C Server Timing, section 2), and no list.
"""

# A quoted text that is never closed runs to the end.
_QUOTED: Final = r'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)'
_METRICS: Final = re.compile(rf'(?:[^,"]|{_QUOTED})++', re.DOTALL)
_PARAMETERS: Final = re.compile(rf'(?:[^;"]|{_QUOTED})++', re.DOTALL)
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_NUMBER: Final = re.compile(r"[0-9]{1,17}(?:\.[0-9]*)?(?:[eE][+-]?[0-9]{1,3})?")


def server_timings(value: str) -> Iterator[tuple[str, float]]:
    """Yield the metrics of a `Server-Timing` header that have a duration, in seconds.

    What is not in its form is passed over. Of a parameter that is there twice, the first counts.

    Args:
        value: of the header; several joined by commas.
    """
    for metric in _METRICS.findall(value):
        name, _, rest = metric.partition(";")
        pairs = (parameter.partition("=") for parameter in _PARAMETERS.findall(rest))
        said = [text.strip() for key, _, text in pairs if key.strip().lower() == "dur"]
        seconds = _milliseconds(said[0].strip('"')) if said else None
        if seconds is not None and _TOKEN.fullmatch(name.strip()):
            yield name.strip(), seconds


def _milliseconds(text: str) -> float | None:
    """Return a text of milliseconds in seconds; `None`: it is none."""
    seconds = float(text) * MILLISECONDS if _NUMBER.fullmatch(text) else _MOST_SECONDS
    return seconds if seconds < _MOST_SECONDS else None


def read_bodies(said: Mapping[str, Any]) -> InBand | None:
    """Return what the objects of an answer say of its request; `None`: nothing.

    Args:
        said: the objects by their keys, those of `IN_BAND_KEYS`.
    """
    in_band = InBand()
    for source in SOURCES:
        holder = said.get(source.key)
        if isinstance(holder, dict):
            values = ((field.name, _value(holder, field)) for field in source.fields)
            _fill(in_band, source.name, values)
    return in_band if in_band.source else None


def with_headers(in_band: InBand | None, headers: Iterable[tuple[bytes, bytes]]) -> InBand | None:
    """Return what an answer says, its headers included, where its body does not say it.

    Args:
        in_band: what its body says.
        headers: those of `IN_BAND_HEADERS` with their values.
    """
    in_band = in_band or InBand()
    for name, raw in headers:
        value = raw.decode("latin-1")
        if name == _ENVOY_HEADER:
            _fill(in_band, ENVOY, (("upstream_seconds", _milliseconds(value.strip())),))
        else:
            timings = (
                (SERVER_TIMINGS.get(metric.lower().replace("-", "_")), seconds)
                for metric, seconds in server_timings(value)
            )
            values = ((field, seconds) for field, seconds in timings if field is not None)
            _fill(in_band, SERVER_TIMING, values)
    return in_band if in_band.source else None


def objects_of(holder: Mapping[str, Any]) -> dict[str, Any]:
    """Return what stands under the keys of `IN_BAND_KEYS` in a whole answer, or in its choice."""
    choices = holder.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    inner = choice if isinstance(choice, dict) else {}
    return {key: place[key] for key in IN_BAND_KEYS for place in (inner, holder) if key in place}


def _value(holder: Mapping[str, Any], field: Field) -> float | int | None:
    value: Any = holder
    for step in field.path:
        value = value.get(step) if isinstance(value, dict) else None
    if field.unit == COUNT:
        return value if type(value) is int and 0 <= value < _MOST_COUNT else None
    if type(value) not in (int, float) or not math.isfinite(value):
        return None
    seconds: float = value * field.unit
    return seconds if 0 <= seconds < _MOST_SECONDS else None


def _fill(in_band: InBand, source: str, values: Iterable[tuple[str, float | int | None]]) -> None:
    is_told = False
    for name, value in values:
        if value is not None and getattr(in_band, name) is None:
            setattr(in_band, name, value)
            is_told = True
    known = in_band.source.split("+") if in_band.source else []
    if is_told and source not in known:
        in_band.source = "+".join([*known, source])
