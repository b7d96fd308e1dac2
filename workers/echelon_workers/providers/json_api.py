"""A request to a provider and its answer, over the shared transport: JSON out, the body's bytes back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx2
from pydantic_core import from_json, to_json

_COMMON = {"accept": "application/json", "content-type": "application/json", "accept-encoding": "gzip, deflate"}


class HttpFailed(Exception):
    """The provider answered with an error: its status, the body (JSON where it is that) and the headers."""

    def __init__(self, status: int, body: Any, headers: Mapping[str, str]) -> None:
        super().__init__(f"HTTP {status}")
        self.status = status
        self.headers = headers
        first = body[0] if isinstance(body, list) and body else body
        inner = first.get("error") if isinstance(first, Mapping) else None
        self.error: Mapping[str, Any] = inner if isinstance(inner, Mapping) else _mapping(first)
        """The object that says what is wrong; empty when there is none."""
        self.text = body.strip() if isinstance(body, str) else ""


class JsonApi:
    """One address of a provider."""

    def __init__(self, http: httpx2.AsyncBaseTransport, url: str, headers: Mapping[str, str]) -> None:
        self._http = http
        self._url = httpx2.URL(url)
        self._headers = {**_COMMON, **lower(headers)}

    async def post(
        self, body: Mapping[str, Any], headers: Mapping[str, str], timeouts: Mapping[str, float | None]
    ) -> tuple[bytes, httpx2.Headers]:
        """Send a body; the answer's body and headers.

        Raises HttpFailed for any status but 2xx, httpx2.TransportError when there is no whole answer.
        """
        return await self._send("POST", self._url, headers, timeouts, to_json(body))

    async def get(self, url: str, headers: Mapping[str, str], timeouts: Mapping[str, float | None]) -> None:
        """Read another address of the provider's, and see only that it answers. Raises as `post`."""
        await self._send("GET", httpx2.URL(url), headers, timeouts)

    async def _send(
        self,
        method: str,
        url: httpx2.URL,
        headers: Mapping[str, str],
        timeouts: Mapping[str, float | None],
        content: bytes | None = None,
    ) -> tuple[bytes, httpx2.Headers]:
        request = httpx2.Request(
            method, url, headers={**self._headers, **headers}, content=content, extensions={"timeout": timeouts}
        )
        response = await self._http.handle_async_request(request)
        content = await response.aread()
        if not response.is_success:
            raise HttpFailed(response.status_code, _json_or_text(content), response.headers)
        return content, response.headers


def sent_as_success(error: Any) -> HttpFailed | None:
    """The failure behind an error object in a body with status 200; gateways send that when a provider fails them."""
    if not isinstance(error, Mapping):
        return None
    code = error.get("code")
    status = code if isinstance(code, int) and 400 <= code < 600 else 500
    return HttpFailed(status, {"error": error}, {})


def lower(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers with their names in lower case."""
    return {name.lower(): value for name, value in headers.items()}


def _json_or_text(content: bytes) -> Any:
    try:
        return from_json(content)
    except ValueError:
        return content.decode(errors="replace")


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
