from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import pytest

from benchcore import SimOptions, SimProfile, Target
from benchcore.checks.catalogue import installed_suites, select
from benchcore.checks.run import Functional
from benchcore.checks.subject import Pace
from benchcore.config.checks import FunctionalConfig
from benchcore.runs.checks import Checks
from benchcore.sim.app import start

KEY = "a-key"
EXPIRED = "a-key-of-yesterday"
SUITES = installed_suites()

Check = Callable[..., Awaitable[Checks]]


def options(*breaks: str) -> SimOptions:
    """A simulator that is fast, and small enough for a burst to be too much for it."""
    profile = SimProfile.named(
        "fast",
        max_running=8,
        max_model_len=4096,
        blocks=4096,
        decode_base_seconds=0.0005,
        decode_per_sequence_seconds=0.000_001,
    )
    return SimOptions(
        profile=profile,
        api_key=KEY,
        expired_key=EXPIRED,
        max_waiting=8,
        max_body_bytes=2 * 1024 * 1024,
        breaks=breaks,
    )


def config(**fields: object) -> FunctionalConfig:
    """How a simulator is checked: quickly, and everything that can be."""
    usual = {
        "strict": True,
        "concurrency": 8,
        "burst": 40,
        "seconds": 300,
        "large_body": 3 * 1024 * 1024,
        "stall_seconds": 0,
    }
    return FunctionalConfig.model_validate({**usual, **fields})


@pytest.fixture
def check_simulator(monkeypatch: pytest.MonkeyPatch) -> Check:
    """Checks a simulator of its own, broken or not, with the whole catalogue or some of it.

    A simulator is free again at once after a burst: the second that it asks for is not waited.
    """
    monkeypatch.setattr(Pace, "after_burst", lambda _pace, records: list(records))

    async def check(*breaks: str, cases: Sequence[str] = (), **fields: object) -> Checks:
        runner, base_url = await start(options(*breaks))
        try:
            checks = select(SUITES.values(), cases=cases)
            stage = Functional(
                Target(base_url, api_key=KEY), checks, config(**fields), expired_key=EXPIRED
            )
            return await stage()
        finally:
            await runner.cleanup()

    return check
