"""Gemini's generateContent: https://ai.google.dev/api/generate-content."""

import math
import re
from functools import cache
from typing import Any, Literal

from .exchange import Ask, Failure, Json, Reply, Standing, Tool, bad_request
from .script import Provider
from .wire import Headers, Received, Target, compact, pieces

_MODELS = "/v1beta/models"
_DYNAMIC_BUDGET = 8192
_FINISH_REASONS = {"stop": "STOP", "length": "MAX_TOKENS", "tool_calls": "STOP", "content_filter": "SAFETY"}
# Status, name and message by failure: https://ai.google.dev/gemini-api/docs/troubleshooting.
_ERRORS: dict[str, tuple[int, str, str]] = {
    "400": (400, "INVALID_ARGUMENT", "Request contains an invalid argument."),
    "401": (401, "UNAUTHENTICATED", "Request had invalid authentication credentials."),
    "403": (403, "PERMISSION_DENIED",
            "Method doesn't allow unregistered callers (callers without established identity). "
            "Please use API Key or other form of API consumer identity to call this API."),
    "404": (404, "NOT_FOUND", "The model is not found for API version v1beta."),
    "408": (408, "DEADLINE_EXCEEDED", "The request timed out."),
    "413": (413, "INVALID_ARGUMENT", "Request payload size exceeds the limit."),
    "429": (429, "RESOURCE_EXHAUSTED", "You exceeded your current quota, please check your plan and billing details."),
    "500": (500, "INTERNAL", "An internal error has occurred. Please retry."),
    "502": (502, "UNAVAILABLE", "Bad gateway."),
    "503": (503, "UNAVAILABLE", "The service is currently unavailable."),
    "504": (504, "DEADLINE_EXCEEDED", "Deadline expired before operation could complete."),
    "529": (529, "UNAVAILABLE", "The model is overloaded. Please try again later."),
    "quota": (429, "RESOURCE_EXHAUSTED",
              "You exceeded your current quota, please check your plan and billing details."),
    "context_too_long": (400, "INVALID_ARGUMENT", ""),
}  # fmt: skip
_QUOTAS = {
    "requests": ("generate_content_free_tier_requests", "GenerateRequestsPerMinutePerProjectPerModel-FreeTier"),
    "tokens": ("generate_content_free_tier_input_token_count",
               "GenerateContentInputTokensPerModelPerMinute-FreeTier"),
    "concurrency": ("generate_content_concurrent_requests", "GenerateConcurrentRequestsPerProjectPerModel"),
    "day": ("generate_content_free_tier_requests", "GenerateRequestsPerDayPerProjectPerModel-FreeTier"),
}  # fmt: skip


