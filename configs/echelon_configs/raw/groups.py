"""Task groups and echelons as written."""

from pydantic import Field

from echelon_configs.raw.calls import RawCallSettings
from echelon_configs.raw.fallbacks import RawBreaker, RawFallback
from echelon_configs.raw.fields import Name, SchedulerName, StrategyName, Text
from echelon_configs.raw.limits import RawRateLimiting, ScopeLimits


class RawEchelon(ScopeLimits, RawCallSettings):
    """One performance tier of a group, or one task of a small-model group: a queue."""

    description: Text = Field(default="", description="for people")
    models: list[Name] = Field(min_length=1, description="instances of this echelon, by name")
    priority: int = Field(default=1, ge=0, le=1000, description="1 is the best echelon; equal ones stand as written")
    rotation_strategy: SchedulerName | None = Field(default=None, description="how the instances take turns")
    rate_limiting: RawRateLimiting | None = Field(default=None, description="a rate of requests, beside `rpm_limit`")


class RawGroup(ScopeLimits):
    """Models for one kind of work. Its echelons stand here by name, or under `echelons:`."""

    description: Text = Field(default="", description="for people")
    enabled: bool = Field(default=True, description="false leaves the group out")
    file: Name | None = Field(default=None, description="file that holds the group instead, beside this one")
    echelons: dict[str, RawEchelon] | None = Field(default=None, description="the echelons, if not written inline")
    fallback_strategy: StrategyName | None = Field(default=None, description="short for `fallback_config: {strategy}`")
    fallback_config: RawFallback | None = Field(default=None, description="where jobs go when an attempt fails")
    circuit_breaker: RawBreaker | None = Field(default=None, description="breaker of the group's instances")
    rotation_strategy: SchedulerName | None = Field(
        default=None, description="how instances take turns in its echelons"
    )
    rate_limiting: RawRateLimiting | None = Field(default=None, description="a rate of requests, beside `rpm_limit`")
