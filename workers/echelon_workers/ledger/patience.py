"""How long a command is tried again before its caller is told that Redis is away.

redis-py counts tries, and a try may last as long as a timeout, once for connecting and once for the command: a server
that is silent would hold up its callers for a multiple of what one that refuses does. So time is bounded too.
"""

import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import ExponentialWithJitterBackoff
from redis.retry import Retry

T = TypeVar("T")


def _backoff() -> ExponentialWithJitterBackoff:
    return ExponentialWithJitterBackoff(base=0.01, cap=0.5)


class Patience(Retry):
    """At most so many tries after the first, and none once `most_s` have passed."""

    def __init__(self, retries: int, most_s: float) -> None:
        super().__init__(_backoff(), retries)
        self._most_s = most_s

    def call_with_retry(self, do: Callable[[], T], fail: Callable[..., Any], *how: Any, **more: Any) -> T:
        """As redis-py's, which calls `fail` after each failure."""
        end = time.monotonic() + self._most_s

        def failed(error: Exception, *count: int) -> None:
            fail(error, *count)
            if time.monotonic() >= end:
                raise error

        return super().call_with_retry(do, failed, *how, **more)


class AsyncPatience(AsyncRetry):
    """As `Patience`, for one event loop."""

    def __init__(self, retries: int, most_s: float) -> None:
        super().__init__(_backoff(), retries)
        self._most_s = most_s

    async def call_with_retry(
        self, do: Callable[[], Awaitable[T]], fail: Callable[..., Any], *how: Any, **more: Any
    ) -> T:
        """As redis-py's, which calls `fail` after each failure."""
        end = time.monotonic() + self._most_s

        async def failed(error: Exception, *count: int) -> None:
            await fail(error, *count)
            if time.monotonic() >= end:
                raise error

        return await super().call_with_retry(do, failed, *how, **more)
