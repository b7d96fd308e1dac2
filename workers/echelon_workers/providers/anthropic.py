"""Anthropic's messages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, cast

from anthropic import AsyncAnthropic
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

OFFICIAL_URL = "https://api.anthropic.com"
LEAST_BUDGET = 1024  # the API refuses less
_SAMPLING = ("temperature", "top_p", "top_k")


class Anthropic(Adapter[AnthropicModel]):
    """Anthropic's own API, or a transparent proxy to it."""

    price_list: ClassVar[str | None] = "anthropic"

    @override
    def model(self, endpoint: Endpoint) -> AnthropicModel:
        client = AsyncAnthropic(
            api_key=endpoint.api_key,
            base_url=without_version(endpoint.base_url, "v1") or OFFICIAL_URL,
            max_retries=0,
            http_client=self.http,
            open_telemetry=False,
        )
        return AnthropicModel(endpoint.model, provider=AnthropicProvider(anthropic_client=client))

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
