"""httpx2's transport over aiohttp, as far as calls to providers need it: a whole body out, a whole body back.

A call in flight holds no more than aiohttp's own connection: the answer is read before it is handed on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import aiohttp
import httpx2
from aiohttp.connector import Connection
from typing_extensions import override

# The first that fits.
_ERRORS: tuple[tuple[type[Exception], type[httpx2.TransportError]], ...] = (
    (aiohttp.ConnectionTimeoutError, httpx2.ConnectTimeout),
    (TimeoutError, httpx2.ReadTimeout),
    (aiohttp.ClientConnectorError, httpx2.ConnectError),
    (aiohttp.InvalidURL, httpx2.UnsupportedProtocol),
    (aiohttp.ClientError, httpx2.ReadError),
    (OSError, httpx2.ReadError),
)
# aiohttp has seen to these.
_HANDLED = frozenset({b"content-encoding", b"content-length", b"transfer-encoding"})


#: Called when a request's connection is there, right before its bytes go; what it raises ends the request unsent.
sending_now: ContextVar[Callable[[], None] | None] = ContextVar("sending_now", default=None)


class _CheckedRequest(aiohttp.ClientRequest):
    """A request that asks once more before it goes: a connection takes time to be made."""

    @override
    async def send(self, conn: Connection) -> aiohttp.ClientResponse:
        if (check := sending_now.get()) is not None:
            check()
        return await super().send(conn)


class AiohttpTransport(httpx2.AsyncBaseTransport):
    """Its connections are opened by the first request, in its loop."""

    def __init__(self, max_connections: int, *, keepalive_s: float, trust_env: bool) -> None:
        self._max_connections = max_connections
        self._keepalive_s = keepalive_s
        self._trust_env = trust_env
        self._ssl = httpx2.create_ssl_context()  # reads all certificates, which takes 25 ms
        self._session: aiohttp.ClientSession | None = None

    @override
    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        bounds = request.extensions.get("timeout", {})
        timeout = aiohttp.ClientTimeout(
            connect=bounds.get("pool"), sock_connect=bounds.get("connect"), sock_read=bounds.get("read")
        )
        with _in_httpx2_terms():
            async with self._open().request(
                request.method,
                str(request.url),
                headers=request.headers,
                data=request.content,
                timeout=timeout,
                allow_redirects=False,  # a key goes to the address that it was configured for, and to no other
            ) as response:
                content = await response.read()
        headers = [(name, value) for name, value in response.raw_headers if name.lower() not in _HANDLED]
        return httpx2.Response(response.status, headers=headers, content=content)

    @override
    async def aclose(self) -> None:
        if self._session is not None:
            await self._session.close()

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(
                limit=self._max_connections, keepalive_timeout=self._keepalive_s, ssl=self._ssl
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                trust_env=self._trust_env,
                cookie_jar=aiohttp.DummyCookieJar(),
                request_class=_CheckedRequest,
            )
        return self._session


@contextmanager
def _in_httpx2_terms() -> Iterator[None]:
    try:
        yield
    except (aiohttp.ClientError, OSError) as exc:
        raise next(theirs for ours, theirs in _ERRORS if isinstance(exc, ours))(str(exc)) from exc
