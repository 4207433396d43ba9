from __future__ import annotations

import socket
import struct
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchcore.client import stamps
from benchcore.client.records import Outcome
from benchcore.client.stamps import SO_TIMESTAMPNS, SO_TIMESTAMPNS_NEW, STEP_NS, Stamper

SOL = socket.SOL_SOCKET
BASE_REAL = 1_800_000_000_000_000_000


class Clocks:
    """Both clocks of the machine; each look at the wall clock may cost time."""

    def __init__(self):
        self.mono = 5_000_000_000
        self.offset = BASE_REAL - self.mono
        self.pause_ns = []

    def now(self):
        return self.mono

    def real(self):
        if self.pause_ns:
            self.mono += self.pause_ns.pop()
        return self.mono + self.offset


@pytest.fixture
def clocks(monkeypatch):
    clocks = Clocks()
    monkeypatch.setattr(stamps, "_now_ns", clocks.now)
    monkeypatch.setattr(stamps, "_real_ns", clocks.real)
    return clocks


@pytest.fixture
def stamper(clocks):
    stamper = Stamper(kernel=True)
    yield stamper
    stamper.close()


def ancillary(real_ns, kind=SO_TIMESTAMPNS):
    return [(SOL, kind, struct.pack("@qq", *divmod(real_ns, 10**9)))]


@pytest.mark.parametrize("kind", [SO_TIMESTAMPNS, SO_TIMESTAMPNS_NEW])
def test_a_kernel_stamp_is_mapped_to_the_monotonic_clock(clocks, stamper, kind):
    arrived = clocks.mono + 1_000_000
    clocks.mono = arrived + 4_000_000  # the loop was late by 4 ms
    real = arrived + clocks.offset
    assert stamper.stamp(ancillary(real, kind), clocks.mono, 0) == arrived
    assert list(stamper.take_lags()) == [4_000_000]
    assert (stamper.kernel, stamper.userspace, stamper.clock_steps) == (1, 0, 0)


@given(st.integers(0, 10**12), st.integers(0, 10**10), st.integers(-49_000, 49_000))
def test_the_mapping_is_exact_to_the_nanosecond(arrived, late, drift):
    clocks = Clocks()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stamps, "_now_ns", clocks.now)
        patch.setattr(stamps, "_real_ns", clocks.real)
        stamper = Stamper(kernel=False)
        clocks.mono = arrived + late
        clocks.offset += drift  # of the two clocks, less than a step
        kernel = arrived + clocks.offset
        assert stamper.stamp(ancillary(kernel), clocks.mono, 0) == arrived


def test_a_stamp_never_lies_in_the_future_nor_before_the_last_one(clocks, stamper):
    ahead = clocks.mono + 30_000 + clocks.offset
    assert stamper.stamp(ancillary(ahead), clocks.mono, 0) == clocks.mono
    previous = clocks.mono - 10
    behind = clocks.mono - 5_000 + clocks.offset
    assert stamper.stamp(ancillary(behind), clocks.mono, previous) == previous
    assert list(stamper.take_lags()) == [0, 10]


@pytest.mark.parametrize(
    "found",
    [
        [],
        [(SOL, SO_TIMESTAMPNS, struct.pack("@ii", 1, 2))],
        [(SOL, SO_TIMESTAMPNS, b"")],
        [(SOL, 29, struct.pack("@qq", 1, 2))],
    ],
)
def test_a_read_without_a_usable_stamp_is_stamped_by_the_clock(clocks, stamper, found):
    assert stamper.stamp(found, 123, 100) == 123
    assert (stamper.userspace, list(stamper.take_lags()), stamper.kernel) == (1, [], 0)


@pytest.mark.parametrize("step", [STEP_NS + 1, -STEP_NS - 1, 3_600 * 10**9, -3_600 * 10**9])
def test_a_confirmed_step_of_the_wall_clock_gives_one_userspace_stamp(clocks, stamper, step):
    kernel = clocks.mono - 1_000 + clocks.offset
    clocks.offset += step
    assert stamper.stamp(ancillary(kernel), clocks.mono, 0) == clocks.mono
    assert (stamper.clock_steps, stamper.userspace) == (1, 1)
    # The next stamp is of the clock after the step.
    arrived = clocks.mono + 5_000
    clocks.mono += 8_000
    assert stamper.stamp(ancillary(arrived + clocks.offset), clocks.mono, 0) == arrived
    assert (stamper.clock_steps, stamper.userspace) == (1, 1)


