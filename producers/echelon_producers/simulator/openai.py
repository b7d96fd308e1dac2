"""OpenAI's chat completions: https://platform.openai.com/docs/api-reference/chat."""

import math
from typing import Any, Literal

from .exchange import Ask, Failure, Json, Reply, Standing, Tool, bad_request
from .script import Provider
from .wire import REFUSAL, Headers, Received, Target, compact, pieces, whole_seconds

_CREATED_S = 1_700_000_000
_ROLES = ("system", "developer", "user", "assistant", "tool", "function")
# Reasoning budgets are the simulator's own: OpenAI names efforts, not tokens.
_EFFORTS = {"minimal": 16, "low": 256, "medium": 4096, "high": 16384, "xhigh": 32768, "max": 65536}
# Status, type, code and message by failure: https://platform.openai.com/docs/guides/error-codes.
_ERRORS: dict[str, tuple[int, str, str | None, str]] = {
    "400": (400, "invalid_request_error", None, "The request is invalid."),
    "401": (401, "invalid_request_error", "invalid_api_key", "Incorrect API key provided."),
    "403": (403, "invalid_request_error", "unsupported_country_region_territory", "You may not use this API here."),
    "404": (404, "invalid_request_error", "model_not_found", "The model does not exist or you do not have access."),
    "408": (408, "server_error", "request_timeout", "The request timed out."),
    "413": (413, "invalid_request_error", "request_too_large", "The request body is too large."),
    "429": (429, "requests", "rate_limit_exceeded", "Rate limit reached."),
    "500": (500, "server_error", None, "The server had an error while processing your request. Sorry about that!"),
    "502": (502, "server_error", "bad_gateway", "Bad gateway."),
    "503": (503, "server_error", "service_unavailable", "The service is temporarily unavailable."),
    "504": (504, "server_error", "gateway_timeout", "Gateway timeout."),
    "529": (529, "server_error", "overloaded", "That model is currently overloaded with other requests."),
    "quota": (429, "insufficient_quota", "insufficient_quota",
              "You exceeded your current quota, please check your plan and billing details."),
    "context_too_long": (400, "invalid_request_error", "context_length_exceeded", "The prompt is too long."),
}  # fmt: skip
_FAILED = compact({"error": {"message": "The server had an error while processing your request. Sorry about that!",
                             "type": "server_error", "param": None, "code": None}})  # fmt: skip


