"""What the three wire formats have in common: the interface that openai.py, anthropic.py and gemini.py fill."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from .exchange import Ask, Failure, Json, Reply, Standing
from .script import Operation, Provider

Headers = dict[str, str]
# Made once: json.dumps with settings of its own makes an encoder a call.
_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode
REFUSAL = "I can't help with that."


@dataclass(frozen=True, slots=True)
class Target:
    """What a path stands for; `stream` where the path says it."""

    operation: Operation
    model: str | None = None
    stream: bool = False


@dataclass(frozen=True, slots=True)
class Received:
    """What came with a request besides its body."""

    target: Target
    headers: Mapping[str, str]
    query: Mapping[str, str]


class Wire(Protocol):
    """One provider's paths, bodies, headers and errors."""

    @property
    def name(self) -> Provider:
        """The provider, which is also the first part of its paths here."""
        ...

    @property
    def default_models(self) -> tuple[str, ...]:
        """What a model listing names when the script names no models."""
        ...

    def target(self, method: str, tail: str) -> Target | Literal["method"] | None:
        """What the path after the provider's prefix stands for; None if nothing, "method" if not for this verb."""

    def key(self, received: Received) -> str | None:
        """The API key the client sent."""
        ...

    def read(self, received: Received, body: Json) -> Ask:
        """The request in a decoded body; raises `RequestError` where the provider would answer 400."""
        ...

    def plain(self, ask: Ask, reply: Reply) -> Json:
        """The body of an answer in one piece."""
        ...

    def frames(self, ask: Ask, reply: Reply, chunk_tokens: int) -> list[bytes]:
        """The pieces of a streamed answer, in order."""
        ...

    def failed_frame(self) -> bytes:
        """The piece that reports a failure in the middle of a stream."""
        ...

    def error(self, failure: Failure) -> tuple[int, Headers, Json]:
        """Status, headers and body of an error."""
        ...

    def headers(self, number: int, standing: list[Standing]) -> Headers:
        """The headers of every response: its request id and what is left of the limits."""
        ...

    def listing(self, models: list[str]) -> Json:
        """The body of a model listing."""
        ...

    def model(self, name: str) -> Json:
        """The body that describes one model."""
        ...


def compact(value: Json) -> bytes:
    """`value` as JSON bytes without spaces."""
    return _encode(value).encode("utf-8", "replace")


def pieces(text: str, tokens: int) -> list[str]:
    """`text` cut into pieces of about `tokens` tokens of four characters."""
    size = tokens * 4
    return [text[start : start + size] for start in range(0, len(text), size)]


def whole_seconds(seconds: float) -> str:
    """`seconds` rounded up, as `Retry-After` takes it: never a promise that is kept too late."""
    return str(math.ceil(max(0.0, seconds - 1e-9)))
