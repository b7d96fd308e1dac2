"""Limit algorithms: each one a Lua fragment, which take runs, and its plain-Python model beside it.

A scope's limits become *meters* (`sliding_window requests 600 60200 133`): the algorithm, the unit it counts, its size,
its span, and within how many milliseconds a grant has to be used. `meters_of` makes them; the Lua parts read them.
A new algorithm is one pair of files here, `NAME.lua` and `NAME.py`, and its line in ALGORITHMS.
"""

from importlib.resources import files

from echelon_configs import Limits, RateLimit

from .meter import GUARD_SHARE, LEAST_GUARD_MS, Algorithm, Meter, Unit, window_meter
from .sliding_window import SlidingWindow
from .token_bucket import TokenBucket
from .weighted_window import WeightedWindow

__all__ = ["ALGORITHMS", "GUARD_SHARE", "LEAST_GUARD_MS", "Algorithm", "Meter", "lua_fragments", "meters_of"]

#: By the name that a configuration and a meter give. Each has its Lua in the file of the same name.
ALGORITHMS: dict[str, type[Algorithm]] = {
    "sliding_window": SlidingWindow,
    "token_bucket": TokenBucket,
    "weighted_window": WeightedWindow,
}

MINUTE_S = 60.0


def minute_window(algorithm: str, unit: Unit, limit: int) -> Meter | None:
    """So many in any minute."""
    return window_meter(algorithm, unit, RateLimit(algorithm=algorithm, window_s=MINUTE_S, max_requests=limit))


def lua_fragments() -> dict[str, str]:
    """What scripts are made with, by the line that stands for it: all algorithms, and a minute's window as held."""
    folder = files(__name__)
    algorithms = "\n".join((folder / f"{name}.lua").read_text(encoding="utf-8") for name in ALGORITHMS)
    minute = minute_window("sliding_window", "requests", 1)
    assert minute is not None
    held = f"local MINUTE_MS, MINUTE_USE_MS = {minute.span:.0f}, {minute.use_within_ms}"
    return {"--@algorithms": algorithms, "--@minute": held}


def meters_of(limits: Limits) -> list[Meter]:
    """The meters that hold these limits; none where nothing is limited. Raises KeyError for an unknown algorithm."""
    found: list[Meter | None] = []
    if limits.requests_per_minute:
        found.append(minute_window("sliding_window", "requests", limits.requests_per_minute))
    if limits.rate is not None:
        found.append(ALGORITHMS[limits.rate.algorithm].meter_of(limits.rate))
    if limits.tokens_per_minute:
        found.append(minute_window("weighted_window", "tokens", limits.tokens_per_minute))
    return [meter for meter in found if meter is not None]
