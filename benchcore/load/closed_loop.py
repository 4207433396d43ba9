"""Closed loop: virtual users, each beginning its next session when its last one has ended."""

from collections.abc import Callable, Sequence

from benchcore.base.backoff import Backoff
from benchcore.base.clock import NEVER_NS, NS, Clock, Timer
from benchcore.load.session_run import SessionEnd
from benchcore.workload.sessions import WHOLE, Share


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

Begin = Callable[[int, Callable[[SessionEnd], None]], None]
"""Begin a session planned for an instant (ns); the second argument is told how it went."""

Shifts = Sequence[tuple[int, int]]
"""When a user works: from and until, in ns from the start, ascending."""


class ClosedLoop:
    """Keeps `users` sessions going, each of which has one request on its way or more.

    Args:
        clock: what time it is.
        begin: begins a session.
        users: how many virtual users there are.
        ramp_ns: their starts are spread evenly over this time, so that they do not march in step.
        think_ns: how long a user waits after a session.
        shifts: by user, when it works; a session that has begun is brought to its end. `None`: all
            of them always do.
        share: which of the users are run from here.
    """

    def __init__(
        self,
        clock: Clock,
        begin: Begin,
        users: int,
        *,
        ramp_ns: int = 0,
        think_ns: int = 0,
        shifts: Sequence[Shifts] | None = None,
        share: Share = WHOLE,
    ) -> None:
        self._clock = clock
        self._begin = begin
        self._users = users
        self._ramp_ns = ramp_ns
        self._think_ns = think_ns
        self._shifts = shifts
        self._share = share
        self._start_ns = 0
        self._failures = [0] * users
        self._timers: dict[int, Timer] = {}
        self._stopped = False

    def start(self, start_ns: int) -> None:
        """Let the users begin."""
        self._start_ns = start_ns
        for user in range(self._share.worker, self._users, self._share.of):
            if self._stopped:
                return  # by the end of a request that failed at once
            at_ns = self._on_shift(user, start_ns + self._ramp_ns * user // self._users)
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

    def _on_shift(self, user: int, at_ns: int) -> int:
        """Return when a user that is free at an instant next works."""
        if self._shifts is None:
            return at_ns
        for begin_ns, until_ns in self._shifts[user]:
            if at_ns < self._start_ns + until_ns:
                return max(at_ns, self._start_ns + begin_ns)
        return NEVER_NS

    def _send_at(self, user: int, at_ns: int) -> None:
        if at_ns >= NEVER_NS:
            return

        def due() -> None:
            self._timers.pop(user, None)
            self._send(user, at_ns)

        self._timers[user] = self._clock.call_at(at_ns, due)

    def _send(self, user: int, scheduled_ns: int) -> None:
        if not self._stopped:
            self._begin(scheduled_ns, lambda end: self._ended(user, end))

    def _ended(self, user: int, end: SessionEnd) -> None:
        if self._stopped or end.cancelled:  # by us: the level is ending
            return
        self._failures[user] = self._failures[user] + 1 if end.failed else 0
        wait_ns = self._think_ns
        if end.failed:
            wait_ns += round(BACKOFF.seconds(self._failures[user]) * NS)
        at_ns = self._on_shift(user, end.done_ns + wait_ns)
        if at_ns > end.done_ns:
            self._send_at(user, at_ns)
        else:
            self._send(user, at_ns)
