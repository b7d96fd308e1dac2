"""OpenAI, and every server that speaks its chat completions: vLLM, llama.cpp, Ollama, gateways."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from types import SimpleNamespace
from typing import Any, ClassVar, cast

import openai
from openai import AsyncOpenAI, NotGiven, Omit
from openai.types import chat
from openai.types.chat import chat_completion
from pydantic import Field, field_validator
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.profiles.openai import SAMPLING_PARAMS, OpenAIModelProfile
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.providers.openai_compatible import OpenAICompatibleProvider
from pydantic_ai.settings import ModelSettings
from typing_extensions import override

from echelon_workers.errors import InstanceUnusable
from echelon_workers.ledger.job import JobRequest
from echelon_workers.providers.adapter import JSON_NOTE, Adapter, Endpoint, Plan, Shape
from echelon_workers.providers.ask import Ask, Schema, Thinking, output_limit
from echelon_workers.providers.lean import JsonApi, given

OFFICIAL_URL = "https://api.openai.com/v1"


class OpenAI(Adapter[OpenAIChatModel]):
    """OpenAI's own API, or a transparent proxy to it."""

    price_list: ClassVar[str | None] = "openai"
    # Schemas go out as the job gives them; the library would otherwise rewrite them and turn strictness on.
    profile: ClassVar[OpenAIModelProfile] = OpenAIModelProfile(json_schema_transformer=None)

    @override
    def model(self, endpoint: Endpoint) -> OpenAIChatModel:
        provider = OpenAIProvider(openai_client=self.client(endpoint))
        return _ChatModel(endpoint.model, provider=provider, profile=self.profile)

    @override
    def connect(self, endpoint: Endpoint) -> AsyncOpenAI:
        base_url = endpoint.base_url or OFFICIAL_URL
        client = _LeanOpenAI(api_key=endpoint.api_key, base_url=base_url, max_retries=0, http_client=self.http)
        url = f"{base_url.rstrip('/')}/chat/completions"
        client.api = JsonApi(self.http, url, client.auth_headers, sdk=openai, unwrapped=True)
        return client

    @override
    def base_settings(self, known: dict[str, Any], extra: dict[str, Any]) -> dict[str, Any]:
        """With `top_k` in the body: the library leaves it out, as OpenAI does not have it, but vLLM and others do."""
        beside = {"top_k": known["top_k"]} if "top_k" in known else {}
        return super().base_settings({name: known[name] for name in known if name not in beside}, {**extra, **beside})

    @override
    def think(self, model: OpenAIChatModel, thinking: Thinking, settings: dict[str, Any]) -> None:
        """Reasoning models take an effort instead of a budget; others are not asked to think at all."""
        if not thinking.enabled:
            settings["thinking"] = False
        elif self._thinks(model):
            settings["openai_reasoning_effort"] = thinking.effort
            settings["max_tokens"] = output_limit(settings["max_tokens"], thinking.budget_tokens)

    def _thinks(self, model: OpenAIChatModel) -> bool:
        return bool(model.profile.get("supports_thinking"))

    @override
    def plan(self, model: OpenAIChatModel, ask: Ask, request: JobRequest, base: Mapping[str, Any]) -> Plan:
        """Without temperature and the like while the model reasons: it refuses them."""
        plan = super().plan(model, ask, request, base)
        if model.profile.get("openai_supports_reasoning") and not _rests(model.profile, plan.settings):
            for name in SAMPLING_PARAMS:
                cast(dict[str, Any], plan.settings).pop(name, None)
        return plan

    @override
    def shape(self, model: OpenAIChatModel, schema: Schema | None, request: JobRequest) -> Shape:
        """The API's own JSON mode and schemas; it refuses JSON mode when nothing in the messages speaks of JSON."""
        if schema is None:
            notes = () if _speaks_of_json(request) else (JSON_NOTE,)
            return Shape(body={"response_format": {"type": "json_object"}}, notes=notes)
        wanted: dict[str, Any] = {"name": schema.name, "schema": schema.schema}
        wanted |= {} if schema.strict is None else {"strict": schema.strict}
        wanted |= {"description": schema.description} if schema.description else {}
        return Shape(body={"response_format": {"type": "json_schema", "json_schema": wanted}})


