"""What the client measured, held against the simulator's own log."""

from __future__ import annotations

import asyncio
import json

import pytest

from benchcore.client.client import Client
from benchcore.client.records import Outcome
from benchcore.client.request import Prompt
from benchcore.config.target import Target
from benchcore.sim import SimOptions, SimProfile
from benchcore.sim.process import SimulatorProcess

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("endpoint", ["chat", "completions", "responses"])
async def test_every_token_is_stamped_after_the_server_wrote_it(tmp_path, endpoint):
    truth = tmp_path / "truth.jsonl"
    profile = SimProfile.named("fast", decode_base_seconds=0.002)
    users, requests, tokens = 4, 3, 20
    with SimulatorProcess(SimOptions(profile=profile, truth=truth)) as sim:
        extra = {"ignore_eos": True}
        target = Target(sim.base_url, model=profile.model, endpoint=endpoint, extra_body=extra)
        async with Client(target) as client:

            async def user(number):
                return [
                    await client.send(
                        client.prepare(Prompt(f"{number} {i} hello", output_tokens=tokens))
                    )
                    for i in range(requests)
                ]

            found = [r for some in await asyncio.gather(*map(user, range(users))) for r in some]
    accounts = {one["request_id"]: one for one in map(json.loads, truth.read_text().splitlines())}
    assert len(accounts) == len(found) == users * requests
    for record in found:
        account = accounts[record.request_id]
        writes = account["writes_ns"]
        assert record.outcome is Outcome.OK
        assert record.token_events == account["events"] == len(writes) > 0
        assert record.usage.completion_tokens == account["completion_tokens"] == tokens
        assert record.usage.prompt_tokens == account["prompt_tokens"]
        counts = record.events or [1] * len(record.stamps)
        stamps = [
            stamp for stamp, count in zip(record.stamps, counts, strict=True) for _ in range(count)
        ]
        # A stamp is mapped from another clock: the two are read some microseconds apart.
        late = [stamp - write for stamp, write in zip(stamps, writes, strict=True)]
        assert min(late) >= -STAMP_ERROR_NS
        assert record.sent_ns <= account["received_ns"] + STAMP_ERROR_NS
        assert list(record.stamps) == sorted(record.stamps)
        assert record.first_token_ns == record.stamps[0]
        assert record.last_token_ns == record.stamps[-1] <= record.done_ns


STAMP_ERROR_NS = 50_000
