"""YAML that is too much: told at once, before it is made into anything."""

import pytest

from benchcore.base.errors import ConfigError
from benchcore.config.document import MOST_BYTES, read_document
from benchcore.servers.kubernetes.manifests import read_manifests

MERGES = "a: &a {x: 1, y: 2}\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)}\n  <<: [{', '.join(['*' + chr(97 + n)] * 10)}]\n"
    for n in range(9)
)
CASES = {
    "base 60": ("a: " + ":".join(["1"] + ["59"] * 400_000), ":1: a number of 1200001 digits"),
    "digits": ("a: " + "9" * 3_000_000, ":1: a number of 3000000 digits"),
    "many keys": ("".join(f"k{n}: 1\n" for n in range(380_000)), ": holds over 100000 keys"),
    "a long list": ("a: [" + "1," * 1_900_000 + "]", ": holds over 100000 keys"),
    "too large": ("a: " + "x y " * (MOST_BYTES // 4), ": is larger than 4 MB"),
    "deep": ("a: " + "[" * 2_000_000, "is nested too deeply"),
    "merged keys": (MERGES, ": holds over 100000 keys, aliases counted each time"),
    "broken at its end": (
        "".join(f"k{n}: 1\n" for n in range(90_000)) + "x: [\n",
        ":90002: is not",
    ),
    "a key twice": ("k: 1\n" * 90_000, ":2: "),
    "a control character": ("a: \x07\n", ": is not YAML: unacceptable character"),
}


READERS = {
    "document": read_document,
    "manifests": lambda path: read_manifests([path.name], path.parent),
}


@pytest.mark.parametrize("kind", READERS)
@pytest.mark.parametrize("case", CASES)
def test_what_is_too_much_is_refused_in_one_line(tmp_path, case, kind):
    text, says = CASES[case]
    path = tmp_path / "a.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as told:
        READERS[kind](path)
    assert says in str(told.value)
    assert str(told.value).startswith(f"{path}:")
    assert "\n" not in str(told.value)


def test_a_large_file_means_what_a_small_one_does(tmp_path):
    path = tmp_path / "a.yaml"
    lines = "a: 1:30\nb: [yes, 2026-01-01, ~]\nc: &x {d: 0x1f}\ne: *x\n"
    path.write_text(lines)
    small = read_document(path)
    path.write_text(lines + "#" * 70_000 + "\n")
    large = read_document(path)
    assert (large.content, large.lines) == (small.content, small.lines)
    assert small.content["a"] == 90
