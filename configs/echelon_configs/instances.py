"""Instances: one model at one endpoint with one key, once everything is resolved."""

from typing import Any

from pydantic import Field

from echelon_configs.frozen import Frozen
from echelon_configs.limits import Limits
from echelon_configs.references import SecretReference, SecretTemplate
from echelon_configs.settings import CallOverrides, CallSettings


class Timeouts(Frozen):
    """How long parts of a call may take, within its whole timeout; None: no bound of its own."""

    connect_s: float | None = Field(default=None, description="seconds to connect")
    read_s: float | None = Field(default=None, description="seconds between two pieces of the answer")
    write_s: float | None = Field(default=None, description="seconds to send the request")


class Retry(Frozen):
    """Delays between retries at this instance; None takes the group's."""

    base_delay_s: float | None = Field(default=None, description="seconds before the first retry")
    max_delay_s: float | None = Field(default=None, description="longest delay in seconds")
    exponential_base: float | None = Field(default=None, description="factor from one delay to the next")
    jitter: bool | None = Field(default=None, description="whether delays are spread at random")


class Supports(Frozen):
    """What a model can do; None: nobody has said, and it is taken to."""

    tools: bool | None = Field(default=None, description="whether it can call tools")
    json_object: bool | None = Field(default=None, description="whether it can be held to answer in JSON")
    json_schema: bool | None = Field(default=None, description="whether it can be held to a JSON schema")
    images: bool | None = Field(default=None, description="whether it can read images")


class Instance(Frozen):
    """What a call is made to, and what a breaker guards. Holds the names of secrets, never a secret."""

    name: str = Field(description="its name in groups, and after `model.`")
    description: str = Field(default="", description="for people")
    provider: str = Field(
        description="wire format: openai, anthropic, gemini, openai_compatible, or package.module:Class"
    )
    vendor: str = Field(description="provider as written: also mistral, groq, deepseek, openrouter, ollama, vllm")
    model: str = Field(description="the provider's own name for the model")
    base_url: str | None = Field(default=None, description="endpoint; None: the provider's public one")
    api_key: SecretReference | None = Field(default=None, description="where the key is; None: no key is needed")
    headers: dict[str, str | SecretTemplate] = Field(default={}, description="sent with each call")
    parameters: dict[str, Any] = Field(default={}, description="further parameters, passed to the provider as they are")
    unset: tuple[str, ...] = Field(
        default=(), description="variables in its URL or parameters that had no value: it cannot be called"
    )
    context_window: int | None = Field(
        default=None, description="tokens that input and output may have together; None: nobody has said"
    )
    supports: Supports = Field(default=Supports(), description="what the model can do")
    weight: float = Field(default=1.0, description="share of the work under the `weighted` rotation")
    timeouts: Timeouts = Field(default=Timeouts(), description="how long parts of a call may take")
    retry: Retry = Field(default=Retry(), description="delays between retries")
    limits: Limits = Field(default=Limits(), description="limits in force, level defaults included")
    stated: CallOverrides = Field(default=CallOverrides(), description="call settings written in its file")
    settings: CallSettings = Field(
        default=CallSettings(), description="call settings of its own queue, with every default"
    )

    @property
    def queue(self) -> str:
        """Its own queue's name: `model.NAME`."""
        return f"model.{self.name}"

    @property
    def secrets(self) -> tuple[SecretReference, ...]:
        """Every secret a call needs."""
        templates = [value for value in self.headers.values() if isinstance(value, SecretTemplate)]
        inside = [reference for template in templates for reference in template.references]
        return tuple(dict.fromkeys([*([self.api_key] if self.api_key else []), *inside]))
