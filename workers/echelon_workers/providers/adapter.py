"""The interface of a provider: what each one does in its own way.

A provider is one class in a file of its own, found by its name in `calls.py`, or by a dotted path
`package.module:Class` that the configuration gives as an instance's `provider`.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, cast

from pydantic_ai.messages import ModelMessage
from pydantic_ai.models import Model, ModelRequestParameters
from pydantic_ai.output import OutputObjectDefinition
from pydantic_ai.settings import ModelSettings
from pydantic_ai.tools import ToolDefinition

from echelon_workers.ledger.job import Tool
from echelon_workers.providers.ask import Ask, Schema, Thinking
from echelon_workers.providers.conversation import Image, conversation, image_part

if TYPE_CHECKING:
    import httpx2

    from echelon_workers.ledger.job import JobRequest

ModelT = TypeVar("ModelT", bound=Model[Any])

JSON_NOTE = "Answer with one JSON object and nothing else: no explanation, no Markdown."
SCHEMA_NOTE = (
    "Answer with one JSON value and nothing else: no explanation, no Markdown. It has to match this JSON Schema: "
)

MAX_CLIENTS = 64

_PLAIN = ModelRequestParameters()

# What an instance file may set among `parameters`, and pydantic-ai's name for it where that is another.
_PARAMETERS = {
    "stop": "stop_sequences",
    **{
        name: name
        for name in (
            "temperature",
            "top_p",
            "top_k",
            "seed",
            "stop_sequences",
            "presence_penalty",
            "frequency_penalty",
            "logit_bias",
            "parallel_tool_calls",
            "service_tier",
        )
    },
}
# The call's own settings decide these.
_DECIDED = frozenset({"max_tokens", "max_completion_tokens", "max_output_tokens", "model", "messages", "stream"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where an instance's calls go, with the secrets filled in; None as base url is the provider's own address.

    `extra` is what among the instance's `parameters` goes into the body as it is.
    """

    instance: str
    base_url: str | None
    api_key: str
    model: str
    extra: Mapping[str, Any]

    def __repr__(self) -> str:
        return f"Endpoint({self.instance}: {self.model} at {self.base_url})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A request in pydantic-ai's terms."""

    messages: list[ModelMessage]
    settings: ModelSettings
    parameters: ModelRequestParameters


class Adapter(ABC, Generic[ModelT]):
    """One provider: builds the model that carries an instance's calls, and says in its terms what a job asks."""

    price_list: ClassVar[str | None]
    """The provider's name in the price list; None: found by the instance's base url."""

    def __init__(self, http: httpx2.AsyncClient) -> None:
        self.http = http
        self._clients: dict[Hashable, Any] = {}

    @abstractmethod
    def connect(self, endpoint: Endpoint) -> Any:
        """The SDK's client for an endpoint, over the shared HTTP client, without retries. Raises InstanceUnusable."""

    @abstractmethod
    def model(self, endpoint: Endpoint) -> ModelT:
        """The model object for an endpoint, on `client(endpoint)`; built once and kept. Raises InstanceUnusable."""

    def client(self, endpoint: Endpoint) -> Any:
        """The SDK's client, one for all instances with the same address, key and fixed part of the body."""
        shared = (endpoint.base_url, endpoint.api_key, json.dumps(endpoint.extra, sort_keys=True, default=str))
        if shared not in self._clients:
            if len(self._clients) >= MAX_CLIENTS:  # keys and addresses that are no longer in use
                self._clients.clear()
            self._clients[shared] = self.connect(endpoint)
        return self._clients[shared]

    @abstractmethod
    def think(self, model: ModelT, thinking: Thinking, settings: dict[str, Any]) -> None:
        """Set how much to think, and `max_tokens` so that the answer has room beside it (`output_limit`).

        Take out of the settings what the model does not accept beside thinking.
        """

    @abstractmethod
    def shape(self, model: ModelT, schema: Schema | None, request: JobRequest) -> Shape:
        """How to ask for JSON: any object, or what matches the schema."""

    def base_settings(self, known: dict[str, Any], extra: dict[str, Any]) -> dict[str, Any]:
        """The settings every call of an instance shares, from its `parameters`; `extra` is for the request's body."""
        return {**known, "extra_body": extra} if extra else known

    def image(self, url: str, detail: str | None) -> Image:
        """An image given by address or data URL."""
        return image_part(url, detail)

    def plan(self, model: ModelT, ask: Ask, request: JobRequest, base: Mapping[str, Any]) -> Plan:
        """The whole request; `base` are the settings that every call of the instance shares."""
        settings = {**base, "max_tokens": ask.max_tokens}
        if ask.temperature is not None:
            settings["temperature"] = ask.temperature
        if ask.thinking is not None:
            self.think(model, ask.thinking, settings)
        shape = self.shape(model, ask.schema, request) if ask.json else _TEXT
        if shape.body:
            settings["extra_body"] = {**settings.get("extra_body", {}), **shape.body}
        parameters = shape.parameters
        if ask.tools:
            parameters = replace(parameters, function_tools=[_tool(tool) for tool in ask.tools])
            settings["tool_choice"] = ask.function_calling
        return Plan(
            messages=conversation(request, image=self.image, notes=shape.notes),
            settings=cast(ModelSettings, settings),
            parameters=parameters,
        )


@dataclass(frozen=True, slots=True)
class Shape:
    """How the form of the answer is asked for: by parameters, in the body, or in words added to the system prompt."""

    parameters: ModelRequestParameters = field(default_factory=lambda: _PLAIN)
    body: Mapping[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()


_TEXT = Shape()


def native_schema(schema: Schema) -> Shape:
    """The provider's own structured output."""
    described = OutputObjectDefinition(
        json_schema=schema.schema, name=schema.name, description=schema.description, strict=schema.strict
    )
    return Shape(ModelRequestParameters(output_mode="native", output_object=described))


def schema_in_words(schema: Schema) -> Shape:
    """The schema in the system prompt, for models without structured output."""
    return Shape(notes=(SCHEMA_NOTE + json.dumps(schema.schema, ensure_ascii=False),))


def split_parameters(parameters: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """An instance's `parameters` as (settings pydantic-ai knows, what goes into the request's body as it is)."""
    known: dict[str, Any] = {}
    extra: dict[str, Any] = {}
    for name, value in parameters.items():
        if name in _PARAMETERS:
            known[_PARAMETERS[name]] = [value] if name == "stop" and isinstance(value, str) else value
        elif name not in _DECIDED:
            extra[name] = value
    return known, extra


def without_version(base_url: str | None, *versions: str) -> str | None:
    """The address without the API version at its end, for SDKs that add it themselves."""
    if base_url is None:
        return None
    trimmed = base_url.rstrip("/")
    for version in versions:
        trimmed = trimmed.removesuffix(f"/{version}")
    return trimmed


def _tool(tool: Tool) -> ToolDefinition:
    function = tool["function"]
    return ToolDefinition(
        name=function["name"],
        description=function.get("description"),
        parameters_json_schema=dict(function.get("parameters") or {"type": "object", "properties": {}}),
        strict=function.get("strict"),
    )
