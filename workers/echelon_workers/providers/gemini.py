"""Google's Gemini API."""

from __future__ import annotations

import mimetypes
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel
from typing_extensions import override

from echelon_workers.errors import BadRequest
from echelon_workers.ledger.job import JobRequest, Tool, ToolCall
from echelon_workers.providers.adapter import Adapter, Endpoint, schema_in_words, without_version
from echelon_workers.providers.ask import Ask, output_limit
from echelon_workers.providers.conversation import Image, Part, Text, ToolResult, ToolUse, conversation, spoken
from echelon_workers.providers.json_api import sent_as_success
from echelon_workers.providers.models import gemini_model
from echelon_workers.providers.reply import Means, Reply, as_json
from echelon_workers.providers.schemas import plain_for_gemini

OFFICIAL_URL = "https://generativelanguage.googleapis.com"
MODEL_DECIDES = -1  # as a thinking budget
LEAST_BUDGET = 128  # for models that always think

# Gemini's names for an instance's parameters.
_NAMES = {
    "temperature": "temperature",
    "top_p": "topP",
    "top_k": "topK",
    "seed": "seed",
    "stop": "stopSequences",
    "presence_penalty": "presencePenalty",
    "frequency_penalty": "frequencyPenalty",
}
_TIERS = {"default": "standard", "flex": "flex", "priority": "priority"}
_MODES = {"auto": "AUTO", "required": "ANY", "none": "NONE"}
# A conversation that begins elsewhere has no signatures of the model's thoughts; Google documents this stand-in for
# the first call of a turn (base64 of skip_thought_signature_validator).
_UNSIGNED = "c2tpcF90aG91Z2h0X3NpZ25hdHVyZV92YWxpZGF0b3I="
_TOOL_IMAGES = frozenset({"image/png", "image/jpeg", "image/webp"})
_MEANS: dict[str, Means] = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "CONTINUATION": "length",
    **dict.fromkeys(("LANGUAGE", "MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "NO_IMAGE"), "error"),
    **dict.fromkeys(
        ("SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "IMAGE_SAFETY",
         "IMAGE_PROHIBITED_CONTENT", "MODEL_ARMOR"), "content_filter"
    ),
}  # fmt: skip


class Gemini(Adapter):
    """The Gemini API with a key (not Vertex AI)."""

    price_list: ClassVar[str | None] = "google"

    def __init__(self, endpoint: Endpoint) -> None:
        super().__init__(endpoint)
        self.model = gemini_model(endpoint.model)

    @property
    @override
    def url(self) -> str:
        return f"{self._base_url}/v1beta/models/{quote(self.endpoint.model.removeprefix('models/'))}:generateContent"

    @property
    @override
    def models_url(self) -> str:
        return f"{self._base_url}/v1beta/models?pageSize=1"

    @property
    def _base_url(self) -> str:
        return without_version(self.endpoint.base_url, "v1beta", "v1") or OFFICIAL_URL

    @property
    @override
    def headers(self) -> Mapping[str, str]:
        return {"x-goog-api-key": self.endpoint.api_key}

    @override
    def body(self, ask: Ask, request: JobRequest) -> dict[str, Any]:
        thinking, max_tokens = self._thinking(ask)
        known = self.endpoint.known
        config = {_NAMES[name]: value for name, value in known.items() if name in _NAMES}
        config |= {} if ask.temperature is None else {"temperature": ask.temperature}
        config |= {"maxOutputTokens": max_tokens, "responseModalities": ["TEXT"], **thinking}
        if self.model.makes_images:
            config["responseModalities"] = ["TEXT", "IMAGE"]
        # Before Gemini 3 neither JSON mode nor structured output goes together with tools, so words must do.
        native = ask.json and (self.model.modern or not ask.tools)
        config |= _form(ask) if native else {}
        notes = (schema_in_words(ask.schema),) if ask.json and not native else ()
        system, said = spoken(conversation(request, notes=notes))
        body: dict[str, Any] = {"contents": list(self._contents(said)), "generationConfig": config}
        if system:
            body["systemInstruction"] = {"role": "user", "parts": [{"text": text} for text in system]}
        if ask.tools:
            declared = [_declared(tool) for tool in ask.tools]
            body |= {"tools": [{"functionDeclarations": declared}], "toolConfig": self._choice(ask)}
        if known.get("service_tier") in _TIERS:
            body["serviceTier"] = _TIERS[known["service_tier"]]
        return _merged(body, self.endpoint.extra)

    def _thinking(self, ask: Ask) -> tuple[dict[str, Any], int]:
        """What to send about thinking, and the limit of tokens with it.

        A budget up to Gemini 2.5, a level from Gemini 3 on, nothing for models that cannot think.
        """
        wanted = ask.thinking
        if wanted is None or not self.model.thinks:
            return {}, ask.max_tokens
        if not wanted.enabled:
            least = LEAST_BUDGET if self.model.always_thinks else 0
            level = self.model.level("MINIMAL") if self.model.levels else None
            return _think(**({"thinkingLevel": level} if level else {"thinkingBudget": least})), ask.max_tokens
        limit = output_limit(ask.max_tokens, wanted.budget_tokens)
        if self.model.levels:
            return _think(includeThoughts=True, thinkingLevel=self.model.level(wanted.effort.upper())), limit
        return _think(thinkingBudget=MODEL_DECIDES if wanted.budget_tokens is None else wanted.budget_tokens), limit

    def _choice(self, ask: Ask) -> dict[str, Any]:
        """`VALIDATED` is `AUTO` held to the tools' schemas, for all tools or none."""
        mode = _MODES[ask.function_calling]
        strict = self.model.thinks and not self.model.makes_images
        if mode == "AUTO" and strict and not any(tool["function"].get("strict") is False for tool in ask.tools):
            mode = "VALIDATED"
        return {"functionCallingConfig": {"mode": mode}}

    def _contents(self, said: Iterable[tuple[bool, list[Part]]]) -> Iterator[dict[str, Any]]:
        """The turns. The first has to be a user's, and what tools returned stands by itself."""
        first = True
        for is_models, parts in said:
            if is_models:
                if first:
                    yield {"role": "user", "parts": [{"text": ""}]}
                yield {"role": "model", "parts": _models_parts(parts)}
            else:
                results = [self._result(part) for part in parts if isinstance(part, ToolResult)]
                if results:
                    yield {"role": "user", "parts": results}
                if others := [found for part in parts for found in self._users_parts(part)]:
                    yield {"role": "user", "parts": others}
            first = False
        if first:
            yield {"role": "user", "parts": [{"text": ""}]}

    def _result(self, result: ToolResult) -> dict[str, Any]:
        response: dict[str, Any] = {"id": result.id, "name": result.name, "response": {"output": result.text}}
        if images := [_image(image) for image in result.images if self._within_result(image)]:
            response["parts"] = images
        return {"functionResponse": response}

    def _within_result(self, image: Image) -> bool:
        return self.model.modern and image.media_type in _TOOL_IMAGES

    def _users_parts(self, part: Part) -> list[dict[str, Any]]:
        """What a user says, and the images of tools that cannot be within their result."""
        if isinstance(part, ToolResult):
            shown = [_image(image) for image in part.images if not self._within_result(image)]
            return [{"text": f"What the tool {part.name} returned for {part.id}:"}, *shown] if shown else []
        return [_image(part) if isinstance(part, Image) else {"text": part.text if isinstance(part, Text) else ""}]

    @override
    def read(self, content: bytes, headers: Mapping[str, str]) -> Reply:
        response = _Response.model_validate_json(content)
        if failed := sent_as_success(response.error):
            raise failed
        candidate = response.candidates[0] if response.candidates else _Candidate()
        blocked = response.prompt_feedback if not response.candidates else None
        said = candidate.finish_reason or (blocked.block_reason if blocked else None)
        parts = candidate.content.parts or [] if candidate.content else []
        tier = headers.get("x-gemini-service-tier")
        return Reply(
            text="".join(part.text for part in parts if part.text and not part.thought),
            tool_calls=tuple(
                part.function_call.as_ours(place) for place, part in enumerate(parts) if part.function_call
            ),
            said=said,
            means="content_filter" if blocked and said else _MEANS.get(said or ""),
            why=blocked.block_reason_message if blocked else None,
            counts=_counts(response.usage_metadata),
            model=response.model_version,
            context={"service_tier": tier.lower()} if tier else {},
        )


def _think(**config: Any) -> dict[str, Any]:
    return {"thinkingConfig": config}


def _form(ask: Ask) -> dict[str, Any]:
    if ask.schema is None:
        return {"responseMimeType": "application/json"}
    schema = {**plain_for_gemini(ask.schema.schema), "title": ask.schema.name}
    if ask.schema.description:
        schema["description"] = ask.schema.description
    return {"responseMimeType": "application/json", "responseJsonSchema": schema}


def _declared(tool: Tool) -> dict[str, Any]:
    function = tool["function"]
    schema = function.get("parameters") or {"type": "object", "properties": {}}
    return {
        "name": function["name"],
        "description": function.get("description") or "",
        "parametersJsonSchema": plain_for_gemini(schema),
    }


def _merged(body: Mapping[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    """The body with what the instance adds; what it adds to `generationConfig` and the like goes beside the rest."""
    found = dict(body)
    for name, value in extra.items():
        mine = found.get(name)
        found[name] = _merged(mine, value) if isinstance(mine, dict) and isinstance(value, Mapping) else value
    return found


def _models_parts(parts: Iterable[Part]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    unsigned = {"thoughtSignature": _UNSIGNED}
    for part in parts:
        if isinstance(part, ToolUse):
            call = {"id": part.id, "name": part.name, "args": part.input}
            found.append({"functionCall": call, **unsigned})
            unsigned = {}
        elif isinstance(part, Text):
            found.append({"text": part.text})
    return found


def _image(image: Image) -> dict[str, Any]:
    """An image; one by address goes to Google as it is, which fetches it."""
    if image.data:
        return {"inlineData": {"mimeType": image.media_type, "data": image.data}}
    if not image.url.startswith("https://"):
        raise BadRequest("Gemini fetches images over https only (give an https address or a data URL)")
    kind = mimetypes.guess_type(image.url.split("?", 1)[0])[0] or "image/jpeg"
    return {"fileData": {"mimeType": kind, "fileUri": image.url}}


class _Read(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel)


class _FunctionCall(_Read):
    id: str | None = None
    name: str
    args: dict[str, Any] | None = None

    def as_ours(self, place: int) -> ToolCall:
        return ToolCall(id=self.id or f"call_{place}", name=self.name, arguments=as_json(self.args))


class _Part(_Read):
    text: str | None = None
    thought: bool | None = None
    function_call: _FunctionCall | None = None


class _Content(_Read):
    parts: list[_Part] | None = None


class _Candidate(_Read):
    content: _Content | None = None
    finish_reason: str | None = None


class _Feedback(_Read):
    block_reason: str | None = None
    block_reason_message: str | None = None


class _Usage(_Read):
    prompt_token_count: int | None = None
    cached_content_token_count: int | None = None
    candidates_token_count: int | None = None
    thoughts_token_count: int | None = None
    tool_use_prompt_token_count: int | None = None


class _Response(_Read):
    """An answer, as far as it is read."""

    candidates: list[_Candidate] | None = None
    prompt_feedback: _Feedback | None = None
    usage_metadata: _Usage | None = None
    model_version: str | None = None
    error: Any = None


def _counts(usage: _Usage | None) -> dict[str, int] | None:
    """The tokens by the price list's names: its output tokens include the thoughts."""
    if usage is None:
        return None
    thoughts = usage.thoughts_token_count or 0
    return {
        "input_tokens": (usage.prompt_token_count or 0) + (usage.tool_use_prompt_token_count or 0),
        "output_tokens": (usage.candidates_token_count or 0) + thoughts,
        "cache_read_tokens": usage.cached_content_token_count or 0,
        "output_reasoning_tokens": thoughts,
    }
