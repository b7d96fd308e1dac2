"""Anthropic's messages: https://docs.anthropic.com/en/api/messages."""

from base64 import b64encode
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from .exchange import Ask, Failure, Json, Reply, Standing, Tool, bad_request
from .script import Provider
from .wire import REFUSAL, Headers, Received, Target, compact, pieces, whole_seconds

_LEAST_BUDGET = 1024
_ADAPTIVE_BUDGET = 8192
_STOP_REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}
_CHOICES: dict[str, Literal["none", "auto", "required"]] = {
    "auto": "auto", "any": "required", "tool": "required", "none": "none",
}  # fmt: skip
_ASKED_IN_WORDS = "one json object and nothing else"
# Status, type and message by failure: https://docs.anthropic.com/en/api/errors.
_ERRORS: dict[str, tuple[int, str, str]] = {
    "400": (400, "invalid_request_error", "The request is invalid."),
    "401": (401, "authentication_error", "invalid x-api-key"),
    "403": (403, "permission_error", "Your API key does not have permission to use the specified resource."),
    "404": (404, "not_found_error", "Not found"),
    "408": (408, "timeout_error", "Request timed out."),
    "413": (413, "request_too_large", "Request exceeds the maximum allowed number of bytes."),
    "429": (429, "rate_limit_error", "This request would exceed your organization's rate limit."),
    "500": (500, "api_error", "Internal server error"),
    "502": (502, "api_error", "Bad gateway"),
    "503": (503, "api_error", "Service unavailable"),
    "504": (504, "timeout_error", "Request timed out. Consider streaming."),
    "529": (529, "overloaded_error", "Overloaded"),
    "quota": (400, "invalid_request_error",
              "Your credit balance is too low to access the Anthropic API. "
              "Please go to Plans & Billing to upgrade or purchase credits."),
    "context_too_long": (400, "invalid_request_error", "prompt is too long"),
}  # fmt: skip