class Gemini:
    """`/gemini/v1beta/models/MODEL:generateContent`, `:streamGenerateContent` and `/gemini/v1beta/models`."""

    name: Provider = "gemini"
    default_models = ("gemini-2.5-flash", "gemini-2.5-pro")

    def target(self, method: str, tail: str) -> Target | Literal["method"] | None:
        """See `Wire.target`."""
        if tail != _MODELS and not tail.startswith(_MODELS + "/"):
            return None
        model, _, verb = tail.removeprefix(_MODELS).strip("/").partition(":")
        if verb in ("generateContent", "streamGenerateContent") and model:
            return Target("call", model, stream=verb.startswith("stream")) if method == "POST" else "method"
        if verb:
            return None
        return Target("models", model or None) if method == "GET" else "method"

    def key(self, received: Received) -> str | None:
        """See `Wire.key`."""
        return received.headers.get("x-goog-api-key") or received.query.get("key") or None

    def read(self, received: Received, body: Json) -> Ask:
        """See `Wire.read`."""
        if not isinstance(body, dict):
            raise bad_request("Invalid JSON payload received: expected an object.")
        contents = body.get("contents")
        if not isinstance(contents, list) or not contents:
            raise bad_request("* GenerateContentRequest.contents: contents is not specified")
        read = [_parts(content, place) for place, content in enumerate(contents)]
        system = _get(body, "systemInstruction")
        texts = [_parts(system, 0)[0]] if system else []
        texts += [text for text, _, _ in read]
        config = _get(body, "generationConfig") or {}
        choice, named = _tool_choice(body)
        asked = contents[-1].get("role") in (None, "user") and not read[-1][2]
        schema = _get(config, "responseJsonSchema", "_responseJsonSchema", "responseSchema")
        thinking = _get(config, "thinkingConfig") or {}
        return Ask(
            model=received.target.model or "",
            text="\n".join(texts),
            last=read[-1][0] if asked else "",
            messages=len(texts),
            images=sum(images for _, images, _ in read),
            stream=received.target.stream,
            as_events=received.query.get("alt") == "sse",
            max_tokens=_max_tokens(config),
            tools=_tools(body.get("tools")),
            tool_choice=choice,
            tool_named=named,
            json=_get(config, "responseMimeType") == "application/json",
            schema=schema,
            thinking_budget=_thinking_budget(thinking),
            show_thoughts=bool(_get(thinking, "includeThoughts")),
        )

    def plain(self, ask: Ask, reply: Reply) -> Json:
        """See `Wire.plain`."""
        parts: list[Json] = []
        if reply.thoughts and ask.show_thoughts:
            parts.append({"text": reply.thoughts, "thought": True})
        parts.append(_call_part(reply) if reply.tool else {"text": reply.text})
        return _chunk(ask, reply, [] if reply.finish == "content_filter" else parts, last=True)

    def frames(self, ask: Ask, reply: Reply, chunk_tokens: int) -> list[bytes]:
        """See `Wire.frames`."""
        parts: list[Json] = []
        if reply.thoughts and ask.show_thoughts:
            parts += [{"text": piece, "thought": True} for piece in pieces(reply.thoughts, chunk_tokens)]
        if reply.tool:
            parts.append(_call_part(reply))
        else:
            parts += [{"text": piece} for piece in pieces(reply.text, chunk_tokens)]
        if reply.finish == "content_filter" or not parts:
            return [self._framed(ask, _chunk(ask, reply, [], last=True), place=0, last=True)]
        return [
            self._framed(ask, _chunk(ask, reply, [part], last=place == len(parts) - 1), place, place == len(parts) - 1)
            for place, part in enumerate(parts)
        ]

    def _framed(self, ask: Ask, chunk: Json, place: int, last: bool) -> bytes:
        if ask.as_events:
            return b"data: %b\r\n\r\n" % compact(chunk)
        # Without alt=sse the stream is one JSON array, piece by piece.
        return (b"," if place else b"[") + compact(chunk) + (b"]" if last else b"\n")

    def failed_frame(self) -> bytes:
        """See `Wire.failed_frame`."""
        return b"data: %b\r\n\r\n" % compact(self.error(Failure(kind="503"))[2])

    def error(self, failure: Failure) -> tuple[int, Headers, Json]:
        """See `Wire.error`."""
        status, name, message = _ERRORS[failure.kind]
        if failure.kind == "404" and failure.model:
            message = f"models/{failure.model} is not found for API version v1beta."
        if failure.kind == "context_too_long":
            message = (
                f"The input token count ({failure.used}) exceeds the maximum number of tokens allowed "
                f"({failure.limit})."
            )
        error: dict[str, Any] = {"code": status, "message": failure.message or message, "status": name}
        details = _details(failure)
        if details:
            error["details"] = details
        return status, {}, {"error": error}

    def headers(self, number: int, standing: list[Standing]) -> Headers:  # noqa: ARG002 - it reports neither
        """See `Wire.headers`; Gemini sends no rate-limit headers."""
        return {"x-gemini-service-tier": "standard"}

    def listing(self, models: list[str]) -> Json:
        """See `Wire.listing`."""
        return {"models": [self.model(name) for name in models]}

    def model(self, name: str) -> Json:
        """See `Wire.model`."""
        return {"name": f"models/{name}", "version": "001", "displayName": name, "inputTokenLimit": 1_048_576,
                "outputTokenLimit": 65_536,
                "supportedGenerationMethods": ["generateContent", "streamGenerateContent"]}  # fmt: skip


def _get(values: dict[str, Any], *names: str) -> Any:
    """The first of the fields that is there; the API takes camelCase and snake_case, and clients mix them."""
    spellings = (spelling for name in names for spelling in (name, _snake(name)))
    return next((values[spelling] for spelling in spellings if values.get(spelling) is not None), None)


@cache
def _snake(name: str) -> str:
    return re.sub("[A-Z]", lambda letter: f"_{letter.group().lower()}", name)


