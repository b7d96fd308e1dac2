"""How a call is made, once everything is resolved."""

from typing import Any, Literal

from pydantic import Field

from echelon_configs.frozen import Frozen

FunctionCalling = Literal["none", "auto", "required"]
# An object is OpenAI's form: {"type": "json_schema", "json_schema": {"name", "schema", "strict"}}.
ResponseFormat = Literal["text", "json_object"] | dict[str, Any]


class Thinking(Frozen):
    """Whether the model thinks before it answers, and for how long."""

    enabled: bool = Field(default=False, description="whether the model thinks")
    budget_tokens: int | None = Field(default=None, description="tokens it may think; None: the provider decides")


class CallOverrides(Frozen):
    """The settings that were stated at one place (a model file, an echelon, a node); None is not stated."""

    timeout_s: float | None = Field(default=None, description="seconds one attempt may take")
    max_retries: int | None = Field(default=None, description="further attempts at the same queue")
    temperature: float | None = Field(default=None, description="0 to 2")
    max_tokens: int | None = Field(default=None, description="tokens an answer may have")
    function_calling: FunctionCalling | None = Field(default=None, description="whether tools may or must be called")
    response_format: ResponseFormat | None = Field(default=None, description="form of the answer")
    thinking: Thinking | None = Field(default=None, description="thinking before the answer")


class CallSettings(Frozen):
    """How a call is made; each field has a value, if only the default."""

    timeout_s: float = Field(default=60.0, description="seconds one attempt may take")
    max_retries: int = Field(default=2, description="further attempts at the same queue")
    temperature: float | None = Field(default=None, description="0 to 2; None: the provider decides")
    max_tokens: int = Field(default=1024, description="tokens an answer may have")
    function_calling: FunctionCalling = Field(default="auto", description="whether tools may or must be called")
    response_format: ResponseFormat = Field(default="text", description="form of the answer")
    thinking: Thinking = Field(default=Thinking(), description="thinking before the answer")

    def updated(self, *overrides: CallOverrides) -> "CallSettings":
        """These settings with what each of `overrides` states, the later ones winning."""
        stated: dict[str, Any] = {}
        for override in overrides:
            stated.update((name, value) for name, value in override if value is not None)
        return self.model_copy(update=stated) if stated else self
