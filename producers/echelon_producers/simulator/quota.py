"""Request and token limits: an exact trailing window, a token bucket, and a count of calls at once.

All arithmetic is on integers (nanoseconds of a monotonic clock), so no rounding admits one call too many.
"""

import math
from collections import deque
from dataclasses import replace
from typing import Literal, Protocol

from .exchange import Failure, Standing
from .script import Limits

_NS = 1_000_000_000
_MINUTE_NS = 60 * _NS


class Meter(Protocol):
    """One limit: how long an amount must wait, and what is left."""

    limit: int

    def wait_ns(self, amount: int, now_ns: int) -> int | None:
        """Nanoseconds until `amount` fits if nothing else comes; 0 is now, None is never."""
        ...

    def spend(self, amount: int, now_ns: int) -> None:
        """Count `amount` as of now; only after `wait_ns` said 0."""
        ...

    def used(self, now_ns: int) -> int:
        """How much of the limit is taken, rounded up."""
        ...

    def reset_ns(self, now_ns: int) -> int:
        """Nanoseconds until the whole limit is free again if nothing else comes."""
        ...


class TrailingWindow:
    """At most `limit` in any `window_ns` that ends now: what was spent exactly `window_ns` ago no longer counts."""

    def __init__(self, limit: int, window_ns: int) -> None:
        self.limit = limit
        self._window_ns = window_ns
        self._spent: deque[tuple[int, int]] = deque()
        self._total = 0

    def _forget(self, now_ns: int) -> None:
        while self._spent and self._spent[0][0] <= now_ns - self._window_ns:
            self._total -= self._spent.popleft()[1]

    def wait_ns(self, amount: int, now_ns: int) -> int | None:
        """See `Meter.wait_ns`."""
        self._forget(now_ns)
        excess = self._total + amount - self.limit
        if excess <= 0:
            return 0
        for at_ns, spent in self._spent:
            excess -= spent
            if excess <= 0:
                return at_ns + self._window_ns - now_ns
        return None

    def spend(self, amount: int, now_ns: int) -> None:
        """See `Meter.spend`."""
        self._spent.append((now_ns, amount))
        self._total += amount

    def used(self, now_ns: int) -> int:
        """See `Meter.used`."""
        self._forget(now_ns)
        return self._total

    def reset_ns(self, now_ns: int) -> int:
        """See `Meter.reset_ns`."""
        return self._spent[-1][0] + self._window_ns - now_ns if self._spent else 0


class TokenBucket:
    """A bucket of `limit` that refills at `per_minute`, full at first. Levels are kept in 1 / (a minute's ns)."""

    def __init__(self, limit: int, per_minute: int) -> None:
        self.limit = limit
        self._per_minute = per_minute
        self._full = limit * _MINUTE_NS
        self._level = self._full
        self._at_ns = 0

    def _refill(self, now_ns: int) -> None:
        if now_ns > self._at_ns:
            self._level = min(self._full, self._level + self._per_minute * (now_ns - self._at_ns))
            self._at_ns = now_ns

    def _until(self, level: int) -> int:
        return max(0, -((self._level - level) // self._per_minute))

    def wait_ns(self, amount: int, now_ns: int) -> int | None:
        """See `Meter.wait_ns`."""
        if amount > self.limit:
            return None
        self._refill(now_ns)
        return self._until(amount * _MINUTE_NS)

    def spend(self, amount: int, now_ns: int) -> None:
        """See `Meter.spend`."""
        self._refill(now_ns)
        self._level -= amount * _MINUTE_NS

    def used(self, now_ns: int) -> int:
        """See `Meter.used`."""
        self._refill(now_ns)
        return self.limit - self._level // _MINUTE_NS

    def reset_ns(self, now_ns: int) -> int:
        """See `Meter.reset_ns`."""
        self._refill(now_ns)
        return self._until(self._full)


def _meter(limits: Limits, per_minute: int) -> Meter:
    # `window_s` is the trailing window, or what the bucket holds: that many seconds' worth of the rate.
    limit = math.floor(per_minute * limits.window_s / 60)
    if limits.algorithm == "token_bucket":
        return TokenBucket(limit, per_minute)
    return TrailingWindow(limit, round(limits.window_s * _NS))


class Quota:
    """The request and token rates of one scope, spent together or not at all."""

    def __init__(self, limits: Limits) -> None:
        self.tokens_counted = limits.tokens_counted
        self._meters: list[tuple[Literal["requests", "tokens"], Meter]] = []
        if limits.rpm is not None:
            self._meters.append(("requests", _meter(limits, limits.rpm)))
        if limits.tpm is not None:
            self._meters.append(("tokens", _meter(limits, limits.tpm)))

    def admit(self, tokens: int, now_ns: int) -> Failure | None:
        """Spend one request and `tokens`, or nothing: then the 429 to answer, with the true wait for both rates."""
        refusal: Failure | None = None
        longest_ns = 0
        never = False
        for measure, meter in self._meters:
            amount = 1 if measure == "requests" else tokens
            wait_ns = meter.wait_ns(amount, now_ns)
            if wait_ns == 0:
                continue
            never = never or wait_ns is None
            if refusal is None or wait_ns is None or wait_ns > longest_ns:
                used = meter.used(now_ns)
                refusal = Failure(kind="429", measure=measure, limit=meter.limit, used=used, requested=amount)
            longest_ns = max(longest_ns, wait_ns or 0)
        if refusal is not None:
            return replace(refusal, retry_after_s=None if never else longest_ns / _NS)
        for measure, meter in self._meters:
            meter.spend(1 if measure == "requests" else tokens, now_ns)
        return None

    def standing(self, now_ns: int) -> list[Standing]:
        """What rate-limit headers report, one entry for each rate."""
        return [
            Standing(measure, meter.limit, meter.limit - meter.used(now_ns), meter.reset_ns(now_ns) / _NS)
            for measure, meter in self._meters
        ]


class Gate:
    """At most `limit` calls at once in one scope; 0 is no limit."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.inside = 0

    def refusal(self) -> Failure | None:
        """The 429 to answer when one more would be too many."""
        if not self.limit or self.inside < self.limit:
            return None
        # When a call will end is not known beforehand; one second is what is promised.
        return Failure(kind="429", measure="concurrency", limit=self.limit, used=self.inside, retry_after_s=1)
