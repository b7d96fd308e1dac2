"""Answers that have to be JSON: how they are asked for, and what is accepted."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echelon_workers.errors import InvalidOutput
from echelon_workers.providers.json_check import NotAsAsked, check_json, unfenced

OPENAI = ["openai", "openai_compatible"]
PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name"],
    "additionalProperties": False,
}
FORMAT = {"type": "json_schema", "json_schema": {"name": "person", "schema": PERSON, "strict": True}}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}


def test_json_of_the_schema_is_an_answer(ask: Any, far: Any, wire: Any) -> None:
    far.content = wire.answer('{"name": "Ada", "age": 36}')
    assert json.loads(ask(response_format=FORMAT).answer.text) == {"name": "Ada", "age": 36}
    said = json.dumps(far.body)
    assert '"name"' in said
    assert "additionalProperties" in said


def test_a_bare_schema_of_the_configuration_does_too(ask: Any, far: Any, wire: Any) -> None:
    far.content = wire.answer('{"name": "Ada"}')
    assert ask(settings={"response_format": PERSON}).answer.text == '{"name": "Ada"}'
    assert "additionalProperties" in json.dumps(far.body)


@pytest.mark.parametrize("text", ["Sure! {}", '{"age": 3}', '{"name": 1}', '{"name": "a", "x": 1}', "[]", "", "null"])
def test_text_that_is_not_the_json_asked_for_is_an_invalid_output(ask: Any, far: Any, wire: Any, text: str) -> None:
    far.content = wire.answer(text)
    with pytest.raises(InvalidOutput) as caught:
        ask(response_format=FORMAT)
    assert not caught.value.counts_against_instance
    assert caught.value.usage.output_tokens == 120


def test_json_cut_at_max_tokens_says_what_to_do(ask: Any, far: Any, wire: Any) -> None:
    far.content = wire.answer('{"name": "A', finish="length")
    with pytest.raises(InvalidOutput, match="max_tokens: allow more"):
        ask(response_format=FORMAT)


def test_any_json_object_can_be_asked_for(ask: Any, far: Any, wire: Any) -> None:
    far.content = wire.answer('```json\n{"a": [1]}\n```')
    assert ask(settings={"response_format": "json_object"}).answer.text == '{"a": [1]}'
    far.content = wire.answer("[1]")
    with pytest.raises(InvalidOutput, match="array instead of an object"):
        ask(settings={"response_format": "json_object"})


def test_a_tool_call_needs_no_json(ask: Any, far: Any, wire: Any) -> None:
    far.content = wire.answer(None, finish="tool_calls", tool_calls=[{"id": "1", "name": "f", "arguments": {}}])
    assert ask(prompt="x", tools=[TOOL], response_format="json_object").answer.tool_calls[0].name == "f"


@pytest.mark.parametrize("wire", OPENAI, indirect=True)
def test_openai_gets_the_schema_as_it_was_given(ask: Any, far: Any, wire: Any) -> None:
    far.content = wire.answer('{"name": "Ada"}')
    ask(response_format=FORMAT)
    assert far.body["response_format"] == FORMAT
    assert wire.asked(far.body)["system"] == ""


@pytest.mark.parametrize("wire", OPENAI, indirect=True)
@pytest.mark.parametrize(("prompt", "noted"), [("Give me JSON", False), ("Give me", True)])
def test_openai_is_told_of_json_because_it_refuses_json_mode_otherwise(
    ask: Any, far: Any, wire: Any, prompt: str, noted: bool
) -> None:
    far.content = wire.answer("{}")
    ask(prompt=prompt, response_format="json_object")
    assert far.body["response_format"] == {"type": "json_object"}
    assert ("JSON" in wire.asked(far.body)["system"]) is noted


@pytest.mark.parametrize("wire", ["anthropic"], indirect=True)
@pytest.mark.parametrize(("model", "native"), [("claude-sonnet-4-6", True), ("claude-3-5-haiku-20241022", False)])
def test_anthropic_gets_the_schema_by_parameter_or_in_words(
    ask: Any, far: Any, wire: Any, model: str, native: bool
) -> None:
    far.content = wire.answer('{"name": "Ada"}')
    ask(response_format=FORMAT, instance={"model": model})
    assert ("output_config" in far.body) is native
    assert ("Answer with one JSON value" in wire.asked(far.body)["system"]) is not native


@pytest.mark.parametrize("wire", ["gemini"], indirect=True)
def test_gemini_gets_json_mode_and_words_beside_tools(ask: Any, far: Any, wire: Any) -> None:
    far.content = wire.answer('{"name": "Ada"}')
    ask(response_format=FORMAT)
    ask(response_format="json_object")
    ask(response_format=FORMAT, tools=[TOOL])
    plain, mode, beside = (json.loads(request.content) for request in far.requests)
    assert plain["generationConfig"]["responseMimeType"] == "application/json"
    assert plain["generationConfig"]["responseJsonSchema"]["required"] == ["name"]
    assert mode["generationConfig"]["responseMimeType"] == "application/json"
    assert "systemInstruction" not in mode
    assert "responseMimeType" not in beside["generationConfig"]
    assert "additionalProperties" in wire.asked(beside)["system"]


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ({"type": "array", "items": {"type": "number"}}, "[1, 2.5]"),
        ({"type": ["object", "null"]}, "null"),
        ({"type": "integer"}, "3.0"),
        ({"enum": ["a", 1]}, '"a"'),
        ({"$ref": "#/$defs/P", "$defs": {"P": PERSON}}, '{"name": "x"}'),
        ({"$ref": "#/$defs/missing"}, "1"),
        ({"type": "object", "properties": {"a": {"type": "string", "nullable": True}}}, '{"a": null}'),
        ({"type": {"odd": 1}}, "1"),
        ({"type": [["odd"]]}, "1"),
        ({"type": "object", "patternProperties": {"^x": {}}, "additionalProperties": False}, '{"x1": 1}'),
        ({}, "true"),
    ],
)
def test_what_matches_at_the_top_passes(schema: dict[str, Any], text: str) -> None:
    check_json(text, schema)


@pytest.mark.parametrize(
    ("schema", "text", "why"),
    [
        ({"type": "array", "items": {"type": "number"}}, '["x"]', "item 0 is string instead of number"),
        ({"type": "integer"}, "3.5", "number instead of integer"),
        ({"type": "number"}, "true", "boolean instead of number"),
        ({"enum": ["a"]}, '"b"', "none of the values"),
        ({"const": 1}, "2", "not the value required"),
        ({"$ref": "#/$defs/P", "$defs": {"P": PERSON}}, "{}", "without 'name'"),
        ({"properties": {"a": {"$ref": "#/$defs/N"}}, "$defs": {"N": {"type": "null"}}}, '{"a": 1}', "instead of null"),
        ({}, "NaN", "not JSON"),
        ({}, "[" * 100_000, "not JSON"),
        ({}, "1" * 5000, "not JSON"),
    ],
)
def test_what_does_not_is_refused_with_the_reason(schema: dict[str, Any], text: str, why: str) -> None:
    with pytest.raises(NotAsAsked, match=why):
        check_json(text, schema)


def test_a_reference_to_itself_ends() -> None:
    check_json("1", {"$ref": "#"})
    check_json("1", {"$ref": "#/$defs/A", "$defs": {"A": {"$ref": "#/$defs/A"}}})


ODD = st.recursive(
    st.none() | st.booleans() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
)


@given(st.text(), ODD)
def test_no_text_and_no_schema_breaks_the_check(text: str, odd: Any) -> None:
    schemas = ({"type": odd}, {"required": odd, "properties": odd}, {"items": odd, "enum": odd}, {"$ref": odd})
    for candidate in (text, json.dumps(odd), '{"": 1}', "[[]]"):
        for schema in schemas:
            with contextlib.suppress(NotAsAsked):
                check_json(candidate, schema)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("```json\n{}\n```", "{}"),
        ("  ```\n[1]\n```  ", "[1]"),
        ("{}", "{}"),
        ("see ```x```", "see ```x```"),
        ("```", "```"),
        ("``````", "``````"),
    ],
)
def test_only_a_fence_around_the_whole_is_taken_off(text: str, expected: str) -> None:
    assert unfenced(text) == expected
