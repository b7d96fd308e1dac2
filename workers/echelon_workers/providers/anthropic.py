"""Anthropic's messages."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from types import SimpleNamespace
from typing import Any, ClassVar, cast

import anthropic
from anthropic import AsyncAnthropic, NotGiven, Omit
from anthropic.types.beta import BetaMessage, BetaUsage
from pydantic import field_validator
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from typing_extensions import override

from echelon_workers.ledger.job import JobRequest
from echelon_workers.providers.adapter import (
    JSON_NOTE,
    Adapter,
    Endpoint,
    Plan,
    Shape,
    native_schema,
    schema_in_words,
    without_version,
)
from echelon_workers.providers.ask import Ask, Schema, Thinking, output_limit
from echelon_workers.providers.lean import JsonApi, given

OFFICIAL_URL = "https://api.anthropic.com"
LEAST_BUDGET = 1024  # the API refuses less
_SAMPLING = ("temperature", "top_p", "top_k")


class Anthropic(Adapter[AnthropicModel]):
    """Anthropic's own API, or a transparent proxy to it."""

    price_list: ClassVar[str | None] = "anthropic"

    @override
    def connect(self, endpoint: Endpoint) -> AsyncAnthropic:
        base_url = without_version(endpoint.base_url, "v1") or OFFICIAL_URL
        client = _LeanAnthropic(api_key=endpoint.api_key, base_url=base_url, max_retries=0, http_client=self.http)
        headers = {**client.auth_headers, "anthropic-version": str(client.default_headers["anthropic-version"])}
        client.api = JsonApi(self.http, f"{base_url}/v1/messages?beta=true", headers, sdk=anthropic, unwrapped=False)
        return client

    @override
    def model(self, endpoint: Endpoint) -> AnthropicModel:
        return AnthropicModel(endpoint.model, provider=AnthropicProvider(anthropic_client=self.client(endpoint)))

    @override
    def plan(self, model: AnthropicModel, ask: Ask, request: JobRequest, base: Mapping[str, Any]) -> Plan:
        plan = super().plan(model, ask, request, base)
        if model.profile.get("anthropic_disallows_sampling_settings"):
            _drop_sampling(cast(dict[str, Any], plan.settings))
        return plan

    @override
    def think(self, model: AnthropicModel, thinking: Thinking, settings: dict[str, Any]) -> None:
        """A budget where the model takes one, adaptive thinking with an effort where it does not.

        The API allows no temperature, top_p or top_k beside thinking, so they are left out.
        """
        if not thinking.enabled:
            settings["thinking"] = False
            return
        _drop_sampling(settings)
        if model.profile.get("anthropic_disallows_budget_thinking"):
            settings["anthropic_thinking"] = {"type": "adaptive"}
            settings["anthropic_effort"] = thinking.effort
            settings["max_tokens"] = output_limit(settings["max_tokens"], thinking.budget_tokens)
            return
        budget = max(thinking.budget_tokens or settings["max_tokens"] // 2, LEAST_BUDGET)
        settings["anthropic_thinking"] = {"type": "enabled", "budget_tokens": budget}
        settings["max_tokens"] = output_limit(settings["max_tokens"], budget)

    @override
    def shape(self, model: AnthropicModel, schema: Schema | None, request: JobRequest) -> Shape:
        """Structured output where the model has it; the API has no JSON mode, so else it is asked for in words."""
        if schema is None:
            return Shape(notes=(JSON_NOTE,))
        if model.profile.get("supports_json_schema_output") and schema.strict is not False:
            return native_schema(schema)
        return schema_in_words(schema)


def _drop_sampling(settings: dict[str, Any]) -> None:
    for name in _SAMPLING:
        settings.pop(name, None)


# The only blocks that can come, as no tool of the provider's own is ever asked for; new kinds are passed over.
_BLOCKS = frozenset({"text", "tool_use", "thinking", "redacted_thinking"})


class _Usage(BetaUsage):
    service_tier: Any = None
    speed: Any = None


class _Message(BetaMessage):
    """A message, lenient about what servers leave out or add."""

    id: str = ""
    model: str = ""
    role: Any = "assistant"
    type: Any = "message"
    stop_reason: Any = None
    stop_details: Any = None
    usage: _Usage  # pyright: ignore[reportIncompatibleVariableOverride]

    @field_validator("content", mode="before")
    @classmethod
    def _known_blocks(cls, content: Any) -> Any:
        if not isinstance(content, list):
            return content
        return [block for block in content if not isinstance(block, dict) or block.get("type") in _BLOCKS]


class _Messages:
    """`client.beta.messages`, as far as pydantic-ai's model uses it."""

    def __init__(self, api: JsonApi) -> None:
        self._api = api

    async def create(self, *, betas: Any, extra_headers: Any = None, extra_body: Any = None, **asked: Any) -> _Message:
        asked.pop("timeout", None)  # the call's own bounds are on the HTTP client
        body = {**given(asked, Omit, NotGiven), **(extra_body or {})}
        headers = {**(extra_headers or {}), **({"anthropic-beta": ",".join(betas)} if isinstance(betas, list) else {})}
        return _Message.model_validate(await self._api.post(body, headers))


class _LeanAnthropic(AsyncAnthropic):
    api: JsonApi

    @cached_property
    def beta(self) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        return SimpleNamespace(messages=_Messages(self.api))
