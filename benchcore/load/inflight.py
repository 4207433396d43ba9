"""In-flight: how many requests are on their way, over time."""

from benchcore.clock import NS


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
