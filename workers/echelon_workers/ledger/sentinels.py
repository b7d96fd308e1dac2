"""Sentinels: who know which Redis is the primary at present, so that a failover needs nobody.

    sentinel://USER:PASSWORD@HOST:PORT,HOST:PORT/DB?master=NAME

USER and PASSWORD are those of the Redis servers; `sentinel_username` and `sentinel_password` in the query are those of
the Sentinels. kombu's own spelling, with a `;` and the scheme again between two hosts, is understood too.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

import redis
import redis.asyncio
from redis.asyncio import sentinel as of_loops
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import MasterNotFoundError, Sentinel, SentinelConnectionPool

SCHEME = "sentinel"
PORT = 26379

#: Of several Sentinels the next is asked when one has not answered within this.
ANSWERS_WITHIN_S = 1.0


class SentinelsInvalid(ValueError):
    """The URL names no Sentinels, or not what they call the server; the message says what is missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sentinels:
    """Where they are, what they call our primary, and what a connection to it is made with."""

    hosts: tuple[tuple[str, int], ...]
    master: str
    db: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    sentinel_username: str | None = None
    sentinel_password: str | None = field(default=None, repr=False)

    @classmethod
    def read(cls, url: str) -> "Sentinels":
        """Read a URL. Raises SentinelsInvalid."""
        place, _, query = url.partition("?")
        names, _, db = place.removeprefix(f"{SCHEME}://").replace(f"{SCHEME}://", "").partition("/")
        try:
            parts = [urlsplit(f"//{name}") for name in re.split("[,;]", names)]
            hosts = tuple((part.hostname or "", part.port or PORT) for part in parts)
        except ValueError as error:
            raise SentinelsInvalid("a port is no number") from error
        said = {key: values[-1] for key, values in parse_qs(query).items()}
        if not all(host for host, _ in hosts):
            raise SentinelsInvalid("a host is missing")
        if not (master := said.pop("master", said.pop("master_name", ""))):
            raise SentinelsInvalid("it does not say what the Sentinels call the server: ?master=NAME")
        if unknown := set(said) - {"sentinel_username", "sentinel_password"}:
            raise SentinelsInvalid(f"unknown in its query: {', '.join(sorted(unknown))}")
        if not re.fullmatch(r"\d*/?", db):
            raise SentinelsInvalid("the database is no number")
        return cls(
            hosts=hosts,
            master=master,
            db=int(db.strip("/") or 0),
            username=_first(part.username for part in parts),
            password=_first(part.password for part in parts),
            sentinel_username=said.get("sentinel_username"),
            sentinel_password=said.get("sentinel_password"),
        )

    @property
    def broker_url(self) -> str:
        """As kombu has it: one URL a Sentinel."""
        secret = f":{quote(self.password, safe='')}" if self.password else ""
        user = f"{quote(self.username or '', safe='')}{secret}@" if self.username or secret else ""
        return ";".join(f"{SCHEME}://{user}{_spelled(*host)}/{self.db}" for host in self.hosts)

    @property
    def broker_options(self) -> dict[str, Any]:
        """What kombu and Flower want to know beside the URL (`broker_transport_options`)."""
        return {"master_name": self.master, "sentinel_kwargs": {**self._asking, "retry": Retry(NoBackoff(), 0)}}

    @property
    def _asking(self) -> dict[str, Any]:
        bounds = {"socket_timeout": ANSWERS_WITHIN_S, "socket_connect_timeout": ANSWERS_WITHIN_S}
        login = {"username": self.sentinel_username, "password": self.sentinel_password}
        return bounds | {name: value for name, value in login.items() if value}

    @property
    def _connecting(self) -> dict[str, Any]:
        return {"db": self.db, "username": self.username, "password": self.password}

    def client(self, **options: Any) -> "redis.Redis":
        """A client of the primary for threads, whichever that is. `options` are those of its connections."""
        asking = {**self._asking, "retry": Retry(NoBackoff(), 0)}
        asked: Any = _Sentinel(self.hosts, sentinel_kwargs=asking)  # type: ignore[no-untyped-call]
        client: redis.Redis = asked.master_for(self.master, connection_pool_class=_Pool, **self._connecting, **options)
        return client

    def async_client(self, **options: Any) -> "redis.asyncio.Redis":
        """As `client`, for one event loop."""
        asking = {**self._asking, "retry": AsyncRetry(NoBackoff(), 0)}
        asked: Any = _AsyncSentinel(self.hosts, sentinel_kwargs=asking)  # type: ignore[no-untyped-call]
        client: redis.asyncio.Redis = asked.master_for(
            self.master, connection_pool_class=_AsyncPool, **self._connecting, **options
        )
        return client


class _Sentinel(Sentinel):
    """Says plainly who is missing; redis-py lists all that it knows of its connections."""

    def discover_master(self, service_name: str) -> Any:
        try:
            return super().discover_master(service_name)  # type: ignore[no-untyped-call]
        except MasterNotFoundError:
            raise MasterNotFoundError(_nobody(service_name, self)) from None


class _AsyncSentinel(of_loops.Sentinel):
    """As `_Sentinel`."""

    async def discover_master(self, service_name: str) -> Any:
        try:
            return await super().discover_master(service_name)
        except of_loops.MasterNotFoundError:
            raise of_loops.MasterNotFoundError(_nobody(service_name, self)) from None


class _Pool(SentinelConnectionPool):
    """Closes the connections to the Sentinels too, which redis-py leaves to its user."""

    def close(self) -> None:
        super().close()
        self.sentinel_manager.close()


class _AsyncPool(of_loops.SentinelConnectionPool):
    """As `_Pool`."""

    async def aclose(self) -> None:
        await super().aclose()
        await self.sentinel_manager.aclose()


def _nobody(master: str, asked: Any) -> str:
    places = [sentinel.connection_pool.connection_kwargs for sentinel in asked.sentinels]
    names = ", ".join(sorted(_spelled(place["host"], place["port"]) for place in places))
    return f"no Sentinel of {names} names a primary called {master!r} at present"


def _first(found: Iterable[str | None]) -> str | None:
    return next((unquote(value) for value in found if value), None)


def _spelled(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
