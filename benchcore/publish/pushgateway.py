"""Pushgateway: where a run's metrics are pushed."""

from __future__ import annotations

import base64
import ssl
import time
import urllib.error
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.request import HTTPSHandler, Request, build_opener

from benchcore.base.backoff import Backoff
from benchcore.base.errors import ConfigError, TargetError
from benchcore.publish.prometheus import GROUPING, run_labels, run_metrics
from benchcore.runs.reading import RunFolder

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from pydantic import SecretStr


URL: Final = "PROM_PUSHGATEWAY_URL"
USER: Final = "PROM_PUSHGATEWAY_USER"
PASSWORD: Final = "PROM_PUSHGATEWAY_PASSWORD"
_SECONDS: Final = 10.0
_WAITS: Final = Backoff(first_seconds=1.0, most_seconds=60.0)
_FINAL: Final = (400, 401, 403, 404, 405, 413)


@dataclass(frozen=True, slots=True)
class Pushgateway:
    """Where metrics are pushed, and how.

    Args:
        url: `http://host:9091`, or with `https`.
        job: first of the grouping key.
        user: for basic authentication; empty: none.
        password: likewise.
        ca_file: certificates to trust instead of the system's.
        tries: how often, with a wait that doubles from one second.
    """

    url: str
    job: str = "benchcore"
    user: str = ""
    password: SecretStr | None = None
    ca_file: str | None = None
    tries: int = 4

    @classmethod
    def of_environment(
        cls,
        environ: Mapping[str, str],
        url: str,
        *,
        job: str = "benchcore",
        user_env: str = USER,
        password_env: str = PASSWORD,
        ca_file: str | None = None,
    ) -> Self:
        """Return a gateway with the user and the password that variables hold.

        Args:
            environ: the variables.
            url: of the gateway.
            job: first of the grouping key.
            user_env: the variable that holds the user; not set: no authentication.
            password_env: the variable that holds the password.
            ca_file: certificates to trust.
        """
        from pydantic import SecretStr

        password = SecretStr(environ.get(password_env, ""))
        return cls(url, job, environ.get(user_env, ""), password, ca_file)

    def push(
        self,
        registry: CollectorRegistry,
        grouping: dict[str, str],
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Replace what the gateway holds under the grouping key.

        Args:
            registry: of the run.
            grouping: its grouping key, besides `job`; what is empty is left out.
            sleep: waits; replaced in tests.

        Raises:
            ConfigError: the address or the certificates are wrong.
            TargetError: the gateway does not take it.
        """
        from prometheus_client import push_to_gateway

        key = {name: value for name, value in grouping.items() if value}
        for attempt in range(1, self.tries + 1):
            try:
                push_to_gateway(
                    self.url,
                    job=self.job,
                    registry=registry,
                    grouping_key=key,
                    timeout=_SECONDS,
                    handler=self._handler,
                )
            except urllib.error.HTTPError as error:
                body = " ".join(error.read(300).decode(errors="replace").split())
                problem = f"answers {error.code}: {body}"
                if error.code in _FINAL:
                    raise TargetError(f"{self.url}: {problem}; nothing was pushed") from None
            except ValueError as error:
                raise ConfigError(f"{self.url}: is not an address: {error}") from None
            except OSError as error:
                problem = str(getattr(error, "reason", error))
            else:
                return
            if attempt < self.tries:
                sleep(_WAITS.seconds(attempt))
        raise TargetError(
            f"{self.url}: {problem}, {self.tries} times; the run is on disk: push it later"
        )

    def _handler(
        self,
        url: str,
        method: str,
        timeout: float | None,
        headers: list[tuple[str, str]],
        data: bytes,
    ) -> Callable[[], None]:
        # prometheus_client's own handlers know a password or certificates, and not both.
        def send() -> None:
            try:
                context = ssl.create_default_context(cafile=self.ca_file)
            except (OSError, ssl.SSLError) as error:
                raise ConfigError(f"--ca-file {self.ca_file}: {error}") from None
            request = Request(url, data=data, method=method)  # noqa: S310  the user named it
            for name, value in [*headers, *self._authorization()]:
                request.add_header(name, value)
            opener = build_opener(HTTPSHandler(context=context))
            opener.open(request, timeout=timeout).close()

        return send

    def _authorization(self) -> list[tuple[str, str]]:
        if not self.user:
            return []
        password = "" if self.password is None else self.password.get_secret_value()
        token = base64.b64encode(f"{self.user}:{password}".encode()).decode()
        return [("Authorization", f"Basic {token}")]


def shown(registry: Any) -> str:
    """Return metrics in Prometheus' text format."""
    from prometheus_client import generate_latest

    text: str = generate_latest(registry).decode()
    return text


@dataclass(frozen=True, slots=True)
class RunPush:
    """What of a run is pushed.

    Args:
        registry: its metrics.
        grouping: the key that they are kept under, besides `job`.
    """

    registry: CollectorRegistry
    grouping: dict[str, str]

    @classmethod
    def of(cls, folder: RunFolder, prefix: str = "benchcore_") -> RunPush:
        """Return what of a folder is pushed: its levels, its checks and its eval.

        Args:
            folder: of the run.
            prefix: of every metric's name; may be empty.

        Raises:
            ConfigError: the prefix cannot begin a name, or a file of the folder is no JSON.
        """
        registry = run_metrics(folder.run, folder.checks(), folder.eval(), prefix)
        labels = run_labels(folder.run)
        return cls(registry, {name: labels[name] for name in GROUPING})

    @property
    def series(self) -> int:
        """How many values there are."""
        return sum(len(metric.samples) for metric in self.registry.collect())

    def send(self, gateway: Pushgateway) -> None:
        """Push.

        Raises:
            ConfigError: the gateway's address or certificates are wrong.
            TargetError: it does not take it.
        """
        gateway.push(self.registry, self.grouping)
