from __future__ import annotations

import pytest

from benchcore.client.records import Outcome

BOTH_LOOPS = True


@pytest.mark.parametrize("end", ["close", "reset"])
async def test_a_connection_that_ends_at_any_byte(wire, serve, connect, post, files, end):
    raw = wire.stream(wire.delta(content="é"), wire.delta("stop"), wire.DONE)
    head = len(wire.STREAM_HEAD)
    proper = raw.index(b"stop")  # its event is whole only with the line break behind it
    proper = raw.index(b"\n\n", proper) + 2
    offsets = iter(range(len(raw)))

    def script(peer):
        offset = next(offsets)
        peer.request()
        peer.send(raw[:offset])
        getattr(peer, end)()

    server = serve(script)
    client = await connect(server.url)
    client._watchdog._seconds = 0.002
    client._watchdog.stop()
    client._watchdog.start()
    before = files()
    for offset in range(len(raw)):
        record = await post(client)
        expected = (
            Outcome.CONNECT_ERROR
            if offset == 0
            else Outcome.TRUNCATED
            if offset < proper
            else Outcome.OK
        )
        assert (offset, record.outcome) == (offset, expected), record.error
        assert record.error == "" if expected is Outcome.OK else record.error
        assert record.status == (200 if offset >= head else 0)
        assert client.in_flight == {}
        assert record.retried is False
    assert server.accepted == len(raw)
    assert files() <= before + 1