def _parts(content: Json, place: int) -> tuple[str, int, bool]:
    """The text of one content, its images, and whether it brings a function's result."""
    parts = content.get("parts") if isinstance(content, dict) else None
    if not isinstance(parts, list) or not parts or not all(isinstance(part, dict) for part in parts):
        raise bad_request(f"* GenerateContentRequest.contents[{place}].parts: contents.parts must not be empty.")
    texts: list[str] = []
    for part in parts:
        value = _get(part, "functionCall", "functionResponse")
        texts.append(compact(value).decode() if value else str(part.get("text") or ""))
    images = sum(_get(part, "inlineData", "fileData") is not None for part in parts)
    return "\n".join(texts), images, any(_get(part, "functionResponse") for part in parts)


def _max_tokens(config: dict[str, Any]) -> int | None:
    most = _get(config, "maxOutputTokens")
    if most is not None and (not isinstance(most, int) or most < 1):
        raise bad_request("* GenerateContentRequest.generation_config.max_output_tokens: must be positive.")
    return most


def _tools(tools: Json) -> tuple[Tool, ...]:
    declared = [one for tool in tools or [] for one in _get(tool, "functionDeclarations") or []]
    for place, one in enumerate(declared):
        if not one.get("name"):
            raise bad_request(f"* GenerateContentRequest.tools[0].function_declarations[{place}].name: missing name.")
    schemas = [_get(one, "parametersJsonSchema", "parameters") for one in declared]
    return tuple(Tool(name=one["name"], schema=schema or {"type": "object"})
                 for one, schema in zip(declared, schemas, strict=True))  # fmt: skip


def _tool_choice(body: dict[str, Any]) -> tuple[Literal["none", "auto", "required"], str | None]:
    config = _get(body, "toolConfig") or {}
    calling = _get(config, "functionCallingConfig") or {}
    mode = str(calling.get("mode", "AUTO")).upper()
    if mode == "NONE":
        return "none", None
    allowed = _get(calling, "allowedFunctionNames") or [None]
    return ("required", allowed[0]) if mode == "ANY" else ("auto", None)


def _thinking_budget(thinking: dict[str, Any]) -> int | None:
    budget = _get(thinking, "thinkingBudget")
    if budget is None:
        # A level, or thoughts asked for without a budget, leaves the amount to the model.
        return _DYNAMIC_BUDGET if _get(thinking, "thinkingLevel", "includeThoughts") else None
    if budget == -1:
        return _DYNAMIC_BUDGET
    return int(budget) or None


def _call_part(reply: Reply) -> Json:
    return {"functionCall": {"id": f"call_{reply.id}", "name": reply.tool, "args": reply.arguments}}


def _chunk(ask: Ask, reply: Reply, parts: list[Json], *, last: bool) -> Json:
    candidate: dict[str, Any] = {"content": {"parts": parts, "role": "model"}, "index": 0}
    if not parts:
        del candidate["content"]
    usage = {"promptTokenCount": reply.input_tokens, "totalTokenCount": reply.input_tokens}
    if last:
        candidate["finishReason"] = _FINISH_REASONS[reply.finish]
        usage = _usage(reply)
    return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": ask.model, "responseId": reply.id}


def _usage(reply: Reply) -> dict[str, Any]:
    # Gemini counts thoughts beside the candidates' tokens, not in them.
    usage: dict[str, Any] = {
        "promptTokenCount": reply.input_tokens,
        "candidatesTokenCount": reply.output_tokens - reply.reasoning_tokens,
        "totalTokenCount": reply.input_tokens + reply.output_tokens,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": reply.input_tokens}],
    }
    if reply.cached_tokens:
        usage["cachedContentTokenCount"] = reply.cached_tokens
    if reply.reasoning_tokens:
        usage["thoughtsTokenCount"] = reply.reasoning_tokens
    return usage


def _details(failure: Failure) -> list[Json]:
    details: list[Json] = []
    if failure.kind in ("429", "quota"):
        metric, quota = _QUOTAS["day" if failure.kind == "quota" else failure.measure]
        violation = {"quotaMetric": f"generativelanguage.googleapis.com/{metric}", "quotaId": quota,
                     "quotaDimensions": {"location": "global", "model": failure.model},
                     "quotaValue": str(failure.limit)}  # fmt: skip
        details.append({"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [violation]})
    if failure.retry_after_s is not None:
        delay = f"{math.ceil(failure.retry_after_s * 1_000_000) / 1_000_000:.6f}".rstrip("0").rstrip(".")
        details.append({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{delay}s"})
    return details
