"""Ids: what each request is called, here and at the server."""

import itertools
from collections.abc import Iterator


def request_ids(seed: int) -> Iterator[str]:
    """Yield UUIDs that count up: some servers refuse a request whose id is none.

    Version 4 (RFC 9562, 5.4), whose first 60 free bits are `seed` and whose last 62 count.
    """
    prefix = f"{seed >> 28 & 0xFFFFFFFF:08x}-{seed >> 12 & 0xFFFF:04x}-4{seed & 0xFFF:03x}"
    for number in itertools.count():
        yield f"{prefix}-{0x8000 | number >> 48:04x}-{number & 0xFFFFFFFFFFFF:012x}"
