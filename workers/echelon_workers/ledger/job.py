"""A job's request and its answer: what a producer sends and what it gets back.

Plain shapes, importable by a web app: neither Celery nor a provider's library is needed here.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Annotated, Any, Literal, NotRequired, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    JsonValue,
    StrictBool,
    StrictInt,
    StringConstraints,
    Tag,
    ValidationError,
    model_validator,
    with_config,
)
from pydantic_core import ErrorDetails, PydanticCustomError, PydanticSerializationError
from typing_extensions import TypedDict

MAX_PROBLEMS = 20
OWN_KINDS = ("prompt, messages", "messages", "function_calling", "empty_message", "unknown_shape")

FunctionCalling = Literal["none", "auto", "required"]
FinishReason = Literal["stop", "length", "tool_calls", "content_filter"]
Count = Annotated[StrictInt, Field(ge=1)]
Text = Annotated[str, StringConstraints(min_length=1)]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,128}$")]
ImageAddress = Annotated[str, StringConstraints(pattern=r"^(https?://|data:image/[A-Za-z0-9.+-]+;base64,)")]

#: What an outcome says of its instance: it works, it failed, or nothing.
Health = Literal["ok", "failed", ""]


@with_config(ConfigDict(extra="forbid"))
class TextContent(TypedDict):
    """A text part of a message."""

    type: Literal["text"]
    text: str


@with_config(ConfigDict(extra="forbid"))
class ImageLocation(TypedDict):
    """Where an image is: an http(s) address, or the image itself as a `data:` URL."""

    url: ImageAddress
    detail: NotRequired[Literal["auto", "low", "high"]]


@with_config(ConfigDict(extra="forbid"))
class ImageContent(TypedDict):
    """An image part of a message."""

    type: Literal["image_url"]
    image_url: ImageLocation


def _tag(field: str, *known: str) -> Discriminator:
    """Choose the shape of a dict by one of its fields; an unknown value is one problem, not one for every shape."""

    def choose(value: object) -> str | None:
        found = value.get(field) if isinstance(value, dict) else None
        return f"<{found}>" if found in known else None

    expected = ", ".join(known)
    return Discriminator(
        choose,
        custom_error_type="unknown_shape",
        custom_error_message=f"no {field} that is known (an object whose {field} is one of: {expected})",
    )


def _string_or_parts(value: object) -> str:
    return "<parts>" if isinstance(value, list | tuple) else "<string>"


Part = Annotated[
    Annotated[TextContent, Tag("<text>")] | Annotated[ImageContent, Tag("<image_url>")],
    _tag("type", "text", "image_url"),
]
Content = Annotated[
    Annotated[str, Tag("<string>")] | Annotated[list[Part], Tag("<parts>")], Discriminator(_string_or_parts)
]


@with_config(ConfigDict(extra="forbid"))
class CalledFunction(TypedDict):
    """The function an assistant message called, its arguments as the JSON text the model wrote."""

    name: Name
    arguments: str


@with_config(ConfigDict(extra="ignore"))
class CalledTool(TypedDict):
    """One tool call in an assistant message."""

    id: Text
    type: NotRequired[Literal["function"]]
    function: CalledFunction


@with_config(ConfigDict(extra="forbid"))
class InstructionMessage(TypedDict):
    """A system or developer message."""

    role: Literal["system", "developer"]
    content: Content
    name: NotRequired[str]


@with_config(ConfigDict(extra="forbid"))
class UserMessage(TypedDict):
    """A user's message: text, or text and images."""

    role: Literal["user"]
    content: Content
    name: NotRequired[str]


@with_config(ConfigDict(extra="ignore"))
class AssistantMessage(TypedDict):
    """What a model said before. Other keys (`refusal`, `annotations`, ...) may be echoed and are not sent."""

    role: Literal["assistant"]
    content: NotRequired[Content | None]
    tool_calls: NotRequired[list[CalledTool] | None]


@with_config(ConfigDict(extra="forbid"))
class ToolMessage(TypedDict):
    """The result of a tool call."""

    role: Literal["tool"]
    content: Content
    tool_call_id: Text
    name: NotRequired[str]


def _says_something(message: AssistantMessage) -> AssistantMessage:
    if not message.get("content") and not message.get("tool_calls"):
        raise PydanticCustomError("empty_message", "an empty assistant message (give content or tool_calls)")
    return message


Message = Annotated[
    Annotated[InstructionMessage, Tag("<system>")]
    | Annotated[InstructionMessage, Tag("<developer>")]
    | Annotated[UserMessage, Tag("<user>")]
    | Annotated[AssistantMessage, AfterValidator(_says_something), Tag("<assistant>")]
    | Annotated[ToolMessage, Tag("<tool>")],
    _tag("role", "system", "developer", "user", "assistant", "tool"),
]


@with_config(ConfigDict(extra="forbid"))
class FunctionDefinition(TypedDict):
    """A function the model may call; `parameters` is a JSON Schema object."""

    name: Name
    description: NotRequired[str]
    parameters: NotRequired[dict[str, JsonValue]]
    strict: NotRequired[bool | None]


@with_config(ConfigDict(extra="forbid"))
class Tool(TypedDict):
    """A tool in OpenAI's function shape."""

    type: Literal["function"]
    function: FunctionDefinition