class OpenAICompatible(OpenAI):
    """Any server with OpenAI's chat completions at its base url, with a key or without."""

    price_list = None
    profile = OpenAIModelProfile(json_schema_transformer=None, openai_chat_supports_max_completion_tokens=False)

    @override
    def model(self, endpoint: Endpoint) -> OpenAIChatModel:
        if endpoint.base_url is None:
            raise InstanceUnusable(f"{endpoint.instance}: no address (set base_url to the server's .../v1)")
        provider = OpenAICompatibleProvider("openai-compatible", openai_client=self.client(endpoint))
        return _ChatModel(endpoint.model, provider=provider, profile=self.profile)

    @override
    def _thinks(self, model: OpenAIChatModel) -> bool:
        return True  # what the model behind the address can do is not known here: the configuration is believed


def _rests(profile: OpenAIModelProfile, settings: ModelSettings) -> bool:
    """Whether a model that can reason will not."""
    efforts = profile.get("openai_reasoning_efforts")
    can_rest = "none" in efforts if efforts is not None else profile.get("openai_supports_reasoning_effort_none", False)
    if not can_rest or "openai_reasoning_effort" in settings:
        return False
    return settings.get("thinking") is False or not profile.get("thinking_enabled_by_default", False)


def _speaks_of_json(request: JobRequest) -> bool:
    said = (request.prompt, request.system, *(str(message.get("content")) for message in request.messages or ()))
    return any("json" in text.lower() for text in said if text)


class _Choice(chat_completion.Choice):
    # Servers have finish reasons of their own; a missing one is told from "stop" when the answer is read.
    finish_reason: Any = None
    index: int = 0

    @field_validator("message", mode="before")
    @classmethod
    def _join_parts(cls, message: Any) -> Any:
        """Some servers send the content as a list of parts."""
        content = message.get("content") if isinstance(message, dict) else None
        if not isinstance(content, list):
            return message
        texts = [part if isinstance(part, str) else part.get("text") for part in content]
        return {**message, "content": "".join(text for text in texts if isinstance(text, str)) or None}


def _counted(usage: Any) -> bool:
    return isinstance(usage, dict) and all(
        isinstance(usage.get(name), int) for name in ("prompt_tokens", "completion_tokens", "total_tokens")
    )


class _Completion(chat.ChatCompletion):
    """A chat completion, lenient about what servers leave out or add."""

    id: str = ""
    model: str = ""
    created: Any = 0
    object: Any = "chat.completion"
    service_tier: Any = None
    choices: list[_Choice] = Field(min_length=1)  # type: ignore[assignment]

    @field_validator("usage", mode="before")
    @classmethod
    def _whole_usage(cls, usage: Any) -> Any:
        return usage if _counted(usage) else None


class _Completions:
    """`client.chat.completions`, as far as pydantic-ai's model uses it."""

    def __init__(self, api: JsonApi) -> None:
        self._api = api

    async def create(self, *, extra_headers: Any = None, extra_body: Any = None, **asked: Any) -> _Completion:
        asked.pop("timeout", None)  # the call's own bounds are on the HTTP client
        body = {**given(asked, Omit, NotGiven), **(extra_body or {})}
        return _Completion.model_validate(await self._api.post(body, extra_headers or {}))


class _LeanOpenAI(AsyncOpenAI):
    api: JsonApi

    @cached_property
    def chat(self) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        return SimpleNamespace(completions=_Completions(self.api))


class _ChatModel(OpenAIChatModel):
    def _validate_completion(self, response: Any) -> Any:
        return response  # checked when it was read
