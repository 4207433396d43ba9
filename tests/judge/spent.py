"""Requests of a level whose time was spent as a test says."""

import numpy as np

from benchcore.runs.reading import Requests

NATURAL = {
    "late": (0.00005, 0.00003),
    "send": (0.00002, 0.00001),
    "network": (0.0002, 0.0),
    "queue": (0.004, 0.002),
    "prefill": (0.012, 0.002),
    "decode": (0.3, 0.01),
    "reader": (0.0003, 0.0002),
    "residual": (0.0005, 0.0002),
}
"""Of each part, the mean and what it varies by, in seconds; connections are open."""
PARTS = (*NATURAL, "connect")


def requests(seed, count=1000, injected=None, *, in_band=True, seconds=30.0, **columns):
    """Return requests, and how much of each part each of them spent.

    Args:
        seed: of what varies by nature.
        count: how many.
        injected: by part, which requests (a mask) spend how many more seconds in it.
        in_band: whether the server tells of queue, prefill and decode.
        seconds: over which they are due.
        **columns: further columns of numbers.
    """
    draw = np.random.default_rng(seed)
    spent = {
        name: np.abs(draw.normal(mean, deviation, count))
        for name, (mean, deviation) in NATURAL.items()
    }
    spent["connect"] = np.zeros(count)
    for name, (mask, more) in (injected or {}).items():
        spent[name] = spent[name] + np.where(mask, more, 0.0)
    due = np.sort(draw.uniform(0, seconds, count))
    sent = due + spent["late"] + spent["connect"]
    first = sent + spent["send"] + spent["network"] + spent["queue"] + spent["prefill"]
    first = first + spent["residual"]
    last = first + spent["decode"]
    told = {"server_queue": "queue", "server_prefill": "prefill", "server_decode": "decode"}
    unknown = np.full(count, np.nan)
    times = {
        "scheduled": due,
        "sent": sent,
        "first_token": first,
        "last_token": last,
        "end": last,
        "done": last,
        "connect": np.where(spent["connect"] > 0, spent["connect"], np.nan),
        "send": spent["send"],
        "rtt": spent["network"],
        "reader": spent["reader"],
        **{name: spent[part] if in_band else unknown for name, part in told.items()},
    }
    ones = np.ones(count)
    numbers = {
        "retried": 0 * ones,
        "reused": 1 - (spent["connect"] > 0),
        "prompt_tokens": 128 * ones,
        "output_tokens": 32 * ones,
        **columns,
    }
    return Requests(
        measured=np.ones(count, dtype=bool),
        ok=np.ones(count, dtype=bool),
        outcome=["ok"] * count,
        seconds={f"{name}_seconds": values.copy() for name, values in times.items()},
        numbers=numbers,
        texts={"request_id": [str(place) for place in range(count)]},
    ), spent


def some(seed, count=1000, share=0.02):
    """Return a mask of some requests."""
    mask = np.zeros(count, dtype=bool)
    chosen = np.random.default_rng(seed + 10_000).choice(count, round(share * count), replace=False)
    mask[chosen] = True
    return mask
