"""The simulator as something that a scenario launches: what it says of a wrong scenario."""

import pytest

from benchcore.base.errors import ConfigError
from benchcore.config.servers import SimulatorLaunch
from benchcore.scenario.builtin_stages import SimulatorServer


@pytest.mark.parametrize(
    ("profile", "settings", "says"),
    [
        ("fsat", {}, "launch.simulator.profile: 'fsat' is not known; did you mean fast?"),
        (
            "x",
            {},
            "launch.simulator.profile: 'x' is not known; known are default, fast, slow, knee",
        ),
        (
            "fast",
            {"max_runing": 3},
            "launch.simulator.settings: 'max_runing' is not known; did you mean max_running?",
        ),
        ("fast", {"max_running": 0}, "launch.simulator.settings: max_running: Input should be"),
        ("fast", {"name": "slow"}, "launch.simulator.settings: 'name' is not known; "),
    ],
)
def test_what_there_is_not_is_told_with_the_nearest(profile, settings, says):
    with pytest.raises(ConfigError) as told:
        SimulatorServer(SimulatorLaunch(profile=profile, settings=settings))
    assert str(told.value).startswith(says)


@pytest.mark.integration
def test_a_run_with_an_unknown_profile_is_refused_in_one_line(benchcore, tmp_path):
    (tmp_path / "a.yaml").write_text("id: a\nlaunch: {simulator: {profile: fsat}}\n")
    done = benchcore.run("run", "--scenario", "a.yaml", "--quiet")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == (
        "benchcore: a: launch: launch.simulator.profile: 'fsat' is not known; did you mean fast?"
    )
