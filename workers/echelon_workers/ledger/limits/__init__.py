"""Limit algorithms: each one a Lua fragment, which take runs, and its plain-Python model beside it.

A scope's limits become *meters* (`sliding_window requests 600 60200 133`): the algorithm, the unit it counts, its size,
its span, and within how many milliseconds a grant has to be used. `meters_of` makes them; the Lua parts read them.
A new algorithm is one pair of files here, `NAME.lua` and `NAME.py`, and its line in ALGORITHMS.
"""

from echelon_configs import Limits, RateLimit

from .meter import GUARD_SHARE, LEAST_GUARD_MS, Algorithm, Meter
from .sliding_window import SlidingWindow
from .token_bucket import TokenBucket
from .weighted_window import WeightedWindow

__all__ = ["ALGORITHMS", "GUARD_SHARE", "LEAST_GUARD_MS", "Algorithm", "Meter", "meters_of"]

#: By the name that a configuration and a meter give. Each has its Lua in the file of the same name.
ALGORITHMS: dict[str, type[Algorithm]] = {
    "sliding_window": SlidingWindow,
    "token_bucket": TokenBucket,
    "weighted_window": WeightedWindow,
}

MINUTE_S = 60.0


def meters_of(limits: Limits) -> list[Meter]:
    """The meters that hold these limits; none where nothing is limited. Raises KeyError for an unknown algorithm."""
    found: list[Meter | None] = []
    if limits.requests_per_minute:
        minute = RateLimit(algorithm="sliding_window", window_s=MINUTE_S, max_requests=limits.requests_per_minute)
        found.append(SlidingWindow.meter_of(minute))
    if limits.rate is not None:
        found.append(ALGORITHMS[limits.rate.algorithm].meter_of(limits.rate))
    if limits.tokens_per_minute:
        minute = RateLimit(algorithm="weighted_window", window_s=MINUTE_S, max_requests=limits.tokens_per_minute)
        found.append(WeightedWindow.meter_of(minute))
    return [meter for meter in found if meter is not None]
