from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from benchcore.config.target import PATHS, Target, Timeouts
from benchcore.runs.run_json import target_facts


@pytest.mark.parametrize(
    ("given_url", "base_url", "host", "port", "authority", "root"),
    [
        ("http://h", "http://h", "h", 80, "h", ""),
        ("http://h/", "http://h", "h", 80, "h", ""),
        ("http://h/v1", "http://h", "h", 80, "h", ""),
        ("http://h/v1/", "http://h", "h", 80, "h", ""),
        ("http://h//v1//", "http://h", "h", 80, "h", ""),
        (" http://h:8000/v1 ", "http://h:8000", "h", 8000, "h:8000", ""),
        ("h:8000", "http://h:8000", "h", 8000, "h:8000", ""),
        ("h", "http://h", "h", 80, "h", ""),
        ("h/v1", "http://h", "h", 80, "h", ""),
        ("https://h", "https://h", "h", 443, "h", ""),
        ("HTTPS://h", "https://h", "h", 443, "h", ""),
        ("http://v1", "http://v1", "v1", 80, "v1", ""),
        ("http://v1/v1", "http://v1", "v1", 80, "v1", ""),
        ("v1", "http://v1", "v1", 80, "v1", ""),
        ("http://h/api/v1", "http://h/api", "h", 80, "h", "/api"),
        ("http://h/api", "http://h/api", "h", 80, "h", "/api"),
        ("http://h/v1/v1", "http://h", "h", 80, "h", ""),
        ("http://h/xv1", "http://h/xv1", "h", 80, "h", "/xv1"),
        ("http://h/v10", "http://h/v10", "h", 80, "h", "/v10"),
        ("http://h/é", "http://h/%C3%A9", "h", 80, "h", "/%C3%A9"),
        ("http://h/a%20b", "http://h/a%20b", "h", 80, "h", "/a%20b"),
        ("http://[::1]:9/v1", "http://[::1]:9", "::1", 9, "[::1]:9", ""),
        ("http://H.Example", "http://H.Example", "h.example", 80, "H.Example", ""),
        ("unix:/run/s.sock", "unix:/run/s.sock", "localhost", 80, "localhost", ""),
    ],
)
def test_addresses_are_normalised(given_url, base_url, host, port, authority, root):
    target = Target(given_url)
    found = (target.base_url, target.host, target.port, target.authority, target.root)
    assert found == (base_url, host, port, authority, root)
    assert Target(target.base_url) == target
    assert target.tls is base_url.startswith("https")


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("unix:/run/s.sock", "/run/s.sock"),
        ("unix:///run/s.sock", "///run/s.sock"),
        ("unix:relative.sock", "relative.sock"),
        ("unix:/a%20b", "/a b"),
        ("http://h", None),
    ],
)
def test_the_path_of_a_unix_socket(url, path):
    assert Target(url).uds == path


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("", "is not http://HOST"),
        ("http://", "is not http://HOST"),
        ("http:///v1", "is not http://HOST"),
        ("http:/h", "is not http://HOST"),
        ("http://h:", "is not http://HOST"),
        ("http://:80", "is not http://HOST"),
        ("ftp://h", "is not http://HOST"),
        ("ws://h", "is not http://HOST"),
        ("http://h:0", "is not http://HOST"),
        ("http://h:99999", "is not an address"),
        ("http://h:x", "is not an address"),
        ("http://[::1", "is not an address"),
        ("http://h/a b", "white space"),
        ("http://h\r\nx: y", "white space"),
        ("http://h/\tx", "white space"),
        ("http://h/#x", "ends before"),
        ("unix:", "needs the path"),
        ("unix:/", "needs the path"),
        ("unix:/a%00b", "needs the path"),
    ],
)
def test_what_is_no_address_is_refused_with_the_reason(url, says):
    with pytest.raises(ValidationError, match=says):
        Target(url)


