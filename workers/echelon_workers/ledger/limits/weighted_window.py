"""At most `size` tokens in any `span` ms: an exact log of how many each call reserved, corrected by what it used."""

from echelon_configs import RateLimit

from .meter import Algorithm, Meter, window_meter


class WeightedWindow(Algorithm):
    """Entries are kept in the order of their times."""

    def __init__(self, meter: Meter) -> None:
        super().__init__(meter)
        self.entries: list[list[float]] = []

    @staticmethod
    def meter_of(rate: RateLimit) -> Meter | None:
        """`max_requests` tokens in any `window_s` seconds."""
        return window_meter("weighted_window", "tokens", rate)

    def open_at(self, amount: float, now: float) -> float:
        """When so many tokens have left the window that `amount` more fit."""
        if amount > self.meter.size:
            return float("inf")
        over = self.used(now) + amount - self.meter.size
        for at, tokens in self.entries:
            if over <= 0:
                break
            if at > now - self.meter.span:
                over -= tokens
                if over <= 0:
                    return at + self.meter.span
        return 0

    def use(self, amount: float, now: float) -> None:
        """So many tokens are reserved."""
        self.entries.append([now, amount])

    def settle(self, granted: float, reserved: float, actual: float) -> None:
        """A call that reserved so many at `granted` has used `actual`."""
        for entry in self.entries:
            if entry == [granted, reserved]:
                entry[1] = actual
                return

    def used(self, now: float) -> float:
        """Tokens within the window."""
        return sum(tokens for at, tokens in self.entries if at > now - self.meter.span)
