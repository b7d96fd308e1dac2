"""Schemas for providers that take a part of the language; Anthropic's own SDK is the judge for its part."""

from typing import Any

import pytest
from anthropic import transform_schema

from echelon_workers.providers.schemas import plain_for_gemini, strict_for_anthropic

PERSON = {
    "type": "object",
    "description": "A person.",
    "properties": {
        "name": {"type": "string", "minLength": 2, "description": "The name."},
        "mail": {"type": "string", "format": "email"},
        "phone": {"type": "string", "format": "phone"},
        "age": {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "null"}]},
        "title": {"enum": ["Dr", "Prof"]},
        "kind": {"const": "person"},
        "tags": {"type": "array", "items": {"type": "string", "pattern": "^a"}, "minItems": 3},
        "first": {"type": "array", "items": {"type": "object", "properties": {}}, "minItems": 1},
        "one": {"oneOf": [{"type": "string"}, {"type": "number"}]},
        "friend": {"$ref": "#/$defs/Friend"},
    },
    "required": ["name"],
    "$defs": {"Friend": {"type": "object", "properties": {"since": {"type": "integer", "maximum": 9}}}},
}


@pytest.mark.parametrize("schema", [PERSON, {"type": "array", "items": PERSON}, {"type": "string", "maxLength": 3}])
def test_a_strict_schema_is_what_anthropics_sdk_makes_of_it(schema: dict[str, Any]) -> None:
    assert strict_for_anthropic(schema) == transform_schema(schema)


def test_a_schema_is_not_changed_in_place() -> None:
    before = repr(PERSON)
    strict_for_anthropic(PERSON)
    plain_for_gemini(PERSON)
    assert repr(PERSON) == before


def test_gemini_gets_no_word_that_it_refuses() -> None:
    plain = plain_for_gemini(
        {
            "$schema": "http://json-schema.org/draft-07/schema#",
            "title": "Person",
            "type": "object",
            "properties": {
                "title": {"title": "Title", "const": 3},
                "day": {"type": "string", "format": "date", "description": "When."},
                "count": {"type": "integer", "exclusiveMinimum": 0, "examples": [1]},
                "open": {"anyOf": [{"const": True}, {"const": "x"}], "discriminator": {"propertyName": "k"}},
            },
        }
    )
    assert plain == {
        "type": "object",
        "properties": {
            "title": {"enum": [3], "type": "integer"},
            "day": {"type": "string", "description": "When.\n\nFormat: date"},
            "count": {"type": "integer"},
            "open": {"anyOf": [{"enum": [True], "type": "boolean"}, {"enum": ["x"], "type": "string"}]},
        },
    }