def test_a_pause_between_the_two_looks_is_no_step(clocks, stamper):
    arrived = clocks.mono - 2_000
    mono = clocks.mono
    clocks.pause_ns = [STEP_NS * 2]  # the thread was taken off the processor
    assert stamper.stamp(ancillary(arrived + clocks.offset), mono, 0) == arrived
    assert (stamper.clock_steps, stamper.userspace) == (0, 0)


@pytest.mark.parametrize("pauses", [[20_000], [40_000, 40_000], [30_000, 45_000, 20_000]])
def test_short_pauses_neither_shift_stamps_nor_add_up_to_a_step(clocks, stamper, pauses):
    for pause in pauses:
        arrived = clocks.mono - 2_000
        mono = clocks.mono
        clocks.pause_ns = [pause]
        assert stamper.stamp(ancillary(arrived + clocks.offset), mono, 0) == arrived
        clocks.mono += 1_000_000
    arrived = clocks.mono - 2_000
    assert stamper.stamp(ancillary(arrived + clocks.offset), clocks.mono, 0) == arrived
    assert (stamper.clock_steps, stamper.userspace) == (0, 0)


def test_ticks_follow_a_drift_and_leave_a_step_to_be_confirmed(clocks, stamper):
    for _ in range(10):
        clocks.offset += STEP_NS - 1
        stamper.tick()
        assert stamper.offset_ns == clocks.offset
    clocks.offset += STEP_NS + 1
    stamper.tick()
    assert stamper.offset_ns == clocks.offset - STEP_NS - 1
    assert stamper.clock_steps == 0


def test_lags_are_handed_over_once(clocks, stamper):
    append = stamper.lags.append
    append(3)
    append(4)
    assert list(stamper.take_lags()) == [3, 4]
    append(5)
    assert list(stamper.take_lags()) == [5]
    assert stamper.kernel == 3


class Unwilling:
    family = socket.AF_INET

    def __init__(self, errno):
        self.errno = errno

    def setsockopt(self, *_):
        raise OSError(self.errno, "no")


def test_a_kernel_that_does_not_stamp_is_no_fault_but_a_broken_socket_is(stamper):
    import errno

    stamper.kernel_wanted = True
    assert stamper.attach(Unwilling(errno.ENOPROTOOPT)) is False
    with pytest.raises(OSError, match="no"):
        stamper.attach(Unwilling(errno.EBADF))


def test_only_tcp_and_only_where_wanted(stamper):
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        assert stamper.attach(sock) is False
    with socket.socket() as sock:
        assert Stamper(kernel=False).attach(sock) is False
        assert stamper.attach(sock) is (sys.platform == "linux")


def test_without_a_socket_that_asks_for_stamps_there_are_none(monkeypatch):
    def refuse(*_):
        raise OSError

    monkeypatch.setattr(stamps.sys, "platform", "linux")
    monkeypatch.setattr(stamps.socket.socket, "setsockopt", refuse)
    stamper = Stamper(kernel=True)
    assert stamper.kernel_wanted is False
    stamper.close()


linux = pytest.mark.skipif(sys.platform != "linux", reason="kernel stamps are Linux's")


@linux
async def test_the_kernel_is_ready_before_the_first_request(monkeypatch):
    stamper = Stamper()
    assert await stamper.ready() is True
    monkeypatch.setattr(stamper, "attach", lambda sock: False)
    assert await stamper.ready(0.005) is False

    def refuse(*_):
        raise OSError

    monkeypatch.setattr(stamps.socket, "create_server", refuse)
    assert await stamper.ready() is False
    stamper.close()


async def test_a_stamper_that_asks_for_none_is_never_ready():
    assert await Stamper(kernel=False).ready() is False


@linux
async def test_every_read_of_forty_fresh_connections_has_a_kernel_stamp(
    wire, serve, answer, connect, post
):
    client = await connect(serve(answer(wire.good())).url)
    for _ in range(40):
        client.close_idle()
        record = await post(client)
        assert record.outcome is Outcome.OK
        assert record.reused is False
        assert record.sent_ns <= record.first_byte_ns <= record.done_ns
    lags = client.stamper.take_lags()
    assert client.stamper.userspace == 0
    assert len(lags) == client.stamper.kernel >= 40
    assert min(lags) >= 0


async def test_without_kernel_stamps_every_read_is_counted_as_userspace(
    wire, serve, answer, connect, post
):
    client = await connect(serve(answer(wire.good())).url)
    client.stamper.kernel_wanted = False
    assert (await post(client)).outcome is Outcome.OK
    assert client.stamper.userspace >= 1
    assert list(client.stamper.take_lags()) == []
