"""Secrets: the values that no file, line or request may show, and how they are masked.

A secret leaves by what a server repeats: whole or in part, as it is, or as JSON, an address, HTML
or base64 would write it. So every credential is taken apart, and each part is known in each form.
"""

from __future__ import annotations

import base64
import binascii
import html
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import Any, Final
from urllib.parse import quote, quote_plus, unquote

MASK: Final = "***"
_SECRET: Final = re.compile(
    r"(?:^|[_-])(?:API[_-]?KEYS?|KEYS?|SECRETS?|PASS|PASSWORD|PASSWD|PASSPHRASE|CREDENTIALS?"
    r"|AUTH|AUTHORIZATION|COOKIE|PAT)(?:[_-]|$)"
    r"|(?:API|ACCESS|SECRET)KEY|(?<!EOS_)(?<!BOS_)(?<!PAD_)(?<!STOP_)TOKEN(?:[_-]|$)"
    r"|[_-]PWD(?:[_-]|$)",
    re.IGNORECASE,
)
"""Whole words: `MAX_TOKENS`, `TOKENIZER`, `eos_token` and `PWD` hold nothing of the kind."""
_USERINFO: Final = re.compile(r"://([^/@\s:]*):([^/@\s]+)@")
_SHORTEST: Final = 6
"""A shorter value is no secret, and would mask half of a log."""
_SHORTEST_NUMBER: Final = 8
_SHORTEST_PART: Final = 4
"""Of a part of a credential, such as one cookie's value."""
SURELY_SECRET: Final = 8
"""Characters of what is masked in whole files and answers: a shorter one may be an honest word."""
_COOKIES: Final = re.compile(r"[^\s;=]+=[^\s;]*(?:;\s*[^\s;=]+(?:=[^;]*)?)*;?")
_SCHEMES: Final = frozenset(
    {"bearer", "basic", "digest", "token", "apikey", "negotiate", "api-key"}
)


def is_secret(name: str) -> bool:
    """Tell whether a variable, header or field of this name holds a secret, as far as it can."""
    return _SECRET.search(name) is not None


def secret_values(environment: Mapping[str, str], named: Iterable[str] = ()) -> list[str]:
    """Return the values that must not be shown, longest first.

    Args:
        environment: variables, of which those that hold secrets are known by their names, and
            passwords in addresses by where they stand.
        named: values that are known to be secret.
    """
    found = {part for value in named if value for part in parts(value)}
    for name, value in environment.items():
        found.update(password for _, password in _USERINFO.findall(value))
        least = _SHORTEST_NUMBER if value.isdigit() else _SHORTEST
        if is_secret(name) and len(value) >= least:
            found.update(parts(value))
    return _longest_first(found)


def header_secrets(headers: Mapping[str, str]) -> set[str]:
    """Return what is secret in headers: those whose name or scheme says so, and their parts."""
    return {
        part
        for name, value in headers.items()
        if is_secret(name) or value.partition(" ")[0].lower() in _SCHEMES
        for part in parts(value, words=True)
    }


def field_secrets(body: Any) -> set[str]:
    """Return the texts in JSON that stand under a name that says they are secret."""
    found: set[str] = set()
    if isinstance(body, Mapping):
        for name, value in body.items():
            if isinstance(value, str):
                if is_secret(str(name)) and len(value) >= _SHORTEST_PART:
                    found.update(parts(value))
            else:
                found |= field_secrets(value)
    elif isinstance(body, list | tuple):
        for value in body:
            found |= field_secrets(value)
    return found


