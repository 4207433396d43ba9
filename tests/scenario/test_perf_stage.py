import pytest

from benchcore.base.errors import ConfigError
from benchcore.climbs.plan import Part
from benchcore.config.climb import ClimbConfig
from benchcore.scenario.perf_stage import _keep_to
from benchcore.workload.synthetic import Synthetic


@pytest.mark.parametrize(
    ("load", "allowed"),
    [
        ({"rate": (1, 2)}, True),
        ({"rate": (3,)}, False),
        ({"shape": "ramp:1..2/5s"}, True),
        ({"shape": "ramp:1..3/5s"}, False),
        ({"concurrency": (1,)}, False),
        ({"user_shape": "hold:1/5s"}, False),
    ],
)
def test_no_climb_asks_for_more_than_the_provider_allows(load, allowed):
    part = Part("x", Synthetic(), ClimbConfig(**load))
    if allowed:
        _keep_to(2.0, [part])
    else:
        with pytest.raises(ConfigError, match="the provider allows 2 requests a second"):
            _keep_to(2.0, [part])
    _keep_to(None, [part])
