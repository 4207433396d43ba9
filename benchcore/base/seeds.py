"""Seeds: independent streams of random numbers from one number, the same on every machine."""

import hashlib
import random


def derive(seed: int, *path: str | int) -> int:
    """Return the 64-bit seed of one purpose.

    Args:
        seed: the user's seed.
        path: what the stream is for, such as `"arrivals", "r4", 0`.

    SHA-256 rather than `hash()`, which differs from process to process.
    """
    text = "/".join(map(str, (seed, *path)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def stream(seed: int, *path: str | int) -> random.Random:
    """Return the random stream of one purpose.

    Of its methods Python promises only `random()` to be the same in every version: draw with that.
    """
    return random.Random(derive(seed, *path))
