"""Servers: how one is started, or where one already runs and how it may be asked."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema, field_validator, model_validator

from benchcore.base.secrets import hide
from benchcore.config.target import Target

Port = Annotated[int, Field(ge=1, le=65535)]
_NAME = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
"""Of an object of Kubernetes: RFC 1123."""

_COMMAND: dict[str, object] = {
    "anyOf": [
        {"type": "string", "minLength": 1},
        {"type": "array", "items": {"type": "string"}, "minItems": 1},
    ]
}


class LocalLaunch(BaseModel):
    """A command on this machine; `{port}` in it stands for the port."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    command: Annotated[tuple[str, ...], WithJsonSchema(_COMMAND)] = Field(
        min_length=1,
        description="the command's words, or one line that is split as a shell splits it",
    )
    environment: dict[str, str] = Field(
        default_factory=dict,
        description="variables for the command, besides those of benchcore's own environment",
    )
    directory: str | None = Field(
        None,
        description="the folder to run in, relative to the scenario's file; by default where you "
        "are",
    )
    port: Port | None = Field(
        None, description="the port that the server listens on; a free one by default"
    )
    base_url: str = Field(
        "http://127.0.0.1:{port}", description="the address at which the server is asked"
    )
    stop_seconds: float = Field(
        30.0,
        gt=0,
        allow_inf_nan=False,
        description="how long the server may take to end before it is killed, in seconds",
    )

    @field_validator("command", mode="before")
    @classmethod
    def _words(cls, value: object) -> object:
        if isinstance(value, str):
            import shlex

            try:
                return tuple(shlex.split(value))
            except ValueError as error:
                raise ValueError(f"cannot be split into words: {error}") from None
        return value


class KubernetesLaunch(BaseModel):
    """Manifests that are applied to a cluster, and how to reach what they start."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    manifests: tuple[str, ...] = Field(
        min_length=1,
        description="YAML files of one or more documents, relative to the scenario's file",
    )
    namespace: str = Field(
        "default",
        pattern=_NAME,
        description="the namespace of objects that name none themselves; it must exist",
    )
    create_namespace: bool = Field(
        default=False,
        description="make the namespace where it is missing, and then remove it in the end",
    )
    service: str = Field(pattern=_NAME, description="the Service that receives the requests")
    port: Port | str | None = Field(
        None, description="the number or name of the Service's port; its first by default"
    )
    address: Literal["node_port", "port_forward", "in_cluster"] = Field(
        "port_forward",
        description="node_port: a node and the Service's port there; port_forward: a tunnel "
        "through the API server, which adds its own time to every token; in_cluster: the "
        "Service's name, for a benchcore that runs in the cluster itself",
    )
    node: str | None = Field(
        None, min_length=1, description="the host of node_port; the first ready node by default"
    )
    scheme: Literal["http", "https"] = Field(
        "http", description="the protocol that the server speaks"
    )
    path: str = Field("", pattern=r"^(/[^?#\s]*)?$", description="the path before /v1")
    kubeconfig: str | None = Field(
        None,
        min_length=1,
        description="the kubeconfig; by default KUBECONFIG, ~/.kube/config or the pod's account",
    )
    context: str | None = Field(
        None, min_length=1, description="the context of the kubeconfig; its current one by default"
    )
    ready_seconds: float = Field(
        1200.0,
        gt=0,
        allow_inf_nan=False,
        description="how long to wait for the rollout of everything applied, in seconds",
    )
    delete_seconds: float = Field(
        120.0,
        gt=0,
        allow_inf_nan=False,
        description="how long to wait for the removal of everything applied, in seconds",
    )


class SimulatorLaunch(BaseModel):
    """The built-in simulator; the run is marked as one of the simulator."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    profile: str = Field(
        "default", description="the profile, as `benchcore sim --profile` names them"
    )
    settings: dict[str, Any] = Field(
        default_factory=dict, description="the fields of the profile to override"
    )


