"""What is asked of the model beside the conversation: the request's own wishes over the echelon's settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from echelon_workers.ledger.job import FunctionCalling, Tool
from echelon_workers.providers.call import Call

Effort = Literal["low", "medium", "high"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema:
    """A JSON Schema the answer has to match."""

    name: str
    schema: dict[str, Any]
    strict: bool | None = None
    description: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Thinking:
    """`budget_tokens` None leaves how much to the provider."""

    enabled: bool
    budget_tokens: int | None = None

    @property
    def effort(self) -> Effort:
        """The effort that comes nearest to the budget, for models that take a word instead of a number."""
        if self.budget_tokens is None:
            return "medium"
        if self.budget_tokens <= 2048:
            return "low"
        return "medium" if self.budget_tokens <= 8192 else "high"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """The wishes of one call, merged."""

    max_tokens: int
    temperature: float | None
    thinking: Thinking | None
    json: bool
    schema: Schema | None
    tools: tuple[Tool, ...]
    function_calling: FunctionCalling


def output_limit(max_tokens: int, budget_tokens: int | None) -> int:
    """The tokens to allow for thinking and answer together, which is how all three providers count.

    `max_tokens` when it leaves room beside the thinking budget, else both together: a budget as large as max_tokens
    would leave the answer without room, and Anthropic refuses it.
    """
    return max_tokens if budget_tokens is None or budget_tokens < max_tokens else budget_tokens + max_tokens


def ask_of(call: Call) -> Ask:
    """The wishes of a call: what the request says, else what the settings say."""
    request, settings = call.request, call.settings
    wanted = request.response_format if request.response_format is not None else settings.response_format
    schema = _schema(wanted) if isinstance(wanted, Mapping) else None
    thinking = request.thinking if request.thinking is not None else settings.thinking
    return Ask(
        max_tokens=request.max_tokens or settings.max_tokens,
        temperature=settings.temperature if request.temperature is None else request.temperature,
        thinking=_thinking(thinking),
        json=schema is not None or wanted == "json_object",
        schema=schema,
        tools=request.tools,
        function_calling=request.function_calling or settings.function_calling,
    )


def _schema(wanted: Mapping[str, Any]) -> Schema:
    """A job gives its schema in OpenAI's wrapping; a configuration may give it bare."""
    if wanted.get("type") != "json_schema":
        return Schema(name="answer", schema=dict(wanted))
    inner = wanted["json_schema"]
    return Schema(
        name=inner.get("name", "answer"),
        schema=inner["schema"],
        strict=inner.get("strict"),
        description=inner.get("description"),
    )


def _thinking(wanted: Any) -> Thinking | None:
    if wanted is None:
        return None
    if isinstance(wanted, Mapping):
        return Thinking(enabled=wanted["enabled"], budget_tokens=wanted.get("budget_tokens"))
    return Thinking(enabled=wanted.enabled, budget_tokens=wanted.budget_tokens)
