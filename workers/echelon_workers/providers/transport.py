"""The one HTTP client of a process: aiohttp underneath, shared by every provider's SDK.

It is openai's `DefaultAioHttpClient` (an `httpx2.AsyncClient`), because anything else costs up to twice the CPU for
each call. It belongs to the event loop that makes the first request.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import httpx2

CONNECT_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 600.0

_RATE_LIMIT_NAMES = frozenset({"retry-after", "retry-after-ms"})
_RATE_LIMIT_PREFIXES = ("x-ratelimit-", "anthropic-ratelimit-", "ratelimit")
_LONGEST_VALUE = 200


@dataclass(slots=True, kw_only=True)
class Exchange:
    """What the HTTP client's hooks need to know of the call in progress, and what they noted of its answer."""

    timeouts: dict[str, float | None]
    rate_limits: dict[str, str] = field(default_factory=dict)


current_exchange: ContextVar[Exchange | None] = ContextVar("current_exchange", default=None)


def open_http(max_connections: int) -> httpx2.AsyncClient:
    """A client for `max_connections` calls at once; whoever opens it closes it with `aclose()`."""
    import httpx2
    import openai

    return openai.DefaultAioHttpClient(
        limits=httpx2.Limits(max_connections=max_connections, max_keepalive_connections=max_connections),
        timeout=httpx2.Timeout(READ_TIMEOUT_S, connect=CONNECT_TIMEOUT_S),
        event_hooks=hooks(),
        follow_redirects=False,  # a key goes to the address that it was configured for, and to no other
    )


def hooks() -> dict[str, list[Callable[..., Any]]]:
    """The event hooks that tie a request to its call."""
    return {"request": [_set_timeouts], "response": [_note_rate_limits]}


def phase_timeouts(
    timeout_s: float, *, connect_s: float | None = None, read_s: float | None = None, write_s: float | None = None
) -> dict[str, float | None]:
    """Bounds for the phases of a call, in seconds, each within the whole call's `timeout_s`.

    The SDKs know one number for every phase, so a call allowed ten minutes would wait ten minutes for a dead host.
    """
    connect = CONNECT_TIMEOUT_S if connect_s is None else connect_s
    return {
        "connect": min(connect, timeout_s),
        "read": min(read_s or timeout_s, timeout_s),
        "write": min(write_s or timeout_s, timeout_s),
        "pool": timeout_s,
    }


def rate_limit_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Those of the headers that speak of rate limits, in lower case."""
    found = {}
    for name, value in headers.items():
        lower = name.lower()
        if lower in _RATE_LIMIT_NAMES or lower.startswith(_RATE_LIMIT_PREFIXES):
            found[lower] = value[:_LONGEST_VALUE]
    return found


async def _set_timeouts(request: httpx2.Request) -> None:
    exchange = current_exchange.get()
    if exchange is not None:
        request.extensions["timeout"] = exchange.timeouts


async def _note_rate_limits(response: httpx2.Response) -> None:
    exchange = current_exchange.get()
    if exchange is not None:
        exchange.rate_limits.update(rate_limit_headers(response.headers))