class OpenAI:
    """`/openai/v1/chat/completions` and `/openai/v1/models`."""

    name: Provider = "openai"
    default_models = ("gpt-4o", "gpt-4o-mini")

    def target(self, method: str, tail: str) -> Target | Literal["method"] | None:
        """See `Wire.target`."""
        if tail == "/v1/chat/completions":
            return Target("call") if method == "POST" else "method"
        if tail == "/v1/models" or tail.startswith("/v1/models/"):
            return Target("models", tail.removeprefix("/v1/models").strip("/") or None) if method == "GET" else "method"
        return None

    def key(self, received: Received) -> str | None:
        """See `Wire.key`."""
        scheme, _, key = received.headers.get("authorization", "").partition(" ")
        return key.strip() or None if scheme.lower() == "bearer" else None

    def read(self, received: Received, body: Json) -> Ask:  # noqa: ARG002 - everything is in the body
        """See `Wire.read`."""
        if not isinstance(body, dict):
            raise bad_request("We could not parse the JSON body of your request.")
        model = body.get("model")
        if not isinstance(model, str) or not model:
            raise bad_request("you must provide a model parameter")
        texts, images, last = _read_messages(body.get("messages"))
        choice, named = _tool_choice(body.get("tool_choice"))
        wants_json, schema = _response_format(body.get("response_format"))
        effort = body.get("reasoning_effort")
        return Ask(
            model=model,
            text="\n".join(texts),
            last=last,
            messages=len(body["messages"]),
            images=images,
            stream=body.get("stream") is True,
            include_usage=bool((body.get("stream_options") or {}).get("include_usage")),
            max_tokens=_max_tokens(body),
            tools=_tools(body.get("tools")),
            tool_choice=choice,
            tool_named=named,
            json=wants_json,
            schema=schema,
            thinking_budget=_EFFORTS.get(effort) if isinstance(effort, str) else None,
        )

    def plain(self, ask: Ask, reply: Reply) -> Json:
        """See `Wire.plain`."""
        refused = reply.finish == "content_filter"
        message: dict[str, Any] = {
            "role": "assistant",
            "content": None if reply.tool or refused else reply.text,
            "refusal": REFUSAL if refused else None,
            "annotations": [],
        }
        if reply.tool:
            message["tool_calls"] = [_tool_call(reply)]
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": reply.finish}
        return {**_envelope(ask, reply, "chat.completion"), "choices": [choice], "usage": _usage(reply)}

    def frames(self, ask: Ask, reply: Reply, chunk_tokens: int) -> list[bytes]:
        """See `Wire.frames`."""
        deltas: list[Json] = [{"role": "assistant", "content": None if reply.tool else "", "refusal": None}]
        if reply.finish == "content_filter":
            deltas.append({"refusal": REFUSAL})
        elif reply.tool:
            call = _tool_call(reply)
            text = call["function"]["arguments"]
            deltas.append({"tool_calls": [{"index": 0, **call, "function": {"name": reply.tool, "arguments": ""}}]})
            deltas += [{"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}
                       for piece in pieces(text, chunk_tokens)]  # fmt: skip
        else:
            deltas += [{"content": piece} for piece in pieces(reply.text, chunk_tokens)]
        envelope = _envelope(ask, reply, "chat.completion.chunk")
        if ask.include_usage:
            envelope["usage"] = None
        chunks = [{**envelope, "choices": [_choice(delta, None)]} for delta in deltas]
        chunks.append({**envelope, "choices": [_choice({}, reply.finish)]})
        if ask.include_usage:
            chunks.append({**envelope, "choices": [], "usage": _usage(reply)})
        return [*(b"data: %b\n\n" % compact(chunk) for chunk in chunks), b"data: [DONE]\n\n"]

    def failed_frame(self) -> bytes:
        """See `Wire.failed_frame`."""
        return b"data: %b\n\n" % _FAILED

    def error(self, failure: Failure) -> tuple[int, Headers, Json]:
        """See `Wire.error`."""
        status, kind, code, message = _ERRORS[failure.kind]
        headers: Headers = {}
        if failure.kind == "429":
            message = _rate_limit_message(failure)
            kind = failure.measure
        if failure.kind == "404" and failure.model:
            message = f"The model `{failure.model}` does not exist or you do not have access to it."
        if failure.kind == "context_too_long":
            message = (
                f"This model's maximum context length is {failure.limit} tokens. However, your messages resulted in "
                f"{failure.used} tokens. Please reduce the length of the messages."
            )
        if failure.retry_after_s is not None:
            headers["retry-after"] = whole_seconds(failure.retry_after_s)
            headers["retry-after-ms"] = str(math.ceil(failure.retry_after_s * 1000))
        error = {"message": failure.message or message, "type": kind, "param": failure.param,
                 "code": failure.code or code}  # fmt: skip
        return status, headers, {"error": error}

    def headers(self, number: int, standing: list[Standing]) -> Headers:
        """See `Wire.headers`."""
        headers = {"x-request-id": f"req_{number:032x}", "openai-version": "2020-10-01"}
        for one in standing:
            headers[f"x-ratelimit-limit-{one.measure}"] = str(one.limit)
            headers[f"x-ratelimit-remaining-{one.measure}"] = str(one.remaining)
            headers[f"x-ratelimit-reset-{one.measure}"] = duration(one.reset_s)
        return headers

    def listing(self, models: list[str]) -> Json:
        """See `Wire.listing`."""
        return {"object": "list", "data": [self.model(name) for name in models]}

    def model(self, name: str) -> Json:
        """See `Wire.model`."""
        return {"id": name, "object": "model", "created": _CREATED_S, "owned_by": "simulator"}


def duration(seconds: float) -> str:
    """`seconds` as OpenAI's rate-limit headers write it: `12ms`, `1.2s`, `6m0s`."""
    milliseconds = math.ceil(max(0.0, seconds) * 1000)
    if milliseconds < 1000:
        return f"{milliseconds}ms"
    minutes, rest = divmod(milliseconds, 60_000)
    text = f"{rest / 1000:g}s"
    if not minutes:
        return text
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes}m{text}" if hours else f"{minutes}m{text}"


def _read_messages(messages: Json) -> tuple[list[str], int, str]:
    if messages is None:
        raise bad_request("Missing required parameter: 'messages'.", "messages", "missing_required_parameter")
    if not isinstance(messages, list):
        raise bad_request("Invalid type for 'messages': expected an array of objects.", "messages", "invalid_type")
    if not messages:
        raise bad_request("Invalid 'messages': empty array. Expected an array with minimum length 1.", "messages",
                          "empty_array")  # fmt: skip
    texts: list[str] = []
    images = 0
    text, last = "", ""
    for place, message in enumerate(messages):
        if not isinstance(message, dict) or message.get("role") not in _ROLES:
            raise bad_request(f"Invalid value for 'role': expected one of {', '.join(_ROLES)}.",
                              f"messages[{place}].role", "invalid_value")  # fmt: skip
        text, seen = _content(message.get("content"), place)
        images += seen
        texts.append(text)
        texts += [str((call.get("function") or {}).get("arguments", "")) for call in message.get("tool_calls") or []]
    if messages[-1]["role"] == "user":
        last = text
    return texts, images, last


