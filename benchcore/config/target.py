"""Target: the server under test, how to reach it and what to ask of it."""

import ipaddress
import re
from typing import Annotated, Any, Literal
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from benchcore.base.secrets import field_secrets, header_secrets
from benchcore.base.text import harmless

Endpoint = Literal["chat", "completions", "responses"]

PATHS: dict[Endpoint, str] = {
    "chat": "/v1/chat/completions",
    "completions": "/v1/completions",
    "responses": "/v1/responses",
}
"""The paths of the endpoints as OpenAI's specification has them."""

_SHORTEST_SECRET = 8
_OWN_HEADERS = frozenset({"content-length", "transfer-encoding", "x-request-id"})
_HEADER_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # a token: RFC 9110, 5.6.2
_API_ROOT = re.compile(r"(/v1|/)+\Z")
_PATH_CHARACTERS = "/%~:@!$&'()*+,;=-._"
_QUERY_CHARACTERS = _PATH_CHARACTERS + "?"
# As it is is taken what has a version of its own, or is built as a known service builds it.
_ROOTED = re.compile(
    r"/v\d+[a-z0-9]*(/|\Z)|/deployments/[^/]+\Z|/serving-endpoints\Z", re.IGNORECASE
)
_VERSION = re.compile(r"/v\d+[a-z0-9]*\Z", re.IGNORECASE)
_ENDPOINT = re.compile(r"(?P<root>.*?)/(?P<name>chat/completions|completions|responses)/*\Z")
_OPEN_PARAMETERS = frozenset({"api-version", "api_version", "version"})


