"""The YAML of the user's own description of the system loads as it stands."""

from collections.abc import Callable
from pathlib import Path

from echelon_configs import Configuration, Loaded

FIXTURES = Path(__file__).parent / "fixtures"
SEED_GROUPS = (FIXTURES / "seed_task_groups.yaml").read_text(encoding="utf-8")
SEED_NODES = (FIXTURES / "seed_nodes.yaml").read_text(encoding="utf-8")

PLAN_GROUPS = """
task_groups:
  plan_group:
    echelon1: {models: [openai-gpt4]}
    echelon2: {models: [openai-gpt4]}
  thinking_group:
    echelon1: {models: [openai-gpt4]}
"""


def test_the_seeds_task_groups_load_unchanged(configuration: Callable[..., Configuration]) -> None:
    loaded = configuration(SEED_GROUPS)
    echelon = loaded.groups["fast_group"].echelons["echelon1"]
    assert loaded.groups["fast_group"].description == "快速响应任务组"
    assert echelon.models == ("openai-gpt4", "anthropic-claude-opus")
    assert (echelon.limits.concurrency, echelon.limits.requests_per_minute, echelon.priority) == (10, 100, 1)
    assert (echelon.settings.timeout_s, echelon.settings.max_retries) == (30.0, 3)
    assert loaded.groups["fast_group"].fallback.strategy == "echelon_down"
    assert loaded.groups["fast_small_group"].fallback.strategy == "model_rotate"
    assert loaded.pools["single_turn_pool"].task_groups == ("fast_group", "fast_small_group")
    assert loaded.pools["single_turn_pool"].health_check_interval_s == 30.0
    assert list(loaded.queues)[:3] == ["fast_group.echelon1", "fast_small_group.translation", "pool.single_turn_pool"]


def test_the_seeds_pool_names_a_rate_without_sizes_which_is_a_warning(warnings: Callable[..., list[str]]) -> None:
    assert warnings(SEED_GROUPS) == [
        "_task_groups.yaml:30: polling_pools.single_turn_pool.rate_limiting: warning: token_bucket has no sizes, here "
        "or at the top level: no rate limit holds (write bucket_size and refill_rate, here or under the top-level "
        "rate_limiting)"
    ]


def test_the_seeds_models_follow_the_providers_conventions(configuration: Callable[..., Configuration]) -> None:
    instances = configuration(SEED_GROUPS).instances
    assert {name: (instance.provider, instance.model) for name, instance in instances.items()} == {
        "openai-gpt4": ("openai", "gpt-4"),
        "openai-gpt3.5-turbo": ("openai", "gpt-3.5-turbo"),
        "anthropic-claude-opus": ("anthropic", "claude-opus-4-8"),
        "gemini-pro": ("gemini", "gemini-3.1-pro-preview"),
    }


def test_the_seeds_nodes_load_unchanged(configuration: Callable[..., Configuration]) -> None:
    node = configuration(PLAN_GROUPS, **{"workflows/seed.yaml": SEED_NODES}).nodes["planning_node"]
    assert node.type == "llm_node"
    assert node.target == "plan_group.echelon1"
    assert node.fallback_groups == ("plan_group.echelon2", "thinking_group.echelon1")
    assert node.system_prompt == "你是一个专业的规划助手"
    assert node.overrides.max_tokens == 3000


def test_the_seeds_nodes_may_stand_in_the_same_file_as_its_groups(configuration: Callable[..., Configuration]) -> None:
    assert configuration(PLAN_GROUPS + SEED_NODES).resolve("node.planning_node").queue == "plan_group.echelon1"


def test_a_task_groups_file_may_stand_alone(loaded: Callable[..., Loaded]) -> None:
    assert "fast_group.echelon1" in loaded(FIXTURES / "seed_task_groups.yaml").configuration.queues
