"""Measure benchcore itself: `make bench`.

Prints ratios of things measured in the same run, and writes build/bench/bench.json. Linux only.
"""

import argparse
import json
import os
import platform
import resource
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.bench import (
    capacity,
    control_plane,
    cpu,
    endurance,
    explain,
    keeping,
    largest,
    open_loop,
    pairing,
    peers,
    replay,
    startup,
    tls,
    workers,
)
from tests.bench.fixture import BUILD, build
from tests.bench.row import Row, table


def groups(given: argparse.Namespace) -> dict[str, Callable[[], Iterator[Row]]]:
    """Return what measures the rows of each group, in order."""
    return {
        "startup": startup.rows,
        "cpu": lambda: cpu.rows(rounds=given.rounds),
        "peers": lambda: peers.rows(rounds=given.rounds),
        "pairing": pairing.rows,
        "thousand": pairing.thousand_rows,
        "open": open_loop.rows,
        "replay": replay.rows,
        "largest": largest.rows,
        "workers": lambda: workers.rows(rounds=given.rounds),
        "control": control_plane.rows,
        "capacity": capacity.rows,
        "explain": explain.rows,
        "tls": lambda: tls.rows(rounds=given.rounds),
        "keeping": lambda: keeping.rows(full=given.full),
        "endurance": lambda: endurance.rows(full=given.full),
    }


def others_cpu_seconds() -> float:
    """Return the CPU time that everything but this program and its children has used."""
    busy = [int(text) for text in Path("/proc/stat").read_text().split("\n")[0].split()[1:9]]
    ticks = sum(busy) - busy[3] - busy[4]  # without idle and iowait
    own = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return ticks / os.sysconf("SC_CLK_TCK") - sum(used.ru_utime + used.ru_stime for used in own)


def main() -> int:
    """Run the groups asked for; returns 0 whatever was reached: this is no test."""
    parser = argparse.ArgumentParser(description=__doc__)
    names = list(groups(argparse.Namespace()))
    parser.add_argument("--only", help=f"some of {','.join(names)}")
    parser.add_argument("--rounds", type=int, default=3, help="of the CPU rows [3]")
    parser.add_argument(
        "--full",
        action="store_true",
        help="10 M tokens instead of 1 M, and a level of an hour: + 62 min",
    )
    given = parser.parse_args()
    wanted = names if given.only is None else given.only.split(",")
    for name in wanted:
        if name not in names:
            parser.error(f"--only {name}: there is {', '.join(names)}")
    if sys.platform != "linux":
        print("make bench: kernel stamps are Linux's; nothing to measure here", file=sys.stderr)
        return 2
    # An installed program has its bytecode: compiling the sources at each start costs 0.1 s.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    build()
    rows: list[Row] = []
    disturbance: dict[str, float] = {}
    for name, group in groups(given).items():
        if name not in wanted:
            continue
        begun, others = time.perf_counter(), others_cpu_seconds()
        rows += group()
        took = time.perf_counter() - begun
        share = disturbance[name] = (others_cpu_seconds() - others) / took
        print(f"{name}: {took:.0f} s; everything else used {share:.0%} of a core", file=sys.stderr)
    found = {
        "python": platform.python_version(),
        "kernel": platform.release(),
        "processors": os.cpu_count(),
        "cores_used_by_others": disturbance,
        "rows": [row.to_json() for row in rows],
    }
    (BUILD / "bench.json").write_text(json.dumps(found, indent=1) + "\n")
    print(table(rows))
    missed = sum(row.met is False for row in rows)
    print(f"\n{missed} missed; figures: build/bench/bench.json")
    return 0


if __name__ == "__main__":
    sys.exit(main())
