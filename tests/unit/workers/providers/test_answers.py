"""One suite over all providers: what is asked arrives in their terms, and their answers come back in ours."""

import json
from typing import Any

import pytest

from echelon_workers.errors import ContentRefused, InvalidOutput

TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}
PIXEL = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUg=="


def test_an_answer_comes_with_text_usage_cost_and_model(ask: Any, far: Any, wire: Any) -> None:
    answer = ask(prompt="Hi").answer
    assert answer.text == "Hello."
    assert answer.finish_reason == "stop"
    assert answer.tool_calls == ()
    assert answer.usage.input_tokens == 210
    assert answer.usage.output_tokens == 120
    assert answer.usage.cached_tokens == 64
    assert answer.usage.reasoning_tokens == wire.reasoning_tokens
    assert answer.model == wire.model
    assert answer.instance == "one"
    assert 0 <= answer.latency_ms < 5000
    known = wire.provider != "openai_compatible"
    assert (answer.cost_usd is not None) is known
    assert not known or 0 < float(answer.cost_usd) < 0.01


def test_a_request_carries_prompt_system_temperature_and_max_tokens(ask: Any, far: Any, wire: Any) -> None:
    ask(prompt="Hi", system="Be brief.", settings={"temperature": 0.5, "max_tokens": 300})
    asked = wire.asked(far.body)
    assert asked["system"] == "Be brief."
    assert asked["turns"] == [("user", "Hi")]
    assert asked["max_tokens"] == 300
    assert asked["temperature"] == 0.5
    assert asked["tools"] == []
    assert asked["tool_choice"] is None


def test_what_the_request_says_wins_over_the_settings(ask: Any, far: Any, wire: Any) -> None:
    ask(prompt="Hi", temperature=0.0, max_tokens=7, settings={"temperature": 0.9, "max_tokens": 300})
    asked = wire.asked(far.body)
    assert asked["temperature"] == 0
    assert asked["max_tokens"] == 7


def test_max_tokens_is_always_sent_and_nothing_is_streamed(ask: Any, far: Any, wire: Any) -> None:
    ask(prompt="Hi")
    assert wire.asked(far.body)["max_tokens"] == 1024
    assert not far.body.get("stream")
    assert "stream" not in str(far.requests[0].url).lower()


def test_a_conversation_arrives_turn_by_turn(ask: Any, far: Any, wire: Any) -> None:
    ask(
        messages=[
            {"role": "system", "content": "You know weather."},
            {"role": "developer", "content": [{"type": "text", "text": "Use Celsius."}]},
            {"role": "user", "content": [{"type": "text", "text": "Look: "}, _image(PIXEL)]},
            {"role": "assistant", "content": "I see.", "tool_calls": [_called("c1", '{"city": "Paris"}')]},
            {"role": "tool", "tool_call_id": "c1", "content": "3 degrees"},
            {"role": "user", "content": "And?"},
        ],
        tools=[TOOL],
    )
    asked = wire.asked(far.body)
    assert asked["system"] == "You know weather.\n\nUse Celsius."
    said = json.dumps(far.body)
    assert "get_weather" in said
    assert "Paris" in said
    assert "3 degrees" in said
    assert "iVBORw0KGgo" in said
    assert asked["turns"][0][0] == "user"
    assert asked["turns"][0][1].startswith("Look: [")
    assert asked["turns"][-1][1].endswith("And?")


def test_an_image_by_address_is_left_to_the_provider_to_fetch(ask: Any, far: Any) -> None:
    ask(messages=[{"role": "user", "content": [_image("https://example.com/cat.png?x=1")]}])
    assert "https://example.com/cat.png?x=1" in json.dumps(far.body)


@pytest.mark.parametrize("choice", ["auto", "required", "none"])
def test_tools_go_with_the_choice_the_settings_make(ask: Any, far: Any, wire: Any, choice: str) -> None:
    far.content = wire.answer(
        None, finish="tool_calls", tool_calls=[{"id": "c1", "name": "get_weather", "arguments": {"city": "Paris"}}]
    )
    answer = ask(prompt="Weather?", tools=[TOOL], settings={"function_calling": choice}).answer
    asked = wire.asked(far.body)
    assert asked["tools"] == ["get_weather"]
    assert asked["schemas"] == [TOOL["function"]["parameters"]]
    assert asked["tool_choice"] == choice
    (call,) = answer.tool_calls
    assert (call.id, call.name, json.loads(call.arguments)) == ("c1", "get_weather", {"city": "Paris"})
    assert answer.finish_reason == "tool_calls"
    assert answer.text == ""


