"""The rules of a job's whole way, which are those of the queue it was sent to."""

from dataclasses import dataclass

from echelon_configs import Configuration, Retry

from .decision import Delay

LONGEST_DELAY_S = 60.0
#: Of a delay with jitter, the part that is drawn by lot (AWS, "Exponential Backoff And Jitter": equal jitter).
JITTER = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How many attempts a job has in all, which strategy and which targets, and how long before the first retry."""

    max_attempts: int
    strategy: str | None
    fallback_groups: tuple[str, ...]
    retry_delay_s: float
    fallback_on_refusal: bool


def rules_of(configuration: Configuration, home: str) -> Rules:
    """A group's `fallback_config`; for pools and single models `global_fallback`.

    A pool that states more attempts within itself than `global_fallback` has in all may use them.
    """
    name, everywhere = home.partition(".")[0], configuration.global_fallback
    if name in configuration.groups:
        own = configuration.groups[name].fallback
        return Rules(
            max_attempts=own.max_attempts,
            strategy=own.strategy,
            fallback_groups=own.fallback_groups,
            retry_delay_s=own.retry_delay_s,
            fallback_on_refusal=own.fallback_on_refusal,
        )
    pool = configuration.pools.get(home.removeprefix("pool.")) if home.startswith("pool.") else None
    return Rules(
        max_attempts=max(everywhere.max_attempts, pool.fallback.max_instance_attempts if pool else 0),
        strategy=None,
        fallback_groups=(),
        retry_delay_s=everywhere.retry_delay_s,
        fallback_on_refusal=everywhere.fallback_on_refusal,
    )


def backoff(first_s: float, of: Retry, earlier: int) -> Delay:
    """The delay after `earlier` ones: exponential, with what the instance states in place of what is usual."""
    first = first_s if of.base_delay_s is None else of.base_delay_s
    longest = max(LONGEST_DELAY_S, first) if of.max_delay_s is None else of.max_delay_s
    factor = 2.0 if of.exponential_base is None else of.exponential_base
    most = min(longest, first * factor ** min(earlier, 100))
    least = most if of.jitter is False else most * JITTER
    return Delay(int(1000 * least), int(1000 * most))
