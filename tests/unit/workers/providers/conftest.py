"""Fixtures of the provider tests: the wire formats, and one way to make a call over answers written by the test."""

import asyncio
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

import httpx2
import pytest

from echelon_configs import CallSettings, Instance, SecretReference, Thinking
from echelon_workers.ledger.job import parse_request
from echelon_workers.providers import Call, ProviderAnswer, Providers

USAGE = {"input": 210, "output": 120, "cached": 64, "reasoning": 32}


class Wire(ABC):
    """One provider's format. `asked` reads a request's JSON into terms that are the same for all of them."""

    provider: ClassVar[str]
    model: ClassVar[str]
    thinking_model: ClassVar[str]
    base_url: ClassVar[str | None] = None
    reasoning_tokens: ClassVar[int] = USAGE["reasoning"]
    rate_limit_headers: ClassVar[dict[str, str]] = {}

    def __str__(self) -> str:
        return self.provider

    @abstractmethod
    def answer(
        self,
        text: str | None = "Hello.",
        *,
        finish: str | None = "stop",
        tool_calls: list[dict[str, Any]] | None = None,
    ) -> dict[str, Any]:
        """A whole answer; `finish` is stop, length, tool_calls, content_filter or None for a cut one."""

    @abstractmethod
    def error(self, message: str, *, kind: str = "invalid_request_error", code: Any = None) -> dict[str, Any]:
        """An error body."""

    @abstractmethod
    def asked(self, body: dict[str, Any]) -> dict[str, Any]:
        """system, turns [(role, text)], max_tokens, temperature, tools [names], tool_choice."""


class OpenAIWire(Wire):
    """OpenAI's chat completions."""

    provider = "openai"
    model = "gpt-4o"
    thinking_model = "gpt-5.2"
    max_tokens_name: ClassVar[str] = "max_completion_tokens"
    rate_limit_headers = {"x-ratelimit-remaining-requests": "99", "x-ratelimit-reset-tokens": "6m0s"}

    def answer(
        self,
        text: str | None = "Hello.",
        *,
        finish: str | None = "stop",
        tool_calls: list[dict[str, Any]] | None = None,
    ) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None}
        if tool_calls:
            message["tool_calls"] = [
                {
                    "id": call["id"],
                    "type": "function",
                    "function": {"name": call["name"], "arguments": json.dumps(call["arguments"])},
                }
                for call in tool_calls
            ]
        return {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1_763_800_000,
            "model": self.model,
            "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": finish}],
            "usage": {
                "prompt_tokens": USAGE["input"],
                "completion_tokens": USAGE["output"],
                "total_tokens": USAGE["input"] + USAGE["output"],
                "prompt_tokens_details": {"cached_tokens": USAGE["cached"]},
                "completion_tokens_details": {"reasoning_tokens": USAGE["reasoning"]},
            },
        }

    def error(self, message: str, *, kind: str = "invalid_request_error", code: Any = None) -> dict[str, Any]:
        return {"error": {"message": message, "type": kind, "param": None, "code": code}}

    def asked(self, body: dict[str, Any]) -> dict[str, Any]:
        said = body["messages"]
        return {
            "system": "\n\n".join(message["content"] for message in said if message["role"] == "system"),
            "turns": [(message["role"], self._text(message)) for message in said if message["role"] != "system"],
            "max_tokens": body.get(self.max_tokens_name),
            "temperature": body.get("temperature"),
            "tools": [tool["function"]["name"] for tool in body.get("tools", [])],
            "schemas": [tool["function"]["parameters"] for tool in body.get("tools", [])],
            "tool_choice": body.get("tool_choice"),
        }

    def _text(self, message: dict[str, Any]) -> str:
        content = message.get("content") or ""
        return content if isinstance(content, str) else "".join(part.get("text", "[image]") for part in content)


class CompatibleWire(OpenAIWire):
    """A server with OpenAI's chat completions that is not OpenAI's."""

    provider = "openai_compatible"
    model = "my-llama"
    thinking_model = "my-llama"
    base_url = "http://llm.internal:8000/v1"
    max_tokens_name = "max_tokens"


