"""What a provider replied, as an Answer, or the reason why it is none."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from echelon_workers.errors import AttemptFailed, ContentRefused, InvalidOutput
from echelon_workers.ledger.job import Answer, FinishReason, ToolCall, Usage
from echelon_workers.providers.ask import Ask
from echelon_workers.providers.json_check import NotAsAsked, check_json, unfenced
from echelon_workers.providers.prices import cost_usd
from echelon_workers.providers.scrub import scrub

Means = Literal["stop", "length", "tool_calls", "content_filter", "error"]

# Finish reasons of servers that mean that the answer was broken off; any other unknown word is taken as "stop".
_BROKEN_OFF = ("abort", "cancel", "error", "fail", "insufficient", "malformed", "timeout", "unexpected")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An answer in terms that are the same for every provider.

    `said` is the provider's own word for why it stopped (without one the answer was cut), `means` ours, None where we
    know none; `why` the words of a refusal. `counts` are tokens by the price list's names, None when they were not
    reported; `context` is what else decides the price: the service tier, the speed.
    """

    text: str
    tool_calls: tuple[ToolCall, ...]
    said: Any
    means: Means | None
    why: str | None
    counts: Mapping[str, int] | None
    model: str | None
    context: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Whom an answer came from, for its record and its price."""

    instance: str
    model: str
    price_list: str | None
    base_url: str | None


def answer_of(reply: Reply, ask: Ask, origin: Origin, latency_ms: int) -> Answer:
    """The answer. Raises ContentRefused or InvalidOutput, which carry what the attempt took."""
    usage = _usage(reply.counts or {})
    model = reply.model or origin.model
    cost = _cost(reply, model, origin)
    if cost is None and model != origin.model:
        cost = _cost(reply, origin.model, origin)
    text = reply.text
    try:
        finish = _finish(reply)
        for call in reply.tool_calls:
            _check_arguments(call)
        if not text and not reply.tool_calls and not usage.output_tokens:
            raise _unusable("an empty answer without any tokens: not what the provider's API returns", broken=True)
        if ask.json and not reply.tool_calls:
            text = _json_text(text, ask, finish)
    except AttemptFailed as failure:
        failure.message = f"{origin.instance}: {failure.message}"
        failure.usage = usage if usage.input_tokens or usage.output_tokens else None
        failure.cost_usd = cost
        raise
    return Answer(
        text=text,
        tool_calls=reply.tool_calls,
        finish_reason=finish,
        usage=usage,
        cost_usd=cost,
        model=model,
        instance=origin.instance,
        latency_ms=latency_ms,
    )


def as_json(arguments: Any) -> str:
    """A tool call's arguments as the JSON text that an answer has them in."""
    return json.dumps({} if arguments is None else arguments, ensure_ascii=False)


def _usage(counts: Mapping[str, int]) -> Usage:
    return Usage(
        input_tokens=counts.get("input_tokens", 0),
        output_tokens=counts.get("output_tokens", 0),
        cached_tokens=counts.get("cache_read_tokens", 0),
        reasoning_tokens=counts.get("output_reasoning_tokens", 0),
    )


def _cost(reply: Reply, model: str, origin: Origin) -> str | None:
    if reply.counts is None:
        return None
    return cost_usd(
        reply.counts, model=model, provider_id=origin.price_list, base_url=origin.base_url, context=reply.context
    )


def _finish(reply: Reply) -> FinishReason:
    """Why the model stopped."""
    if reply.means == "content_filter":
        why = reply.why or reply.said
        raise ContentRefused(scrub(f"the content was refused{f': {why}' if isinstance(why, str) else ''}"))
    if not reply.said:
        raise _unusable("the answer has no finish reason: it was cut off", broken=True)
    if reply.means == "error" or (not reply.means and _is_broken_off(str(reply.said))):
        raise _unusable(f"the provider broke the answer off ({str(reply.said)[:60]})", broken=True)
    finish: FinishReason = reply.means or "stop"
    return "tool_calls" if reply.tool_calls and finish == "stop" else finish


def _is_broken_off(said: str) -> bool:
    return any(word in said.lower() for word in _BROKEN_OFF)


def _check_arguments(call: ToolCall) -> None:
    try:
        readable = isinstance(json.loads(call.arguments), dict)
    except (ValueError, RecursionError):
        readable = False
    if not readable:
        raise _unusable(f"the arguments of the tool call {call.name[:100]!r} are not a JSON object", broken=False)


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
