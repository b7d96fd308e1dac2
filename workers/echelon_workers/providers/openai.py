"""OpenAI, and every server that speaks its chat completions: vLLM, llama.cpp, Ollama, gateways."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar

from pydantic import BaseModel
from typing_extensions import override

from echelon_workers.errors import InstanceUnusable
from echelon_workers.ledger.job import JobRequest, Tool, ToolCall
from echelon_workers.providers.adapter import JSON_NOTE, Adapter, Endpoint
from echelon_workers.providers.ask import Ask, Schema, output_limit
from echelon_workers.providers.conversation import Image, Text, ToolResult, ToolUse, Turn, conversation
from echelon_workers.providers.json_api import sent_as_success
from echelon_workers.providers.models import openai_model
from echelon_workers.providers.reply import Means, Reply

OFFICIAL_URL = "https://api.openai.com/v1"

# Refused by a model while it reasons.
_SAMPLING = ("temperature", "top_p", "presence_penalty", "frequency_penalty", "logit_bias")
_MEANS: dict[str, Means] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}
# Servers that do not take a model's thinking apart from its answer leave it in the text.
_THOUGHT = re.compile(r"<think>.*?</think>\s*", re.DOTALL)


class OpenAI(Adapter):
    """OpenAI's own API, or a transparent proxy to it."""

    price_list: ClassVar[str | None] = "openai"
    limit: ClassVar[str] = "max_completion_tokens"

    def __init__(self, endpoint: Endpoint) -> None:
        super().__init__(endpoint)
        self.model = openai_model(endpoint.model)

    @property
    @override
    def url(self) -> str:
        return f"{self._base_url}/chat/completions"

    @property
    @override
    def models_url(self) -> str:
        return f"{self._base_url}/models"

    @property
    def _base_url(self) -> str:
        return (self.endpoint.base_url or OFFICIAL_URL).rstrip("/")

    @property
    @override
    def headers(self) -> Mapping[str, str]:
        return {"authorization": f"Bearer {self.endpoint.api_key}"}

    @override
    def body(self, ask: Ask, request: JobRequest) -> dict[str, Any]:
        known = dict(self.endpoint.known)
        if ask.temperature is not None:
            known["temperature"] = ask.temperature
        effort, max_tokens = self._thinking(ask)
        if self.model.reasons and effort != "none":
            known = {name: value for name, value in known.items() if name not in _SAMPLING}
        body = {"model": self.endpoint.model, **known, self.limit: max_tokens, "stream": False}
        if effort is not None:
            body["reasoning_effort"] = effort
        if ask.tools:
            body |= {"tools": [_tool(tool) for tool in ask.tools], "tool_choice": ask.function_calling}
        else:
            body.pop("parallel_tool_calls", None)
        notes: tuple[str, ...] = ()
        if ask.json:
            # The API refuses JSON mode when nothing in the messages speaks of JSON.
            notes = (JSON_NOTE,) if ask.schema is None and not _speaks_of_json(request) else ()
            body["response_format"] = _response_format(ask.schema)
        system = "system" if self.model.takes_system else "user"
        body["messages"] = list(_messages(conversation(request, notes=notes), system))
        return {**body, **self.endpoint.extra}

    def _thinking(self, ask: Ask) -> tuple[str | None, int]:
        """The effort to ask for, if any, and the limit of tokens with it.

        Reasoning models take an effort instead of a budget; others are not asked to think at all.
        """
        thinking = ask.thinking
        if thinking is None:
            return None, ask.max_tokens
        if not thinking.enabled:
            return self.model.least_effort, ask.max_tokens
        if not self._thinks():
            return None, ask.max_tokens
        return thinking.effort, output_limit(ask.max_tokens, thinking.budget_tokens)

    def _thinks(self) -> bool:
        return self.model.reasons

    @override
    def read(self, content: bytes, headers: Mapping[str, str]) -> Reply:
        completion = _Completion.model_validate_json(content)
        if failed := sent_as_success(completion.error):
            raise failed
        if not completion.choices:
            raise ValueError("no choices")
        choice = completion.choices[0]
        message, said = choice.message, choice.finish_reason
        means = _MEANS.get(said) if isinstance(said, str) else None
        return Reply(
            text=_THOUGHT.sub("", message.text),
            tool_calls=tuple(call.as_ours(place) for place, call in enumerate(message.tool_calls or ())),
            said=said,
            means="content_filter" if message.refusal else means,
            why=message.refusal,
            counts=_counts(completion.usage),
            model=completion.model or None,
            context={"service_tier": completion.service_tier} if isinstance(completion.service_tier, str) else {},
        )


class OpenAICompatible(OpenAI):
    """Any server with OpenAI's chat completions at its base url, with a key or without."""

    price_list = None
    limit = "max_tokens"

    def __init__(self, endpoint: Endpoint) -> None:
        if endpoint.base_url is None:
            raise InstanceUnusable(f"{endpoint.instance}: no address (set base_url to the server's .../v1)")
        super().__init__(endpoint)

    @override
    def _thinks(self) -> bool:
        return True  # what the model behind the address can do is not known here: the configuration is believed