def test_a_request_without_tools_ignores_that_the_settings_require_a_call(ask: Any, far: Any, wire: Any) -> None:
    ask(prompt="Hi", settings={"function_calling": "required"})
    assert wire.asked(far.body)["tool_choice"] is None


def test_an_answer_stopped_at_max_tokens_says_so(ask: Any, far: Any, wire: Any) -> None:
    far.content = wire.answer("Once upon a", finish="length")
    assert ask().answer.finish_reason == "length"


def test_an_answer_without_finish_reason_was_cut(ask: Any, far: Any, wire: Any) -> None:
    far.content = wire.answer("Once upon a", finish=None)
    with pytest.raises(InvalidOutput, match="cut off") as caught:
        ask()
    assert caught.value.usage.output_tokens == 120
    assert caught.value.counts_against_instance


@pytest.mark.parametrize("wire", ["openai", "openai_compatible", "gemini"], indirect=True)
def test_an_answer_whose_tokens_were_not_counted_has_no_price(ask: Any, far: Any, wire: Any) -> None:
    content = wire.answer("Hello.")
    uncounted = {name: value for name, value in content.items() if name not in ("usage", "usageMetadata")}
    far.content = uncounted
    answer = ask().answer
    assert (answer.text, answer.cost_usd, answer.usage.output_tokens) == ("Hello.", None, 0)


@pytest.mark.parametrize("text", [None, "I can"])
def test_filtered_content_is_refused_whatever_came_before(ask: Any, far: Any, wire: Any, text: str | None) -> None:
    far.content = wire.answer(text, finish="content_filter")
    with pytest.raises(ContentRefused) as caught:
        ask()
    assert caught.value.usage.input_tokens == 210
    assert not caught.value.counts_against_instance


@pytest.mark.parametrize("wire", ["openai", "openai_compatible"], indirect=True)
def test_tool_arguments_that_are_no_object_are_an_invalid_output(ask: Any, far: Any, wire: Any) -> None:
    """Only OpenAI's format has the arguments as text, where a model can write anything."""
    far.content = wire.answer(None, finish="tool_calls", tool_calls=[{"id": "1", "name": "f", "arguments": [1]}])
    with pytest.raises(InvalidOutput, match="arguments of the tool call 'f'"):
        ask(prompt="x", tools=[TOOL])


def test_rate_limit_headers_of_a_success_are_handed_on(ask: Any, far: Any, wire: Any) -> None:
    far.headers = {**wire.rate_limit_headers, "Retry-After": "3", "Set-Cookie": "a=b", "X-Request-Id": "r1"}
    assert ask().rate_limits == {**wire.rate_limit_headers, "retry-after": "3"}


def test_parameters_of_the_instance_are_sent(ask: Any, far: Any, wire: Any) -> None:
    ask(instance={"parameters": {"top_p": 0.5, "stop": "END", "custom_knob": {"depth": 2}, "max_tokens": 9}})
    said = json.dumps(far.body)
    assert "0.5" in said
    assert '["END"]' in said
    assert far.body["custom_knob"] == {"depth": 2}
    assert wire.asked(far.body)["max_tokens"] == 1024


def test_parameters_that_a_provider_does_not_know_make_no_noise(ask: Any, far: Any, wire: Any) -> None:
    """Warnings are errors here; in a worker they would fill the log."""
    every = {"top_k": 5, "seed": 1, "parallel_tool_calls": False, "logit_bias": {"1": 2}, "presence_penalty": 0.1}
    ask(prompt="x", tools=[TOOL], instance={"parameters": every})
    said = json.dumps(far.body)
    assert ('"top_k": 5' in said) or ('"topK": 5' in said)


def test_the_temperature_of_the_call_wins_over_the_instances(ask: Any, far: Any, wire: Any) -> None:
    ask(instance={"parameters": {"temperature": 0.1}})
    ask(instance={"parameters": {"temperature": 0.1}}, temperature=0.2)
    asked = [wire.asked(json.loads(request.content))["temperature"] for request in far.requests]
    assert asked == [0.1, 0.2]


def test_an_empty_answer_without_tokens_is_no_answer(ask: Any, far: Any, wire: Any) -> None:
    content = wire.answer(None)
    for name in ("usage", "usageMetadata"):
        if name in content:
            content[name] = {key: 0 if isinstance(value, int) else None for key, value in content[name].items()}
    far.content = content
    with pytest.raises(InvalidOutput, match="empty answer"):
        ask()


def _image(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url, "detail": "low"}}


def _called(call_id: str, arguments: str) -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": "get_weather", "arguments": arguments}}
