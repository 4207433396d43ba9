"""What counts as a secret, and how it is masked."""

import base64
import html
import json
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from benchcore.base.secrets import (
    field_secrets,
    header_secrets,
    is_secret,
    masked,
    masked_environment,
    masked_fields,
    masked_text,
    parts,
    secret_values,
)


@pytest.mark.parametrize(
    "name",
    [
        *("HF_TOKEN", "A_API_KEY", "db_password", "AWS_SECRET", "AUTH", "GITHUB_PAT", "DB_PWD"),
        *("MY_APIKEY", "KEY", "PRIVATE_KEY_PEM", "HFTOKEN"),
    ],
)
def test_a_name_tells_a_secret(name):
    assert is_secret(name)


@pytest.mark.parametrize(
    "name",
    [
        *("PATH", "CUDA_VISIBLE_DEVICES", "HOME", "MODEL", "PWD", "OLDPWD"),
        *(
            "MAX_TOKENS",
            "OUTPUT_TOKENS",
            "TOKENIZER",
            "TOKENIZERS_PARALLELISM",
            "AUTHOR",
            "KEYBOARD",
        ),
    ],
)
def test_other_names_do_not(name):
    assert not is_secret(name)


def test_values_are_those_of_secrets_longest_first_and_nothing_short():
    environment = {
        "A_KEY": "abcdef",
        "B_KEY": "abcdef-and-more",
        "C_KEY": "short",
        "D_TOKEN": "1234567",
        "E_TOKEN": "20260101",
        "HTTPS_PROXY": "http://me:pr0xy@proxy:3128",
        "PATH": "/usr/bin/where",
    }
    found = secret_values(environment, ["named", ""])
    assert found == ["abcdef-and-more", "20260101", "abcdef", "named", "pr0xy"]
    assert masked_text("x abcdef-and-more y abcdef z /usr/bin/where", found) == (
        "x *** y *** z /usr/bin/where"
    )
    shown = masked_environment(environment)
    assert shown["D_TOKEN"] == "***"
    assert shown["PATH"] == "/usr/bin/where"
    assert shown["HTTPS_PROXY"] == "http://me:***@proxy:3128"


def test_everything_in_an_object_of_json_is_masked():
    found = masked({"a": ["x s3cret", 1, None, ("s3cret",)], "s3cret": {"b": 1.5}}, ["s3cret"])
    assert found == {"a": ["x ***", 1, None, ["***"]], "***": {"b": 1.5}}


KEYS = st.text(
    st.characters(min_codepoint=0x21, max_codepoint=0x17E), min_size=8, max_size=40
).filter(lambda key: not set(key) <= set("*"))
FORMS = {
    "as it is": lambda key: key,
    "json": lambda key: json.dumps({"error": [key]}),
    "json, not ascii": lambda key: json.dumps(key, ensure_ascii=False),
    "json, slashes escaped": lambda key: json.dumps(key).replace("/", "\\/"),
    "json in json": lambda key: json.dumps(json.dumps(key)),
    "address": lambda key: quote(key, safe=""),
    "path": quote,
    "form": quote_plus,
    "html": html.escape,
    "csv": lambda key: key.replace('"', '""'),
    "hex": lambda key: key.encode().hex(),
    "base64": lambda key: base64.b64encode(key.encode()).decode(),
    "base64 for addresses": lambda key: base64.urlsafe_b64encode(key.encode()).decode(),
}


@pytest.mark.parametrize("form", FORMS)
@given(key=KEYS)
def test_a_secret_is_masked_in_every_form(form, key):
    written = FORMS[form](key)
    shown = masked_text(f"before {written} after", [key])
    core = json.dumps(key)[1:-1]
    assert key not in shown
    assert core not in shown
    assert "***" in shown
    assert shown.startswith("before ")
    assert shown.endswith(" after")


@given(key=KEYS, before=st.binary(max_size=7), after=st.binary(max_size=7))
def test_a_secret_within_base64_is_masked_wherever_it_begins(key, before, after):
    coded = base64.b64encode(before + key.encode() + after).decode()
    shown = masked_text(coded, [key])
    assume(shown != coded or len(key) < 8)
    assert "***" in shown
    # At most the characters at either end, which hold other bytes too, are left of it.
    assert len(shown.replace("***", "")) <= (len(before) + len(after)) * 4 / 3 + 8


@pytest.mark.parametrize(
    ("value", "known"),
    [
        ("Bearer sk-123456", {"Bearer sk-123456", "sk-123456"}),
        ("sid=S3CR3T; Path=/; theme=dark", {"sid=S3CR3T; Path=/; theme=dark", "S3CR3T", "dark"}),
        ("a=b%20c-secret", {"a=b%20c-secret", "b%20c-secret", "b c-secret"}),
        ('Digest username="user", response="0a4f"', {"user", "0a4f"}),
        ("c2VjcmV0LWtleQ==", {"c2VjcmV0LWtleQ=="}),
    ],
)
def test_a_credential_is_known_by_its_parts(value, known):
    assert known <= parts(value)
    assert not {"Bearer", "Digest"} & parts(value)


def test_a_key_may_hold_what_separates_credentials():
    assert {"sk-a=b", 'sk-"c"/=='} <= parts("Bearer sk-a=b") | parts('Bearer sk-"c"/==')


def test_the_password_behind_basic_is_a_secret():
    given = base64.b64encode(b"alice:wonder-land").decode()
    assert {"wonder-land", "alice:wonder-land", given} <= parts(f"Basic {given}")


def test_headers_and_fields_that_say_so_are_secret():
    headers = {
        "Authorization": "Bearer sk-123456",
        "Cookie": "sid=S3CR3T",
        "X-Api-Key": "abcdef",
        "X-Whatever": "Token t0ken",
        "X-Team": "performance",
    }
    found = header_secrets(headers)
    assert {"sk-123456", "S3CR3T", "abcdef", "t0ken"} <= found
    assert "performance" not in found
    body = {
        "api_key": "k-123",
        "metadata": [{"user_token": "u-123"}, {"eos_token": "</s>"}],
        "max_tokens": 5,
        "stop_token_ids": [1, 2],
        "stop": ["stop"],
    }
    assert field_secrets(body) == {"k-123", "u-123"}
    assert masked_fields(body) == {
        **body,
        "api_key": "***",
        "metadata": [{"user_token": "***"}, {"eos_token": "</s>"}],
    }
