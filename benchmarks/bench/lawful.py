"""Limits seen from the far side, exactly: calls above them, the share of them in use, and how late calls start.

Times are whole nanoseconds of one clock, in order. Nothing here knows how a limiter works; what one is told (a window
held open a little longer than the limit says, for example) comes in as `held`, and only moves the lawful moment.
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

#: When a call came, and how many ms later than it lawfully could have.
Delay = tuple[int, float]
_S = 1_000_000_000
_MINUTE = 60 * _S


@dataclass(frozen=True, slots=True, kw_only=True)
class Calls:
    """The calls of one scope in order of arrival.

    `amounts`: what each spends (1, or its tokens). `ends_ns`: when each was over at the provider; `cut`: whether that
    was because its worker was killed. `never_arrived`: when permits were granted to calls that their killed worker
    never sent: spent, and not seen by the provider.
    """

    times_ns: Sequence[int]
    amounts: Sequence[int]
    ends_ns: Sequence[int]
    cut: Sequence[bool]
    never_arrived: Sequence[int] = ()

    def spends(self) -> list[tuple[int, int, bool]]:
        """(when, how much, whether it arrived) of every permit, in order."""
        seen = [(at, amount, True) for at, amount in zip(self.times_ns, self.amounts, strict=True)]
        return sorted([*seen, *((at, 1, False) for at in self.never_arrived)])


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """At most `limit` in any trailing `window_s`, which the limiter holds open for `held_s`."""

    limit: int
    window_s: float
    held_s: float

    def over(self, calls: Calls) -> int:
        """Arrivals whose trailing window, they included, holds more than the limit."""
        window_ns = round(self.window_s * _S)
        found = total = left = 0
        for right, now in enumerate(calls.times_ns):
            total += calls.amounts[right]
            while calls.times_ns[left] <= now - window_ns:
                total -= calls.amounts[left]
                left += 1
            found += total > self.limit
        return found

    def delays(self, calls: Calls) -> list[Delay]:
        """How much later than lawful each call came that had to wait: lawful is the moment when enough of what was
        spent before has left the window for it to fit."""
        spends, held_ns = calls.spends(), round(self.held_s * _S)
        delays, total, first = [], 0, 0
        for at, amount, arrived in spends:
            total += amount
            while total > self.limit:
                total -= spends[first][1]
                first += 1
            if first and arrived:
                delays.append((at, max(0.0, (at - spends[first - 1][0] - held_ns) / 1e6)))
        return delays

    def used(self, calls: Calls) -> float:
        """What the trailing window held, averaged over time, as a share of the limit. From when the first window is
        full, for as many whole (held) windows as there are; 0 without one."""
        spends = calls.spends()
        window_ns, held_ns = round(self.window_s * _S), round(self.held_s * _S)
        begin = spends[0][0] + window_ns if spends else 0
        windows = (spends[-1][0] - begin) // held_ns if spends else 0
        if windows < 1:
            return 0.0
        end = begin + windows * held_ns
        held = sum(amount * max(0, min(at + window_ns, end) - max(at, begin)) for at, amount, _ in spends)
        return held / (end - begin) / self.limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """In any stretch of time, at most `size` and `per_minute` for its length. A whole number a minute, so that the
    check is in whole numbers. `held_per_minute` and `held_size` are what the limiter holds to."""

    size: int
    per_minute: int
    held_size: float
    held_per_minute: float

    def over(self, calls: Calls) -> int:
        """Arrivals that end a stretch which holds more than the bucket allows."""
        found, least = 0, None
        for number, at in enumerate(calls.times_ns):
            # arrivals i..j fit when (j - i + 1) <= size + rate (t_j - t_i): keep the least of i - rate t_i
            level = number * _MINUTE - self.per_minute * at
            least = level if least is None else min(least, level)
            found += level + _MINUTE - least > self.size * _MINUTE
        return found

    def delays(self, calls: Calls) -> list[Delay]:
        """How much later each call came than the moment when the bucket, after all before it, held it again."""
        delays: list[Delay] = []
        each_ns = _MINUTE / self.held_per_minute
        # Call k may come at the latest of t_i + (k - i + 1 - size) each, over all i before: keep that of t_i - i each.
        begin = float("-inf")
        for number, (at, _, arrived) in enumerate(calls.spends()):
            begin = max(begin, at - number * each_ns)
            if arrived and number >= self.held_size:
                late_ns = at - begin - (number + 1 - self.held_size) * each_ns
                delays.append((at, max(0.0, late_ns / 1e6)))
        return delays

    def used(self, calls: Calls) -> float:
        """What came after the first bucketful, as a share of what was filled in since the first call."""
        spends = calls.spends()
        after = len(spends) - self.held_size
        return max(0.0, after * _MINUTE / (self.per_minute * (spends[-1][0] - spends[0][0]))) if spends else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AtOnce:
    """At most `limit` calls at the same time. `apart_ns`: a stretch of time in which leases of a killed worker were
    still held, and which does not count for the share in use."""

    limit: int
    apart_ns: tuple[int, int] = (0, 0)

    def over(self, calls: Calls) -> int:
        """Arrivals that find the limit reached. A call ends where it is over at the provider."""
        ends = sorted(calls.ends_ns)
        return sum(number + 1 - bisect_right(ends, at) > self.limit for number, at in enumerate(calls.times_ns))

    def delays(self, calls: Calls) -> list[Delay]:
        """From the end of a call to the start of the one that takes its permit, first come first served. The permits of
        a killed worker come back when their leases lapse, which is not seen here: they are left out."""
        moments = [(at, 1) for at in calls.times_ns]
        moments += [(end, 0) for end, cut in zip(calls.ends_ns, calls.cut, strict=True) if not cut]
        free: deque[int] = deque()
        delays = []
        for at, starts in sorted(moments):
            if not starts:
                free.append(at)
            elif free:
                delays.append((at, (at - free.popleft()) / 1e6))
        return delays

    def used(self, calls: Calls) -> float:
        """Calls at once, averaged over time from when the limit is first reached, as a share of it."""
        if len(calls.times_ns) <= self.limit:
            return 0.0
        begin, end = calls.times_ns[self.limit - 1], calls.times_ns[-1]
        stretches = [(begin, min(end, self.apart_ns[0])), (max(begin, self.apart_ns[1]), end)]
        stretches = [(a, b) for a, b in stretches if b > a] if self.apart_ns[1] else [(begin, end)]
        spans = list(zip(calls.times_ns, calls.ends_ns, strict=True))
        busy = sum(max(0, min(b, over) - max(a, at)) for a, b in stretches for at, over in spans)
        return busy / sum(b - a for a, b in stretches) / self.limit


Law = Window | Bucket | AtOnce


def percentile(values: Sequence[float], share: float) -> float:
    """The value that this share of them does not exceed; 0 of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0