def _tool(tool: Tool) -> dict[str, Any]:
    function = tool["function"]
    return {
        "type": "function",
        "function": {
            **{name: value for name, value in function.items() if value is not None},
            "parameters": function.get("parameters") or {"type": "object", "properties": {}},
        },
    }


def _response_format(schema: Schema | None) -> dict[str, Any]:
    if schema is None:
        return {"type": "json_object"}
    wanted: dict[str, Any] = {"name": schema.name, "schema": schema.schema}
    wanted |= {} if schema.strict is None else {"strict": schema.strict}
    wanted |= {"description": schema.description} if schema.description else {}
    return {"type": "json_schema", "json_schema": wanted}


def _speaks_of_json(request: JobRequest) -> bool:
    said = (request.prompt, request.system, *(str(message.get("content")) for message in request.messages or ()))
    return any("json" in text.lower() for text in said if text)


def _messages(turns: Iterable[Turn], system: str) -> Iterator[dict[str, Any]]:
    shown: list[dict[str, Any]] = []  # images of tools, which only a user can show, after the last of their results
    for turn in turns:
        if shown and turn.role != "tool":
            yield {"role": "user", "content": shown}
            shown = []
        if turn.role == "tool":
            result: Any = turn.parts[0]
            shown += _shown(result)
            yield {"role": "tool", "tool_call_id": result.id, "content": result.text}
        elif turn.role == "assistant":
            yield _assistant(turn)
        elif turn.role == "system":
            yield {"role": system, "content": turn.text}
        else:
            yield {"role": "user", "content": _content(turn)}
    if shown:
        yield {"role": "user", "content": shown}


def _assistant(turn: Turn) -> dict[str, Any]:
    calls = [
        {"id": part.id, "type": "function", "function": {"name": part.name, "arguments": part.arguments or "{}"}}
        for part in turn.parts
        if isinstance(part, ToolUse)
    ]
    return {"role": "assistant", "content": turn.text or None, **({"tool_calls": calls} if calls else {})}


def _content(turn: Turn) -> str | list[dict[str, Any]]:
    if all(isinstance(part, Text) for part in turn.parts) and len(turn.parts) == 1:
        return turn.text
    return [_image(part) if isinstance(part, Image) else {"type": "text", "text": _text(part)} for part in turn.parts]


def _text(part: object) -> str:
    return part.text if isinstance(part, Text) else ""


def _shown(result: ToolResult) -> list[dict[str, Any]]:
    said = {"type": "text", "text": f"What the tool {result.name} returned for {result.id}:"}
    return [said, *map(_image, result.images)] if result.images else []


def _image(image: Image) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": image.url, **({"detail": image.detail} if image.detail else {})}}


class _Function(BaseModel):
    name: str
    arguments: str | None = None


class _ToolCall(BaseModel):
    id: str | None = None
    function: _Function

    def as_ours(self, place: int) -> ToolCall:
        return ToolCall(
            id=self.id or f"call_{place}", name=self.function.name, arguments=self.function.arguments or "{}"
        )


class _Message(BaseModel):
    content: str | list[Any] | None = None  # some servers send a list of parts
    refusal: str | None = None
    tool_calls: list[_ToolCall] | None = None

    @property
    def text(self) -> str:
        if isinstance(self.content, str):
            return self.content
        parts = (part.get("text") if isinstance(part, dict) else part for part in self.content or ())
        return "".join(part for part in parts if isinstance(part, str))


class _Choice(BaseModel):
    message: _Message
    finish_reason: Any = None


class _Completion(BaseModel):
    """A chat completion, as far as it is read, lenient about what servers leave out or add."""

    model: str = ""
    service_tier: Any = None
    choices: list[_Choice] = []
    usage: Any = None
    error: Any = None


def _counts(usage: Any) -> dict[str, int] | None:
    """The tokens by the price list's names; None when the server did not count them."""
    if not isinstance(usage, dict):
        return None
    tokens_in, tokens_out = usage.get("prompt_tokens"), usage.get("completion_tokens")
    if not isinstance(tokens_in, int) or not isinstance(tokens_out, int):
        return None
    of_in, of_out = usage.get("prompt_tokens_details"), usage.get("completion_tokens_details")
    return {
        "input_tokens": tokens_in,
        "output_tokens": tokens_out,
        "cache_read_tokens": _count(of_in, "cached_tokens"),
        "cache_write_tokens": _count(of_in, "cache_write_tokens"),
        "input_audio_tokens": _count(of_in, "audio_tokens"),
        "output_reasoning_tokens": _count(of_out, "reasoning_tokens"),
        "output_audio_tokens": _count(of_out, "audio_tokens"),
    }


def _count(details: Any, name: str) -> int:
    count = details.get(name) if isinstance(details, dict) else None
    return count if isinstance(count, int) else 0
