"""Bursts of up to `size` requests, then `span` of them a ms."""

from echelon_configs import RateLimit

from .meter import USE_SHARE, Algorithm, Meter

#: A burst is smaller by what flows in during so long, because calls of a burst arrive later than they were granted.
BUCKET_GUARD_MS = 200


class TokenBucket(Algorithm):
    """A bucket starts full."""

    def __init__(self, meter: Meter) -> None:
        super().__init__(meter)
        self.level, self.at = meter.size, 0.0

    @staticmethod
    def meter_of(rate: RateLimit) -> Meter | None:
        """`bucket_size` requests at once, `refill_per_s` a second from there."""
        if not rate.bucket_size or not rate.refill_per_s:
            return None
        refill_per_ms = rate.refill_per_s / 1000
        size = max(min(1.0, rate.bucket_size), rate.bucket_size - refill_per_ms * BUCKET_GUARD_MS)
        return Meter("token_bucket", "requests", size, refill_per_ms, int(USE_SHARE * BUCKET_GUARD_MS))

    def open_at(self, amount: float, now: float) -> float:
        """When the bucket holds so many."""
        if amount > self.meter.size:
            return float("inf")
        short = amount - self._level(now)
        return now + short / self.meter.span if short > 0 else 0

    def use(self, amount: float, now: float) -> None:
        """So many are taken out."""
        self.level, self.at = self._level(now) - amount, now

    def used(self, now: float) -> float:
        """What is missing from the full bucket."""
        return self.meter.size - self._level(now)

    def _level(self, now: float) -> float:
        return min(self.meter.size, self.level + (now - self.at) * self.meter.span)
