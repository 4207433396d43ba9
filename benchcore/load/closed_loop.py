"""Closed loop: virtual users, each sending its next request when its last one has ended."""

from collections.abc import Callable

from benchcore.base.backoff import Backoff
from benchcore.base.clock import NS, Clock, Timer
from benchcore.client.records import FAILED, Outcome, Record


class InFlight:
    """Counts requests on their way and integrates the count.

    Args:
        start_ns: where its first second begins.
    """

    def __init__(self, start_ns: int) -> None:
        self.now = 0
        self._start_ns = start_ns
        self._last_ns = start_ns
        self._area = 0  # requests × ns
        self._seconds: list[int] = []

    def change(self, at_ns: int, by: int) -> None:
        """Take note that the count changes by `by` at `at_ns`, no earlier than the last change."""
        self.area(at_ns)
        self.now += by

    def area(self, at_ns: int) -> int:
        """Return the integral up to `at_ns`, in requests × ns."""
        last_ns = self._last_ns
        if at_ns > last_ns:
            self._area += self.now * (at_ns - last_ns)
            while last_ns < at_ns:
                second = (last_ns - self._start_ns) // NS
                until_ns = min(self._start_ns + (second + 1) * NS, at_ns)
                while len(self._seconds) <= second:
                    self._seconds.append(0)
                self._seconds[second] += self.now * (until_ns - last_ns)
                last_ns = until_ns
            self._last_ns = at_ns
        return self._area

    def second_means(self, until_ns: int) -> list[float]:
        """Return the mean count of each whole second up to `until_ns`."""
        self.area(until_ns)
        whole = (until_ns - self._start_ns) // NS
        return [area / NS for area in self._seconds[:whole]]

    def mean_of_second(self, second: int) -> float:
        """Return the mean count of one second that is over."""
        return self._seconds[second] / NS if second < len(self._seconds) else 0.0


BACKOFF = Backoff(first_seconds=0.1, most_seconds=5.0)
"""How long a user waits after failures in a row."""

Emit = Callable[[int, Callable[[Record], None]], None]
"""Send a request planned for an instant (ns); the second argument takes its record."""


class ClosedLoop:
    """Keeps `users` requests on their way.

    Args:
        clock: what time it is.
        emit: sends a request.
        users: how many virtual users there are.
        ramp_ns: their starts are spread evenly over this time, so that they do not march in step.
        think_ns: how long a user waits after an answer.
    """

    def __init__(
        self, clock: Clock, emit: Emit, users: int, *, ramp_ns: int = 0, think_ns: int = 0
    ) -> None:
        self._clock = clock
        self._emit = emit
        self._users = users
        self._ramp_ns = ramp_ns
        self._think_ns = think_ns
        self._failures = [0] * users
        self._timers: dict[int, Timer] = {}
        self._stopped = False

    def start(self, start_ns: int) -> None:
        """Let the users begin."""
        for user in range(self._users):
            if self._stopped:
                return  # by the end of a request that failed at once
            at_ns = start_ns + self._ramp_ns * user // self._users
            if at_ns <= self._clock.now_ns():
                self._send(user, at_ns)
            else:
                self._send_at(user, at_ns)

    def stop(self) -> None:
        """Send nothing more."""
        self._stopped = True
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _send_at(self, user: int, at_ns: int) -> None:
        def due() -> None:
            self._timers.pop(user, None)
            self._send(user, at_ns)

        self._timers[user] = self._clock.call_at(at_ns, due)

    def _send(self, user: int, scheduled_ns: int) -> None:
        if not self._stopped:
            self._emit(scheduled_ns, lambda record: self._ended(user, record))

    def _ended(self, user: int, record: Record) -> None:
        if self._stopped or record.outcome is Outcome.CANCELLED:  # by us: the level is ending
            return
        failed = record.outcome in FAILED
        self._failures[user] = self._failures[user] + 1 if failed else 0
        wait_ns = self._think_ns
        if failed:
            wait_ns += round(BACKOFF.seconds(self._failures[user]) * NS)
        if wait_ns:
            self._send_at(user, record.done_ns + wait_ns)
        else:
            self._send(user, record.done_ns)
