"""JSON Schemas rewritten for providers that take only a part of the language."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

_MAPS = ("properties", "$defs", "definitions", "patternProperties")
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_ONES = ("items", "additionalProperties", "not")

# What Anthropic's structured output knows; anything else it refuses.
_FORMATS = frozenset({"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"})
_KEPT = frozenset({"type", "properties", "required", "items", "anyOf", "allOf", "enum", "const", "description", "$ref",
                   "$defs", "definitions", "additionalProperties", "minItems", "format"})  # fmt: skip
_DROPPED = frozenset({"title", "$schema"})

_UNKNOWN_TO_GEMINI = ("$schema", "title", "discriminator", "examples", "exclusiveMinimum", "exclusiveMaximum")
_TYPES: dict[type, str] = {str: "string", bool: "boolean", int: "integer", float: "number"}


def strict_for_anthropic(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema as Anthropic's strict mode takes it: every object closed, what it cannot enforce said in words.

    The same rewriting as `transform_schema` of Anthropic's own SDK.
    """
    return _rewritten(schema, _strict)


def plain_for_gemini(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema without what Gemini refuses; a `const` becomes an `enum`, a `format` is said in words."""
    return _rewritten(schema, _plain)


def _rewritten(schema: Mapping[str, Any], change: Callable[[dict[str, Any]], dict[str, Any]]) -> dict[str, Any]:
    found = dict(schema)
    for name in _MAPS:
        if isinstance(found.get(name), Mapping):
            found[name] = {key: _inner(inner, change) for key, inner in found[name].items()}
    for name in _LISTS:
        if isinstance(found.get(name), list):
            found[name] = [_inner(inner, change) for inner in found[name]]
    for name in _ONES:
        if name in found:
            found[name] = _inner(found[name], change)
    return change(found)


def _inner(schema: Any, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Any:
    return _rewritten(schema, change) if isinstance(schema, Mapping) else schema


def _strict(schema: dict[str, Any]) -> dict[str, Any]:
    if "oneOf" in schema and "anyOf" not in schema:
        schema["anyOf"] = schema.pop("oneOf")
    if schema.get("type") == "object":
        schema["properties"] = schema.get("properties", {})
        schema["additionalProperties"] = False
    kept = {name: value for name, value in schema.items() if name in _KEPT and not _is_beyond(name, value)}
    rest = {name: value for name, value in schema.items() if name not in kept and name not in _DROPPED}
    return _with_words(kept, f"{{{', '.join(f'{name}: {value}' for name, value in rest.items())}}}") if rest else kept


def _is_beyond(name: str, value: Any) -> bool:
    return (name == "format" and value not in _FORMATS) or (name == "minItems" and value not in (0, 1))


def _plain(schema: dict[str, Any]) -> dict[str, Any]:
    found = {name: value for name, value in schema.items() if name not in _UNKNOWN_TO_GEMINI}
    if "const" in found:
        value = found.pop("const")
        found["enum"] = [value]
        if "type" not in found and type(value) in _TYPES:
            found["type"] = _TYPES[type(value)]
    if found.get("type") == "string" and "format" in found:
        return _with_words(found, f"Format: {found.pop('format')}")
    return found


def _with_words(schema: dict[str, Any], words: str) -> dict[str, Any]:
    said = schema.get("description")
    return {**schema, "description": f"{said}\n\n{words}" if isinstance(said, str) else words}
