from __future__ import annotations

import pytest

from benchcore.sim import PROFILES, SimOptions, SimProfile


@pytest.mark.parametrize("name", PROFILES)
def test_every_built_in_profile_is_sound(name):
    assert SimProfile.named(name).max_running >= 1


def test_fields_can_be_overridden_by_text():
    profile = SimProfile.named("fast", decode_base_seconds="0.005", prefix_cache="false")
    assert (profile.decode_base_seconds, profile.prefix_cache) == (0.005, False)
    assert profile.max_running == SimProfile.named("fast").max_running


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("quick", {}, "unknown profile 'quick': choose one of default, "),
        ("default", {"speed": 1}, "a profile has no field 'speed': choose one of model, "),
        ("default", {"max_running": 0}, "greater than or equal to 1"),
        ("default", {"decode_base_seconds": "inf"}, "finite number"),
        ("default", {"blocks": 10}, "cannot hold one sequence of max_model_len = 32768 tokens"),
    ],
)
def test_a_bad_profile_says_what_is_wrong(name, fields, message):
    with pytest.raises(ValueError, match=message):
        SimProfile.named(name, **fields)


def test_every_field_is_described():
    for model in (SimProfile, SimOptions):
        undescribed = [name for name, field in model.model_fields.items() if not field.description]
        assert undescribed in ([], ["profile"])


def test_a_certificate_needs_its_key(tmp_path):
    with pytest.raises(ValueError, match="go together"):
        SimOptions(certfile=tmp_path / "cert.pem")


def test_a_bad_random_fault_is_refused():
    with pytest.raises(ValueError, match="unknown fault 'explode'"):
        SimOptions(faults=("explode@0.5",))


def test_the_key_is_in_no_repr():
    assert "sesame" not in repr(SimOptions(api_key="sesame"))
