"""Files laid over one another, and their variables."""

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchcore.base.errors import ConfigError
from benchcore.config.scenario import Scenario
from benchcore.config.tree import Place, Tree


def tree(tmp_path, text, name="a.yaml"):
    path = tmp_path / name
    path.write_text(text)
    return Tree.read(path)


def test_mappings_are_laid_key_by_key_and_lists_are_replaced(tmp_path):
    base = tree(tmp_path, "a: {x: 1, y: [1, 2]}\nb: 2\n", "base.yaml")
    own = tree(tmp_path, "c: 3\na:\n  y: [3]\n")
    found = own.over(base)
    assert found.content == {"a": {"x": 1, "y": [3]}, "b": 2, "c": 3}
    places = {keys: f"{place.path.name}:{place.line}" for keys, place in found.places.items()}
    assert places[("a", "x")] == "base.yaml:1"
    assert places[("a", "y")] == "a.yaml:3"
    assert places[("a", "y", 0)] == "a.yaml:3"
    assert ("a", "y", 1) not in places
    assert places[("b",)] == "base.yaml:2"
    assert places[("c",)] == "a.yaml:1"


def test_what_is_replaced_whole_leaves_no_places(tmp_path):
    base = tree(tmp_path, "a: {x: {deep: 1}}\n", "base.yaml")
    found = tree(tmp_path, "a: false\n").over(base)
    assert found.content == {"a": False}
    assert found.place(("a", "x", "deep")) == Place(tmp_path / "a.yaml", 1)


VALUES = st.recursive(
    st.integers() | st.booleans() | st.text("ab", max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("xyz"), inner, max_size=3)
    ),
    max_leaves=8,
)
TREES = st.dictionaries(st.sampled_from("abc"), VALUES, max_size=3)
HERE = {(): Place(None, 1)}


def laid(mine, theirs):
    return Tree(mine, dict(HERE)).over(Tree(theirs, dict(HERE))).content


@given(TREES, TREES, TREES)
def test_laying_over_is_idempotent_and_associative_and_changes_nothing(one, two, three):
    before = copy.deepcopy((one, two, three))
    assert laid(one, one) == one
    assert laid(one, {}) == one
    assert laid({}, one) == one
    assert laid(laid(one, two), three) == laid(one, laid(two, three)) or not _mappings(one, two)
    assert (one, two, three) == before


def _mappings(one, two):
    """Whether no mapping stands over a value or a value over a mapping: then it is associative."""
    if isinstance(one, dict) and isinstance(two, dict):
        return all(_mappings(one[key], two[key]) for key in one.keys() & two.keys())
    return not isinstance(one, dict) and not isinstance(two, dict)


@given(TREES, TREES)
def test_what_is_laid_over_wins_wherever_it_says_something(one, two):
    def holds(mine, found):
        if isinstance(mine, dict):
            assert isinstance(found, dict)
            for key, value in mine.items():
                holds(value, found[key])
        else:
            assert found == mine

    holds(one, laid(one, two))


@pytest.mark.parametrize(
    ("text", "environ", "found"),
    [
        ("${A}", {"A": "x"}, "x"),
        ("${A:-y}", {"A": "x"}, "x"),
        ("${A:-y}", {}, "y"),
        ("${A:-y}", {"A": ""}, "y"),
        ("${A:-}", {}, ""),
        ("${A}", {"A": ""}, ""),
        ("a ${A} b ${B:-c d}", {"A": "1"}, "a 1 b c d"),
        ("${A:-http://h:1/p}", {}, "http://h:1/p"),
        ("$${A} $A {A}", {}, "${A} $A {A}"),
        ("${A}", {"A": "${B}"}, "${B}"),
    ],
)
def test_a_variable_is_put_in(tmp_path, text, environ, found):
    faults = []
    made = tree(tmp_path, f"a: ['{text}']\n").filled(environ, lambda _name: False, faults)
    assert faults == []
    assert made.content == {"a": [found]}


SECRET = "${MY_TOKEN} looks like a secret: give the name of the variable instead, as in api_key_env"


def test_every_fault_of_the_variables_is_told_at_once(tmp_path):
    text = "a: ${GONE}\nb:\n  c: ${MY_TOKEN}\n  d: ['${1X}', 'x ${OPEN']\ne: ${HERE}\n"
    text += "f: '${A:-{}}'\n"
    environ = {"HERE": "1", "MY_TOKEN": "s3cret"}
    faults = []
    made = tree(tmp_path, text).filled(environ, lambda name: "TOKEN" in name, faults)
    path = tmp_path / "a.yaml"
    assert faults == [
        f"{path}:1: a: the variable GONE is not set; set it, or write ${{GONE:-default}}",
        f"{path}:3: b.c: {SECRET}",
        f"{path}:4: b.d.0: ${{1X}} is no ${{NAME}} or ${{NAME:-default}}; $${{ is a plain ${{",
        f"{path}:4: b.d.1: ${{OPEN is no ${{NAME}} or ${{NAME:-default}}; $${{ is a plain ${{",
        f"{path}:6: f: ${{A:-{{}}: a default holds no braces",
    ]
    assert made.content["a"] == "${GONE}"
    assert made.content["e"] == "1"


def test_what_is_taken_out_below_leaves_no_place(tmp_path):
    made = tree(tmp_path, "a: {b: {x: 1, y: 2}, c: 3}\n").without_below(("a", "b"), {"x"})
    assert made.content == {"a": {"b": {"y": 2}, "c": 3}}
    assert ("a", "b", "x") not in made.places
    assert ("a", "b", "y") in made.places
    assert made.without_below(("a", "gone"), {"x"}).content == made.content


def test_a_fault_names_the_file_that_it_stands_in(tmp_path):
    base = tree(tmp_path, "id: a\ngpus: none\nlaunch: {simulator: {}}\n", "base.yaml")
    own = tree(tmp_path, "priority: high\nslo: [x]\n").over(base)
    with pytest.raises(ConfigError) as told:
        own.validated(Scenario)
    lines = str(told.value).splitlines()
    assert sorted(line.partition(": ")[0] for line in lines) == [
        f"{tmp_path / 'a.yaml'}:1",
        f"{tmp_path / 'a.yaml'}:2",
        f"{tmp_path / 'base.yaml'}:2",
    ]
    assert any(line.endswith("slo: is not known; did you mean slos?") for line in lines)
