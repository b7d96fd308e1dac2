"""Limits, once everything is resolved; None is always: no limit."""

from typing import Literal

from pydantic import Field

from echelon_configs.frozen import Frozen

Estimate = Literal["typical", "worst_case"]
Settle = Literal["used", "reserved"]


class RateLimit(Frozen):
    """A rate of requests under a named algorithm; the sizes of other algorithms are None."""

    algorithm: str = Field(description="token_bucket or sliding_window")
    bucket_size: float | None = Field(
        default=None, description="requests that may start at once when the bucket is full"
    )
    refill_per_s: float | None = Field(default=None, description="requests added to the bucket each second")
    window_s: float | None = Field(default=None, description="length of the window in seconds")
    max_requests: int | None = Field(default=None, description="requests in any window")


class Limits(Frozen):
    """Everything that bounds one scope: a group, echelon, instance, node, pool, or the whole cluster."""

    concurrency: int | None = Field(default=None, description="attempts in flight at once")
    queue_size: int | None = Field(default=None, description="jobs that may wait")
    requests_per_minute: int | None = Field(default=None, description="requests in any 60 seconds")
    tokens_per_minute: int | None = Field(default=None, description="tokens in any 60 seconds")
    rate: RateLimit | None = Field(default=None, description="a rate under a named algorithm")


class Level(Frozen):
    """What holds for every scope of one level that has no limit of its own."""

    limit: int | None = Field(default=None, description="attempts in flight at once")
    queue_size: int | None = Field(default=None, description="jobs that may wait")


class ConcurrencyLevels(Frozen):
    """`concurrency_control`: already applied to the limits of each scope, and kept for scopes yet to come."""

    enabled: bool = Field(default=True, description="whether the levels hold")
    group: Level = Field(default=Level(), description="for each task group")
    echelon: Level = Field(default=Level(), description="for each echelon")
    model: Level = Field(default=Level(), description="for each instance")
    node: Level = Field(default=Level(), description="for each node")


class RateLimiting(Frozen):
    """The top-level `rate_limiting`: the sizes others take. The cluster's own rates are `Configuration.limits`."""

    enabled: bool = Field(default=False, description="whether the cluster as a whole has a rate")
    algorithm: str = Field(
        default="token_bucket", description="algorithm of the cluster's rate, and where none is named"
    )
    token_bucket: RateLimit | None = Field(default=None, description="sizes for token buckets named without any")
    sliding_window: RateLimit | None = Field(default=None, description="sizes for sliding windows named without any")
    estimate: Estimate = Field(
        default="typical", description="tokens a job reserves before its call: typical or worst_case"
    )
    settle: Settle = Field(
        default="used", description="tokens that count after a call: those it used, or at least those it reserved"
    )

    def sizes_for(self, algorithm: str) -> RateLimit | None:
        """The sizes a rate takes that names this algorithm and no sizes."""
        sizes = {"token_bucket": self.token_bucket, "sliding_window": self.sliding_window}
        return sizes.get(algorithm)
