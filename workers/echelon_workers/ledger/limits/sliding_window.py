"""At most `size` requests in any `span` ms: an exact log of when the last ones were granted."""

from collections import deque

from echelon_configs import RateLimit

from .meter import Algorithm, Meter, window_meter


class SlidingWindow(Algorithm):
    """The model keeps all starts; the Lua (`sliding_window.lua`) keeps as many as the largest limit of its scope."""

    def __init__(self, meter: Meter) -> None:
        super().__init__(meter)
        self.starts: deque[float] = deque()

    @staticmethod
    def meter_of(rate: RateLimit) -> Meter | None:
        """`max_requests` in any `window_s` seconds."""
        return window_meter("sliding_window", "requests", rate)

    def open_at(self, amount: float, now: float) -> float:
        """When the `size`-th last start has left the window."""
        if amount > self.meter.size:
            return float("inf")
        at = len(self.starts) + int(amount) - int(self.meter.size) - 1
        return self.starts[at] + self.meter.span if at >= 0 else now

    def use(self, amount: float, now: float) -> None:
        """So many requests have started."""
        self.starts.extend([now] * int(amount))

    def used(self, now: float) -> float:
        """Starts within the window."""
        return sum(start > now - self.meter.span for start in self.starts)
