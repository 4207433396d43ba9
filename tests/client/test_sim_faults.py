"""Each outcome, provoked by a fault of the simulator."""

from __future__ import annotations

import pytest

from benchcore.client.records import Outcome, Phase
from benchcore.sim import SimOptions, SimProfile
from benchcore.sim.process import SimulatorProcess

pytestmark = pytest.mark.integration

LIMITS = {"first_token": 0.3, "between_tokens": 0.2, "total": 5.0}


@pytest.fixture(scope="module")
def sim():
    profile = SimProfile.named("fast", decode_base_seconds=0.001)
    with SimulatorProcess(SimOptions(profile=profile)) as sim:
        yield sim


@pytest.mark.parametrize("endpoint", ["chat", "completions", "responses"])
@pytest.mark.parametrize(
    ("fault", "outcome", "events"),
    [
        ("status:503", Outcome.HTTP_ERROR, 0),
        ("status:429", Outcome.HTTP_ERROR, 0),
        ("garbage", Outcome.PROTOCOL_ERROR, 0),
        ("error_event:0", Outcome.STREAM_ERROR, 0),
        ("error_event:3", Outcome.STREAM_ERROR, 3),
        ("error_after_finish", Outcome.STREAM_ERROR, 8),
        ("truncate:3", Outcome.TRUNCATED, 3),
        ("cut:3", Outcome.TRUNCATED, 3),
        ("reset:3", Outcome.TRUNCATED, None),  # a reset may outrun what was sent before
        ("bad_utf8:2", Outcome.PROTOCOL_ERROR, None),
        ("huge_line:20000000", Outcome.PROTOCOL_ERROR, None),
        ("empty", Outcome.EMPTY, 0),
        ("role_only", Outcome.EMPTY, 0),
        ("no_done", Outcome.OK, 8),
        ("no_usage", Outcome.OK, 8),
        ("close_after", Outcome.OK, 8),
        ("merge:4", Outcome.OK, 8),
        ("multi_token:2", Outcome.OK, 4),
    ],
)
async def test_the_outcome_of_a_fault(sim, connect, post, endpoint, fault, outcome, events):
    client = await connect(
        sim.base_url,
        endpoint=endpoint,
        model=sim.options.profile.model,
        headers={"x-sim-fault": fault},
        extra_body={
            "max_output_tokens" if endpoint == "responses" else "max_tokens": 8,
            "ignore_eos": True,
        },
    )
    if (fault, endpoint) == ("no_done", "responses"):
        outcome = Outcome.TRUNCATED  # its end is `response.completed`, and that is left out
    for _ in range(2):
        record = await post(client)
        assert (record.outcome, record.phase) == (outcome, None), record.error
        assert (record.error == "") == (outcome is Outcome.OK)
        if events is not None:
            assert record.token_events == events
        if fault.startswith("status"):
            assert record.status == int(fault[-3:])
        elif outcome is not Outcome.PROTOCOL_ERROR:
            assert record.status == 200
        if outcome is Outcome.OK and fault != "no_usage":
            assert record.usage.completion_tokens == 8
        if fault == "no_usage":
            assert record.usage is None
            assert record.output_tokens == 8


@pytest.mark.parametrize(
    ("fault", "phase", "events"),
    [
        ("slow_headers:3", Phase.FIRST_TOKEN, 0),
        ("stall_first:3", Phase.FIRST_TOKEN, 0),
        ("stall:3:3", Phase.BETWEEN_TOKENS, 3),
    ],
)
async def test_the_time_out_of_a_stall(sim, connect, post, fault, phase, events):
    client = await connect(
        sim.base_url,
        model=sim.options.profile.model,
        headers={"x-sim-fault": fault},
        extra_body={"max_tokens": 8, "ignore_eos": True},
        timeouts=LIMITS,
    )
    record = await post(client)
    assert (record.outcome, record.phase) == (Outcome.TIMEOUT, phase)
    assert record.error == f"{phase.value} took longer than {LIMITS[phase.value]:g} s"
    assert record.token_events == events
