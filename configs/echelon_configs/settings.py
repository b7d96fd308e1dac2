"""How a call is made, once everything is resolved."""

from typing import Any, Literal

from pydantic import Field

from echelon_configs.frozen import Frozen

FunctionCalling = Literal["none", "auto", "required"]
# An object is OpenAI's form: {"type": "json_schema", "json_schema": {"name", "schema", "strict"}}.
ResponseFormat = Literal["text", "json_object"] | dict[str, Any]

#: Anthropic takes no smaller budget (https://platform.claude.com/docs/en/build-with-claude/extended-thinking).
LEAST_THINKING_TOKENS = 1024


def thinking_tokens(enabled: bool, budget_tokens: int | None) -> int:
    """The most that a model may think; without a budget it thinks within `max_tokens`, or the least there is."""
    return max(budget_tokens or 0, LEAST_THINKING_TOKENS) if enabled else 0


def output_tokens(max_tokens: int, thinking: int) -> int:
    """The most that thinking and answer may take together: thinking that leaves `max_tokens` no room comes on top."""
    return max_tokens if thinking < max_tokens else max_tokens + thinking


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

    @property
    def output_tokens(self) -> int:
        """The most that thinking and answer may take together."""
        return output_tokens(self.max_tokens, thinking_tokens(self.thinking.enabled, self.thinking.budget_tokens))

    def updated(self, *overrides: CallOverrides) -> "CallSettings":
        """These settings with what each of `overrides` states, the later ones winning."""
        stated: dict[str, Any] = {}
        for override in overrides:
            stated.update((name, value) for name, value in override if value is not None)
        return self.model_copy(update=stated) if stated else self
