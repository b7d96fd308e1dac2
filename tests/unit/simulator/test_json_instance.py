"""Instances of JSON Schemas: of generated schemas against a small checker, and of the forms providers send."""

import re
from collections.abc import Callable
from enum import Enum
from typing import Any, Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from echelon_producers.simulator.json_instance import instance_of

quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def satisfies(value: Any, schema: dict[str, Any]) -> bool:
    """Whether `value` satisfies a schema of the keywords generated below."""
    if "enum" in schema:
        return value in schema["enum"]
    if "anyOf" in schema:
        return any(satisfies(value, choice) for choice in schema["anyOf"])
    if schema["type"] == "object":
        known = schema["properties"]
        fits = isinstance(value, dict) and all(
            name in known and satisfies(item, known[name]) for name, item in value.items()
        )
        return fits and set(schema["required"]) <= set(value)
    if schema["type"] == "array":
        fits = isinstance(value, list) and all(satisfies(item, schema["items"]) for item in value)
        return fits and len(value) >= schema["minItems"]
    return CHECKS[schema["type"]](value, schema)


CHECKS: dict[str, Callable[[Any, dict[str, Any]], bool]] = {
    "string": lambda value, schema: schema["minLength"] <= len(value) <= schema["maxLength"],
    "integer": lambda value, schema: type(value) is int and schema["minimum"] <= value <= schema["maximum"],
    "number": lambda value, schema: type(value) in (int, float) and value > schema["exclusiveMinimum"],
    "boolean": lambda value, schema: isinstance(value, bool),
    "null": lambda value, schema: value is None,
}


def _object(properties: dict[str, Any], required: list[bool]) -> dict[str, Any]:
    names = [name for name, needed in zip(properties, required, strict=False) if needed]
    return {"type": "object", "properties": properties, "required": names, "additionalProperties": False}


def _grown(children: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    properties = st.dictionaries(st.sampled_from("abcdef"), children, max_size=4)
    objects = st.builds(_object, properties, st.lists(st.booleans(), max_size=4))
    arrays = st.builds(
        lambda items, least: {"type": "array", "items": items, "minItems": least}, children, st.integers(0, 3)
    )
    return objects | arrays | st.lists(children, min_size=1, max_size=3).map(lambda choices: {"anyOf": choices})


LEAVES: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.builds(
        lambda least, more: {"type": "string", "minLength": least, "maxLength": least + more},
        st.integers(0, 30),
        st.integers(0, 30),
    ),
    st.builds(
        lambda least, more: {"type": "integer", "minimum": least, "maximum": least + more},
        st.integers(-50, 50),
        st.integers(0, 50),
    ),
    st.floats(-1e6, 1e6).map(lambda least: {"type": "number", "exclusiveMinimum": least}),
    st.sampled_from([{"type": "boolean"}, {"type": "null"}, {"enum": ["red", "green"]}]),
)


@quick
@given(st.recursive(LEAVES, _grown, max_leaves=12))
def test_an_instance_satisfies_its_schema(schema: dict[str, Any]) -> None:
    assert satisfies(instance_of(schema), schema)


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Part(BaseModel):
    name: str = Field(min_length=3, max_length=8, pattern="^[a-z]+$")
    weight: float = Field(gt=0, le=9.5)
    size: int = Field(multiple_of=5, ge=12)
    colour: Colour
    next: "Part | None" = None


class Order(BaseModel):
    kind: Literal["order"]
    parts: list[Part] = Field(min_length=2)
    tags: set[str] = Field(min_length=3)
    pair: tuple[int, str]
    by_day: dict[str, int]
    note: str | None
    either: int | list[str]


def test_an_instance_of_a_pydantic_schema_is_a_valid_model() -> None:
    order = Order.model_validate(instance_of(Order.model_json_schema()))
    assert len(order.parts) == 2


def test_a_recursive_schema_has_a_shallow_instance() -> None:
    tree = {"$defs": {"node": {"type": "object", "required": ["children"], "properties": {
        "children": {"type": "array", "items": {"$ref": "#/$defs/node"}}}}}, "$ref": "#/$defs/node"}  # fmt: skip
    made = instance_of(tree)
    assert isinstance(made["children"], list)


def test_a_schema_that_refers_to_itself_without_end_still_ends() -> None:
    assert instance_of({"$ref": "#"}) == "some value"
    endless = {"type": "object", "required": ["me"], "properties": {"me": {"$ref": "#"}}}
    assert "me" in instance_of(endless)


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "OBJECT", "properties": {"n": {"type": "INTEGER", "minimum": 4}}, "required": ["n"]}, {"n": 4}),
        ({"type": "STRING", "enum": ["low", "high"]}, "low"),
        ({"type": "ARRAY", "items": {"type": "BOOLEAN"}, "minItems": 2}, [False, False]),
        ({"const": {"a": [1]}}, {"a": [1]}),
        ({"allOf": [{"type": "object", "properties": {"a": {"const": 1}}}, {"properties": {"b": {"const": 2}}}]},
         {"a": 1, "b": 2}),
        ({"type": ["null", "integer"], "maximum": -3}, -3),
        ({"type": "string", "format": "date"}, "2026-01-01"),
        (True, "value"),
    ],
)  # fmt: skip
def test_other_forms_of_schema_are_read(schema: Any, expected: Any) -> None:
    assert instance_of(schema) == expected


@pytest.mark.parametrize(
    "pattern", [r"^\d{4}-\d{2}-\d{2}$", r"^[A-Z]{2}-\d+$", "^a+$", r"^\d{5}$", r"^[\w.]+@\w+\.\w+$"]
)
def test_common_patterns_are_met(pattern: str) -> None:
    assert re.search(pattern, instance_of({"type": "string", "pattern": pattern}))