class Timeouts(BaseModel):
    """Limits in seconds, judged by stamps and not by when a watchdog ran; `None` is no limit."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    connect: Annotated[float, Field(gt=0)] | None = Field(
        10.0, description="the limit for opening a connection, in seconds"
    )
    first_token: Annotated[float, Field(gt=0)] | None = Field(
        None, description="the limit from sending to the first token, in seconds"
    )
    between_tokens: Annotated[float, Field(gt=0)] | None = Field(
        None, description="the limit from one token to the next, in seconds"
    )
    total: Annotated[float, Field(gt=0)] | None = Field(
        600.0, description="the limit from sending to the end, in seconds"
    )


class Target(BaseModel):
    """The server under test.

    No error about one holds what was given: it may be the key.

    Args:
        base_url: `http://host:8000`, with or without `/v1`; `https://…`; `unix:/path/to.sock`. A
            path with a version of its own, such as `/api/v3`, is taken as it is, and so is a whole
            address of an endpoint.
        path: of the endpoint, exactly as it is asked, behind the path of `base_url`; `None`: the
            one of OpenAI's API.
        model: the model to ask for; `None`: the one that `/v1/models` names.
        endpoint: which of the API's endpoints is asked.
        stream: ask for a stream of events.
        api_key: sent as a bearer token; appears in no file, log or repr.
        headers: sent with every request.
        extra_body: fields of every request body.
        omit: fields that no request body has, whoever would set them.
        rename: fields of request bodies by the names under which they are sent instead.
        timeouts: limits of one request.
        verify: check the server's certificate.
        ca_file: certificates to trust instead of the system's.
        allow_empty: an answer without output counts as `ok`.
        metrics_urls: pages of metrics to read besides the target's own: of replicas, of a router,
            of an exporter. Without a path it is `/metrics`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    base_url: str
    path: str | None = None
    model: str | None = None
    endpoint: Endpoint = "chat"
    stream: bool = True
    api_key: SecretStr | None = None
    headers: dict[str, str] = Field(default_factory=dict, repr=False)
    extra_body: dict[str, Any] = Field(default_factory=dict)
    omit: tuple[str, ...] = ()
    rename: dict[str, str] = Field(default_factory=dict)
    timeouts: Timeouts = Timeouts()
    verify: bool = True
    ca_file: str | None = None
    allow_empty: bool = False
    metrics_urls: tuple[str, ...] = ()

    def __init__(self, base_url: str, **fields: Any) -> None:
        super().__init__(base_url=base_url, **fields)

    @model_validator(mode="before")
    @classmethod
    def _take_extra_body(cls, given: Any) -> Any:
        """Let what is said of each request by `extra_body` be what is asked."""
        extra = given.get("extra_body")
        if not isinstance(extra, dict):
            return given
        over = {
            name: extra[name]
            for name, kind in (("model", str), ("stream", bool))
            if isinstance(extra.get(name), kind)
        }
        return {**given, **over}

    @model_validator(mode="before")
    @classmethod
    def _take_endpoint(cls, given: Any) -> Any:
        """Take the whole address of an endpoint apart: into the server's, and the endpoint's path.

        Raises:
            ValueError: the path is none.
        """
        address = given.get("base_url")
        if not isinstance(address, str):
            return given
        address, path = address.strip(), given.get("path")
        origin, base = _split(address)
        before, _, query = base.partition("?")
        if path is not None:
            if not isinstance(path, str) or not path.startswith("/") or "#" in path:
                raise ValueError(f"path {path!r} does not begin with '/', as in /chat/completions")
            whole, mark, own = path.partition("?")
            whole = before.rstrip("/") + whole
            query = own if mark else query
        elif (endpoint := _ENDPOINT.match(before)) is not None and origin:
            root = endpoint["root"].rstrip("/")
            if root.endswith("/v1") and not query:
                fields = {**given, "base_url": origin + root}
                return {"endpoint": _named(endpoint["name"]), **fields}
            whole = f"{root}/{endpoint['name']}"
        else:
            return given
        if any(not character.isprintable() or character.isspace() for character in whole + query):
            raise ValueError(f"path {path!r} contains white space")
        fields = {**given, "base_url": origin or address}
        fields["path"] = quote(whole, safe=_PATH_CHARACTERS) + _query(query)
        if (endpoint := _ENDPOINT.match(whole)) is not None:
            fields.setdefault("endpoint", _named(endpoint["name"]))
        return fields

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
            raise ValueError(f"{value!r} is not an address: it contains white space")
        if "://" not in value:
            value = f"http://{value}"
        if "@" in value.partition("://")[2].partition("/")[0]:
            raise ValueError(
                "an address must not contain a user or password; give a key with --api-key-env"
            )
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
        if "#" in value:
            raise ValueError(f"{value!r}: an address ends before '#'")
        path = quote(parts.path, safe=_PATH_CHARACTERS)
        if parts.query:
            return f"{parts.scheme}://{parts.netloc}{path.rstrip('/')}{_query(parts.query)}"
        root = _API_ROOT.sub("", path)
        if _ROOTED.search(root) is not None:  # without its end it would be taken for another
            root = path.rstrip("/")
        return f"{parts.scheme}://{parts.netloc}{root}"

    @field_validator("metrics_urls")
    @classmethod
    def _are_addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for address in value:
            if "@" in address.partition("?")[0]:
                raise ValueError("an address must not contain a user or password")
            if any(not character.isprintable() or character.isspace() for character in address):
                raise ValueError(f"{address!r} is not an address: it contains white space")
            try:
                parts = urlsplit(address)
                is_known = parts.scheme in ("http", "https") and parts.port != 0
            except ValueError as error:
                raise ValueError(f"{address!r} is not an address: {error}") from None
            if not is_known or not parts.hostname or parts.fragment:
                raise ValueError(f"{address!r} is not http://HOST[:PORT][/PATH] or https://…")
        return value

    @field_validator("api_key")
    @classmethod
    def _key_is_clean(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None:
            return None
        key = value.get_secret_value().strip()  # a file of one key ends in a line break
        if not key.isascii() or not key.isprintable():
            raise ValueError("the key contains something other than printable ASCII")
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
                raise ValueError(f"header {name}: its value contains a line break")
        return value

    @field_validator("omit")
    @classmethod
    def _fields_can_be_omitted(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if not name or name in _NEEDED:
                raise ValueError(f"{name!r} is not a field that a request can leave out")
        return value

    @field_validator("rename")
    @classmethod
    def _fields_can_be_renamed(cls, value: dict[str, str]) -> dict[str, str]:
        for old, new in value.items():
            if not old or not new or old == new or old in _NEEDED or new in _NEEDED:
                raise ValueError(f"{old}={new} does not rename one optional field to another")
        return value

    def adapted(self, body: dict[str, Any]) -> dict[str, Any]:
        """Return a request body with the fields and the names of fields that the server takes."""
        if not self.omit and not self.rename:
            return body
        renamed = {self.rename.get(name, name): value for name, value in body.items()}
        for name in self.omit:
            renamed.pop(name, None)
        return renamed

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
    def api_root(self) -> str:
        """Path of the API, before `/chat/completions`, without a slash at its end."""
        if self.path is not None:
            path = self.path.partition("?")[0]
            endpoint = _ENDPOINT.match(path)
            return path.rpartition("/")[0] if endpoint is None else endpoint["root"].rstrip("/")
        root = self.root
        return root if self._is_rooted else f"{root}/v1"

    @property
    def _is_rooted(self) -> bool:
        """Whether the path of the address is that of the API itself."""
        return _ROOTED.search(self.root) is not None or "?" in self.base_url

    @property
    def server_root(self) -> str:
        """Path of the server, before `/metrics` and what else stands beside the API."""
        if self.path is None and not self._is_rooted:
            return self.root
        return _VERSION.sub("", self.api_root)

    def place(self, path: str) -> str:
        """Return what stands in the request line for a path of the specification.

        Args:
            path: `/v1/…` of the API, or one beside it such as `/metrics`.
        """
        if not path.startswith("/v1/"):
            return self.server_root + path
        if self.path is not None and path == PATHS[self.endpoint]:
            endpoint = _ENDPOINT.match(self.path.partition("?")[0])
            if endpoint is None or _named(endpoint["name"]) == self.endpoint:
                return self.path
        query = (self.path or self.base_url).partition("?")[2]
        return self.api_root + path.removeprefix("/v1") + _query(query)

    def url(self, path: str) -> str:
        """Return the whole address of a path of the specification; see `place`."""
        origin = "http://localhost" if self.uds else _split(self.base_url)[0]
        return origin + self.place(path)

    def other_root(self) -> "Target | None":
        """Return the target whose API lies with `/v1` where it does not now, or without.

        `None` where the whole path was given.
        """
        if self.path is not None or self.uds is not None:
            return None
        root = f"{self.root}/v1" if self._is_rooted else self.root
        path = root + PATHS[self.endpoint].removeprefix("/v1")
        query = _query(self.base_url.partition("?")[2])
        return self.model_copy(
            update={"base_url": _split(self.base_url)[0], "path": f"{path}{query}"}
        )

    @property
    def shown_model(self) -> str | None:
        """The model's name for people and files: it may be a server's, who names it as it likes."""
        return None if self.model is None else harmless(self.model)

    @property
    def credentials(self) -> set[str]:
        """What nothing may show: the key, and the parts of what is secret by its name."""
        secrets = header_secrets(self.headers) | field_secrets(self.extra_body)
        addresses = (self.path or self.base_url, *self.metrics_urls)
        secrets |= {
            value
            for address in addresses
            for name, value in parse_qsl(address.partition("?")[2])
            if len(value) >= _SHORTEST_SECRET and name.lower() not in _OPEN_PARAMETERS
        }
        if self.api_key is not None:
            secrets.add(self.api_key.get_secret_value())
        return secrets

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


_NEEDED = frozenset({"model", "messages", "prompt", "input", "stream"})


def _split(address: str) -> tuple[str, str]:
    """Return scheme and host of an address, and its path with its query; no host: two empty."""
    if address.startswith("unix:"):
        return "", ""
    scheme, mark, rest = address.partition("://")
    if not mark:
        scheme, rest = "http", address
    place = min((rest.find(mark) for mark in "/?" if mark in rest), default=len(rest))
    return f"{scheme}://{rest[:place]}", rest[place:]


def _query(query: str) -> str:
    return f"?{quote(query, safe=_QUERY_CHARACTERS)}" if query else ""


def _named(path: str) -> Endpoint:
    """Return the endpoint whose path ends so."""
    endpoints: dict[str, Endpoint] = {"chat/completions": "chat", "responses": "responses"}
    return endpoints.get(path, "completions")
