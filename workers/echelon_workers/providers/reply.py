"""A model's response as an Answer, or the reason why it is none."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic_ai.messages import ModelResponse, TextPart, ToolCallPart
from pydantic_ai.usage import RequestUsage

from echelon_workers.errors import AttemptFailed, ContentRefused, InvalidOutput
from echelon_workers.ledger.job import Answer, FinishReason, ToolCall, Usage
from echelon_workers.providers.ask import Ask
from echelon_workers.providers.json_check import NotAsAsked, check_json, unfenced
from echelon_workers.providers.prices import cost_usd
from echelon_workers.providers.scrub import scrub

_FINISHES: dict[str, FinishReason] = {"stop": "stop", "length": "length", "tool_call": "tool_calls"}
# Finish reasons of servers that mean that the answer was broken off; any other unknown word is taken as "stop".
_BROKEN_OFF = ("abort", "cancel", "error", "fail", "insufficient", "malformed", "timeout", "unexpected")


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Whom an answer came from, for its record and its price."""

    instance: str
    model: str
    price_list: str | None
    base_url: str | None


def answer_of(response: ModelResponse, ask: Ask, origin: Origin, latency_ms: int) -> Answer:
    """The answer. Raises ContentRefused or InvalidOutput, which carry what the attempt took."""
    usage = _usage(response.usage)
    model = response.model_name or origin.model
    cost = _cost(response, model, origin)
    if cost is None and model != origin.model:
        cost = _cost(response, origin.model, origin)
    try:
        text = "".join(part.content for part in response.parts if isinstance(part, TextPart))
        calls = tuple(_tool_call(part) for part in response.parts if isinstance(part, ToolCallPart))
        finish = _finish(response, bool(calls))
        if not text and not calls and not usage.output_tokens:
            raise _unusable("an empty answer without any tokens: not what the provider's API returns", broken=True)
        if ask.json and not calls:
            text = _json_text(text, ask, finish)
    except AttemptFailed as failure:
        failure.message = f"{origin.instance}: {failure.message}"
        failure.usage = usage if usage.input_tokens or usage.output_tokens else None
        failure.cost_usd = cost
        raise
    return Answer(
        text=text,
        tool_calls=calls,
        finish_reason=finish,
        usage=usage,
        cost_usd=cost,
        model=model,
        instance=origin.instance,
        latency_ms=latency_ms,
    )


def _usage(usage: RequestUsage) -> Usage:
    reasoning = getattr(usage, "output_reasoning_tokens", None) or usage.details.get("reasoning_tokens") or 0
    return Usage(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cached_tokens=usage.cache_read_tokens,
        reasoning_tokens=reasoning,
    )


def _cost(response: ModelResponse, model: str, origin: Origin) -> str | None:
    return cost_usd(
        response.usage,
        model=model,
        provider_id=origin.price_list,
        base_url=origin.base_url,
        details=response.provider_details,
    )


def _finish(response: ModelResponse, calls: bool) -> FinishReason:
    """Why the model stopped. The library says "stop" for an answer that was cut, so the provider's own word decides."""
    details = response.provider_details or {}
    if response.finish_reason == "content_filter":
        raise ContentRefused(scrub(f"the content was refused{_why(details)}"))
    said = details.get("finish_reason")
    if not said:
        raise _unusable("the answer has no finish reason: it was cut off", broken=True)
    if response.finish_reason == "error" or any(word in str(said).lower() for word in _BROKEN_OFF):
        raise _unusable(f"the provider broke the answer off ({str(said)[:60]})", broken=True)
    finish = _FINISHES.get(response.finish_reason or "stop", "stop")
    return "tool_calls" if calls and finish == "stop" else finish


def _why(details: Mapping[str, Any]) -> str:
    reason = details.get("refusal") or details.get("block_reason_message") or details.get("block_reason")
    reason = reason or details.get("finish_reason")
    return f": {reason}" if isinstance(reason, str) else ""


def _tool_call(part: ToolCallPart) -> ToolCall:
    arguments = part.args if isinstance(part.args, str) else json.dumps(part.args or {}, ensure_ascii=False)
    try:
        readable = isinstance(json.loads(arguments or "{}"), dict)
    except (ValueError, RecursionError):
        readable = False
    if not readable:
        raise _unusable(f"the arguments of the tool call {part.tool_name[:100]!r} are not a JSON object", broken=False)
    return ToolCall(id=part.tool_call_id, name=part.tool_name, arguments=arguments or "{}")


def _json_text(text: str, ask: Ask, finish: FinishReason) -> str:
    text = unfenced(text)
    try:
        check_json(text, ask.schema.schema if ask.schema else None)
    except NotAsAsked as exc:
        cut = " (it stopped at max_tokens: allow more)" if finish == "length" else ""
        raise _unusable(f"the answer is {exc}{cut}", broken=False) from None
    return text


def _unusable(message: str, *, broken: bool) -> InvalidOutput:
    failure = InvalidOutput(scrub(message))
    failure.counts_against_instance = broken
    return failure
