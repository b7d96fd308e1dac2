"""Resolving targets, settings, and what two configurations that mean the same have in common."""

from collections.abc import Callable

import pytest

from echelon_configs import CallOverrides, CallSettings, Configuration, Thinking, UnknownTarget

Build = Callable[..., Configuration]

TEXT = """
task_groups:
  fast_small_group: {translation: {models: [openai-gpt4]}, analysis: {models: [gemini-pro], timeout: 5}}
  fast_group: {echelon2: {models: [openai-gpt4], priority: 2}, echelon1: {models: [openai-gpt4], priority: 1}}
polling_pools:
  turns: {task_groups: [fast_group]}
nodes:
  planner: {llm_group: fast_group.echelon2, fallback_groups: [fast_group.echelon1]}
"""


@pytest.mark.parametrize(
    ("target", "queue"),
    [
        ("fast_group.echelon2", "fast_group.echelon2"),
        ("fast_group", "fast_group.echelon1"),
        ("fast_small_group", "fast_small_group.translation"),
        ("pool.turns", "pool.turns"),
        ("model.gemini-pro", "model.gemini-pro"),
        ("node.planner", "fast_group.echelon2"),
    ],
)
def test_a_target_resolves_to_a_queue(configuration: Build, target: str, queue: str) -> None:
    loaded = configuration(TEXT)
    resolved = loaded.resolve(target)
    assert (resolved.target, resolved.queue) == (target, queue)
    assert resolved.queue in loaded.queues


@pytest.mark.parametrize(
    ("target", "nearest"),
    [
        ("fast_small_group.fast", ("fast_small_group.analysis",)),
        ("fast_grup", ("fast_group",)),
        ("gemini-pro", ("model.gemini-pro",)),
        ("planner", ("node.planner",)),
        ("pool.turn", ("pool.turns",)),
        ("node.nobody", ()),
        ("model.", None),
        ("", ()),
        ("fast_group.", None),
        ("zzz", ()),
    ],
)
def test_an_unknown_target_is_refused_with_the_nearest_names(
    configuration: Build, target: str, nearest: tuple[str, ...] | None
) -> None:
    with pytest.raises(UnknownTarget) as caught:
        configuration(TEXT).resolve(target)
    assert caught.value.target == target
    assert repr(target) in str(caught.value)
    if nearest is not None:
        assert set(nearest) <= set(caught.value.nearest)
        assert bool(nearest) is bool(caught.value.nearest)


def test_an_unknown_node_is_refused(configuration: Build) -> None:
    with pytest.raises(UnknownTarget, match=r"there is no target 'node.plan' \(did you mean node.planner\?\)"):
        configuration(TEXT).resolve("fast_group", node="plan")


def test_settings_are_those_of_the_home_not_of_a_pool(configuration: Build) -> None:
    loaded = configuration(TEXT)
    assert loaded.settings_of("fast_small_group.analysis").timeout_s == 5.0
    assert loaded.settings_of("model.gemini-pro") == CallSettings()
    for home in ("pool.turns", "fast_group", "model.nobody", "nowhere"):
        with pytest.raises(UnknownTarget):
            loaded.settings_of(home)
    with pytest.raises(UnknownTarget):
        loaded.settings_of("fast_group.echelon1", "nobody")


def test_later_overrides_win_over_earlier_ones() -> None:
    echelon = CallOverrides(timeout_s=10, max_tokens=100, thinking=Thinking(enabled=True))
    node = CallOverrides(max_tokens=200, max_retries=0)
    settings = CallSettings().updated(echelon, node)
    assert (settings.timeout_s, settings.max_tokens, settings.max_retries) == (10.0, 200, 0)
    assert settings.thinking.enabled
    assert CallSettings().updated(CallOverrides()) == CallSettings()


def test_two_configurations_that_mean_the_same_are_the_same_document(configuration: Build) -> None:
    one = configuration(
        """
task_groups:
  b: {e: {models: [openai-gpt4], timeout: 30, rpm_limit: 0}}
  a: {e: {models: [gemini-pro]}, fallback_strategy: model_rotate}
polling_pools:
  q: {task_groups: [a], rate_limiting: {bucket_size: 5, refill_rate: 1}}
  p: {task_groups: [b]}
nodes:
  n: {type: llm_node, config: {llm_group: a, task_config: {timeout: 3}}}
"""
    )
    other = configuration(
        """
# Another order, another spelling.
workflow_nodes: {n: {timeout: 3.0, llm_group: a}}
polling_pools:
  p: {task_groups: [b], rotation_strategy: Round-Robin, health_check_interval: 30.0}
  q:
    task_groups: ["a"]
    rate_limiting: {algorithm: token_bucket, enabled: yes, token_bucket: {refill_rate: 1.0, bucket_size: 5.0}}
task_groups:
  a:
    fallback_config: {strategy: model_rotate}
    echelons:
      e: {models: [gemini-pro], priority: 1, function_calling: }
  b: {e: {rpm_limit: none, models: [openai-gpt4], timeout: 30.0}}
"""
    )
    assert one.model_dump_json() == other.model_dump_json()
    assert one.digest() == other.digest()


def test_a_different_meaning_is_a_different_document(configuration: Build) -> None:
    other = TEXT.replace("timeout: 5", "timeout: 6")
    assert configuration(TEXT).digest() != configuration(other).digest()
    assert len(configuration(TEXT).digest()) == 16


def test_the_order_of_models_has_a_meaning(configuration: Build) -> None:
    text = "task_groups: {g: {e: {models: [openai-gpt4, gemini-pro]}}}"
    other = "task_groups: {g: {e: {models: [gemini-pro, openai-gpt4]}}}"
    assert configuration(text).digest() != configuration(other).digest()


def test_a_configuration_is_the_same_after_a_journey_as_json(configuration: Build) -> None:
    loaded = configuration(TEXT)
    again = Configuration.model_validate_json(loaded.model_dump_json())
    assert again == loaded
    assert again.digest() == loaded.digest()
    assert list(again.groups["fast_group"].echelons) == ["echelon1", "echelon2"]


def test_a_configuration_cannot_be_changed(configuration: Build) -> None:
    with pytest.raises(ValueError, match="frozen"):
        configuration(TEXT).defaults.deadline_s = 3  # type: ignore[misc]
