"""At most `size` requests in any `span` ms: an exact log of when the last ones were granted."""

from collections import deque

from echelon_configs import RateLimit

from .meter import USE_SHARE, Algorithm, Meter, guard_ms


class SlidingWindow(Algorithm):
    """The model keeps all starts; the Lua (`sliding_window.lua`) keeps as many as the largest limit of its scope."""

    def __init__(self, meter: Meter) -> None:
        super().__init__(meter)
        self.starts: deque[float] = deque()

    @staticmethod
    def meter_of(rate: RateLimit) -> Meter | None:
        """`max_requests` in any `window_s` seconds."""
        if not rate.max_requests or not rate.window_s:
            return None
        window_ms = rate.window_s * 1000
        guard = guard_ms(window_ms)
        return Meter("sliding_window", "requests", rate.max_requests, int(window_ms + guard), int(USE_SHARE * guard))

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
