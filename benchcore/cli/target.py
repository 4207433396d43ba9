"""Target: the options that name a server, and the target that they make."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import click

from benchcore.cli import values

if TYPE_CHECKING:
    from pydantic import ValidationError

    from benchcore.config.servers import Asking
    from benchcore.config.target import Target

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")


def group(*options: Callable[[F], F], section: str = "") -> Callable[[F], F]:
    """Return several options as one decorator, in the order in which they are given.

    Args:
        *options: of click.
        section: of the help, in which they stand.
    """

    def add(function: F) -> F:
        for option in reversed(options):
            function = option(function)
            if section:
                function.__click_params__[-1].section = section  # type: ignore[attr-defined]
        return function

    return add


class Sectioned(click.Command):
    """A command whose help lists its options in sections; no library is imported for that.

    (`cloup` and `rich-click` have such sections too, for tens of milliseconds at each start.)
    """

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options of each section below its name."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None:
                sections.setdefault(getattr(param, "section", "Options"), []).append(record)
        first = [name for name in sections if name not in ("Options", "Advanced")]
        for name in (*first, "Advanced", "Options"):
            if name in sections:
                with formatter.section(name):
                    formatter.write_dl(sections[name])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the examples as they are, unwrapped."""
        if self.epilog:
            with formatter.section("Examples"):
                for line in self.epilog.splitlines():
                    formatter.write(f"  {line}\n")


SERVER = group(
    group(
        click.option(
            "--base-url",
            metavar="URL",
            envvar="BENCHCORE_BASE_URL",
            help="Ask the server at this address, with or without /v1, or the whole address of "
            "an endpoint; unix:PATH names a socket. It can also be given in the variable "
            "BENCHCORE_BASE_URL.",
        ),
        click.option(
            "--sim",
            "simulator",
            is_flag=True,
            help="Start the built-in simulated server and ask it.",
        ),
        click.option(
            "--model",
            metavar="NAME",
            help="Ask for this model; by default, for the first one that /v1/models lists.",
        ),
        click.option(
            "--api-key-env",
            metavar="NAME",
            help="Read the API key from this variable [default: BENCHCORE_API_KEY].",
        ),
        section="Target",
    ),
    group(
        click.option(
            "--path",
            metavar="PATH",
            help="Ask for exactly this path after --base-url, such as /api/v3/chat/completions.",
        ),
        click.option(
            "--extra-body",
            type=values.JSON_OBJECT,
            default=None,
            help="Add these fields to every request body; they override benchcore's own.",
        ),
        click.option(
            "--omit",
            multiple=True,
            metavar="FIELD",
            help="Leave this field out of every request body; repeatable.",
        ),
        click.option(
            "--rename",
            type=values.PAIR,
            multiple=True,
            metavar="OLD=NEW",
            help="Send this field of request bodies under another name, such as "
            "max_tokens=max_completion_tokens; repeatable.",
        ),
        click.option(
            "--header",
            "headers",
            type=values.PAIR,
            multiple=True,
            help="Send this header with every request; repeatable.",
        ),
        click.option(
            "--insecure", is_flag=True, help="Accept any certificate that the server shows."
        ),
        click.option(
            "--ca-file",
            type=click.Path(dir_okay=False),
            help="Trust the certificates in this file instead of the system's.",
        ),
        section="Advanced",
    ),
)


LABEL = click.option(
    "--label",
    "labels",
    type=values.PAIR,
    multiple=True,
    help="Record a fact of your own in run.json, such as gpu=h100; repeatable.",
)


_OPTIONS = {
    "slos": "slo",
    "duration_seconds": "duration",
    "drain_seconds": "drain",
    "ramp_seconds": "ramp",
    "think_time_seconds": "think_time",
    "idle_seconds": "idle",
    "warmup_seconds": "warmup",
    "warmup_requests": "warmup",
    "headers": "header",
    "metrics_urls": "metrics_url",
    "timeouts": "timeout",
    "verify": "insecure",
    "api_key": "api_key_env",
}
"""Fields whose option has another name."""


def usage_error(error: ValidationError) -> click.UsageError:
    """Return what pydantic finds wrong in a model of ours, in words of the options."""
    faults = []
    for fault in error.errors(include_url=False):
        field = str(fault["loc"][0]) if fault["loc"] else ""
        name = "--" + _OPTIONS.get(field, field).replace("_", "-")
        message = fault["msg"].removeprefix("Value error, ")
        faults.append(f"{name}: {message}" if fault["loc"] else message)
    return click.UsageError("; ".join(faults))


def validated(build: Callable[[], T]) -> T:
    """Build a model of ours; what pydantic finds wrong becomes one usage error."""
    from pydantic import ValidationError

    try:
        return build()
    except ValidationError as error:
        raise usage_error(error) from None


def read_asking(given: Mapping[str, Any]) -> Asking:
    """Return how the options in `SERVER` let a server be asked; what they say is not yet judged.

    Raises:
        UsageError: the variable for the key is not set.
    """
    from benchcore.config.servers import Asking

    variable = given["api_key_env"]
    if variable and not os.environ.get(variable):
        raise click.UsageError(f"--api-key-env: the variable {variable} is not set")
    return Asking.model_construct(
        api_key_env=variable or None,
        headers=values.pairs(given["headers"]),
        extra_body=given["extra_body"] or {},
        path=given["path"],
        omit=given["omit"],
        rename=values.pairs(given["rename"]),
        insecure=given["insecure"],
        ca_file=given["ca_file"],
        metrics_urls=tuple(given.get("metrics_urls", ())),
    )


def read_target(given: dict[str, Any], base_url: str, **fields: Any) -> Target:
    """Make a target of the options in `SERVER`, for a program that is not ours.

    Args:
        given: what the options of a command came to.
        base_url: its address.
        **fields: other fields of the target.
    """
    asking = read_asking(given)
    key = os.environ.get(asking.api_key_env or "BENCHCORE_API_KEY")
    return validated(
        lambda: asking.target(
            base_url, model=given["model"], key=key, ca_file=asking.ca_file, **fields
        )
    )


def warnings(target: Target) -> list[str]:
    """Return what a user should be told before a target is loaded."""
    import ipaddress

    lines = []
    if target.api_key is not None and not target.tls and not target.is_loopback:
        lines.append(f"the key goes to {target.host} unencrypted: the address is plain http")
    try:
        public = ipaddress.ip_address(target.host).is_global
    except ValueError:
        public = "." in target.host and not target.host.endswith((".local", ".internal", ".lan"))
    if public and not target.is_loopback:
        lines.append(
            f"{target.host} may be a public address: a load there may cost money or do harm"
        )
    if target.tls and not target.verify:
        lines.append("--insecure: the server's certificate is not checked; anyone may answer")
    return lines
