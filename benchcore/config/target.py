"""Target: the server under test, how to reach it and what to ask of it."""

import ipaddress
from typing import Annotated, Any, Literal
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

Endpoint = Literal["chat", "completions", "responses"]


class Timeouts(BaseModel):
    """Limits in seconds; `None`: none. Judged by stamps, not by when a watchdog ran."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    connect: Annotated[float, Field(gt=0)] | None = 10.0
    first_token: Annotated[float, Field(gt=0)] | None = None
    between_tokens: Annotated[float, Field(gt=0)] | None = None
    total: Annotated[float, Field(gt=0)] | None = 600.0


class Target(BaseModel):
    """The server under test.

    Args:
        base_url: `http://host:8000`, with or without `/v1`; `https://…`; `unix:/path/to.sock`.
        model: the model to ask for; `None`: the one that `/v1/models` names.
        endpoint: which of the API's endpoints is asked.
        stream: ask for a stream of events.
        api_key: sent as a bearer token; appears in no file, log or repr.
        headers: sent with every request.
        extra_body: fields of every request body.
        timeouts: limits of one request.
        verify: check the server's certificate.
        ca_file: certificates to trust instead of the system's.
        allow_empty: an answer without output counts as `ok`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    base_url: str
    model: str | None = None
    endpoint: Endpoint = "chat"
    stream: bool = True
    api_key: SecretStr | None = None
    headers: dict[str, str] = Field(default_factory=dict)
    extra_body: dict[str, Any] = Field(default_factory=dict)
    timeouts: Timeouts = Timeouts()
    verify: bool = True
    ca_file: str | None = None
    allow_empty: bool = False

    def __init__(self, base_url: str, **fields: Any) -> None:
        super().__init__(base_url=base_url, **fields)

    @field_validator("base_url")
    @classmethod
    def _normalise(cls, value: str) -> str:
        value = value.strip().rstrip("/")
        if value.startswith("unix:"):
            if not value.removeprefix("unix:").strip("/"):
                raise ValueError("unix: needs the path of a socket, as in unix:/run/server.sock")
            return value
        if "://" not in value:
            value = f"http://{value}"
        try:
            parts = urlsplit(value)
            port = parts.port
        except ValueError as error:
            raise ValueError(f"{value!r} is not an address: {error}") from None
        if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
            raise ValueError(f"{value!r} is not http://HOST[:PORT], https://… or unix:PATH")
        if parts.username or parts.password:
            raise ValueError("an address holds no user or password; give a key by --api-key-env")
        if parts.query or parts.fragment:
            raise ValueError(f"{value!r}: an address ends before '?' and '#'")
        return value.removesuffix("/v1")

    @field_validator("headers")
    @classmethod
    def _headers_are_clean(cls, value: dict[str, str]) -> dict[str, str]:
        for name, text in value.items():
            if not name or any(c in name for c in " \t\r\n:") or not name.isascii():
                raise ValueError(f"{name!r} is not the name of a header")
            if "\r" in text or "\n" in text or "\0" in text:
                raise ValueError(f"header {name}: its value holds a line break")
        return value

    @property
    def uds(self) -> str | None:
        """Path of the Unix socket, if it is one."""
        return (
            unquote(self.base_url.removeprefix("unix:")) if self.base_url[:5] == "unix:" else None
        )

    @property
    def tls(self) -> bool:
        """Whether the connection is encrypted."""
        return self.base_url.startswith("https:")

    @property
    def host(self) -> str:
        """Name or address to connect to; `localhost` for a Unix socket."""
        return "localhost" if self.uds else urlsplit(self.base_url).hostname or ""

    @property
    def port(self) -> int:
        """TCP port."""
        return (None if self.uds else urlsplit(self.base_url).port) or (443 if self.tls else 80)

    @property
    def authority(self) -> str:
        """What stands in the `Host` header."""
        return "localhost" if self.uds else urlsplit(self.base_url).netloc

    @property
    def root(self) -> str:
        """Path before `/v1`, without a slash at its end."""
        return "" if self.uds else urlsplit(self.base_url).path.rstrip("/")

    @property
    def is_loopback(self) -> bool:
        """Whether it is certainly on this machine."""
        if self.uds or self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False
