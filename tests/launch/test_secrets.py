"""What counts as a secret, and how it is masked."""

import pytest

from benchcore.launch.secrets import (
    is_secret,
    masked,
    masked_environment,
    masked_text,
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
