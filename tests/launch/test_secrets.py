"""What counts as a secret, and how it is masked."""

import pytest

from benchcore.launch.secrets import (
    is_secret,
    masked_environment,
    masked_text,
    secret_values,
)


@pytest.mark.parametrize("name", ["HF_TOKEN", "A_API_KEY", "db_password", "AWS_SECRET", "AUTH"])
def test_a_name_tells_a_secret(name):
    assert is_secret(name)


@pytest.mark.parametrize("name", ["PATH", "CUDA_VISIBLE_DEVICES", "HOME", "MODEL"])
def test_other_names_do_not(name):
    assert not is_secret(name)


def test_values_are_those_of_secrets_longest_first_and_nothing_short():
    environment = {
        "A_KEY": "abcdef",
        "B_KEY": "abcdef-and-more",
        "C_KEY": "short",
        "D_TOKEN": "20260101",
        "PATH": "/usr/bin/where",
    }
    found = secret_values(environment)
    assert found == ["abcdef-and-more", "abcdef"]
    assert masked_text("x abcdef-and-more y abcdef z /usr/bin/where", found) == (
        "x *** y *** z /usr/bin/where"
    )
    assert masked_environment(environment)["D_TOKEN"] == "***"
    assert masked_environment(environment)["PATH"] == "/usr/bin/where"