def parts(value: str, *, words: bool = False) -> set[str]:
    """Return a credential and its parts: behind a scheme, of each cookie, behind base64's user.

    Args:
        value: all of it.
        words: it stood in a header for credentials, so that each word of it may be one.
    """
    found = {value, unquote(value)}
    scheme, _, given = value.partition(" ")
    if words or scheme.lower() in _SCHEMES or _COOKIES.fullmatch(value):
        for word in re.split(r"[\s;,]+", value):
            behind = word.partition("=")[2]
            # A key may hold a `=` of its own: `name=value` is known by both its value and itself.
            found_in = {word, word.strip("\"'"), behind.strip("\"'"), unquote(behind)}
            for part in found_in:
                if len(part) >= _SHORTEST_PART and part.lower() not in _SCHEMES:
                    found.add(part)
    if scheme.lower() == "basic":
        try:
            user = base64.b64decode(given.strip(), validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            return found  # not RFC 7617's; the text itself is masked
        password = user.partition(":")[2]
        found |= {one for one in (user, password) if len(one) >= _SHORTEST_PART}
    return found


def _longest_first(values: Iterable[str]) -> list[str]:
    return sorted(set(values), key=lambda value: (-len(value), value))


@lru_cache(maxsize=64)
def forms(values: tuple[str, ...]) -> tuple[str, ...]:
    """Return secrets in every form in which a text may hold them, longest first.

    Args:
        values: as they are.
    """
    found: set[str] = set()
    for value in values:
        found |= _forms(value)
    return tuple(_longest_first(found))


def _forms(value: str) -> set[str]:
    found = {value}
    for escaped in (json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1]):
        found |= {escaped, escaped.replace("/", "\\/"), json.dumps(escaped)[1:-1]}
    try:
        raw = value.encode()
    except UnicodeEncodeError:
        return found  # a variable that is not UTF-8: it has no other form
    for address in (quote(value, safe=""), quote(value), quote_plus(value)):
        found |= {address, re.sub("%[0-9A-F]{2}", lambda hexes: hexes[0].lower(), address)}
    found |= {html.escape(value), html.escape(value, quote=False), value.replace('"', '""')}
    found.add(html.escape(value).replace("&#x27;", "&#39;"))
    if len(value) >= _SHORTEST:
        found |= {raw.hex(), raw.hex().upper()}
        # Within a longer text, such as `user:key`, the same bytes read in one of three ways.
        for before in range(3):
            coded = base64.b64encode(bytes(before) + raw).decode().rstrip("=")
            whole = coded[-(-before * 4 // 3) : (before + len(raw)) * 8 // 6]
            found |= {whole, whole.replace("+", "-").replace("/", "_")}
    return {one for one in found if one}


def masked_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return variables with the values of secrets masked, and passwords in addresses too."""
    return {
        name: MASK if is_secret(name) else _USERINFO.sub(rf"://\1:{MASK}@", value)
        for name, value in environment.items()
    }


def masked_text(text: str, values: Iterable[str]) -> str:
    """Return a text without these values, in whatever form they stand in it."""
    for form in forms(tuple(values)):
        if form in text:
            text = text.replace(form, MASK)
    return text


def masked_bytes(data: bytes, values: Iterable[str]) -> bytes:
    """Return bytes without these values, in whatever form they stand in them as UTF-8."""
    for form in forms(tuple(values)):
        raw = form.encode(errors="surrogateescape")
        if raw in data:
            data = data.replace(raw, MASK.encode())
    return data


def masked(found: Any, values: Iterable[str]) -> Any:
    """Return an object of JSON without these values, in its keys too."""
    values = tuple(values)
    if isinstance(found, str):
        return masked_text(found, values)
    if isinstance(found, dict):
        return {
            masked(key, values) if isinstance(key, str) else key: masked(value, values)
            for key, value in found.items()
        }
    if isinstance(found, list | tuple):
        return [masked(value, values) for value in found]
    return found


def masked_fields(body: Any) -> Any:
    """Return JSON with the texts masked that stand under the name of a secret."""
    if isinstance(body, Mapping):
        return {
            name: MASK if isinstance(value, str) and is_secret(str(name)) else masked_fields(value)
            for name, value in body.items()
        }
    return [masked_fields(value) for value in body] if isinstance(body, list | tuple) else body


def masked_arguments(args: Iterable[str]) -> list[str]:
    """Return a command line without what may be keys: headers' values, fields of bodies."""
    shown: list[str] = []
    after = ""
    for arg in args:
        option, equals, value = arg.partition("=") if arg.startswith("--") else (after, "", arg)
        head = f"{option}=" if equals else ""
        if option == "--header" and (equals or after == "--header"):
            name, given, _ = value.partition("=")
            shown.append(f"{head}{name}={MASK if given else ''}")
        elif option == "--extra-body" and (equals or after == "--extra-body"):
            shown.append(head + _masked_body(value))
        else:
            shown.append(arg)
        after = arg
    return shown


def _masked_body(text: str) -> str:
    import orjson

    try:
        return orjson.dumps(masked_fields(orjson.loads(text))).decode()
    except ValueError:
        return MASK  # it is refused in a moment, and who knows what stands in it


_HIDDEN: ContextVar[tuple[str, ...]] = ContextVar("benchcore.hidden", default=())
"""Of the run that goes on in this context: several engines can run in one process."""


def hide(values: Iterable[str]) -> None:
    """Let no file that is written whole, and no line of the command, show these values.

    This is the last net: what a server says is masked where it enters a record.
    """
    long = (one for one in values if len(one) >= SURELY_SECRET and MASK not in one)
    _HIDDEN.set(tuple(_longest_first({*_HIDDEN.get(), *long})))


@contextmanager
def hiding() -> Iterator[None]:
    """Forget at the end what was hidden in between."""
    token = _HIDDEN.set(())
    try:
        yield
    finally:
        _HIDDEN.reset(token)


def unhidden(text: str) -> str:
    """Return a text without what is hidden here."""
    values = _HIDDEN.get()
    return masked_text(text, values) if values else text


def unhidden_bytes(data: bytes) -> bytes:
    """Return the bytes of a file without what is hidden here."""
    return masked_bytes(data, _HIDDEN.get())
