"""What a call asks and what it is answered, in words common to the three wire formats."""

from dataclasses import dataclass
from typing import Any, Literal

Finish = Literal["stop", "length", "tool_calls", "content_filter"]
Json = Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A function the model may call, with the JSON Schema of its arguments."""

    name: str
    schema: Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One request for an answer, read from any of the wire formats."""

    model: str
    text: str
    last: str
    messages: int
    stream: bool = False
    max_tokens: int | None = None
    images: int = 0
    tools: tuple[Tool, ...] = ()
    tool_choice: Literal["none", "auto", "required"] = "auto"
    tool_named: str | None = None
    json: bool = False
    schema: Json = None
    thinking_budget: int | None = None
    show_thoughts: bool = False
    include_usage: bool = False
    as_events: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """The answer to an `Ask`. `output_tokens` includes `reasoning_tokens`, `input_tokens` includes `cached_tokens`."""

    id: str
    created_s: int
    text: str
    thoughts: str = ""
    tool: str | None = None
    arguments: Json = None
    finish: Finish = "stop"
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """An error to answer with. `kind` is a status as text, or `quota` or `context_too_long`; `number` is the call's."""

    kind: str
    message: str | None = None
    code: str | None = None
    param: str | None = None
    model: str = ""
    retry_after_s: float | None = None
    measure: Literal["requests", "tokens", "concurrency"] = "requests"
    limit: int = 0
    used: int = 0
    requested: int = 1
    number: int = 0


class RequestError(Exception):
    """Raised while a request is read: it is answered with `failure`."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message or failure.kind)
        self.failure = failure


@dataclass(frozen=True, slots=True)
class Standing:
    """How much of one limit is left: what rate-limit headers report."""

    measure: Literal["requests", "tokens"]
    limit: int
    remaining: int
    reset_s: float


def bad_request(message: str, param: str | None = None, code: str | None = None) -> RequestError:
    """The error of a request that is wrong in itself."""
    return RequestError(Failure(kind="400", message=message, param=param, code=code))