class AnthropicWire(Wire):
    """Anthropic's messages."""

    provider = "anthropic"
    model = "claude-sonnet-4-6"
    thinking_model = "claude-sonnet-4-5"
    reasoning_tokens = 0  # not in its usage
    rate_limit_headers = {
        "anthropic-ratelimit-requests-remaining": "99",
        "anthropic-ratelimit-tokens-reset": "2026-11-22T00:00:00Z",
    }
    finishes: ClassVar[dict[str | None, str | None]] = {
        "stop": "end_turn",
        "length": "max_tokens",
        "tool_calls": "tool_use",
        "content_filter": "refusal",
        None: None,
    }

    def answer(
        self,
        text: str | None = "Hello.",
        *,
        finish: str | None = "stop",
        tool_calls: list[dict[str, Any]] | None = None,
    ) -> dict[str, Any]:
        blocks: list[dict[str, Any]] = [{"type": "text", "text": text}] if text else []
        for call in tool_calls or []:
            blocks.append({"type": "tool_use", "id": call["id"], "name": call["name"], "input": call["arguments"]})
        return {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": self.model,
            "content": blocks,
            "stop_reason": self.finishes[finish],
            "stop_sequence": None,
            "usage": {
                "input_tokens": USAGE["input"] - USAGE["cached"],
                "cache_read_input_tokens": USAGE["cached"],
                "cache_creation_input_tokens": 0,
                "output_tokens": USAGE["output"],
            },
        }

    def error(self, message: str, *, kind: str = "invalid_request_error", code: Any = None) -> dict[str, Any]:
        return {"type": "error", "error": {"type": kind, "message": message}}

    def asked(self, body: dict[str, Any]) -> dict[str, Any]:
        turns = [(message["role"], self._text(message["content"])) for message in body["messages"]]
        return {
            "system": body.get("system", ""),
            "turns": turns,
            "max_tokens": body.get("max_tokens"),
            "temperature": body.get("temperature"),
            "tools": [tool["name"] for tool in body.get("tools", [])],
            "schemas": [tool["input_schema"] for tool in body.get("tools", [])],
            "tool_choice": {"any": "required", None: None}.get(
                (body.get("tool_choice") or {}).get("type"), (body.get("tool_choice") or {}).get("type")
            ),
        }

    def _text(self, content: list[dict[str, Any]]) -> str:
        return "".join(block.get("text", f"[{block['type']}]") for block in content)


class GeminiWire(Wire):
    """Gemini's generateContent."""

    provider = "gemini"
    model = "gemini-2.5-flash"
    thinking_model = "gemini-2.5-flash"
    finishes: ClassVar[dict[str | None, str | None]] = {
        "stop": "STOP",
        "length": "MAX_TOKENS",
        "tool_calls": "STOP",
        "content_filter": "SAFETY",
        None: None,
    }

    def answer(
        self,
        text: str | None = "Hello.",
        *,
        finish: str | None = "stop",
        tool_calls: list[dict[str, Any]] | None = None,
    ) -> dict[str, Any]:
        parts: list[dict[str, Any]] = [{"text": text}] if text else []
        for call in tool_calls or []:
            parts.append({"functionCall": {"id": call["id"], "name": call["name"], "args": call["arguments"]}})
        candidate: dict[str, Any] = {"content": {"parts": parts, "role": "model"}, "index": 0}
        if self.finishes[finish]:
            candidate["finishReason"] = self.finishes[finish]
        return {
            "candidates": [candidate],
            "usageMetadata": {
                "promptTokenCount": USAGE["input"],
                "cachedContentTokenCount": USAGE["cached"],
                "candidatesTokenCount": USAGE["output"] - USAGE["reasoning"],
                "thoughtsTokenCount": USAGE["reasoning"],
                "totalTokenCount": USAGE["input"] + USAGE["output"],
            },
            "modelVersion": self.model,
        }

    def error(self, message: str, *, kind: str = "INVALID_ARGUMENT", code: Any = 400) -> dict[str, Any]:
        return {"error": {"code": code, "message": message, "status": kind}}

    def asked(self, body: dict[str, Any]) -> dict[str, Any]:
        config = body.get("generationConfig", {})
        declared = [tool["functionDeclarations"][0] for tool in body.get("tools", [])]
        mode = body.get("toolConfig", {}).get("functionCallingConfig", {}).get("mode")
        names = {"ANY": "required", "AUTO": "auto", "VALIDATED": "auto", "NONE": "none"}
        return {
            "system": "\n\n".join(part["text"] for part in body.get("systemInstruction", {}).get("parts", [])),
            "turns": [(turn["role"], "".join(map(self._part, turn["parts"]))) for turn in body["contents"]],
            "max_tokens": config.get("maxOutputTokens"),
            "temperature": config.get("temperature"),
            "tools": [tool["name"] for tool in declared],
            "schemas": [tool["parametersJsonSchema"] for tool in declared],
            "tool_choice": names.get(mode),
        }

    def _part(self, part: dict[str, Any]) -> str:
        text: str = part.get("text") or f"[{next(name for name in part if name != 'thoughtSignature')}]"
        return text