class Anthropic:
    """`/anthropic/v1/messages` and `/anthropic/v1/models`."""

    name: Provider = "anthropic"
    default_models = ("claude-sonnet-5", "claude-haiku-4-5")

    def target(self, method: str, tail: str) -> Target | Literal["method"] | None:
        """See `Wire.target`."""
        if tail == "/v1/messages":
            return Target("call") if method == "POST" else "method"
        if tail == "/v1/models" or tail.startswith("/v1/models/"):
            return Target("models", tail.removeprefix("/v1/models").strip("/") or None) if method == "GET" else "method"
        return None

    def key(self, received: Received) -> str | None:
        """See `Wire.key`."""
        scheme, _, token = received.headers.get("authorization", "").partition(" ")
        return received.headers.get("x-api-key") or (token.strip() if scheme.lower() == "bearer" else None) or None

    def read(self, received: Received, body: Json) -> Ask:
        """See `Wire.read`."""
        if not isinstance(body, dict):
            raise bad_request("The request body is not valid JSON: expected an object")
        if "anthropic-version" not in received.headers:
            raise bad_request("anthropic-version: header is required")
        for name, kind in (("model", str), ("max_tokens", int), ("messages", list)):
            if not isinstance(body.get(name), kind):
                what = "Field required" if body.get(name) is None else f"Input should be a valid {kind.__name__}"
                raise bad_request(f"{name}: {what}")
        if body["max_tokens"] < 1:
            raise bad_request("max_tokens: Input should be greater than or equal to 1")
        texts, images, last = _read_messages(body["messages"])
        system, _ = _content(body.get("system") or "", "system")
        choice = body.get("tool_choice") or {}
        return Ask(
            model=body["model"],
            text="\n".join([system, *texts] if system else texts),
            last=last,
            messages=len(texts) + bool(system),
            images=images,
            stream=body.get("stream") is True,
            max_tokens=body["max_tokens"],
            tools=_tools(body.get("tools")),
            tool_choice=_CHOICES.get(str(choice.get("type")), "auto"),
            tool_named=choice.get("name"),
            schema=_schema(body, system),
            thinking_budget=_thinking(body, choice),
            show_thoughts=True,
        )

    def plain(self, ask: Ask, reply: Reply) -> Json:
        """See `Wire.plain`."""
        blocks: list[Json] = []
        if reply.thoughts:
            blocks.append({"type": "thinking", "thinking": reply.thoughts, "signature": _signature(reply)})
        if reply.tool:
            blocks.append({**_tool_use(reply), "input": reply.arguments})
        else:
            text = REFUSAL if reply.finish == "content_filter" else reply.text
            blocks.append({"type": "text", "text": text})
        return {**_message(ask, reply), "content": blocks, "stop_reason": _STOP_REASONS[reply.finish],
                "usage": _usage(reply)}  # fmt: skip

    def frames(self, ask: Ask, reply: Reply, chunk_tokens: int) -> list[bytes]:
        """See `Wire.frames`."""
        started = {**_message(ask, reply), "usage": {**_usage(reply), "output_tokens": 1}}
        events: list[tuple[str, dict[str, Any]]] = [("message_start", {"message": started}), ("ping", {})]
        index = 0
        if reply.thoughts:
            deltas = [{"type": "thinking_delta", "thinking": piece} for piece in pieces(reply.thoughts, chunk_tokens)]
            deltas.append({"type": "signature_delta", "signature": _signature(reply)})
            events += _block(index, {"type": "thinking", "thinking": "", "signature": ""}, deltas)
            index += 1
        if reply.tool:
            text = compact(reply.arguments).decode()
            deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in pieces(text, chunk_tokens)]
            events += _block(index, {**_tool_use(reply), "input": {}}, deltas)
        else:
            text = REFUSAL if reply.finish == "content_filter" else reply.text
            deltas = [{"type": "text_delta", "text": piece} for piece in pieces(text, chunk_tokens)]
            events += _block(index, {"type": "text", "text": ""}, deltas)
        delta = {"stop_reason": _STOP_REASONS[reply.finish], "stop_sequence": None}
        events += [("message_delta", {"delta": delta, "usage": {"output_tokens": reply.output_tokens}}),
                   ("message_stop", {})]  # fmt: skip
        return [_event(name, data) for name, data in events]

    def failed_frame(self) -> bytes:
        """See `Wire.failed_frame`."""
        return _event("error", {"error": {"type": "overloaded_error", "message": "Overloaded"}})

    def error(self, failure: Failure) -> tuple[int, Headers, Json]:
        """See `Wire.error`."""
        status, kind, message = _ERRORS[failure.kind]
        if failure.kind == "429":
            message = _rate_limit_message(failure)
        if failure.kind == "404" and failure.model:
            message = f"model: {failure.model}"
        if failure.kind == "context_too_long":
            message = f"prompt is too long: {failure.used} tokens > {failure.limit} maximum"
        headers: Headers = {}
        if failure.retry_after_s is not None:
            headers["retry-after"] = whole_seconds(failure.retry_after_s)
        error = {"type": kind, "message": failure.message or message}
        return status, headers, {"type": "error", "error": error, "request_id": _request_id(failure.number)}

    def headers(self, number: int, standing: list[Standing]) -> Headers:
        """See `Wire.headers`."""
        headers = {"request-id": _request_id(number)}
        for one in standing:
            # Rounded up to the second, as RFC 3339 without a fraction needs.
            reset = datetime.now(UTC) + timedelta(seconds=one.reset_s + 0.999_999)
            headers[f"anthropic-ratelimit-{one.measure}-limit"] = str(one.limit)
            headers[f"anthropic-ratelimit-{one.measure}-remaining"] = str(one.remaining)
            headers[f"anthropic-ratelimit-{one.measure}-reset"] = reset.strftime("%Y-%m-%dT%H:%M:%SZ")
        return headers

    def listing(self, models: list[str]) -> Json:
        """See `Wire.listing`."""
        first, last = (models[0], models[-1]) if models else (None, None)
        return {"data": [self.model(name) for name in models], "first_id": first, "has_more": False, "last_id": last}

    def model(self, name: str) -> Json:
        """See `Wire.model`."""
        return {"type": "model", "id": name, "display_name": name, "created_at": "2026-01-01T00:00:00Z"}


def _read_messages(messages: list[Json]) -> tuple[list[str], int, str]:
    if not messages:
        raise bad_request("messages: at least one message is required")
    texts: list[str] = []
    images = 0
    for place, message in enumerate(messages):
        if not isinstance(message, dict) or message.get("role") not in ("user", "assistant", "system"):
            raise bad_request(f"messages.{place}.role: Input should be 'user' or 'assistant'")
        text, seen = _content(message.get("content"), f"messages.{place}.content")
        images += seen
        texts.append(text)
    content = messages[-1].get("content")
    after_tool = isinstance(content, list) and any(block.get("type") == "tool_result" for block in content)
    return texts, images, "" if after_tool or messages[-1]["role"] != "user" else texts[-1]


