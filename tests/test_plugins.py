"""Plug-ins: entry points of installed packages, and names that are not known."""

from importlib.metadata import EntryPoint

import pytest

from benchcore.base import plugins
from benchcore.base.errors import ConfigError
from benchcore.base.plugins import Group, nearest

GROUP = Group("benchcore.things", "thing")


@pytest.fixture
def offered(monkeypatch):
    def offer(**values):
        points = [EntryPoint(name, value, GROUP.name) for name, value in values.items()]
        monkeypatch.setattr(
            plugins, "entry_points", lambda group: points if group == GROUP.name else []
        )
        return points

    return offer


def test_what_is_near_is_named_and_else_what_is_known():
    assert nearest("shrot", ["long", "short"]) == "did you mean short?"
    assert nearest("nothing", ["long", "short"]) == "known are long, short"
    assert nearest("nothing", []) == "known are none"
    assert nearest("nothing", ["long"], otherwise="see --list") == "see --list"


def test_points_are_sorted_and_loaded_by_name(offered):
    offered(second="math:tau", first="math:pi")
    assert list(GROUP.points()) == ["first", "second"]
    assert GROUP.load("first") == pytest.approx(3.14159, abs=1e-5)
    assert list(GROUP.load_all()) == ["first", "second"]
    assert GROUP.load_all()["second"] == pytest.approx(6.28318, abs=1e-5)


def test_a_name_that_nobody_offers_is_told_the_nearest(offered):
    offered(first="math:pi")
    with pytest.raises(
        ConfigError, match=r"thing 'frist' is unknown; did you mean first\? \(sic\)"
    ):
        GROUP.load("frist", hint=" (sic)")


def test_two_of_one_name_are_refused_unless_they_are_the_same(offered):
    points = offered(first="math:pi")
    points.append(EntryPoint("first", "math:pi", GROUP.name))
    assert list(GROUP.points()) == ["first"]
    points.append(EntryPoint("first", "math:tau", GROUP.name))
    with pytest.raises(
        ConfigError, match="thing first: is provided by both math:pi and math:tau; uninstall one"
    ):
        GROUP.points()


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("no_such_module:X", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("math:no_such", "AttributeError: module 'math' has no attribute 'no_such'"),
    ],
)
def test_what_cannot_be_loaded_is_told_with_its_reason(offered, value, said):
    offered(first=value)
    with pytest.raises(ConfigError) as told:
        GROUP.load("first")
    with pytest.raises(ConfigError) as of_all:
        GROUP.load_all()
    assert str(of_all.value) == str(told.value)
    assert str(told.value) == (
        f"thing first of {value}: cannot be loaded: {said}; repair or uninstall it"
    )