def _content(content: Json, place: int) -> tuple[str, int]:
    if content is None or isinstance(content, str):
        return content or "", 0
    if not isinstance(content, list) or not all(isinstance(part, dict) for part in content):
        raise bad_request(f"Invalid type for 'messages[{place}].content': expected a string or an array of objects.",
                          f"messages[{place}].content", "invalid_type")  # fmt: skip
    texts = [str(part.get("text") or part.get("refusal") or "") for part in content]
    return "\n".join(texts), sum(part.get("type") == "image_url" for part in content)


def _max_tokens(body: dict[str, Any]) -> int | None:
    for name in ("max_completion_tokens", "max_tokens"):
        value = body.get(name)
        if value is None:
            continue
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise bad_request(f"Invalid '{name}': integer below minimum value. Expected a value >= 1.", name,
                              "integer_below_min_value")  # fmt: skip
        return value
    return None


def _tools(tools: Json) -> tuple[Tool, ...]:
    found = []
    for place, tool in enumerate(tools or []):
        function = tool.get("function") if isinstance(tool, dict) else None
        if not isinstance(function, dict) or not function.get("name"):
            raise bad_request(f"Missing required parameter: 'tools[{place}].function.name'.",
                              f"tools[{place}].function.name", "missing_required_parameter")  # fmt: skip
        found.append(Tool(name=function["name"], schema=function.get("parameters") or {"type": "object"}))
    return tuple(found)


def _tool_choice(choice: Json) -> tuple[Literal["none", "auto", "required"], str | None]:
    if isinstance(choice, dict):
        allowed = choice.get("allowed_tools")
        if isinstance(allowed, dict):
            named = [tool.get("function", {}).get("name") for tool in allowed.get("tools", [])]
            return _tool_choice(allowed.get("mode"))[0], named[0] if allowed.get("mode") == "required" else None
        return "required", (choice.get("function") or {}).get("name")
    if choice == "none":
        return "none", None
    return ("required", None) if choice == "required" else ("auto", None)


def _response_format(wanted: Json) -> tuple[bool, Json]:
    if not isinstance(wanted, dict) or wanted.get("type") in (None, "text"):
        return False, None
    if wanted["type"] == "json_object":
        return True, None
    described = wanted.get("json_schema")
    if wanted["type"] != "json_schema" or not isinstance(described, dict) or not described.get("name"):
        raise bad_request("Missing required parameter: 'response_format.json_schema.name'.",
                          "response_format.json_schema", "missing_required_parameter")  # fmt: skip
    return True, described.get("schema") or {"type": "object"}


def _envelope(ask: Ask, reply: Reply, kind: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-{reply.id}", "object": kind, "created": reply.created_s, "model": ask.model,
            "service_tier": "default", "system_fingerprint": "fp_simulator"}  # fmt: skip


def _choice(delta: Json, finish: str | None) -> Json:
    return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}


def _tool_call(reply: Reply) -> dict[str, Any]:
    arguments = compact(reply.arguments).decode()
    return {"id": f"call_{reply.id}", "type": "function", "function": {"name": reply.tool, "arguments": arguments}}


def _usage(reply: Reply) -> Json:
    return {
        "prompt_tokens": reply.input_tokens,
        "completion_tokens": reply.output_tokens,
        "total_tokens": reply.input_tokens + reply.output_tokens,
        "prompt_tokens_details": {"cached_tokens": reply.cached_tokens, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": reply.reasoning_tokens, "audio_tokens": 0},
    }


def _rate_limit_message(failure: Failure) -> str:
    if failure.measure == "concurrency":
        return f"Too many concurrent requests for {failure.model}: Limit {failure.limit}, Used {failure.used}."
    unit = "tokens per min (TPM)" if failure.measure == "tokens" else "requests per min (RPM)"
    counts = f"Limit {failure.limit}, Used {failure.used}, Requested {failure.requested}."
    if failure.retry_after_s is None:
        return f"Request too large for {failure.model} on {unit}: {counts}"
    again = duration(failure.retry_after_s)
    return f"Rate limit reached for {failure.model} on {unit}: {counts} Please try again in {again}."
