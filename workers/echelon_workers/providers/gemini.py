"""Google's Gemini API."""

from __future__ import annotations

import mimetypes
from typing import Any, ClassVar

from google.genai.client import Client
from google.genai.types import HttpOptions
from pydantic_ai.messages import UploadedFile
from pydantic_ai.models import ModelRequestParameters
from pydantic_ai.models.google import GoogleModel
from pydantic_ai.providers.google import GoogleProvider
from typing_extensions import override

from echelon_workers.errors import BadRequest
from echelon_workers.ledger.job import JobRequest
from echelon_workers.providers.adapter import (
    JSON_NOTE,
    Adapter,
    Endpoint,
    Shape,
    native_schema,
    schema_in_words,
    without_version,
)
from echelon_workers.providers.ask import Schema, Thinking, output_limit
from echelon_workers.providers.conversation import Image, image_part
from echelon_workers.providers.transport import READ_TIMEOUT_S

OFFICIAL_URL = "https://generativelanguage.googleapis.com"
MODEL_DECIDES = -1  # as a thinking budget
_NOT_OF_GEMINI = frozenset({"parallel_tool_calls", "logit_bias"})


class Gemini(Adapter[GoogleModel]):
    """The Gemini API with a key (not Vertex AI)."""

    price_list: ClassVar[str | None] = "google"

    @override
    def connect(self, endpoint: Endpoint) -> Client:
        options = HttpOptions(
            base_url=without_version(endpoint.base_url, "v1beta", "v1") or OFFICIAL_URL,
            httpx_async_client=self.http,
            timeout=int(READ_TIMEOUT_S * 1000),
            extra_body=dict(endpoint.extra) or None,
        )
        return Client(vertexai=False, api_key=endpoint.api_key, http_options=options)

    @override
    def model(self, endpoint: Endpoint) -> GoogleModel:
        return GoogleModel(endpoint.model, provider=GoogleProvider(client=self.client(endpoint)))

    @override
    def base_settings(self, known: dict[str, Any], extra: dict[str, Any]) -> dict[str, Any]:
        """What the library sends to Gemini; `extra` is in the client, because it sends no extra body."""
        return {name: value for name, value in known.items() if name not in _NOT_OF_GEMINI}

    @override
    def image(self, url: str, detail: str | None) -> Image:
        """An address goes to Google as it is, which fetches it; the library would have the worker fetch it."""
        if url.startswith("data:"):
            return image_part(url, None)
        if not url.startswith("https://"):
            raise BadRequest("Gemini fetches images over https only (give an https address or a data URL)")
        kind = mimetypes.guess_type(url.split("?", 1)[0])[0] or "image/jpeg"
        return UploadedFile(url, "google", media_type=kind)

    @override
    def think(self, model: GoogleModel, thinking: Thinking, settings: dict[str, Any]) -> None:
        """A budget up to Gemini 2.5, a level from Gemini 3 on, nothing for models that cannot think."""
        if not thinking.enabled:
            settings["thinking"] = False
            return
        if not model.profile.get("supports_thinking"):
            return
        settings["max_tokens"] = output_limit(settings["max_tokens"], thinking.budget_tokens)
        if model.profile.get("google_supports_thinking_level", True):
            settings["thinking"] = thinking.effort
        else:
            budget = MODEL_DECIDES if thinking.budget_tokens is None else thinking.budget_tokens
            settings["google_thinking_config"] = {"thinking_budget": budget}

    @override
    def shape(self, model: GoogleModel, schema: Schema | None, request: JobRequest) -> Shape:
        """JSON mode and structured output; before Gemini 3 neither goes together with tools, so words must do."""
        together = not request.tools or model.profile.get("google_supports_tool_combination")
        if schema is None:
            return _JSON_MODE if together else Shape(notes=(JSON_NOTE,))
        return native_schema(schema) if together else schema_in_words(schema)


_JSON_MODE = Shape(ModelRequestParameters(output_mode="prompted", prompted_output_template=False))
