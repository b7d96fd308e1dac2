"""What happens after a failure, once everything is resolved."""

from pydantic import Field

from echelon_configs.frozen import Frozen


class Breaker(Frozen):
    """A circuit breaker on each instance."""

    failure_threshold: int = Field(default=5, description="failures in a row that open it")
    recovery_time_s: float = Field(default=60.0, description="seconds it stays open before it lets probes through")
    half_open_requests: int = Field(default=1, description="probes let through at once while half open")


class Fallback(Frozen):
    """Where the jobs of a group go when an attempt fails."""

    strategy: str | None = Field(default="echelon_down", description="strategy; None: no fallback")
    fallback_groups: tuple[str, ...] = Field(default=(), description="targets to go to, in order")
    max_attempts: int = Field(default=3, description="attempts of one job in all")
    retry_delay_s: float = Field(default=1.0, description="seconds before the first retry; it doubles from there")
    fallback_on_refusal: bool = Field(
        default=False, description="whether a job whose content was refused is tried elsewhere"
    )
    circuit_breaker: Breaker = Field(default=Breaker(), description="breaker of the group's instances")


class GlobalFallback(Frozen):
    """`global_fallback`: already applied to groups that say nothing; holds for pools and single models."""

    enabled: bool = Field(default=True, description="whether a group that says nothing falls back at all")
    max_attempts: int = Field(default=3, description="attempts of one job in all")
    retry_delay_s: float = Field(default=1.0, description="seconds before the first retry; it doubles from there")
    fallback_on_refusal: bool = Field(
        default=False, description="whether a job whose content was refused is tried elsewhere"
    )
    circuit_breaker: Breaker = Field(default=Breaker(), description="breaker of every instance")


class PoolFallback(Frozen):
    """What a pool does when one of its instances fails."""

    strategy: str = Field(default="instance_rotation", description="instance_rotation or simple_retry")
    max_instance_attempts: int = Field(default=3, description="attempts of one job within the pool")
