"""Where the cluster's Redis is, and connections to it."""

import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import ExponentialWithJitterBackoff
from redis.retry import Retry

from .keys import Keys

#: In this order; the first one that is set wins.
URL_VARIABLES = ("ECHELON_REDIS_URL", "REDIS_URL")

#: The schemes that redis-py, kombu and Flower all understand once `Address` has spelled them for each.
SCHEMES = ("redis", "rediss", "redis+socket", "unix")


class AddressInvalid(ValueError):
    """The URL of the server cannot be used; the message says why and what would be right."""


@dataclass(frozen=True, slots=True)
class Address:
    """One Redis or Valkey server (7.0 or newer) and the namespace of one cluster in it."""

    url: str
    namespace: str = ""

    def __post_init__(self) -> None:
        scheme = urlsplit(self.url).scheme
        if scheme not in SCHEMES:
            raise AddressInvalid(
                f"Redis URL {self.redacted}: the scheme is {scheme or 'missing'!r} "
                f"(would be right: redis://HOST:PORT/DB, rediss://... or redis+socket:///PATH?virtual_host=DB)"
            )

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Address | None":
        """The address that ECHELON_REDIS_URL or REDIS_URL names, or None when neither is set."""
        url = next((environment[name] for name in URL_VARIABLES if environment.get(name)), None)
        return cls(url, environment.get("ECHELON_NAMESPACE", "")) if url else None

    @property
    def keys(self) -> Keys:
        """The names of this cluster's keys."""
        return Keys(self.namespace)

    @property
    def redacted(self) -> str:
        """The URL without its password, for people. Whatever stands before an `@` may be one."""
        scheme, separator, rest = self.url.partition("://")
        credentials, at, place = rest.rpartition("@")
        if not at:
            return self.url
        user = credentials.partition(":")[0] if ":" in credentials else ""
        return f"{scheme}{separator}{user}:***@{place}"

    @property
    def broker_url(self) -> str:
        """The URL as kombu wants it: a socket is `redis+socket://`."""
        return f"redis+socket{self.url[len('unix') :]}" if self.url.startswith("unix:") else self.url

    @property
    def _client_url(self) -> str:
        if self.url.startswith("redis+socket:"):
            return f"unix{self.url[len('redis+socket') :]}".replace("virtual_host=", "db=")
        return self.url

    def client(self, *, timeout_s: float = 5.0, retries: int = 3) -> "redis.Redis":
        """A client for threads. `timeout_s` bounds each command; a lost connection is retried `retries` times.

        Retrying by itself is safe because every verb of the ledger may be repeated.
        """
        return redis.Redis.from_url(
            self._client_url, socket_timeout=timeout_s, socket_connect_timeout=timeout_s, retry=_retry(retries, Retry)
        )

    def async_client(
        self,
        *,
        timeout_s: float = 5.0,
        retries: int = 3,
        connections: int = 16,
        connected: Callable[[Any], Awaitable[None]] | None = None,
    ) -> "redis.asyncio.Redis":
        """A client for one event loop, with at most `connections` connections; as `client` otherwise. `connected` is
        called with each connection that is made, in place of its `on_connect`."""
        return redis.asyncio.Redis.from_url(
            self._client_url,
            redis_connect_func=connected,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            retry=_retry(retries, AsyncRetry),
            max_connections=connections,
        )


def _retry(retries: int, kind):  # type: ignore[no-untyped-def]
    return kind(ExponentialWithJitterBackoff(base=0.01, cap=0.5), retries)
