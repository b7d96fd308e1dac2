"""Polling pools as written."""

from pydantic import Field

from echelon_configs.raw.fallbacks import RawPoolFallback
from echelon_configs.raw.fields import Count, Delay, Name, Raw, SchedulerName, Seconds, Text
from echelon_configs.raw.limits import RawWideRateLimiting


class RawPool(Raw):
    """Instances of several groups, rotated by one strategy: a queue."""

    description: Text = Field(default="", description="for people")
    enabled: bool = Field(default=True, description="false leaves the pool out")
    file: Name | None = Field(default=None, description="file that holds the pool instead, beside this one")
    task_groups: list[Name] = Field(min_length=1, description="`group` or `group.echelon`, each with all its instances")
    rotation_strategy: SchedulerName | None = Field(default=None, description="how the instances take turns")
    health_check_interval: Delay | None = Field(
        default=None, description="seconds between two probes of an instance; 0: none"
    )
    failure_threshold: Count | None = Field(
        default=None, description="failures in a row that make an instance unhealthy"
    )
    recovery_time: Seconds | None = Field(
        default=None, description="seconds before an unhealthy instance is tried again"
    )
    rate_limiting: RawWideRateLimiting | None = Field(default=None, description="rates of what goes through the pool")
    fallback_config: RawPoolFallback | None = Field(default=None, description="what happens when an instance fails")
