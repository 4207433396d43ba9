"""Climb options: what `benchcore climb` takes, in groups."""

from __future__ import annotations

from pathlib import Path

import click

from benchcore.cli import values
from benchcore.cli.target import LABEL, group

REQUEST = group(
    click.option(
        "--endpoint",
        type=click.Choice(["chat", "completions", "responses"]),
        default=None,
        help="Which of the API's endpoints is asked [default: that of --base-url or --path where "
        "they end in one, else chat].",
    ),
    click.option(
        "--stream/--no-stream",
        default=True,
        help="Ask for a stream of tokens; without, only e2e is measured.",
    ),
    click.option(
        "--timeout",
        type=values.TIMEOUTS,
        default=None,
        help="Total, or connect=2,first_token=30,between_tokens=5,total=600.",
    ),
    click.option("--allow-empty", is_flag=True, help="An answer without output is no failure."),
)
WORKLOAD = group(
    click.option(
        "--workload",
        metavar="NAME|FILE",
        help="short, long, stress, year1, a YAML file or a JSONL file of prompts.",
    ),
    click.option(
        "--input-tokens",
        metavar="N|DIST",
        help="Length of prompts: 512, uniform:10:500, normal:256:64, lognormal:200:0.8 "
        "[default: 512; of the simulator 128].",
    ),
    click.option(
        "--output-tokens",
        metavar="N|DIST",
        help="The most tokens of an answer [default: 128; of the simulator 16].",
    ),
    click.option(
        "--language",
        type=click.Choice(["en", "zh", "mixed"]),
        default=None,
        help="Of synthetic prompts.",
    ),
    click.option(
        "--shared-prefix-tokens",
        type=click.IntRange(0),
        default=None,
        help="Tokens that all prompts share.",
    ),
    click.option(
        "--ignore-eos",
        is_flag=True,
        default=None,
        help="Ask for exactly --output-tokens, where the server takes it.",
    ),
    click.option(
        "--tokenizer",
        type=click.Path(),
        help="A local tokenizer.json: counts prompt tokens, and output tokens where the server "
        "sends no usage.",
    ),
    click.option(
        "--seed",
        type=click.IntRange(0, 2**63 - 1),
        default=None,
        help="Of prompts and arrivals; drawn and recorded when left out, since a server caches "
        "prompts it has seen.",
    ),
)
LOAD = group(
    click.option(
        "--concurrency",
        type=values.CONCURRENCY,
        default=None,
        help="Closed loop: users of each level [default: 1,8,64].",
    ),
    click.option(
        "--rate",
        type=values.RATE,
        default=None,
        help="Open loop: requests per second of each level.",
    ),
    click.option(
        "--arrival",
        metavar="KIND",
        default=None,
        help="constant, poisson or gamma:SHAPE [default: poisson].",
    ),
    click.option(
        "--max-inflight",
        type=click.IntRange(1),
        default=None,
        help="Open loop: what does not fit is dropped.",
    ),
    click.option(
        "--requests",
        type=click.IntRange(1),
        default=None,
        help="The window ends when so many are scheduled [default: 500, at least 4 per user, at "
        "most 120 s].",
    ),
    click.option(
        "--duration", type=values.DURATION, default=None, help="Length of the window, such as 60s."
    ),
    click.option(
        "--warmup",
        type=values.WARMUP,
        default=None,
        help="Requests, or a time such as 10s, before the window [default: one request per user].",
    ),
    click.option(
        "--repeats", type=click.IntRange(1), default=None, help="How often the climb is done."
    ),
    click.option(
        "--ramp",
        type=values.DURATION,
        default=None,
        help="Users start spread over this time [default: 10 ms per user].",
    ),
    click.option(
        "--think-time", type=values.DURATION, default=None, help="Pause of a user after an answer."
    ),
    click.option(
        "--drain",
        type=values.DURATION,
        default=None,
        help="How long requests may take after the window [default: 60s, or twice what one has "
        "been seen to take].",
    ),
    click.option("--before-level", metavar="CMD", help="Shell command before each level."),
    click.option(
        "--reset-prefix-cache", is_flag=True, help="Ask the server to, before each level."
    ),
    click.option(
        "--idle",
        type=values.DURATION,
        default=None,
        help="How long to wait for an idle server before a level [default: 60s].",
    ),
)
RULES = group(
    click.option(
        "--slo",
        "slos",
        multiple=True,
        metavar="METRIC:LIMIT",
        help="Of a good request, such as ttft:500ms; repeatable.",
    ),
    click.option(
        "--stop-on-failures",
        type=values.SHARE,
        default=None,
        help="No higher past this failure rate, such as 20%.",
    ),
    click.option("--stop-on-slo", is_flag=True, help="No higher where an SLO breaks at p99."),
    click.option(
        "--stop-when-flat", is_flag=True, help="No higher where throughput no longer grows."
    ),
    click.option(
        "--flat-gain",
        type=values.SHARE,
        default=0.05,
        help="Growth that is not flat [default: 5%].",
    ),
    click.option(
        "--flat-patience",
        type=click.IntRange(1),
        default=1,
        show_default=True,
        help="Flat levels to put up with.",
    ),
    click.option("--count-failures", is_flag=True, help="Also count failures as infinitely long."),
)
OUTPUT = group(
    click.option(
        "--output",
        type=click.Path(path_type=Path),
        default=Path("results"),
        show_default=True,
        help="Where run folders land.",
    ),
    click.option("--name", default="climb", show_default=True, help="Of the run."),
    LABEL,
    click.option(
        "--sink",
        "sinks",
        multiple=True,
        metavar="NAME",
        help="A sink besides: jsonl, openmetrics, otlp, or another's; repeatable.",
    ),
    click.option(
        "--push", is_flag=True, help="Push to the Pushgateway that PROM_PUSHGATEWAY_URL names."
    ),
    click.option(
        "--allow-simulator", is_flag=True, help="Let --push and --sink carry a simulator's run."
    ),
    click.option("--save-events", is_flag=True, help="Keep every arrival in events.jsonl."),
    click.option("--save-text", is_flag=True, help="Keep every text in texts.jsonl."),
    click.option(
        "--kernel-stamps/--no-kernel-stamps",
        default=True,
        help="Stamp reads by the kernel, where it can.",
    ),
    click.option(
        "--dry-run",
        is_flag=True,
        help="Say which levels would be run and how long they take, and send nothing.",
    ),
    click.option("--print-request", is_flag=True, help="Print the first request and send nothing."),
    click.option("--json", "as_json", is_flag=True, help="Print run.json instead of the table."),
    click.option("--quiet", is_flag=True, help="Say nothing on the way."),
    click.option("--no-progress", is_flag=True, help="No live line."),
    click.option(
        "--progress-interval",
        type=values.DURATION,
        default=10.0,
        help="Without a terminal: how often to tell [default: 10s].",
    ),
    click.option(
        "--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True
    ),
    click.option(
        "--log-level",
        type=click.Choice(["debug", "info", "warning", "error"]),
        default="info",
        show_default=True,
    ),
)
EVAL = group(
    click.option(
        "--eval",
        "eval_task",
        metavar="TASK",
        help="Ask this task's questions and score the answers of each level; see benchcore eval.",
    ),
    click.option(
        "--eval-data",
        metavar="FILE|DIR|builtin",
        envvar="BENCHCORE_DATA",
        help="The questions; fetched when left out. Also BENCHCORE_DATA.",
    ),
    click.option(
        "--eval-set",
        "eval_settings",
        type=values.PAIR,
        multiple=True,
        metavar="FIELD=VALUE",
        help="How they are asked, such as limit=50 or max_tokens=512; repeatable.",
    ),
)
