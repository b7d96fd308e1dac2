"""Requests through an SDK's client without its two walks over every request and answer.

The SDKs of OpenAI and Anthropic rewrite the parameters of each request, which changes nothing in a chat, and build the
answer unchecked, so that pydantic-ai writes it out and checks it again, or trips over it: together 0.3 to 0.5 ms of a
call's 1.4. They document `client.post` for endpoints that they do not know. Over it an answer is checked once, and is
no JSON, or JSON of another shape, when that fails. Authentication, errors and the transport stay the SDK's.
"""

from __future__ import annotations

from typing import Any

import httpx2
from pydantic_ai.exceptions import ModelAPIError, ModelHTTPError
from pydantic_core import from_json


async def post(client: Any, path: str, body: dict[str, Any], *, headers: Any, timeout: Any) -> Any:
    """Send a JSON body and read the JSON that comes back.

    Raises the SDK's errors for statuses from 400 on and for the transport's failures, ModelHTTPError for an error that
    came with status 200, ModelAPIError for a body that is not JSON.
    """
    model = str(body.get("model"))
    given = {"headers": headers, "timeout": timeout}
    options = {name: value for name, value in given.items() if value is not None}
    response = await client.post(path, cast_to=httpx2.Response, body=body, options=options)
    try:
        answer = from_json(response.content)
    except ValueError as exc:
        raise ModelAPIError(model, f"the body is not JSON: {exc}") from exc
    error = answer.get("error") if isinstance(answer, dict) else None
    if isinstance(error, dict):  # gateways do that when the provider behind them fails
        code = error.get("code")
        raise ModelHTTPError(code if isinstance(code, int) and 400 <= code < 600 else 500, model, error)
    return answer


def given(asked: dict[str, Any], *not_given: type) -> dict[str, Any]:
    """The parameters without those that the SDK marks as not given."""
    return {name: value for name, value in asked.items() if not isinstance(value, not_given)}