@with_config(ConfigDict(extra="forbid"))
class NamedSchema(TypedDict):
    """The JSON Schema the answer has to match."""

    name: Name
    schema: dict[str, JsonValue]
    strict: NotRequired[bool | None]
    description: NotRequired[str]


@with_config(ConfigDict(extra="forbid"))
class JsonSchemaFormat(TypedDict):
    """A response format: JSON that matches a schema."""

    type: Literal["json_schema"]
    json_schema: NamedSchema


def _format_kind(value: object) -> str | None:
    if value in ("text", "json_object"):
        return "<word>"
    return "<schema>" if isinstance(value, dict) else None


ResponseFormat = Annotated[
    Annotated[Literal["text", "json_object"], Tag("<word>")] | Annotated[JsonSchemaFormat, Tag("<schema>")],
    Discriminator(
        _format_kind,
        custom_error_type="unknown_shape",
        custom_error_message='unknown format ("text", "json_object" or {"type": "json_schema", "json_schema": {...}})',
    ),
]


@with_config(ConfigDict(extra="forbid"))
class ThinkingRequest(TypedDict):
    """Whether the model thinks before it answers, and for how many tokens at most."""

    enabled: StrictBool
    budget_tokens: NotRequired[Count | None]


class JobRequest(BaseModel):
    """What is asked of a model: a prompt, or messages in OpenAI's chat shape, and how to answer.

    Fields left out take the node's, then the echelon's value.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    prompt: Text | None = None
    messages: tuple[Message, ...] | None = None
    system: str | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    max_tokens: Count | None = None
    tools: tuple[Tool, ...] = ()
    function_calling: FunctionCalling | None = None
    response_format: ResponseFormat | None = None
    thinking: ThinkingRequest | None = None
    metadata: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if (self.prompt is None) == (self.messages is None):
            found = "neither given" if self.prompt is None else "both given"
            raise PydanticCustomError("prompt, messages", "{found} (give exactly one of the two)", {"found": found})
        if self.messages is not None and not self.messages:
            raise PydanticCustomError("messages", "an empty list (at least one message)")
        if self.function_calling == "required" and not self.tools:
            raise PydanticCustomError("function_calling", "'required' without tools (give tools, or leave it out)")
        return self

    def to_json(self) -> str:
        """The request as compact JSON, without the fields that were left out.

        Raises RequestInvalid when a string in it is not Unicode text (a lone surrogate).
        """
        try:
            return self.model_dump_json(exclude_unset=True, exclude_none=True)
        except PydanticSerializationError as exc:
            raise RequestInvalid(["request: text that is not Unicode (strings without lone surrogates)"]) from exc

    @classmethod
    def from_json(cls, text: str | bytes) -> JobRequest:
        """Read what `to_json` wrote. Raises RequestInvalid."""
        try:
            return cls.model_validate_json(text)
        except ValidationError as exc:
            raise RequestInvalid(_problems(exc)) from exc


class RequestInvalid(ValueError):
    """A request that cannot be a job; `problems` has a line for each thing that is wrong."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(problems))


def parse_request(kwargs: Mapping[str, Any]) -> JobRequest:
    """Check the fields of a request that came as keyword arguments or as an object of a JSON document.

    Raises RequestInvalid, whose message lists every problem as `field: what is wrong (what would be right)`.
    """
    try:
        return JobRequest.model_validate(kwargs)
    except ValidationError as exc:
        raise RequestInvalid(_problems(exc)) from exc


def _problems(error: ValidationError) -> list[str]:
    """A line for each problem; what was given is not quoted, because it may be a secret or a megabyte."""
    details = error.errors(include_url=False, include_input=False)
    lines = [_problem(detail) for detail in details[:MAX_PROBLEMS]]
    if len(details) > MAX_PROBLEMS:
        lines.append(f"request: {len(details) - MAX_PROBLEMS} more problems (mend these first)")
    return lines


def _problem(detail: ErrorDetails) -> str:
    # Errors of the whole request carry the fields they speak of as their type.
    kind, message = detail["type"], detail["msg"]
    path = ".".join(str(step) for step in detail["loc"] if not str(step).startswith("<"))
    path = path or (kind if kind in OWN_KINDS else "request")
    path = path if len(path) <= 200 else path[:197] + "..."
    if kind == "extra_forbidden":
        return f"{path}: unknown field ({_nearest(*detail['loc'])})"
    if kind == "missing":
        return f"{path}: missing (a value is required)"
    if kind in OWN_KINDS:
        return f"{path}: {message}"
    return f"{path}: wrong value ({message[:1].lower()}{message[1:]})"


def _nearest(field: int | str, *deeper: int | str) -> str:
    if deeper:
        return "leave it out"
    known = sorted(JobRequest.model_fields)
    near = difflib.get_close_matches(str(field)[:100], known, n=1)
    return f"did you mean {near[0]}?" if near else "known are " + ", ".join(known)


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ToolCall(_Frozen):
    """A tool the model wants called; `arguments` is JSON text."""

    id: str
    name: str
    arguments: str


class Usage(_Frozen):
    """Tokens of one call; input includes cached, output includes reasoning."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0


class Answer(_Frozen):
    """What a model answered, and what it took; `cost_usd` is a decimal number as text, None when no price is known."""

    text: str
    tool_calls: tuple[ToolCall, ...] = ()
    finish_reason: FinishReason
    usage: Usage
    cost_usd: str | None = None
    model: str
    instance: str
    latency_ms: int
