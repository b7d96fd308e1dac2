"""A job's prompt or messages as turns that every provider can write in its own format."""

from __future__ import annotations

import binascii
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from echelon_workers.errors import BadRequest
from echelon_workers.ledger.job import JobRequest


@dataclass(frozen=True, slots=True)
class Text:
    """Text that was said."""

    text: str


@dataclass(frozen=True, slots=True)
class Image:
    """An image by its address, which the provider fetches, or as `data` (base64) out of a data URL."""

    url: str
    detail: str | None = None
    media_type: str = ""
    data: str = ""


@dataclass(frozen=True, slots=True)
class ToolUse:
    """A tool call that a model made; `arguments` as the text that it wrote."""

    id: str
    name: str
    arguments: str

    @property
    def input(self) -> dict[str, Any]:
        """The arguments as an object, for formats that take nothing else."""
        try:
            value = json.loads(self.arguments or "{}")
        except (ValueError, RecursionError):
            value = None
        return value if isinstance(value, dict) else {"INVALID_JSON": self.arguments}


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a tool returned for a call."""

    id: str
    name: str
    parts: tuple[Text | Image, ...]

    @property
    def text(self) -> str:
        """The text of it."""
        return "".join(part.text for part in self.parts if isinstance(part, Text))

    @property
    def images(self) -> list[Image]:
        """The images of it."""
        return [part for part in self.parts if isinstance(part, Image)]


Part = Text | Image | ToolUse | ToolResult


@dataclass(frozen=True, slots=True)
class Turn:
    """One message; those of role `tool` have one ToolResult."""

    role: Literal["system", "user", "assistant", "tool"]
    parts: tuple[Part, ...]

    @property
    def text(self) -> str:
        """All text of it."""
        return "".join(part.text for part in self.parts if isinstance(part, Text))


def conversation(request: JobRequest, *, notes: Sequence[str] = ()) -> list[Turn]:
    """The turns of a request: its system prompt, then `notes` as further instructions, then what was said.

    Raises BadRequest for what no model could be sent: a tool result that answers no call, an image where only text
    can be, broken base64.
    """
    opening = [Turn("system", (Text(text),)) for text in (request.system, *notes) if text]
    if request.prompt is not None:
        return [*opening, Turn("user", (Text(request.prompt),))]
    return [*opening, *_turns(request.messages or ())]


def spoken(turns: Iterable[Turn]) -> tuple[list[str], list[tuple[bool, list[Part]]]]:
    """For formats with the instructions apart: these, and the turns as (whether it is the model's, its parts).

    All that is said between two turns of the model becomes one.
    """
    system: list[str] = []
    said: list[tuple[bool, list[Part]]] = []
    for turn in turns:
        if turn.role == "system":
            system.append(turn.text)
        elif turn.role == "assistant" or not said or said[-1][0]:
            said.append((turn.role == "assistant", list(turn.parts)))
        else:
            said[-1][1].extend(turn.parts)
    return system, said


def _turns(messages: Iterable[Any]) -> Iterator[Turn]:
    tools: dict[str, str] = {}
    for message in messages:
        match message["role"]:
            case "system" | "developer":
                yield Turn("system", (Text(_text_of(message)),))
            case "user":
                yield Turn("user", _content(message["content"]))
            case "tool":
                yield Turn("tool", (_tool_result(message, tools),))
            case _:
                turn = _assistant(message)
                tools.update((part.id, part.name) for part in turn.parts if isinstance(part, ToolUse))
                yield turn


def _content(content: Any) -> tuple[Text | Image, ...]:
    if isinstance(content, str):
        return (Text(content),)
    return tuple(Text(part["text"]) if part["type"] == "text" else _image(part["image_url"]) for part in content)


def _image(given: Any) -> Image:
    url: str = given["url"]
    if not url.startswith("data:"):
        return Image(url, given.get("detail"))
    head, _, data = url.partition(",")
    try:
        binascii.a2b_base64(data)
    except ValueError as exc:
        raise BadRequest("an image's data URL is not base64 (data:image/png;base64,...)") from exc
    media_type = head.removeprefix("data:").partition(";")[0]
    return Image(url, given.get("detail"), media_type, data)


def _tool_result(message: Any, tools: dict[str, str]) -> ToolResult:
    call_id = message["tool_call_id"]
    if call_id not in tools:
        raise BadRequest(
            f"the tool message for {call_id[:100]!r} answers no tool call before it "
            "(put the assistant message with that tool call before it)"
        )
    return ToolResult(call_id, tools[call_id], _content(message["content"]))


def _assistant(message: Any) -> Turn:
    said = (Text(_text_of(message)),) if message.get("content") else ()
    calls = ((call["id"], call["function"]) for call in message.get("tool_calls") or ())
    return Turn("assistant", (*said, *(ToolUse(id, called["name"], called["arguments"]) for id, called in calls)))


def _text_of(message: Any) -> str:
    content = message["content"]
    if isinstance(content, str):
        return content
    if any(part["type"] != "text" for part in content):
        raise BadRequest(f"an image in the {message['role']} message (images can be in user and tool messages)")
    return "".join(part["text"] for part in content)
