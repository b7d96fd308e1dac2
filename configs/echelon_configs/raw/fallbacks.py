"""What happens after a failure, as written."""

from pydantic import Field

from echelon_configs.raw.fields import Count, Delay, Name, PoolStrategyName, Raw, Seconds, StrategyName


class RawBreaker(Raw):
    """A circuit breaker on each instance."""

    failure_threshold: Count | None = Field(default=None, description="failures in a row that open the breaker")
    recovery_time: Seconds | None = Field(
        default=None, description="seconds it stays open before it lets probes through"
    )
    half_open_requests: Count | None = Field(default=None, description="probes let through at once while half open")


class RawFallback(Raw):
    """Where the jobs of a group go when an attempt fails."""

    strategy: StrategyName | None = Field(default=None, description="name of the strategy, or a class of your own")
    fallback_groups: list[Name] | None = Field(
        default=None, description="queues to go to, in order: `group.echelon`, `group`, `pool.NAME` or `model.NAME`"
    )
    max_attempts: Count | None = Field(default=None, description="attempts of one job in all, over the whole chain")
    retry_delay: Delay | None = Field(default=None, description="seconds before the first retry; it doubles from there")
    fallback_on_refusal: bool | None = Field(
        default=None, description="whether a job whose content was refused is tried elsewhere"
    )
    circuit_breaker: RawBreaker | None = Field(default=None, description="breaker of the group's instances")


class RawGlobalFallback(Raw):
    """What holds where a group says nothing."""

    enabled: bool = Field(default=True, description="whether a group that says nothing falls back at all")
    max_attempts: Count | None = Field(default=None, description="attempts of one job in all, over the whole chain")
    retry_delay: Delay | None = Field(default=None, description="seconds before the first retry; it doubles from there")
    fallback_on_refusal: bool | None = Field(
        default=None, description="whether a job whose content was refused is tried elsewhere"
    )
    circuit_breaker: RawBreaker | None = Field(default=None, description="breaker of every instance")


class RawPoolFallback(Raw):
    """What a pool does when one of its instances fails."""

    strategy: PoolStrategyName | None = Field(
        default=None, description="`instance_rotation` (another instance) or `simple_retry` (the same one)"
    )
    max_instance_attempts: Count | None = Field(default=None, description="attempts of one job within the pool")
