"""The interface of a provider: what each one writes and reads in its own format.

A provider is one class in a file of its own, found by its name in `calls.py`, or by a dotted path
`package.module:Class` that the configuration gives as an instance's `provider`.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from echelon_workers.ledger.job import JobRequest
from echelon_workers.providers.ask import Ask, Schema
from echelon_workers.providers.reply import Reply

JSON_NOTE = "Answer with one JSON object and nothing else: no explanation, no Markdown."
SCHEMA_NOTE = (
    "Answer with one JSON value and nothing else: no explanation, no Markdown. It has to match this JSON Schema: "
)

# What an instance file may set among `parameters`, by the names that go to every provider which has the like.
_KNOWN = frozenset(
    {
        "temperature",
        "top_p",
        "top_k",
        "seed",
        "stop",
        "presence_penalty",
        "frequency_penalty",
        "logit_bias",
        "parallel_tool_calls",
        "service_tier",
    }
)
# The call's own settings decide these.
_DECIDED = frozenset({"max_tokens", "max_completion_tokens", "max_output_tokens", "model", "messages", "stream"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where an instance's calls go, with the secrets filled in; None as base url is the provider's own address.

    `known` and `extra` are the instance's `parameters`: those with a name that providers share, and those that go into
    the body as they are.
    """

    instance: str
    base_url: str | None
    api_key: str
    model: str
    known: Mapping[str, Any]
    extra: Mapping[str, Any]

    def __repr__(self) -> str:
        return f"Endpoint({self.instance}: {self.model} at {self.base_url})"


class Adapter(ABC):
    """One instance of one provider: writes what a job asks in the provider's terms, and reads what it answers.

    Raises InstanceUnusable when it is made for an endpoint that cannot be called.
    """

    price_list: ClassVar[str | None]
    """The provider's name in the price list; None: found by the instance's base url."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint

    @property
    @abstractmethod
    def url(self) -> str:
        """Where a call is posted to."""

    @property
    def models_url(self) -> str | None:
        """Where the provider lists its models: a look there costs nothing, and shows whether it answers at all. None:
        there is no such place."""
        return None

    @property
    @abstractmethod
    def headers(self) -> Mapping[str, str]:
        """The headers of every call, with the key."""

    @abstractmethod
    def body(self, ask: Ask, request: JobRequest) -> dict[str, Any]:
        """The whole request. Raises BadRequest for what cannot be said in the provider's format."""

    @abstractmethod
    def read(self, content: bytes, headers: Mapping[str, str]) -> Reply:
        """The body of an answer with status 200.

        Raises ValidationError (pydantic's) for a body of another shape, HttpFailed for an error sent as a success.
        """


def split_parameters(parameters: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """An instance's `parameters` as (what providers have a name for, what goes into the request's body as it is)."""
    known: dict[str, Any] = {}
    extra: dict[str, Any] = {}
    for name, value in parameters.items():
        name = "stop" if name == "stop_sequences" else name
        if name in _KNOWN:
            known[name] = [value] if name == "stop" and isinstance(value, str) else value
        elif name not in _DECIDED:
            extra[name] = value
    return known, extra


def schema_in_words(schema: Schema | None) -> str:
    """JSON asked for in the system prompt, for models that cannot be asked otherwise."""
    return SCHEMA_NOTE + json.dumps(schema.schema, ensure_ascii=False) if schema else JSON_NOTE


def without_version(base_url: str | None, *versions: str) -> str | None:
    """The address without the API version at its end, which some give and some do not."""
    if base_url is None:
        return None
    trimmed = base_url.rstrip("/")
    for version in versions:
        trimmed = trimmed.removesuffix(f"/{version}")
    return trimmed
