"""Requests to OpenAI and Anthropic past their SDKs' own request code.

For each call an SDK rewrites the parameters, which changes nothing in a chat, merges headers, options and retries, and
builds the answer unchecked, so that pydantic-ai writes it out and checks it again, or trips over it. That is half of a
call's CPU with OpenAI and a third with Anthropic, and a quarter of what a call in flight holds in memory
(docs/providers.md has the figures). Here the body goes out as pydantic-ai made it, and the answer is checked once. The
shared HTTP client stays, and so do the SDK's credentials and its error classes, which pydantic-ai sorts.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any

import httpx2
from pydantic_ai.exceptions import ModelAPIError, ModelHTTPError
from pydantic_core import from_json, to_json


class JsonApi:
    """One address of a provider that takes and gives JSON.

    `sdk` is the provider's SDK, whose errors are raised; `unwrapped` says whether they hold the error object itself or
    the whole body, which differs between the SDKs.
    """

    def __init__(
        self, http: httpx2.AsyncClient, url: str, headers: Mapping[str, str], *, sdk: ModuleType, unwrapped: bool
    ) -> None:
        self._http = http
        self._url = httpx2.URL(url)
        encodings = http.headers.get("accept-encoding", "gzip")
        common = {"accept": "application/json", "content-type": "application/json", "accept-encoding": encodings}
        self._headers = {**common, **_lower(headers)}
        self._sdk = sdk
        self._unwrapped = unwrapped

    async def post(self, body: dict[str, Any], headers: Mapping[str, str]) -> Any:
        """Send a body and read the answer's JSON.

        Raises the SDK's errors for statuses from 300 on and for failures of the transport, ModelHTTPError for an error
        that came with status 200, ModelAPIError for a body that is not JSON.
        """
        request = httpx2.Request("POST", self._url, headers={**self._headers, **_lower(headers)}, content=to_json(body))
        try:
            response = await self._http.send(request)
        except httpx2.TimeoutException as exc:
            raise self._sdk.APITimeoutError(request=request) from exc
        except httpx2.TransportError as exc:
            raise self._sdk.APIConnectionError(message="the connection failed", request=request) from exc
        if not response.is_success:
            raise self._status_error(response)
        return _answer_in(response.content, str(body.get("model")))

    def _status_error(self, response: httpx2.Response) -> Exception:
        text = response.text.strip()
        try:
            body = from_json(text)
        except ValueError:
            body = text
        if self._unwrapped and isinstance(body, dict):
            body = body.get("error", body)
        error: Exception = self._sdk.APIStatusError(text[:2000], response=response, body=body)
        return error


def _answer_in(content: bytes, model: str) -> Any:
    try:
        answer = from_json(content)
    except ValueError as exc:
        raise ModelAPIError(model, f"the body is not JSON: {exc}") from exc
    error = answer.get("error") if isinstance(answer, dict) else None
    if isinstance(error, dict):  # gateways do that when the provider behind them fails
        code = error.get("code")
        raise ModelHTTPError(code if isinstance(code, int) and 400 <= code < 600 else 500, model, error)
    return answer


def _lower(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def given(asked: dict[str, Any], *not_given: type) -> dict[str, Any]:
    """The parameters without those that the SDK marks as not given."""
    return {name: value for name, value in asked.items() if not isinstance(value, not_given)}
