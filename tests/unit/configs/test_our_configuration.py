"""The configuration this repository ships: a superset of the seed's, with everything in it."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from echelon_configs import Configuration, Loaded, load
from echelon_configs.registry import Registry

CONFIGS = Path(__file__).parents[3] / "configs"
FIXTURES = Path(__file__).parent / "fixtures"
MAIN_GROUPS = ("fast_group", "plan_group", "thinking_group", "execute_group", "review_group", "high_payload_group")


def leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every value of nested mappings with the keys that lead to it; a list is one value."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, (*path, key))
    else:
        yield path, value


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def at(document: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        document = document[key]
    return document


@pytest.fixture
def ours(loaded: Callable[..., Loaded]) -> Loaded:
    return loaded(CONFIGS)


@pytest.mark.parametrize(
    ("seed", "here"),
    [
        ("seed_task_groups.yaml", "llms/groups/_task_groups.yaml"),
        ("seed_nodes.yaml", "workflows/llm_task_group_example.yaml"),
    ],
)
def test_every_value_that_the_seed_prints_stands_unchanged(seed: str, here: str) -> None:
    document = read(CONFIGS / here)
    printed = list(leaves(read(FIXTURES / seed)))
    assert len(printed) >= 5
    assert {path: at(document, path) for path, _ in printed} == dict(printed)


def test_it_has_the_main_groups_with_three_echelons_each(ours: Loaded) -> None:
    for name in MAIN_GROUPS:
        echelons = ours.configuration.groups[name].echelons.values()
        assert [(echelon.name, echelon.priority) for echelon in echelons] == [
            ("echelon1", 1),
            ("echelon2", 2),
            ("echelon3", 3),
        ]


def test_it_has_the_small_group_with_its_tasks(ours: Loaded) -> None:
    tasks = list(ours.configuration.groups["fast_small_group"].echelons)
    assert tasks == ["translation", "analysis", "execute", "thinking", "high_payload"]


def test_it_uses_every_strategy_scheduler_and_algorithm(ours: Loaded) -> None:
    groups, pools = ours.configuration.groups.values(), ours.configuration.pools.values()
    names = Registry()
    assert {group.fallback.strategy for group in groups} == set(names.strategies)
    assert {pool.rotation for pool in pools} == set(names.schedulers)
    assert {pool.limits.rate.algorithm for pool in pools if pool.limits.rate} == set(names.algorithms)
    assert {pool.fallback.strategy for pool in pools} == set(names.pool_strategies)
    assert len(pools) == 3


def test_it_bounds_every_scope(ours: Loaded) -> None:
    configuration = ours.configuration
    bounds = [group.limits for group in configuration.groups.values()]
    bounds += [echelon.limits for group in configuration.groups.values() for echelon in group.echelons.values()]
    bounds += [instance.limits for instance in configuration.instances.values()]
    bounds += [node.limits for node in configuration.nodes.values()]
    assert all(limits.concurrency and limits.queue_size for limits in bounds)
    assert all(pool.limits.rate for pool in configuration.pools.values())
    assert configuration.limits.rate is not None


def test_its_models_come_from_files_and_from_conventions(ours: Loaded) -> None:
    files = {path.name.removesuffix(".yaml") for path in (CONFIGS / "llms").rglob("*.yaml")}
    instances = set(ours.configuration.instances)
    assert {"openai-gpt4", "gemini-pro", "anthropic-claude-opus"} <= instances & files
    assert {"openai-gpt3.5-turbo", "deepseek-flash"} <= instances - files


def test_it_has_no_warnings_once_its_keys_are_set(ours: Loaded) -> None:
    assert ours.warnings == ()


def test_without_keys_it_loads_with_one_warning_a_variable() -> None:
    missing = [warning.message.partition(" ")[0] for warning in load(CONFIGS, environment={}).warnings]
    assert sorted(missing) == ["${ANTHROPIC_API_KEY}", "${DEEPSEEK_API_KEY}", "${GEMINI_API_KEY}", "${OPENAI_API_KEY}"]


def test_it_loads_in_less_than_150_ms() -> None:
    def took() -> float:
        start = time.perf_counter()
        load(CONFIGS, environment={})
        return time.perf_counter() - start

    assert min(took() for _ in range(3)) < 0.150


def test_it_is_the_same_after_a_journey_as_json(ours: Loaded) -> None:
    text = ours.configuration.model_dump_json()
    assert Configuration.model_validate_json(text) == ours.configuration
    assert Configuration.model_validate_json(text).model_dump_json() == text


def test_queues_stand_in_a_stable_order_echelons_then_pools_then_models(ours: Loaded) -> None:
    kinds = [queue.kind for queue in ours.configuration.queues.values()]
    assert kinds == sorted(kinds, key=["echelon", "pool", "model"].index)
    echelons = [name for name, queue in ours.configuration.queues.items() if queue.kind == "echelon"]
    assert echelons[:3] == ["execute_group.echelon1", "execute_group.echelon2", "execute_group.echelon3"]


def test_every_target_resolves_to_a_queue_with_members_and_settings(ours: Loaded) -> None:
    configuration = ours.configuration
    for target in configuration.targets():
        queue = configuration.queues[configuration.resolve(target).queue]
        assert queue.members
        for member in queue.members:
            settings = configuration.settings_of(member.home, member.instance)
            assert settings.timeout_s > 0
            assert member.instance in configuration.instances