@pytest.mark.parametrize(
    "url", ["http://user:geheim@h", "http://geheim@h", "http://@h", "http://user:geheim@h:bad"]
)
def test_an_address_with_a_password_is_refused_and_not_repeated(url):
    with pytest.raises(ValidationError, match="must not contain a user or password") as caught:
        Target(url)
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize("key", ["two\nlines", "a\r\nx-evil: 1", "ключ-geheim", "geheim\x00"])
def test_a_key_that_would_break_a_header_is_refused_and_not_repeated(key):
    with pytest.raises(ValidationError, match="printable ASCII") as caught:
        Target("http://h", api_key=key)
    for part in ("two", "evil", "geheim"):
        assert part not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "kept"), [("k\n", "k"), (" k ", "k"), ("", None), ("\n", None), (None, None)]
)
def test_white_space_around_a_key_is_none_of_it(key, kept):
    target = Target("http://h", api_key=key)
    assert target.api_key == (None if kept is None else SecretStr(kept))


def test_secrets_are_in_no_repr():
    target = Target("http://h", api_key="geheim", headers={"authorization": "Basic geheim"})
    assert "geheim" not in repr(target)
    assert "geheim" not in str(target)


@pytest.mark.parametrize("name", ["", "a b", "a:b", "a\n", "ä", "a\0", "a/b", "(a)"])
def test_what_is_no_name_of_a_header_is_refused(name):
    with pytest.raises(ValidationError, match="is not the name of a header"):
        Target("http://h", headers={name: "x"})


@pytest.mark.parametrize("text", ["a\nb", "a\rb", "a\0b"])
def test_a_header_with_a_line_break_is_refused(text):
    with pytest.raises(ValidationError, match="line break"):
        Target("http://h", headers={"x": text})


@pytest.mark.parametrize("name", ["Content-Length", "transfer-encoding", "X-Request-Id"])
def test_headers_that_are_ours_are_refused(name):
    with pytest.raises(ValidationError, match="benchcore sets it itself"):
        Target("http://h", headers={name: "1"})


@pytest.mark.parametrize(
    ("url", "loopback"),
    [
        ("http://127.0.0.1", True),
        ("http://127.8.8.8:80", True),
        ("http://[::1]", True),
        ("http://localhost", True),
        ("unix:/s", True),
        ("http://10.0.0.1", False),
        ("http://localhost.example", False),
        ("http://gpu0", False),
    ],
)
def test_which_targets_are_certainly_here(url, loopback):
    assert Target(url).is_loopback is loopback


@pytest.mark.parametrize("phase", ["connect", "first_token", "between_tokens", "total"])
@pytest.mark.parametrize("value", [0, -1, "x"])
def test_a_limit_is_a_positive_number(phase, value):
    with pytest.raises(ValidationError):
        Timeouts(**{phase: value})
    assert getattr(Timeouts(**{phase: None}), phase) is None
    assert getattr(Timeouts(**{phase: 0.5}), phase) == 0.5


def test_unknown_fields_are_refused():
    with pytest.raises(ValidationError):
        Target("http://h", basurl="x")
    with pytest.raises(ValidationError):
        Timeouts(reading=1)


@given(st.text(max_size=20))
def test_an_address_is_refused_or_safe_to_send(text):
    try:
        target = Target(text)
    except ValidationError:
        return
    assert Target(target.base_url) == target
    if target.uds is None:
        line = f"POST {target.root}/v1/x HTTP/1.1"
        assert len(line.split()) == 3
        assert line.isascii()
        assert not any(character.isspace() for character in target.authority)
        assert target.host == urlsplit(target.base_url).hostname
        assert 0 < target.port < 65536


V = "?api-version=2024-06-01"