WIRES: dict[str, Wire] = {
    wire.provider: wire for wire in (OpenAIWire(), CompatibleWire(), AnthropicWire(), GeminiWire())
}


KEY = "sk-test-0123456789abcdef"
ENVIRONMENT = {"TEST_KEY": KEY}


@dataclass
class Far:
    """The far side of a call: what to answer, and what arrived."""

    wire: Wire
    status: int = 200
    content: bytes | dict[str, Any] = b""
    headers: dict[str, str] = field(default_factory=dict)
    error: Exception | None = None
    requests: list[httpx2.Request] = field(default_factory=list)

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        if self.error is not None:
            raise self.error
        content = self.content if isinstance(self.content, bytes) else json.dumps(self.content).encode()
        return httpx2.Response(
            self.status, content=content, headers={"content-type": "application/json", **self.headers}
        )

    @property
    def body(self) -> Any:
        """The one request's JSON."""
        (request,) = self.requests
        return json.loads(request.content)


@pytest.fixture(params=list(WIRES), ids=str)
def wire(request: pytest.FixtureRequest) -> Wire:
    """Each provider's wire format in turn."""
    return WIRES[request.param]


@pytest.fixture
def far(wire: Wire) -> Far:
    """The far side, which answers "Hello." unless the test says otherwise."""
    return Far(wire, content=wire.answer())


def instance_of(wire: Wire, **fields: Any) -> Instance:
    """An instance of the wire's provider with a key."""
    given = {
        "name": "one",
        "provider": wire.provider,
        "vendor": wire.provider,
        "model": wire.model,
        "api_key": SecretReference(env="TEST_KEY"),
        "base_url": wire.base_url,
    }
    return Instance(**{**given, **fields})


class Line:
    """Providers kept between tests, on one event loop; the far side is whichever the test set up."""

    def __init__(self) -> None:
        self.runner = asyncio.Runner()
        self.far: Far | None = None
        self.http = httpx2.MockTransport(self._answer)
        self._kept: dict[tuple[str, ...], Providers] = {}

    def _answer(self, request: httpx2.Request) -> httpx2.Response:
        assert self.far is not None
        return self.far(request)

    def complete(self, call: Call, environment: dict[str, str], simulator_url: str | None) -> ProviderAnswer:
        key = (call.instance.provider, simulator_url or "", json.dumps(environment, sort_keys=True))
        if key not in self._kept:
            self._kept[key] = Providers(
                environment=environment, max_connections=1, simulator_url=simulator_url, http=self.http
            )
        return self.runner.run(self._kept[key].complete(call))

    def close(self) -> None:
        self.runner.run(self.http.aclose())
        self.runner.close()


@pytest.fixture(scope="session")
def line() -> Iterator[Line]:
    """One line for all tests: loading the prices takes longer than a test."""
    kept = Line()
    yield kept
    kept.close()


Ask = Callable[..., ProviderAnswer]


@pytest.fixture
def ask(wire: Wire, far: Far, line: Line) -> Ask:
    """Make one call: `ask(prompt=..., settings={...}, instance={...}, timeout_s=..., job_id=...)`."""

    def go(
        *,
        settings: dict[str, Any] | None = None,
        instance: dict[str, Any] | None = None,
        timeout_s: float = 5.0,
        job_id: str = "",
        attempt: int = 0,
        simulator_url: str | None = None,
        environment: dict[str, str] | None = None,
        **request: Any,
    ) -> ProviderAnswer:
        call = Call(
            instance=instance_of(wire, **(instance or {})),
            request=parse_request(request if "messages" in request else {"prompt": "Hi", **request}),
            settings=_settings(dict(settings or {})),
            timeout_s=timeout_s,
            job_id=job_id,
            attempt=attempt,
        )
        line.far = far
        return line.complete(call, ENVIRONMENT if environment is None else environment, simulator_url)

    return go


def _settings(given: dict[str, Any]) -> CallSettings:
    thinking = given.pop("thinking", None)
    return CallSettings(**given, **({"thinking": Thinking(**thinking)} if thinking else {}))
