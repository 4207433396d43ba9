"""Target: the server under test, how to reach it and what to ask of it."""

import ipaddress
import re
from typing import Annotated, Any, Literal
from urllib.parse import quote, unquote, urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

from benchcore.secrets import field_secrets, header_secrets

Endpoint = Literal["chat", "completions", "responses"]

_SHORTEST_SECRET = 8
_OWN_HEADERS = frozenset({"content-length", "transfer-encoding", "x-request-id"})
_HEADER_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # a token: RFC 9110, 5.6.2
_API_ROOT = re.compile(r"(/v1|/)+\Z")
_PATH_CHARACTERS = "/%~:@!$&'()*+,;=-._"


class Timeouts(BaseModel):
    """Limits in seconds; `None`: none. Judged by stamps, not by when a watchdog ran."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    connect: Annotated[float, Field(gt=0)] | None = Field(10.0, description="to open a connection")
    first_token: Annotated[float, Field(gt=0)] | None = Field(
        None, description="from sending to the first token"
    )
    between_tokens: Annotated[float, Field(gt=0)] | None = Field(
        None, description="from one token to the next"
    )
    total: Annotated[float, Field(gt=0)] | None = Field(
        600.0, description="from sending to the end"
    )


class Target(BaseModel):
    """The server under test.

    No error about one holds what was given: it may be the key.

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

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    base_url: str
    model: str | None = None
    endpoint: Endpoint = "chat"
    stream: bool = True
    api_key: SecretStr | None = None
    headers: dict[str, str] = Field(default_factory=dict, repr=False)
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
        value = value.strip()
        if value.startswith("unix:"):
            value = value.rstrip("/")
            if not value.removeprefix("unix:").strip("/") or "\0" in unquote(value):
                raise ValueError("unix: needs the path of a socket, as in unix:/run/server.sock")
            return value
        # urlsplit drops some of them silently, and the rest would end up in the request's head.
        if any(not character.isprintable() or character.isspace() for character in value):
            raise ValueError(f"{value!r} is not an address: it holds white space")
        if "://" not in value:
            value = f"http://{value}"
        if "@" in value.partition("://")[2].partition("/")[0]:
            raise ValueError("an address holds no user or password; give a key by --api-key-env")
        try:
            parts = urlsplit(value)
            port = parts.port
        except ValueError as error:
            raise ValueError(f"{value!r} is not an address: {error}") from None
        if (
            parts.scheme not in ("http", "https")
            or not parts.hostname
            or port == 0
            or parts.netloc.endswith(":")
        ):
            raise ValueError(f"{value!r} is not http://HOST[:PORT], https://… or unix:PATH")
        if "?" in value or "#" in value:
            raise ValueError(f"{value!r}: an address ends before '?' and '#'")
        path = _API_ROOT.sub("", quote(parts.path, safe=_PATH_CHARACTERS))
        return f"{parts.scheme}://{parts.netloc}{path}"

    @field_validator("api_key")
    @classmethod
    def _key_is_clean(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None:
            return None
        key = value.get_secret_value().strip()  # a file of one key ends in a line break
        if not key.isascii() or not key.isprintable():
            raise ValueError("the key holds something else than printable ASCII")
        return SecretStr(key) if key else None

    @field_validator("headers")
    @classmethod
    def _headers_are_clean(cls, value: dict[str, str]) -> dict[str, str]:
        for name, text in value.items():
            if not _HEADER_NAME.fullmatch(name):
                raise ValueError(f"{name!r} is not the name of a header")
            if name.lower() in _OWN_HEADERS:
                raise ValueError(f"header {name}: benchcore sets it itself")
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
        return "" if self.uds else urlsplit(self.base_url).path

    @property
    def credentials(self) -> set[str]:
        """What nothing may show: the key, and the parts of what is secret by its name."""
        found = header_secrets(self.headers) | field_secrets(self.extra_body)
        if self.api_key is not None:
            found.add(self.api_key.get_secret_value())
        return found

    @property
    def secrets(self) -> set[str]:
        """What no server's words may repeat: the credentials, and any header that may be one."""
        others = {value for value in self.headers.values() if len(value) >= _SHORTEST_SECRET}
        return self.credentials | others

    @property
    def is_loopback(self) -> bool:
        """Whether it is certainly on this machine."""
        if self.uds or self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False
