"""A job's prompt or messages in pydantic-ai's shape."""

from __future__ import annotations

import binascii
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from pydantic_ai.messages import (
    BinaryContent,
    ImageUrl,
    ModelMessage,
    ModelRequest,
    ModelRequestPart,
    ModelResponse,
    SystemPromptPart,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
    UploadedFile,
    UserPromptPart,
)

from echelon_workers.errors import BadRequest
from echelon_workers.ledger.job import JobRequest

Image = BinaryContent | ImageUrl | UploadedFile
ImageMaker = Callable[[str, str | None], Image]


def conversation(
    request: JobRequest, *, image: ImageMaker | None = None, notes: Sequence[str] = ()
) -> list[ModelMessage]:
    """The messages of a request: its system prompt, then `notes` as further instructions, then what was said.

    `image(url, detail)` makes a provider's image part of an address or a data URL. Raises BadRequest for what no model
    could be sent: a tool result that answers no call, an image where only text can be, broken base64.
    """
    opening: list[ModelRequestPart] = [SystemPromptPart(text) for text in (request.system, *notes) if text]
    if request.prompt is not None:
        return [ModelRequest(parts=[*opening, UserPromptPart(request.prompt)])]
    return _Writer(opening, image or image_part).write(request.messages or ())


def image_part(url: str, detail: str | None) -> Image:
    """An image by its address, which the provider fetches, or its bytes from a data URL."""
    metadata = {"detail": detail} if detail else None
    if not url.startswith("data:"):
        return ImageUrl(url, vendor_metadata=metadata)
    try:
        content = BinaryContent.from_data_uri(url)
    except (ValueError, binascii.Error) as exc:
        raise BadRequest("an image's data URL is not base64 (data:image/png;base64,...)") from exc
    content.vendor_metadata = metadata
    return content


class _Writer:
    """Gathers what is said between two assistant messages into one request, as the providers expect."""

    def __init__(self, opening: list[ModelRequestPart], image: ImageMaker) -> None:
        self._messages: list[ModelMessage] = []
        self._parts = opening
        self._image = image
        self._tool_names: dict[str, str] = {}

    def write(self, messages: Iterable[Any]) -> list[ModelMessage]:
        for message in messages:
            match message["role"]:
                case "system" | "developer":
                    self._parts.append(SystemPromptPart(_text_of(message)))
                case "user":
                    self._parts.append(UserPromptPart(self._content(message["content"])))
                case "tool":
                    self._parts.append(self._tool_result(message))
                case _:
                    self._flush()
                    self._messages.append(self._assistant(message))
        self._flush()
        return self._messages

    def _flush(self) -> None:
        if self._parts:
            self._messages.append(ModelRequest(parts=self._parts))
            self._parts = []

    def _content(self, content: Any) -> Any:
        if isinstance(content, str):
            return content
        return [self._part(part) for part in content]

    def _part(self, part: Any) -> str | Image:
        if part["type"] == "text":
            text: str = part["text"]
            return text
        return self._image(part["image_url"]["url"], part["image_url"].get("detail"))

    def _tool_result(self, message: Any) -> ToolReturnPart:
        call_id = message["tool_call_id"]
        name = self._tool_names.get(call_id)
        if name is None:
            raise BadRequest(
                f"the tool message for {call_id[:100]!r} answers no tool call before it "
                "(put the assistant message with that tool call before it)"
            )
        return ToolReturnPart(tool_name=name, content=self._content(message["content"]), tool_call_id=call_id)

    def _assistant(self, message: Any) -> ModelResponse:
        parts: list[TextPart | ToolCallPart] = []
        if message.get("content"):
            parts.append(TextPart(_text_of(message)))
        for call in message.get("tool_calls") or ():
            function = call["function"]
            self._tool_names[call["id"]] = function["name"]
            parts.append(ToolCallPart(function["name"], function["arguments"], tool_call_id=call["id"]))
        return ModelResponse(parts=parts)


def _text_of(message: Any) -> str:
    content = message["content"]
    if isinstance(content, str):
        return content
    if any(part["type"] != "text" for part in content):
        raise BadRequest(f"an image in the {message['role']} message (images can be in user and tool messages)")
    return "".join(part["text"] for part in content)
