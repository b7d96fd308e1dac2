"""Limits as written: rates with their algorithms, and the concurrency of each level."""

from typing import Literal

from pydantic import Field

from echelon_configs.raw.fields import AlgorithmName, Amount, Limit, Raw, Seconds


class RawTokenBucket(Raw):
    """A token bucket: bursts up to its size, then a steady rate."""

    bucket_size: Amount | None = Field(
        default=None, description="requests that may start at once when the bucket is full"
    )
    refill_rate: Amount | None = Field(default=None, description="requests added to the bucket each second")


class RawSlidingWindow(Raw):
    """A sliding window: so many requests in any stretch of so many seconds."""

    window_size: Seconds | None = Field(default=None, description="length of the window in seconds")
    max_requests: Limit = Field(default=None, description="requests in any window; 0 is no limit")


class RawRateLimiting(RawTokenBucket, RawSlidingWindow):
    """A rate of requests, with the sizes flat or under the algorithm's name."""

    enabled: bool = Field(default=True, description="whether this limit holds")
    algorithm: AlgorithmName | None = Field(
        default=None, description="`token_bucket` or `sliding_window`; not written: the one whose sizes are given"
    )
    token_bucket: RawTokenBucket | None = Field(default=None, description="sizes of the token bucket")
    sliding_window: RawSlidingWindow | None = Field(default=None, description="sizes of the sliding window")


class RawWideRateLimiting(RawRateLimiting):
    """Rates of what has no other limits of its own: a pool, or the whole cluster."""

    rpm_limit: Limit = Field(default=None, description="requests in any 60 seconds; 0 or none is no limit")
    tpm_limit: Limit = Field(default=None, description="tokens in any 60 seconds; 0 or none is no limit")


class RawTopRateLimiting(RawWideRateLimiting):
    """Rates of the whole cluster, the sizes of rates named without any, and how tokens are estimated."""

    estimate: Literal["typical", "worst_case"] | None = Field(
        default=None,
        description="tokens a job reserves before its call: what such a job usually takes, or all that it can take",
    )
    settle: Literal["used", "reserved"] | None = Field(
        default=None,
        description="tokens that count after a call: those it used, or at least those it reserved",
    )


class RawLevel(Raw):
    """What holds for every scope of one level that has no limit of its own."""

    limit: Limit = Field(default=None, description="attempts in flight at once; 0 or none is no limit")
    queue_size: Limit = Field(default=None, description="jobs that may wait; 0 or none is no limit")


class RawLevels(Raw):
    """The four levels of concurrency."""

    group_level: RawLevel | None = Field(default=None, description="for each task group")
    echelon_level: RawLevel | None = Field(default=None, description="for each echelon")
    model_level: RawLevel | None = Field(default=None, description="for each instance")
    node_level: RawLevel | None = Field(default=None, description="for each node")


class RawConcurrencyControl(Raw):
    """Concurrency for every scope, level by level."""

    enabled: bool = Field(
        default=True, description="whether the levels hold; limits written at a scope itself always do"
    )
    levels: RawLevels = Field(
        default=RawLevels(), description="a list of `- group_level: {limit, queue_size}`, or one mapping"
    )


class ScopeLimits(Raw):
    """Limits of one scope; what is not written takes the default of its level."""

    concurrency_limit: Limit = Field(default=None, description="attempts in flight at once; 0 or none is no limit")
    queue_size: Limit = Field(default=None, description="jobs that may wait; 0 or none is no limit")
    rpm_limit: Limit = Field(default=None, description="requests in any 60 seconds; 0 or none is no limit")
    tpm_limit: Limit = Field(default=None, description="tokens in any 60 seconds; 0 or none is no limit")
