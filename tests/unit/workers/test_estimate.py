"""How many tokens a request takes as input: what is usual, and what no tokenizer exceeds."""

import json
import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echelon_workers.ledger.estimate import (
    IMAGE,
    INSTRUCTIONS,
    MESSAGE,
    NOTHING,
    REQUEST,
    Size,
    format_size,
    sizes,
    system_size,
    text_size,
)
from echelon_workers.ledger.job import parse_request

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
TOOL = {
    "type": "function",
    "function": {"name": "weather", "description": "Tells the weather", "parameters": {"type": "object"}},
}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object", "title": "a" * 400}}}


def size(**request: Any) -> Size:
    return sizes(parse_request({"prompt": "hello", **request}))


def chat(*messages: dict[str, Any]) -> Size:
    return sizes(parse_request({"messages": list(messages)}))


# Each was counted by o200k_base (GPT-4o); the estimate is to be near it, and the worst case above it.
@pytest.mark.parametrize(
    ("text", "counted"),
    [
        ("Rate the urgency from 1 to 5: water is coming through the ceiling of the archive.", 20),
        ("def f(limits: dict[str, int]) -> int:\n    return sum(limits.values())\n", 20),
        ("阅读下面的用户反馈并统计每一类的次数。", 13),
        ("Почему небо голубое, если закат бывает красный?", 13),
    ],
)
def test_a_text_is_estimated_near_what_a_tokenizer_counts(text: str, counted: int) -> None:
    estimated = text_size(text)
    assert 0.85 * counted <= estimated.input_tokens <= 2.1 * counted
    assert estimated.worst_input_tokens >= counted


@given(TEXT)
def test_the_worst_case_is_every_byte_as_it_is_and_as_nfkc(text: str) -> None:
    worst = text_size(text).worst_input_tokens
    assert worst >= len(text.encode())
    assert worst >= len(unicodedata.normalize("NFKC", text).encode())


def test_a_ligature_counts_as_the_letters_it_may_become() -> None:
    assert text_size("\ufdfa") == Size(1, 33)
    assert text_size("\ufdfa" * 100_000).worst_input_tokens == 3_300_000


@given(TEXT, TEXT)
def test_more_text_is_never_less(text: str, more: str) -> None:
    shorter, longer = text_size(text), text_size(text + more)
    assert longer.input_tokens >= shorter.input_tokens
    assert longer.worst_input_tokens >= shorter.worst_input_tokens


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "system": TEXT,
            "tools": st.just([TOOL]),
            "response_format": st.sampled_from(["text", "json_object", SCHEMA]),
            "max_tokens": st.just(5),
            "metadata": st.just({"user": "u" * 50}),
        },
    ),
    TEXT.filter(bool),
)
def test_the_worst_case_is_never_below_the_usual(fields: dict[str, Any], prompt: str) -> None:
    whole = size(**{**fields, "prompt": prompt})
    assert whole.worst_input_tokens >= whole.input_tokens > 0
    assert whole.input_tokens >= size(prompt=prompt).input_tokens


def test_a_bare_prompt_is_the_sum_of_its_parts() -> None:
    parts = REQUEST.and_also(MESSAGE).and_also(text_size("hello"))
    assert size() == parts
    assert size(max_tokens=5) == parts


def test_a_prompt_is_as_one_message() -> None:
    assert chat({"role": "user", "content": "grüße"}) == size(prompt="grüße")
    assert chat({"role": "user", "content": [{"type": "text", "text": "grüße"}]}) == size(prompt="grüße")


def test_a_system_prompt_counts_like_a_message_of_its_own() -> None:
    both = chat({"role": "system", "content": "be brief"}, {"role": "user", "content": "hello"})
    assert size(system="be brief") == both == size().and_also(system_size("be brief"))


def test_an_image_counts_the_same_whatever_its_size() -> None:
    def with_image(url: str) -> Size:
        part = {"type": "image_url", "image_url": {"url": url}}
        return chat({"role": "user", "content": [{"type": "text", "text": "hello"}, part]})

    assert with_image("https://example.com/a.png") == size().and_also(IMAGE)
    assert with_image(f"data:image/png;base64,{'A' * 4_000}") == size().and_also(IMAGE)


def test_tools_and_schemas_count_as_their_json_with_instructions() -> None:
    text = text_size(json.dumps([TOOL], separators=(",", ":")))
    twice = Size(text.input_tokens, 2 * text.worst_input_tokens)
    assert size(tools=[TOOL]) == size().and_also(INSTRUCTIONS).and_also(twice)
    assert size(response_format=SCHEMA) == size().and_also(format_size(SCHEMA))
    assert format_size(SCHEMA).input_tokens > INSTRUCTIONS.input_tokens + 100
    assert format_size("text") == format_size(None) == NOTHING


def test_tool_calls_and_their_results_count() -> None:
    asked: dict[str, Any] = {
        "role": "assistant",
        "tool_calls": [{"id": "c1", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}],
    }
    told = {"role": "tool", "tool_call_id": "c1", "content": "rain"}
    alone = chat({"role": "user", "content": "hello"})
    with_call = chat({"role": "user", "content": "hello"}, asked)
    with_result = chat({"role": "user", "content": "hello"}, asked, told)
    assert alone.input_tokens < with_call.input_tokens < with_result.input_tokens
    assert with_call.worst_input_tokens >= alone.worst_input_tokens + len('weather{"city": "Oslo"}')
