"""Instances of JSON Schemas: of generated schemas against a small checker, and of the forms providers send."""

import re
from enum import Enum
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from echelon_producers.simulator.json_instance import instance_of


def satisfies(value: Any, schema: dict[str, Any]) -> bool:
    """Whether `value` satisfies a schema of the keywords generated below."""
    if "enum" in schema:
        return value in schema["enum"]
    if "anyOf" in schema:
        return any(satisfies(value, choice) for choice in schema["anyOf"])
    kind = schema["type"]
    if kind == "object":
        known = schema["properties"]
        return (isinstance(value, dict) and set(schema["required"]) <= set(value)
                and all(name in known and satisfies(item, known[name]) for name, item in value.items()))  # fmt: skip
    if kind == "array":
        return (isinstance(value, list) and len(value) >= schema["minItems"]
                and all(satisfies(item, schema["items"]) for item in value))  # fmt: skip
    if kind == "string":
        return isinstance(value, str) and schema["minLength"] <= len(value) <= schema["maxLength"]
    if kind == "integer":
        return isinstance(value, int) and not isinstance(value, bool) and schema["minimum"] <= value <= schema["maximum"]
    return (isinstance(value, bool) if kind == "boolean" else value is None if kind == "null"
            else isinstance(value, int | float) and schema["exclusiveMinimum"] < value)  # fmt: skip


def _grown(children: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    names = st.sampled_from("abcdef")
    objects = st.dictionaries(names, children, max_size=4).flatmap(
        lambda properties: st.sets(st.sampled_from(sorted(properties)) if properties else st.nothing()).map(
            lambda required: {"type": "object", "properties": properties, "required": sorted(required),
                              "additionalProperties": False}  # fmt: skip
        )
    )
    arrays = st.builds(lambda items, least: {"type": "array", "items": items, "minItems": least}, children,
                       st.integers(0, 3))  # fmt: skip
    return objects | arrays | st.lists(children, min_size=1, max_size=3).map(lambda choices: {"anyOf": choices})


LEAVES: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.builds(lambda least, more: {"type": "string", "minLength": least, "maxLength": least + more},
              st.integers(0, 30), st.integers(0, 30)),
    st.builds(lambda least, more: {"type": "integer", "minimum": least, "maximum": least + more},
              st.integers(-50, 50), st.integers(0, 50)),
    st.floats(-1e6, 1e6).map(lambda least: {"type": "number", "exclusiveMinimum": least}),
    st.sampled_from([{"type": "boolean"}, {"type": "null"}, {"enum": ["red", "green"]}]),
)  # fmt: skip


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
    assert instance_of({"$ref": "#"}) is not instance_of
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


@pytest.mark.parametrize("pattern", [r"^\d{4}-\d{2}-\d{2}$", r"^[A-Z]{2}-\d+$", "^a+$", r"^\d{5}$", r"^[\w.]+@\w+\.\w+$"])
def test_common_patterns_are_met(pattern: str) -> None:
    assert re.search(pattern, instance_of({"type": "string", "pattern": pattern}))
