"""Where the cluster's Redis is, and connections to it."""

import os
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import redis
import redis.asyncio

from .keys import Keys
from .patience import AsyncPatience, Patience
from .sentinels import SCHEME as SENTINEL
from .sentinels import Sentinels, SentinelsInvalid

#: In this order; the first one that is set wins.
URL_VARIABLES = ("ECHELON_REDIS_URL", "REDIS_URL")

#: The schemes that redis-py, kombu and Flower all understand once `Address` has spelled them for each.
SCHEMES = ("redis", "rediss", "redis+socket", "unix", SENTINEL)

#: What stands before a cluster's own keys, behind its namespace (`Keys.own`).
OWN = Keys().own.rstrip(":")


class AddressInvalid(ValueError):
    """The URL of the server or the namespace cannot be used; the message says why and what would be right."""


@dataclass(frozen=True, slots=True)
class Address:
    """One Redis or Valkey server (7.0 or newer), or Sentinels that know it, and the namespace of one cluster in it."""

    url: str
    namespace: str = ""

    def __post_init__(self) -> None:
        scheme = urlsplit(self.url).scheme
        if scheme not in SCHEMES:
            raise AddressInvalid(
                f"Redis URL {self.redacted}: the scheme is {scheme or 'missing'!r} "
                f"(would be right: redis://HOST:PORT/DB, rediss://..., redis+socket:///PATH?virtual_host=DB or "
                f"sentinel://HOST:PORT,HOST:PORT/DB?master=NAME)"
            )
        try:
            _ = self._sentinels
        except SentinelsInvalid as error:
            raise AddressInvalid(
                f"Redis URL {self.redacted}: {error} "
                f"(would be right: sentinel://USER:PASSWORD@HOST:PORT,HOST:PORT/DB?master=NAME)"
            ) from error

        if OWN in self.namespace.split(":") or any(character.isspace() for character in self.namespace):
            raise AddressInvalid(
                f"namespace {self.namespace!r}: it has a space in it, or {OWN!r} as a part, below which other clusters "
                f"have their own keys (would be right: text without spaces, such as 'blue'; or none)"
            )

    def __repr__(self) -> str:
        return f"Address({self.redacted!r}, {self.namespace!r})"

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
        scheme, separator, rest = re.sub(r"((?:^|[?&;])\w*password=)[^&]*", r"\1***", self.url).partition("://")
        credentials, at, place = rest.rpartition("@")
        if not at:
            return f"{scheme}{separator}{rest}"
        user = credentials.partition(":")[0] if ":" in credentials else ""
        return f"{scheme}{separator}{user}:***@{place}"

    @property
    def _sentinels(self) -> Sentinels | None:
        return Sentinels.read(self.url) if self.url.startswith(f"{SENTINEL}://") else None

    @property
    def broker_url(self) -> str:
        """The URL as kombu wants it: a socket is `redis+socket://`, and each Sentinel has one of its own."""
        if (sentinels := self._sentinels) is not None:
            return sentinels.broker_url
        return f"redis+socket{self.url[len('unix') :]}" if self.url.startswith("unix:") else self.url

    @property
    def broker_options(self) -> dict[str, Any]:
        """What kombu has to be told of the server beside the URL (its `broker_transport_options`)."""
        return {} if (sentinels := self._sentinels) is None else sentinels.broker_options

    @property
    def _client_url(self) -> str:
        if self.url.startswith("redis+socket:"):
            return f"unix{self.url[len('redis+socket') :]}".replace("virtual_host=", "db=")
        return self.url

    def client(self, *, timeout_s: float = 5.0, retries: int = 3) -> "redis.Redis":
        """A client for threads. A lost connection is made anew and the command sent again, at most `retries` times; who
        does not answer within `timeout_s` is asked once more. So a command fails within twice that, and a refused
        connection at once.

        Repeating by itself is safe because every verb of the ledger may be repeated.
        """
        options: dict[str, Any] = _bounds(timeout_s) | {"retry": Patience(retries, 2 * timeout_s)}
        if (sentinels := self._sentinels) is not None:
            return sentinels.client(**options)
        return redis.Redis.from_url(self._client_url, **options)

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
        options: dict[str, Any] = _bounds(timeout_s) | {"retry": AsyncPatience(retries, 2 * timeout_s)}
        options |= {"redis_connect_func": connected, "max_connections": connections}
        if (sentinels := self._sentinels) is not None:
            return sentinels.async_client(**options)
        return redis.asyncio.Redis.from_url(self._client_url, **options)


def _bounds(timeout_s: float) -> dict[str, float]:
    return {"socket_timeout": timeout_s, "socket_connect_timeout": timeout_s}
