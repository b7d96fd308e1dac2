"""Thinking: each provider gets the budget or the effort it knows, and the answer keeps its room."""

from typing import Any

import pytest

from echelon_workers.providers.ask import Thinking, output_limit

BUDGET = {"max_tokens": 2000, "temperature": 0.3, "thinking": {"enabled": True, "budget_tokens": 4000}}
OPEN = {"max_tokens": 2000, "temperature": 0.3, "thinking": {"enabled": True}}
OFF = {"max_tokens": 2000, "temperature": 0.3, "thinking": {"enabled": False}}


@pytest.mark.parametrize(
    ("max_tokens", "budget", "limit"), [(1000, None, 1000), (1000, 999, 1000), (1000, 1000, 2000), (1000, 9000, 10000)]
)
def test_a_budget_that_leaves_no_room_comes_on_top(max_tokens: int, budget: int | None, limit: int) -> None:
    assert output_limit(max_tokens, budget) == limit


@pytest.mark.parametrize(
    ("budget", "effort"),
    [(None, "medium"), (1024, "low"), (2048, "low"), (2049, "medium"), (8192, "medium"), (8193, "high")],
)
def test_a_budget_has_a_nearest_effort(budget: int | None, effort: str) -> None:
    assert Thinking(enabled=True, budget_tokens=budget).effort == effort


def sent(ask: Any, far: Any, settings: dict[str, Any], model: str, **request: Any) -> Any:
    ask(settings={**settings}, instance={"model": model}, **request)
    return far.body


@pytest.mark.parametrize("wire", ["openai"], indirect=True)
def test_openais_reasoning_models_get_an_effort_and_no_temperature(ask: Any, far: Any) -> None:
    body = sent(ask, far, BUDGET, "gpt-5.2")
    assert body["reasoning_effort"] == "medium"
    assert body["max_completion_tokens"] == 6000
    assert "temperature" not in body


@pytest.mark.parametrize("wire", ["openai"], indirect=True)
def test_openais_other_models_are_not_asked_to_think(ask: Any, far: Any) -> None:
    body = sent(ask, far, BUDGET, "gpt-4o")
    assert "reasoning_effort" not in body
    assert body["max_completion_tokens"] == 2000
    assert body["temperature"] == 0.3


@pytest.mark.parametrize("wire", ["openai"], indirect=True)
@pytest.mark.parametrize(
    ("model", "effort", "temperature"),
    [("gpt-5.6-sol", "none", 0.3), ("gpt-5", "minimal", None), ("o3", "low", None), ("gpt-4o", None, 0.3)],
)
def test_openais_reasoning_models_rest_as_far_as_they_can(
    ask: Any, far: Any, model: str, effort: str | None, temperature: float | None
) -> None:
    body = sent(ask, far, OFF, model)
    assert body.get("reasoning_effort") == effort
    assert body.get("temperature") == temperature


@pytest.mark.parametrize("wire", ["openai_compatible"], indirect=True)
def test_a_compatible_server_is_believed_to_think_when_told_to(ask: Any, far: Any) -> None:
    body = sent(ask, far, BUDGET, "qwen3")
    assert body["reasoning_effort"] == "medium"
    assert body["max_tokens"] == 6000
    assert body["temperature"] == 0.3


@pytest.mark.parametrize("wire", ["openai_compatible"], indirect=True)
def test_a_compatible_server_hears_nothing_of_thinking_otherwise(ask: Any, far: Any) -> None:
    assert "reasoning_effort" not in sent(ask, far, OFF, "qwen3")


@pytest.mark.parametrize("wire", ["anthropic"], indirect=True)
def test_anthropic_gets_the_budget_below_max_tokens_and_no_temperature(ask: Any, far: Any) -> None:
    body = sent(ask, far, BUDGET, "claude-sonnet-4-5")
    assert body["thinking"] == {"type": "enabled", "budget_tokens": 4000}
    assert body["max_tokens"] == 6000
    assert "temperature" not in body


@pytest.mark.parametrize("wire", ["anthropic"], indirect=True)
def test_anthropic_without_a_budget_thinks_for_half_of_max_tokens(ask: Any, far: Any) -> None:
    body = sent(ask, far, {**OPEN, "max_tokens": 4096}, "claude-sonnet-4-5")
    assert body["thinking"] == {"type": "enabled", "budget_tokens": 2048}
    assert body["max_tokens"] == 4096


@pytest.mark.parametrize("wire", ["anthropic"], indirect=True)
def test_anthropic_refuses_less_than_1024_tokens_so_that_much_is_sent(ask: Any, far: Any) -> None:
    body = sent(ask, far, {"max_tokens": 500, "thinking": {"enabled": True, "budget_tokens": 100}}, "claude-sonnet-4-5")
    assert body["thinking"]["budget_tokens"] == 1024
    assert body["max_tokens"] == 1524


@pytest.mark.parametrize("wire", ["anthropic"], indirect=True)
def test_anthropics_later_models_take_an_effort_and_no_temperature(ask: Any, far: Any) -> None:
    body = sent(ask, far, BUDGET, "claude-opus-4-8")
    assert body["thinking"] == {"type": "adaptive"}
    assert body["output_config"] == {"effort": "medium"}
    assert body["max_tokens"] == 6000
    assert "temperature" not in body


@pytest.mark.parametrize("wire", ["anthropic"], indirect=True)
@pytest.mark.parametrize(("model", "temperature"), [("claude-sonnet-4-5", 0.3), ("claude-opus-4-8", None)])
def test_anthropic_without_thinking_keeps_a_temperature_where_it_takes_one(
    ask: Any, far: Any, model: str, temperature: float | None
) -> None:
    body = sent(ask, far, OFF, model)
    assert body.get("temperature") == temperature
    assert body["max_tokens"] == 2000


@pytest.mark.parametrize("wire", ["gemini"], indirect=True)
@pytest.mark.parametrize(
    ("model", "settings", "thinking"),
    [
        ("gemini-2.5-flash", BUDGET, {"thinkingBudget": 4000}),
        ("gemini-2.5-flash", OPEN, {"thinkingBudget": -1}),
        ("gemini-2.5-flash", OFF, {"thinkingBudget": 0}),
        ("gemini-2.5-pro", OFF, {"thinkingBudget": 128}),
        ("gemini-3.1-pro-preview", BUDGET, {"includeThoughts": True, "thinkingLevel": "MEDIUM"}),
        ("gemini-3.1-pro-preview", OFF, {"thinkingLevel": "LOW"}),
        ("gemini-2.0-flash", BUDGET, None),
    ],
)
def test_gemini_gets_a_budget_or_a_level(
    ask: Any, far: Any, model: str, settings: dict[str, Any], thinking: dict[str, Any] | None
) -> None:
    config = sent(ask, far, settings, model)["generationConfig"]
    assert config.get("thinkingConfig") == thinking
    assert config["maxOutputTokens"] == (6000 if settings is BUDGET and thinking else 2000)
    assert config["temperature"] == 0.3


def test_what_the_request_says_of_thinking_wins(ask: Any, far: Any, wire: Any) -> None:
    budget = {"enabled": True, "budget_tokens": 5000}
    body = sent(ask, far, OFF, wire.thinking_model, prompt="x", thinking=budget)
    assert wire.asked(body)["max_tokens"] == 7000


def test_the_tokens_of_thinking_are_counted(ask: Any, far: Any, wire: Any) -> None:
    assert ask(settings={**BUDGET}, instance={"model": wire.thinking_model}).answer.usage.output_tokens == 120
