"""The busiest trailing window of a series of arrivals, computed exactly."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Peak:
    """The largest sum in any trailing window, and the time at which that window ended (None: nothing happened)."""

    value: int
    at_ns: int | None


def busiest(times_ns: Sequence[int], window_ns: int, amounts: Sequence[int] | None = None) -> Peak:
    """The largest sum of `amounts` (1 each, if None) in any window `(t - window_ns, t]`.

    `times_ns` must not go back. The maximum lies at an arrival, so only windows that end at one are tried; the sum
    is carried from one to the next, so the cost is linear. An arrival exactly `window_ns` earlier is outside.
    """
    peak, at_ns = 0, None
    total = left = 0
    for right, now_ns in enumerate(times_ns):
        total += 1 if amounts is None else amounts[right]
        while times_ns[left] <= now_ns - window_ns:
            total -= 1 if amounts is None else amounts[left]
            left += 1
        if total > peak:
            peak, at_ns = total, now_ns
    return Peak(peak, at_ns)


def most_at_once(spans_ns: Iterable[tuple[int, int]]) -> Peak:
    """The most spans `[start, end)` open at the same moment; one that ends as another starts makes room for it."""
    starts: list[int] = []
    ends: list[int] = []
    for start, end in spans_ns:
        starts.append(start)
        ends.append(max(end, start))
    starts.sort()
    ends.sort()
    peak, at_ns = 0, None
    closed = 0
    for opened, start in enumerate(starts, 1):
        while closed < len(ends) and ends[closed] <= start and closed < opened - 1:
            closed += 1
        if opened - closed > peak:
            peak, at_ns = opened - closed, start
    return Peak(peak, at_ns)