class Launch(BaseModel):
    """How the server is started, in one of these ways."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    local: LocalLaunch | None = Field(None, description="a command on this machine")
    kubernetes: KubernetesLaunch | None = Field(None, description="manifests on a cluster")
    simulator: SimulatorLaunch | None = Field(None, description="the built-in simulated server")

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        given = [way for way in (self.local, self.kubernetes, self.simulator) if way is not None]
        if len(given) != 1:
            raise ValueError("give one of local, kubernetes and simulator")
        return self


_VARIABLE = r"^[A-Za-z_][A-Za-z0-9_]*$"


class Asking(BaseModel):
    """How a server is asked, wherever it is. Secrets are given by name and never written down."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    api_key_env: str | None = Field(
        None, pattern=_VARIABLE, description="the variable that holds the API key"
    )
    api_key_file: str | None = Field(
        None, min_length=1, description="the file that holds the API key"
    )
    headers: dict[str, str] = Field(
        default_factory=dict, description="headers of every request, none of which may be a secret"
    )
    header_envs: dict[str, str] = Field(
        default_factory=dict,
        description="headers of every request, by the variables that hold their values",
    )
    extra_body: dict[str, Any] = Field(
        default_factory=dict, description="fields to add to every request body"
    )
    omit: tuple[str, ...] = Field((), description="fields to leave out of every request body")
    rename: dict[str, str] = Field(
        default_factory=dict,
        description="the names under which fields of request bodies are sent, such as max_tokens: "
        "max_completion_tokens",
    )
    path: str | None = Field(
        None,
        pattern=r"^/",
        description="the path of the endpoint, exactly as it is asked, behind the path of the "
        "address",
    )
    dialect: str | None = Field(
        None, description="the server's engine, for the checks; guessed by default"
    )
    rate_limit: float | None = Field(
        None,
        gt=0,
        allow_inf_nan=False,
        description="the requests per second that it allows: evals keep to it, checks are made one "
        "at a time, a climb must be given rates up to it",
    )
    insecure: bool = Field(default=False, description="do not check the server's certificate")
    ca_file: str | None = Field(None, min_length=1, description="a file of certificates to trust")
    metrics_urls: tuple[str, ...] = Field(
        (),
        description="pages of metrics that a climb reads besides the server's own: of replicas, of "
        "a router, of an exporter such as dcgm-exporter",
    )

    @model_validator(mode="after")
    def _one_key(self) -> Self:
        if self.api_key_env is not None and self.api_key_file is not None:
            raise ValueError("give api_key_env or api_key_file, not both")
        return self

    def target(
        self,
        base_url: str,
        *,
        model: str | None,
        key: str | None,
        ca_file: str | None = None,
        headers: Mapping[str, str] = MappingProxyType({}),
        extra_body: Mapping[str, Any] = MappingProxyType({}),
        **fields: Any,
    ) -> Target:
        """Return a server that is asked in this way; its credentials are hidden from then on.

        Args:
            base_url: where it is.
            model: to ask for; `None`: the first that it lists.
            key: that is in the variable or the file, if there is one.
            ca_file: certificates to trust, its path as it is.
            headers: those whose values are in variables.
            extra_body: fields of every request body, besides its own.
            **fields: other fields of the target.

        Raises:
            pydantic.ValidationError: something of it will not do.
        """
        if fields.get("endpoint") is None:  # then it is that of the address, where one is in it
            fields.pop("endpoint", None)
        target = Target(
            base_url,
            model=model,
            api_key=key,  # pydantic makes it a secret
            headers={**self.headers, **headers},
            extra_body={**self.extra_body, **extra_body},
            omit=self.omit,
            rename=self.rename,
            path=self.path,
            verify=not self.insecure,
            ca_file=ca_file,
            metrics_urls=self.metrics_urls,
            **fields,
        )
        hide(target.credentials)
        return target


class Provider(Asking):
    """A server that is already running."""

    base_url: str = Field(
        min_length=1,
        description="the server's address, with or without /v1, or unix:PATH for a socket",
    )
    model: str | None = Field(
        None,
        min_length=1,
        description="the name of the model; the server is asked for it by default",
    )


class ProvidersFile(BaseModel):
    """Servers by name, for scenarios to refer to: `providers.yaml` beside them."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    providers: dict[str, Provider] = Field(min_length=1, description="the servers by name")


class ScenarioTarget(Asking):
    """Which server a scenario asks, or how it asks the one that it launches."""

    provider: str | None = Field(
        None,
        min_length=1,
        description="a server of providers.yaml; what is set here as well takes precedence",
    )
    base_url: str | None = Field(
        None,
        min_length=1,
        description="the server's address, where there is neither a provider nor a launch",
    )
