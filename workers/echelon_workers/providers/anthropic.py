"""Anthropic's messages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from pydantic import BaseModel
from typing_extensions import override

from echelon_workers.errors import BadRequest
from echelon_workers.ledger.job import JobRequest, Tool, ToolCall
from echelon_workers.providers.adapter import Adapter, Endpoint, schema_in_words, without_version
from echelon_workers.providers.ask import Ask, Schema, output_limit
from echelon_workers.providers.conversation import Image, Part, Text, ToolResult, ToolUse, conversation, spoken
from echelon_workers.providers.json_api import sent_as_success
from echelon_workers.providers.models import claude_model
from echelon_workers.providers.reply import Means, Reply, as_json
from echelon_workers.providers.schemas import strict_for_anthropic

OFFICIAL_URL = "https://api.anthropic.com"
VERSION = "2026-10-21"  # as Anthropic's own SDK of November 2026
LEAST_BUDGET = 1024  # the API refuses less

_SAMPLING = ("temperature", "top_p", "top_k")
_TIERS = {"auto": "auto", "default": "standard_only"}
_CHOICES = {"auto": "auto", "required": "any", "none": "none"}
_MEANS: dict[str, Means] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
# What an error sent as a success is called, and the status that it has otherwise.
_STATUSES = {"rate_limit_error": 429, "overloaded_error": 529, "billing_error": 402, "authentication_error": 401,
             "permission_error": 403, "not_found_error": 404, "invalid_request_error": 400}  # fmt: skip


class Anthropic(Adapter):
    """Anthropic's own API, or a transparent proxy to it."""

    price_list: ClassVar[str | None] = "anthropic"

    def __init__(self, endpoint: Endpoint) -> None:
        super().__init__(endpoint)
        self.model = claude_model(endpoint.model)

    @property
    @override
    def url(self) -> str:
        return f"{self._base_url}/v1/messages?beta=true"

    @property
    @override
    def models_url(self) -> str:
        return f"{self._base_url}/v1/models?limit=1"

    @property
    def _base_url(self) -> str:
        return without_version(self.endpoint.base_url, "v1") or OFFICIAL_URL

    @property
    @override
    def headers(self) -> Mapping[str, str]:
        return {"authorization": f"Bearer {self.endpoint.api_key}", "anthropic-version": VERSION}

    @override
    def body(self, ask: Ask, request: JobRequest) -> dict[str, Any]:
        thought, max_tokens = self._thinking(ask)
        schema = self._schema(ask)
        notes = () if not ask.json or schema else (schema_in_words(ask.schema),)
        system, said = spoken(conversation(request, notes=notes))
        limit = min(max_tokens, self.model.most_tokens or max_tokens)
        body: dict[str, Any] = {"model": self.endpoint.model, "max_tokens": limit, **self._sampling(ask, thought)}
        body |= {"system": "\n\n".join(system)} if system else {}
        body["messages"] = [message for is_models, parts in said if (message := _message(is_models, parts))["content"]]
        body |= thought
        if schema:
            form = {"type": "json_schema", "schema": strict_for_anthropic(schema.schema)}
            body["output_config"] = {**body.get("output_config", {}), "format": form}
        if ask.tools:
            body |= {"tools": [self._tool(tool) for tool in ask.tools], "tool_choice": self._choice(ask, thought)}
        return {**body, **self.endpoint.extra}

    def _thinking(self, ask: Ask) -> tuple[dict[str, Any], int]:
        """What to send about thinking, and the limit of tokens with it.

        A budget where the model takes one, adaptive thinking with an effort where it does not.
        """
        wanted = ask.thinking
        if wanted is None:
            return {}, ask.max_tokens
        if not wanted.enabled:
            return self._least(), ask.max_tokens
        if self.model.adaptive_only:
            return _adaptive(wanted.effort), output_limit(ask.max_tokens, wanted.budget_tokens)
        budget = max(wanted.budget_tokens or ask.max_tokens // 2, LEAST_BUDGET)
        return {"thinking": {"type": "enabled", "budget_tokens": budget}}, output_limit(ask.max_tokens, budget)

    def _least(self) -> dict[str, Any]:
        if self.model.always_thinks:
            return _adaptive("low")
        return {"thinking": {"type": self.model.off}} if self.model.off else {}

    def _sampling(self, ask: Ask, thought: Mapping[str, Any]) -> dict[str, Any]:
        """The instance's parameters that the API has, without those that it refuses for this model or this call."""
        known = self.endpoint.known
        found: dict[str, Any] = {}
        if not self.model.adaptive_only and not _thinks(thought):
            found = {name: known[name] for name in _SAMPLING if name in known}
            found |= {} if ask.temperature is None else {"temperature": ask.temperature}
        if "stop" in known:
            found["stop_sequences"] = known["stop"]
        if known.get("service_tier") in _TIERS:
            found["service_tier"] = _TIERS[known["service_tier"]]
        return found

    def _schema(self, ask: Ask) -> Schema | None:
        """The schema for structured output where the model has it; the API has no JSON mode, so words must do."""
        native = ask.schema is not None and self.model.schemas and ask.schema.strict is not False
        return ask.schema if native else None

    def _tool(self, tool: Tool) -> dict[str, Any]:
        function = tool["function"]
        schema = function.get("parameters") or {"type": "object", "properties": {}}
        found = {"name": function["name"], "description": function.get("description") or "", "input_schema": schema}
        if function.get("strict") and self.model.schemas:
            return {**found, "input_schema": strict_for_anthropic(schema), "strict": True}
        return found

    def _choice(self, ask: Ask, thought: Mapping[str, Any]) -> dict[str, Any]:
        forced = ask.function_calling == "required"
        if forced and not self.model.takes_forced_tools:
            raise BadRequest(f"{self.endpoint.model} cannot be made to call a tool (set function_calling to auto)")
        if forced and thought.get("thinking", {}).get("type") == "enabled":
            raise BadRequest("a model that thinks cannot be made to call a tool (set function_calling to auto)")
        choice: dict[str, Any] = {"type": _CHOICES[ask.function_calling]}
        if "parallel_tool_calls" in self.endpoint.known and ask.function_calling != "none":
            choice["disable_parallel_tool_use"] = not self.endpoint.known["parallel_tool_calls"]
        return choice

    @override
    def read(self, content: bytes, headers: Mapping[str, str]) -> Reply:
        message = _Message.model_validate_json(content)
        if failed := sent_as_success(_with_status(message.error)):
            raise failed
        if message.content is None or message.usage is None:
            raise ValueError("no content, or no usage")
        said, why = message.stop_reason, message.stop_details
        return Reply(
            text="".join(block["text"] for block in message.of("text")),
            tool_calls=tuple(_called(block) for block in message.of("tool_use")),
            said=said,
            means=_MEANS.get(said) if isinstance(said, str) else None,
            why=why.get("explanation") if isinstance(why, dict) else None,
            counts=_counts(message.usage),
            model=message.model or None,
            context={"speed": "fast"} if message.usage.speed == "fast" else {},
        )


def _adaptive(effort: str) -> dict[str, Any]:
    return {"thinking": {"type": "adaptive"}, "output_config": {"effort": effort}}


def _thinks(thought: Mapping[str, Any]) -> bool:
    """The API allows no temperature, top_p or top_k beside thinking."""
    return thought.get("thinking", {}).get("type") in ("enabled", "adaptive")


def _message(is_models: bool, parts: Iterable[Part]) -> dict[str, Any]:
    return {"role": "assistant" if is_models else "user", "content": _blocks(parts)}


def _blocks(parts: Iterable[Part]) -> list[dict[str, Any]]:
    """The API refuses empty text."""
    return [_block(part) for part in parts if part != Text("")]


def _block(part: Part) -> dict[str, Any]:
    match part:
        case Text():
            return {"type": "text", "text": part.text}
        case Image(data=""):
            return {"type": "image", "source": {"type": "url", "url": part.url}}
        case Image():
            source = {"type": "base64", "media_type": part.media_type, "data": part.data}
            return {"type": "image", "source": source}
        case ToolUse():
            return {"type": "tool_use", "id": part.id, "name": part.name, "input": part.input}
        case ToolResult():
            return {"type": "tool_result", "tool_use_id": part.id, "content": _blocks(part.parts)}


class _Usage(BaseModel):
    input_tokens: int
    output_tokens: int
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_creation: Any = None
    output_tokens_details: Any = None
    server_tool_use: Any = None
    speed: Any = None


class _Message(BaseModel):
    """A message, as far as it is read, lenient about what servers leave out or add."""

    model: str = ""
    content: list[dict[str, Any]] | None = None
    stop_reason: Any = None
    stop_details: Any = None
    usage: _Usage | None = None
    error: Any = None

    def of(self, kind: str) -> Iterable[dict[str, Any]]:
        """The blocks of a kind. Only text, tool_use and thinking are asked for; whatever else comes is passed over."""
        return (block for block in self.content or () if block.get("type") == kind)


def _called(block: Mapping[str, Any]) -> ToolCall:
    return ToolCall(id=block["id"], name=block["name"], arguments=as_json(block["input"]))


def _counts(usage: _Usage) -> dict[str, int]:
    """The tokens by the price list's names: its input tokens include what was read from and written to the cache."""
    read, written = usage.cache_read_input_tokens or 0, usage.cache_creation_input_tokens or 0
    return {
        "input_tokens": usage.input_tokens + read + written,
        "output_tokens": usage.output_tokens,
        "cache_read_tokens": read,
        "cache_write_tokens": written,
        "cache_write_1h_tokens": min(_count(usage.cache_creation, "ephemeral_1h_input_tokens"), written),
        "output_reasoning_tokens": _count(usage.output_tokens_details, "thinking_tokens"),
        "web_searches": _count(usage.server_tool_use, "web_search_requests"),
    }


def _count(details: Any, name: str) -> int:
    count = details.get(name) if isinstance(details, dict) else None
    return count if isinstance(count, int) else 0


def _with_status(error: Any) -> Any:
    return {"code": _STATUSES.get(str(error.get("type"))), **error} if isinstance(error, dict) else error
