"""What every limit algorithm is: the sizes that Lua works with, and a plain model of what it must do."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal, Self

from echelon_configs import RateLimit

#: A limit counts where calls arrive, and calls take their time from grant to arrival, some more than others. A window
#: is held open this much longer, so that one more call never arrives within it; that costs a third of a percent.
GUARD_SHARE, LEAST_GUARD_MS = 1 / 300, 75
#: Of that guard, a grant may spend this share between Redis and the call; one that has not been used by then lapses.
#: The rest is for the way to the provider.
USE_SHARE = 2 / 3

Unit = Literal["requests", "tokens"]


def guard_ms(window_ms: float) -> float:
    """How much longer than configured a window is held open."""
    return max(LEAST_GUARD_MS, GUARD_SHARE * window_ms)


@dataclass(frozen=True, slots=True)
class Meter:
    """One limit as take reads it. What `span` means is the algorithm's: ms of a window, or units a ms of a bucket."""

    algorithm: str
    unit: Unit
    size: float
    span: float
    use_within_ms: int

    def __str__(self) -> str:
        return f"{self.algorithm} {self.unit} {_plain(self.size)} {_plain(self.span)} {self.use_within_ms};"

    @classmethod
    def parse(cls, text: str) -> Self:
        """The meter that `str` wrote."""
        algorithm, unit, size, span, within = text.rstrip(";").split()
        return cls(algorithm, "tokens" if unit == "tokens" else "requests", float(size), float(span), int(within))


def window_meter(algorithm: str, unit: Unit, rate: RateLimit) -> Meter | None:
    """The meter of `max_requests` in any `window_s` seconds, with its guard."""
    if not rate.max_requests or not rate.window_s:
        return None
    window_ms = rate.window_s * 1000
    guard = guard_ms(window_ms)
    return Meter(algorithm, unit, rate.max_requests, int(window_ms + guard), int(USE_SHARE * guard))


class Algorithm(ABC):
    """The plain model of one algorithm: what its Lua does, in a few lines that need no server. Times are ms."""

    def __init__(self, meter: Meter) -> None:
        self.meter = meter

    @staticmethod
    @abstractmethod
    def meter_of(rate: RateLimit) -> Meter | None:
        """The meter that holds a configured rate with its guard; None where the rate bounds nothing."""

    @abstractmethod
    def open_at(self, amount: float, now: float) -> float:
        """When `amount` more may start: at most `now` if they may now, infinity if they never fit."""

    @abstractmethod
    def use(self, amount: float, now: float) -> None:
        """So much has started."""

    @abstractmethod
    def used(self, now: float) -> float:
        """How much of the limit is used at this moment."""


def _plain(number: float) -> str:
    return f"{number:.9f}".rstrip("0").rstrip(".")
