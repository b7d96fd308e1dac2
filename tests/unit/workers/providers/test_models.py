"""What our tables say of models is what pydantic-ai, which checks it against the providers, says of them."""

from typing import Any, get_args

import pytest
from pydantic_ai.models import KnownModelName
from pydantic_ai.profiles.anthropic import anthropic_model_profile
from pydantic_ai.profiles.google import google_model_profile
from pydantic_ai.profiles.openai import openai_model_profile

from echelon_workers.providers.models import LEVELS, claude_model, gemini_model, openai_model

EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
OLDER = {
    "openai": """gpt-4o gpt-4.1-mini gpt-5 gpt-5-mini gpt-5-pro gpt-5-chat-latest gpt-5-codex gpt-5.1
        gpt-5.1-chat-latest gpt-5.1-codex-max gpt-5.2 gpt-5.2-pro gpt-5.2-chat-latest gpt-5.3-codex gpt-5.3-chat-latest
        gpt-5.4 gpt-5.4-pro gpt-5.5 gpt-5.5-pro gpt-6-sol o1 o1-mini o3 o3-mini o4-mini no-such-model""",
    "anthropic": """claude-3-5-haiku-20241022 claude-3-7-sonnet-latest claude-sonnet-4-20250514 claude-opus-4-1
        claude-opus-4-5 claude-opus-4-6 claude-opus-4-7 claude-opus-5 claude-sonnet-4-5 claude-sonnet-5 claude-fable-5
        claude-fable-5-1 claude-mythos-5-1 no-such-model""",
    "google": """gemini-1.5-pro gemini-2.0-flash gemini-2.5-flash gemini-2.5-pro gemini-2.5-flash-image
        gemini-2.5-flash-lite gemini-3-pro-preview gemini-3-flash-preview gemini-3.7-flash gemini-flash-latest
        gemini-pro gemma-3-27b-it""",
}


def names(provider: str) -> list[str]:
    known = (name.partition(":") for name in get_args(getattr(KnownModelName, "__value__", KnownModelName)))
    return sorted({*OLDER[provider].split(), *(name for of, _, name in known if of == provider)})


@pytest.mark.parametrize("name", names("openai"))
def test_what_openais_models_take_is_known(name: str) -> None:
    profile: Any = openai_model_profile(name)
    ours = openai_model(name)
    assert ours.reasons == bool(profile["supports_thinking"])
    assert ours.can_rest == bool(profile["openai_supports_reasoning_effort_none"])
    assert ours.takes_system == (profile["openai_system_prompt_role"] is None)
    if efforts := profile.get("openai_reasoning_efforts"):
        assert ours.least_effort == min(efforts, key=EFFORTS.index)


@pytest.mark.parametrize("name", names("anthropic"))
def test_what_anthropics_models_take_is_known(name: str) -> None:
    profile: Any = anthropic_model_profile(name)
    ours = claude_model(name)
    assert ours.schemas == bool(profile["supports_json_schema_output"])
    assert ours.adaptive_only == bool(profile["anthropic_disallows_budget_thinking"])
    assert ours.adaptive_only == bool(profile["anthropic_disallows_sampling_settings"])
    assert ours.always_thinks == bool(profile["thinking_always_enabled"])
    assert ours.takes_forced_tools == bool(profile["supports_forced_tool_choice"])
    assert ours.most_tokens == profile["anthropic_max_output_tokens"]
    between = profile["anthropic_disables_thinking_with_between_tools"]
    by_default = profile["thinking_enabled_by_default"] and not profile["thinking_always_enabled"]
    assert ours.off == ("between_tools" if between else "disabled" if by_default else None)


@pytest.mark.parametrize("name", names("google"))
def test_what_googles_models_take_is_known(name: str) -> None:
    profile: Any = google_model_profile(name)
    ours = gemini_model(name)
    assert ours.thinks == bool(profile["supports_thinking"])
    assert ours.always_thinks == bool(profile["thinking_always_enabled"])
    assert ours.modern == bool(profile["google_supports_tool_combination"])
    assert ours.makes_images == bool(profile["supports_image_output"])
    assert bool(ours.levels) == bool(profile["google_supports_thinking_level"])
    if ours.levels:
        assert set(ours.levels) == set(profile.get("google_thinking_levels", LEVELS))


@pytest.mark.parametrize(
    ("name", "wanted", "level"),
    [
        ("gemini-3-pro-preview", "MEDIUM", "LOW"),
        ("gemini-3-pro-preview", "MINIMAL", "LOW"),
        ("gemini-3.1-flash-lite-image", "MEDIUM", "HIGH"),
        ("gemini-3.9-flash", "MINIMAL", "MINIMAL"),
    ],
)
def test_a_level_that_a_model_has_not_becomes_the_nearest(name: str, wanted: str, level: str) -> None:
    assert gemini_model(name).level(wanted) == level