@pytest.mark.parametrize(
    ("path", "asked", "models", "beside"),
    [
        ("", "/v1/chat/completions", "/v1/models", "/metrics"),
        ("/api/gateway", "/api/gateway/v1/chat/completions", "/api/gateway/v1/models", None),
        ("/api/paas/v4", "/api/paas/v4/chat/completions", "/api/paas/v4/models", None),
        ("/v1beta/openai/", "/v1beta/openai/chat/completions", "/v1beta/openai/models", None),
        ("/api/v3", "/api/v3/chat/completions", "/api/v3/models", "/api/metrics"),
        ("/serving-endpoints", "/serving-endpoints/chat/completions", None, None),
        ("/v2/gate/v1/", "/v2/gate/v1/chat/completions", "/v2/gate/v1/models", "/v2/gate/metrics"),
        ("/openai/v1", "/openai/v1/chat/completions", "/openai/v1/models", "/openai/metrics"),
        (f"/openai/deployments/g{V}", f"/openai/deployments/g/chat/completions{V}", None, None),
        ("/v1/chat/completions", "/v1/chat/completions", "/v1/models", "/metrics"),
        ("/v1/responses", "/v1/responses", "/v1/models", "/metrics"),
        ("/v1/completions/", "/v1/completions", "/v1/models", "/metrics"),
        ("/chat/completions", "/chat/completions", "/models", "/metrics"),
        ("/api/v3/chat/completions", "/api/v3/chat/completions", "/api/v3/models", None),
        (
            f"/openai/deployments/g/chat/completions{V}",
            f"/openai/deployments/g/chat/completions{V}",
            f"/openai/deployments/g/models{V}",
            "/openai/deployments/g/metrics",
        ),
    ],
)
def test_what_is_asked_of_an_address_as_the_openai_sdk_takes_it(path, asked, models, beside):
    target = Target(f"http://h:1{path}")
    assert target.place(PATHS[target.endpoint]) == asked
    assert models is None or target.place("/v1/models") == models
    assert beside is None or target.place("/metrics") == beside
    assert target.url(PATHS[target.endpoint]) == f"http://h:1{asked}"
    again = {} if target.path is None else {"path": target.path}
    assert Target(target.base_url, endpoint=target.endpoint, **again) == target


@pytest.mark.parametrize(
    ("base_url", "path", "asked", "models"),
    [
        ("http://h", "/generate", "/generate", "/models"),
        ("http://h/v1", "/chat/completions", "/v1/chat/completions", "/v1/models"),
        ("http://h/api/", "/v9/chat/completions?a=b", "/api/v9/chat/completions?a=b", None),
        ("http://h/api?a=b", "/x/chat/completions", "/api/x/chat/completions?a=b", None),
        ("unix:/run/s", "/api/chat/completions", "/api/chat/completions", "/api/models"),
    ],
)
def test_a_path_says_exactly_what_is_asked(base_url, path, asked, models):
    target = Target(base_url, path=path)
    assert target.place(PATHS["chat"]) == asked
    assert models is None or target.place("/v1/models") == models
    assert target.other_root() is None


def test_an_endpoint_that_is_named_wins_over_the_pasted_one():
    target = Target("http://h/api/v3/chat/completions", endpoint="completions")
    assert target.place(PATHS["completions"]) == "/api/v3/completions"


@pytest.mark.parametrize(
    ("path", "other"),
    [
        ("/api", "/api/chat/completions"),
        ("", "/chat/completions"),
        ("/api/v3", "/api/v3/v1/chat/completions"),
    ],
)
def test_the_other_place_of_the_api_is_with_a_version_or_without(path, other):
    found = Target(f"http://h{path}").other_root()
    assert found.place(PATHS["chat"]) == other
    assert found.place("/v1/models") == other.replace("chat/completions", "models")


def test_fields_are_renamed_and_left_out_whoever_set_them():
    target = Target("http://h", omit=("seed",), rename={"max_tokens": "max_completion_tokens"})
    body = {"model": "m", "max_tokens": 5, "seed": 1, "top_p": 1}
    assert target.adapted(body) == {"model": "m", "max_completion_tokens": 5, "top_p": 1}


@pytest.mark.parametrize(
    "fields",
    [
        {"omit": ("model",)},
        {"omit": ("",)},
        {"rename": {"messages": "x"}},
        {"rename": {"a": "a"}},
        {"path": "chat/completions"},
        {"path": "/a b"},
        {"path": "/a#b"},
    ],
)
def test_what_a_request_cannot_do_without_is_refused(fields):
    with pytest.raises(ValidationError):
        Target("http://h", **fields)


def test_a_key_in_the_query_is_a_secret_and_a_version_is_none():
    target = Target("http://h/v1beta/openai?key=0123456789&api-version=2024-06-01")
    assert target.secrets == {"0123456789"}


def test_a_models_name_is_asked_as_it_is_and_shown_harmless():
    name = "m\x1b[2J\u202e" + "x" * 400
    target = Target("http://h", model=name)
    assert target.model == name
    shown = target_facts(target, "server").model
    assert shown == target.shown_model
    assert shown.startswith("m�[2J�xxx")
    assert shown.endswith("… (406 characters)")
    assert len(shown) == 300
    assert Target("http://h").shown_model is None