def _content(content: Json, where: str) -> tuple[str, int]:
    if isinstance(content, str):
        return content, 0
    if not isinstance(content, list) or not all(isinstance(block, dict) and "type" in block for block in content):
        raise bad_request(f"{where}: Input should be a valid string or a list of content blocks")
    texts: list[str] = []
    images = 0
    for block in content:
        if block["type"] == "tool_result":
            text, seen = _content(block.get("content") or "", where)
        else:
            text = block.get("text") or block.get("thinking") or ""
            text = compact(block["input"]).decode() if block["type"] == "tool_use" else str(text)
            seen = int(block["type"] in ("image", "document"))
        texts.append(text)
        images += seen
    return "\n".join(texts), images


def _tools(tools: Json) -> tuple[Tool, ...]:
    found = []
    for place, tool in enumerate(tools or []):
        if not isinstance(tool, dict) or not tool.get("name"):
            raise bad_request(f"tools.{place}.custom.name: Field required")
        if tool.get("type") in (None, "custom") and "input_schema" not in tool:
            raise bad_request(f"tools.{place}.custom.input_schema: Field required")
        found.append(Tool(name=tool["name"], schema=tool.get("input_schema") or {"type": "object"}))
    return tuple(found)


def _schema(body: dict[str, Any], system: str) -> Json:
    wanted = (body.get("output_config") or {}).get("format") or body.get("output_format")
    if not isinstance(wanted, dict):
        # There is no JSON mode: who wants an object asks for it in words, and a model mostly does as it is told.
        return {"type": "object"} if _ASKED_IN_WORDS in system.lower() else None
    if wanted.get("type") != "json_schema" or not isinstance(wanted.get("schema"), dict):
        raise bad_request("output_config.format.schema: Field required")
    return wanted["schema"]


def _thinking(body: dict[str, Any], choice: dict[str, Any]) -> int | None:
    thinking = body.get("thinking") or {}
    if thinking.get("type") == "adaptive":
        return min(_ADAPTIVE_BUDGET, int(body["max_tokens"]))
    if thinking.get("type") != "enabled":
        return None
    budget = thinking.get("budget_tokens")
    if not isinstance(budget, int):
        raise bad_request("thinking.enabled.budget_tokens: Field required")
    if budget < _LEAST_BUDGET:
        raise bad_request(f"thinking.enabled.budget_tokens: Input should be greater than or equal to {_LEAST_BUDGET}")
    if budget >= body["max_tokens"]:
        raise bad_request("`max_tokens` must be greater than `thinking.budget_tokens`.")
    if choice.get("type") in ("any", "tool"):
        raise bad_request("Thinking may not be enabled when tool_choice forces tool use.")
    return budget


def _message(ask: Ask, reply: Reply) -> dict[str, Any]:
    return {"id": f"msg_{reply.id}", "type": "message", "role": "assistant", "model": ask.model, "content": [],
            "stop_reason": None, "stop_sequence": None}  # fmt: skip


def _usage(reply: Reply) -> dict[str, Any]:
    # Anthropic counts cached tokens beside the input, not in it.
    return {"input_tokens": reply.input_tokens - reply.cached_tokens, "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": reply.cached_tokens, "output_tokens": reply.output_tokens,
            "service_tier": "standard"}  # fmt: skip


def _tool_use(reply: Reply) -> dict[str, Any]:
    return {"type": "tool_use", "id": f"toolu_{reply.id}", "name": reply.tool}


def _signature(reply: Reply) -> str:
    return b64encode(f"signature of {reply.id}".encode()).decode()


def _block(index: int, block: dict[str, Any], deltas: list[dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    return [
        ("content_block_start", {"index": index, "content_block": block}),
        *(("content_block_delta", {"index": index, "delta": delta}) for delta in deltas),
        ("content_block_stop", {"index": index}),
    ]


def _event(name: str, data: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), compact({"type": name, **data}))


def _request_id(number: int) -> str:
    return f"req_{number:024x}"


def _rate_limit_message(failure: Failure) -> str:
    if failure.measure == "concurrency":
        return f"Number of concurrent connections has exceeded your rate limit of {failure.limit}."
    return (
        f"This request would exceed your organization's rate limit of {failure.limit} {failure.measure} per minute "
        f"(model: {failure.model}; used {failure.used}, requested {failure.requested})."
    )
