"""Arguments: what every reader under measurement is told, and how it says what it used."""

import argparse
import json
import resource
from dataclasses import asdict, dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Arguments:
    """One run of a reader: `streams` closed-loop users for `warmup + duration` seconds."""

    host: str
    port: int
    streams: int
    tokens: int
    warmup: float
    duration: float


@dataclass(slots=True)
class Usage:
    """What a reader used inside its window.

    Args:
        tokens: token events that arrived.
        reads: reads that held at least one of them.
        cpu_seconds: user and system time of the whole process.
        requests: requests that ended.
    """

    tokens: int
    reads: int
    cpu_seconds: float
    requests: int

    def print(self) -> None:
        """Print it as one line of JSON."""
        print(json.dumps(asdict(self)))


def arguments(doc: str | None) -> Arguments:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=doc)
    parser.add_argument("--base-url", required=True)
    parser.add_argument("--streams", type=int, default=256)
    parser.add_argument("--tokens", type=int, default=100)
    parser.add_argument("--warmup", type=float, default=2.0)
    parser.add_argument("--duration", type=float, default=5.0)
    given = parser.parse_args()
    url = urlsplit(given.base_url)
    assert url.hostname is not None
    assert url.port is not None
    return Arguments(
        url.hostname, url.port, given.streams, given.tokens, given.warmup, given.duration
    )


def cpu_seconds() -> float:
    """Return the user and system time of this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def body(tokens: int) -> bytes:
    """Return the body of every request."""
    return json.dumps(
        {
            "model": "bench",
            "stream": True,
            "messages": [{"role": "user", "content": "Say something."}],
            "max_tokens": tokens,
            "stream_options": {"include_usage": True},
        }
    ).encode()
