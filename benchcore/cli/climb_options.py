"""Climb options: what `benchcore climb` takes, in the sections of its help."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

from benchcore.cli import values
from benchcore.cli.driver import ENDPOINT, LOG_FORMAT, QUIET
from benchcore.cli.target import LABEL, F, group

EXAMPLES = """\
benchcore climb --base-url http://gpu0:8000 --concurrency 1,8,64
benchcore climb --base-url http://gpu0:8000 --rate 1,2,4 --slo ttft:500ms
"""

REQUEST = group(
    group(
        ENDPOINT,
        click.option(
            "--stream/--no-stream",
            default=True,
            help="Ask for a stream of tokens; for plain answers, only e2e and the first byte are "
            "measured.",
        ),
        section="Target",
    ),
    group(
        click.option(
            "--timeout",
            type=values.TIMEOUTS,
            default=None,
            help="Give up on a request after this time, in all or by phase: "
            "connect=2,first_token=30,between_tokens=5,total=600.",
        ),
        click.option(
            "--allow-empty", is_flag=True, help="Count an answer without output as a success."
        ),
        click.option(
            "--metrics-url",
            "metrics_urls",
            metavar="URL",
            multiple=True,
            help="Read the metrics at this address too, of a replica, a router or an exporter; "
            "repeatable. The server's own /metrics is always read where there is one.",
        ),
        section="Advanced",
    ),
)
_LEVELS = group(
    click.option(
        "--concurrency",
        type=values.CONCURRENCY,
        default=None,
        help="Run a closed loop with this many users at each level [default: 1,8,64].",
    ),
    click.option(
        "--rate",
        type=values.RATE,
        default=None,
        help="Run an open loop with this many requests per second at each level.",
    ),
    click.option(
        "--speed",
        type=values.RATE,
        default=None,
        help="Replay a trace at its own times, at each level so many times faster [default for "
        "a trace: 1].",
    ),
    click.option(
        "--shape",
        metavar="SHAPE",
        default=None,
        help="Run an open loop with a rate that changes: "
        "ramp:1..20/60s,hold:20/5m, steps:5..20/4/2m, sine:2..8/30s/5m, spike:2..40/5s/60s or "
        "csv:FILE, in any order.",
    ),
    click.option(
        "--user-shape",
        metavar="SHAPE",
        default=None,
        help="Run a closed loop with a number of users that changes, written like --shape.",
    ),
    section="Load",
)
_REPEATS = group(
    click.option(
        "--repeats",
        type=click.IntRange(1),
        metavar="N",
        default=None,
        help="Run the whole climb this many times; reports show the mean and the spread "
        "[default: 1].",
    ),
    section="Load",
)
EACH_LEVEL = group(
    click.option(
        "--arrival",
        metavar="KIND",
        default=None,
        help="Space the arrivals of an open loop in this way: constant, poisson or "
        "gamma:SHAPE [default: poisson].",
    ),
    click.option(
        "--requests",
        type=click.IntRange(1),
        metavar="N",
        default=None,
        help="End each window once this many requests are scheduled [default: 500, at least "
        "4 per user, at most 120 s].",
    ),
    click.option(
        "--duration",
        type=values.DURATION,
        default=None,
        help="End each window after this time, such as 60s.",
    ),
    click.option(
        "--warmup",
        type=values.WARMUP,
        default=None,
        help="Send this many requests, or send requests for a time such as 10s, before each "
        "window [default: one request per user].",
    ),
    section="Load",
)
"""How each level is run, whatever levels there are."""
LOAD_ADVANCED = group(
    click.option(
        "--workers",
        type=values.WORKERS,
        default=None,
        help="Send the load from this many processes, which send what one would have sent; "
        "auto takes as many as it needs by what benchcore doctor measures [default: 1].",
    ),
    click.option(
        "--source-ip",
        "source_ips",
        multiple=True,
        metavar="ADDRESS",
        help="Let connections come from this address of this machine; several are taken in "
        "turn, each with ports of its own. Repeatable.",
    ),
    click.option(
        "--fleet",
        metavar="ADDRESS",
        default=None,
        help="Run the workers on the Dask cluster of this scheduler, such as "
        "tls://head:8786, one for each of its threads unless --workers says otherwise; "
        "local:4 starts a cluster of 4 processes here.",
    ),
    click.option(
        "--max-inflight",
        type=click.IntRange(1),
        metavar="N",
        default=None,
        help="Let at most this many requests of an open loop be in flight, and drop the rest "
        "[default: 10000].",
    ),
    click.option(
        "--ramp",
        type=values.DURATION,
        default=None,
        help="Spread the start of the users over this time "
        "[default: one TTFT as the probe has measured it, 1 s at most].",
    ),
    click.option(
        "--think-time",
        type=values.DURATION,
        default=None,
        help="Let each user pause for this long after an answer.",
    ),
    click.option(
        "--drain",
        type=values.DURATION,
        default=None,
        help="Wait this long after the window for its last requests [default: 60s, or twice "
        "the longest request so far].",
    ),
    click.option("--before-level", metavar="CMD", help="Run this shell command before each level."),
    click.option(
        "--reset-prefix-cache",
        is_flag=True,
        help="Ask the server to empty its prefix cache before each level.",
    ),
    click.option(
        "--idle",
        type=values.DURATION,
        default=None,
        help="Wait up to this long before each level until the server is idle [default: 60s].",
    ),
    section="Advanced",
)
LOAD = group(_LEVELS, EACH_LEVEL, _REPEATS, LOAD_ADVANCED)
WORKLOAD = group(
    click.option(
        "--workload",
        metavar="NAME|FILE",
        help="Send the requests of this workload: short, long, stress, year1, a YAML file, "
        "or a JSONL file of prompts.",
    ),
    click.option(
        "--input-tokens",
        metavar="N|DIST",
        help="Make prompts with this many tokens: 512, uniform:10:500, normal:256:64, "
        "lognormal:200:0.8 [default: 512; 128 for the simulator].",
    ),
    click.option(
        "--output-tokens",
        metavar="N|DIST",
        help="Ask for at most this many tokens in an answer [default: 128; 16 for the simulator].",
    ),
    click.option(
        "--language",
        type=click.Choice(["en", "zh", "mixed"]),
        default=None,
        help="Write the synthetic prompts in this language [default: en].",
    ),
    click.option(
        "--shared-prefix-tokens",
        type=click.IntRange(0),
        metavar="N",
        default=None,
        help="Let all prompts begin with this many tokens in common, for a prefix cache.",
    ),
    click.option(
        "--ignore-eos",
        is_flag=True,
        default=None,
        help="Ask for exactly --output-tokens tokens, where the server allows it.",
    ),
    click.option(
        "--tokenizer",
        type=click.Path(),
        metavar="FILE",
        help="Count tokens with this local tokenizer.json: those of prompts, and those of "
        "answers where the server sends no usage.",
    ),
    click.option(
        "--seed",
        type=click.IntRange(0, 2**63 - 1),
        metavar="N",
        default=None,
        help="Draw prompts and arrivals from this seed. By default a new one is drawn and "
        "recorded, since a server may cache prompts that it has seen.",
    ),
    section="Workload",
)
RULES = group(
    group(
        click.option(
            "--slo",
            "slos",
            multiple=True,
            metavar="METRIC:LIMIT",
            help="Count a request as good only within this limit, such as ttft:500ms; goodput is "
            "the rate of good requests. Repeatable.",
        ),
        click.option(
            "--stop-on-failures",
            type=values.SHARE,
            default=None,
            help="Stop climbing once this share of the requests of a level has failed, such as "
            "20%.",
        ),
        click.option(
            "--stop-on-slo",
            is_flag=True,
            help="Stop climbing once the p99 of a figure breaks its --slo.",
        ),
        click.option(
            "--stop-when-flat",
            is_flag=True,
            help="Stop climbing once throughput no longer grows.",
        ),
        section="Limits",
    ),
    group(
        click.option(
            "--watch",
            multiple=True,
            metavar="THRESHOLD",
            help="Tell when this is passed while a level runs, and when it has recovered, such as "
            "'gpu_memory > 95 %', 'queue > 20' or 'cache_hit_rate < 30 %'; also gpu_utilization, "
            "gpu_power, running and kv_cache. Repeatable.",
        ),
        click.option(
            "--flat-gain",
            type=values.SHARE,
            default=0.05,
            help="Consider throughput flat where it grows by less than this [default: 5%].",
        ),
        click.option(
            "--flat-patience",
            type=click.IntRange(1),
            metavar="N",
            default=1,
            show_default=True,
            help="Stop only after this many flat levels in a row.",
        ),
        click.option(
            "--count-failures",
            is_flag=True,
            help="Also report percentiles in which failures count as infinitely long.",
        ),
        section="Advanced",
    ),
)


def output(name: str, file: str) -> Callable[[F], F]:
    """Return what says where results go.

    Args:
        name: of the run, unless another is given.
        file: of results, which `--json` prints.
    """
    return group(
        group(
            click.option(
                "--output",
                metavar="DIR",
                type=click.Path(path_type=Path),
                default=Path("results"),
                show_default=True,
                help="Write the folder of the run into this folder.",
            ),
            click.option(
                "--name",
                default=name,
                show_default=True,
                help="Give the run and its folder this name.",
            ),
            LABEL,
            click.option(
                "--json", "as_json", is_flag=True, help=f"Print {file} instead of a table."
            ),
            QUIET,
            click.option(
                "--push",
                is_flag=True,
                help="Push the run to the gateway that PROM_PUSHGATEWAY_URL names.",
            ),
            click.option(
                "--dry-run",
                is_flag=True,
                help="Say which levels would be run and how long they would take, and send "
                "nothing.",
            ),
            click.option(
                "--print-request", is_flag=True, help="Print the first request and send nothing."
            ),
            section="Output",
        ),
        group(
            click.option(
                "--sink",
                "sinks",
                multiple=True,
                metavar="NAME",
                help="Also write to this sink: jsonl, openmetrics, otlp or one of your own; "
                "repeatable.",
            ),
            click.option(
                "--allow-simulator",
                is_flag=True,
                help="Let --push and --sink publish figures of the simulator.",
            ),
            click.option(
                "--gpu",
                metavar="LIST",
                default=None,
                help="Read these GPUs of this machine: all, none, or numbers or UUIDs such as 0,1, "
                "with their roles where they differ, as 'prefill=0,1;decode=2,3' [default: auto: "
                "all, "
                "where the target is on this machine].",
            ),
            click.option(
                "--gpu-price",
                type=click.FloatRange(0, min_open=True),
                metavar="PRICE",
                default=None,
                help="Say what a million output tokens cost at this price of a GPU for an hour.",
            ),
            click.option(
                "--gpu-count",
                type=click.IntRange(1),
                metavar="N",
                default=None,
                help="Let --gpu-price be paid for this many GPUs [default: those that are read].",
            ),
            click.option("--save-events", is_flag=True, help="Keep every arrival in events.jsonl."),
            click.option("--save-text", is_flag=True, help="Keep every text in texts.jsonl."),
            click.option(
                "--kernel-stamps/--no-kernel-stamps",
                default=True,
                help="Let the kernel stamp what arrives, where it can do so.",
            ),
            click.option(
                "--metrics-port",
                type=click.IntRange(1, 65_535),
                metavar="PORT",
                default=None,
                help="Show how the load stands as /metrics for Prometheus, on this port of "
                "127.0.0.1.",
            ),
            click.option("--no-progress", is_flag=True, help="Do not draw how the run goes."),
            click.option(
                "--plain", is_flag=True, help="Draw one line instead of a panel, and no chart."
            ),
            click.option(
                "--progress-interval",
                type=values.DURATION,
                default=10.0,
                help="Report progress at this interval where there is no terminal [default: 10s].",
            ),
            LOG_FORMAT,
            click.option(
                "--log-level",
                type=click.Choice(["debug", "info", "warning", "error"]),
                default="info",
                show_default=True,
                help="Write messages of this level and above.",
            ),
            section="Advanced",
        ),
    )


OUTPUT = output("climb", "run.json")
