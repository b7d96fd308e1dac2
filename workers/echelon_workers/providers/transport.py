"""The one HTTP transport of a process: aiohttp, in httpx2's terms, shared by every provider.

aiohttp, because anything else costs several times the CPU for each call; httpx2's requests, answers and errors,
because they can be made and read without a server. It belongs to the event loop that makes the first request.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.request import getproxies

if TYPE_CHECKING:
    import httpx2

CONNECT_TIMEOUT_S = 10.0
KEEPALIVE_S = 5.0  # less than servers commonly keep an idle connection, so that none is used that is being closed

_RATE_LIMIT_NAMES = frozenset({"retry-after", "retry-after-ms"})
_RATE_LIMIT_PREFIXES = ("x-ratelimit-", "anthropic-ratelimit-", "ratelimit")
_LONGEST_VALUE = 200


def open_http(max_connections: int) -> httpx2.AsyncBaseTransport:
    """A transport for `max_connections` calls at once; whoever opens it closes it with `aclose()`."""
    from echelon_workers.providers.over_aiohttp import AiohttpTransport

    # What the environment says of proxies holds, and is looked up for each request only where it says something.
    return AiohttpTransport(max_connections, keepalive_s=KEEPALIVE_S, trust_env=bool(getproxies()))


def phase_timeouts(
    timeout_s: float, *, connect_s: float | None = None, read_s: float | None = None, write_s: float | None = None
) -> dict[str, float | None]:
    """Bounds for the phases of a call, in seconds, each within the whole call's `timeout_s`.

    With one number for every phase, a call allowed ten minutes would wait ten minutes for a dead host.
    """
    connect = CONNECT_TIMEOUT_S if connect_s is None else connect_s
    return {
        "connect": min(connect, timeout_s),
        "read": min(read_s or timeout_s, timeout_s),
        "write": min(write_s or timeout_s, timeout_s),
        "pool": timeout_s,
    }


def rate_limit_headers(headers: Mapping[str, Any]) -> dict[str, str]:
    """Those of the headers that speak of rate limits, in lower case."""
    found = {}
    for name, value in headers.items():
        lower = name.lower()
        if lower in _RATE_LIMIT_NAMES or lower.startswith(_RATE_LIMIT_PREFIXES):
            found[lower] = value[:_LONGEST_VALUE]
    return found
