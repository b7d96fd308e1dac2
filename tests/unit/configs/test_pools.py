"""Polling pools: every key, their members, and what is wrong."""

from collections.abc import Callable

import pytest

from echelon_configs import Configuration, Member, RateLimit

Build = Callable[..., Configuration]

GROUPS = """
task_groups:
  a:
    one: {models: [openai-gpt4, gemini-pro]}
    two: {models: [openai-gpt4], priority: 2}
  b:
    one: {models: [openai-gpt4]}
polling_pools:
  p: """


def test_every_key_of_a_pool_reaches_the_configuration(configuration: Build) -> None:
    pool = configuration(
        GROUPS
        + """
    description: about p
    task_groups: [a.one, b]
    rotation_strategy: weighted
    health_check_interval: 15
    failure_threshold: 2
    recovery_time: 45
    rate_limiting: {enabled: true, algorithm: token_bucket, bucket_size: 100, refill_rate: 2.5}
    fallback_config: {strategy: simple_retry, max_instance_attempts: 5}
"""
    ).pools["p"]
    assert (pool.description, pool.rotation, pool.task_groups) == ("about p", "weighted", ("a.one", "b"))
    assert (pool.health_check_interval_s, pool.failure_threshold, pool.recovery_time_s) == (15.0, 2, 45.0)
    assert pool.limits.rate == RateLimit(algorithm="token_bucket", bucket_size=100, refill_per_s=2.5)
    assert (pool.fallback.strategy, pool.fallback.max_instance_attempts) == ("simple_retry", 5)


def test_what_a_pool_does_not_say_has_its_default(configuration: Build) -> None:
    pool = configuration(GROUPS + "{task_groups: [a]}").pools["p"]
    assert (pool.rotation, pool.health_check_interval_s, pool.failure_threshold) == ("round_robin", 30.0, 3)
    assert (pool.recovery_time_s, pool.limits.rate) == (60.0, None)
    assert (pool.fallback.strategy, pool.fallback.max_instance_attempts) == ("instance_rotation", 3)


def test_a_pools_members_are_instances_with_their_home_echelons(configuration: Build) -> None:
    queue = configuration(GROUPS + "{task_groups: [a, b.one, a.two]}").queues["pool.p"]
    assert queue.kind == "pool"
    assert queue.members == (
        Member(instance="openai-gpt4", home="a.one"),
        Member(instance="gemini-pro", home="a.one"),
        Member(instance="openai-gpt4", home="a.two"),
        Member(instance="openai-gpt4", home="b.one"),
    )


def test_a_pool_may_have_a_file_of_its_own(configuration: Build) -> None:
    inline = configuration(GROUPS + "{task_groups: [a]}").model_dump_json()
    registry = GROUPS + "{file: pools/p.yaml, enabled: true}"
    for text in ("task_groups: [a]", "p: {task_groups: [a]}", "polling_pools: {p: {task_groups: [a]}}"):
        assert configuration(registry, **{"llms/pools/p.yaml": text}).model_dump_json() == inline


def test_a_disabled_pool_is_left_out(configuration: Build) -> None:
    loaded = configuration(GROUPS + "{task_groups: [a], enabled: false}")
    assert loaded.pools == {}
    assert "pool.p" not in loaded.queues


@pytest.mark.parametrize(
    ("pool", "said"),
    [
        ("{task_groups: []}", "p.task_groups: a pool of nothing: no task groups (name at least one group"),
        ("{}", "p.task_groups: is missing (write task_groups: with what belongs to it)"),
        ("{task_groups: [c]}", "p.task_groups[0]: there is no group 'c'"),
        ("{task_groups: [a.three]}", "group a has no echelon 'three' (did you mean a.one or a.two?)"),
        ("{task_groups: [a, a]}", "p.task_groups[1]: 'a' is named twice"),
        ("{task_groups: [pool.p]}", "'pool.p' is not a group (a pool is made of groups and echelons)"),
        ("{task_groups: [model.openai-gpt4]}", "'model.openai-gpt4' is not a group"),
        (
            "{task_groups: [a], rotation_strategy: roundrobin}",
            "there is no rotation 'roundrobin' (did you mean round_robin?",
        ),
        ("{task_groups: [a], fallback_config: {strategy: echelon_down}}", "there is no pool strategy 'echelon_down'"),
        (
            "{task_groups: [a], rate_limiting: {algorithm: bucket}}",
            "there is no algorithm 'bucket' (did you mean token_",
        ),
        ("{task_groups: [a], health_check_interval: -1}", "health_check_interval: -1 is below zero"),
        ("{task_groups: [a], failure_threshold: 0}", "failure_threshold: 0 is not at least 1"),
        ("{task_groups: [a], task_group: [b]}", "unknown key 'task_group' (did you mean task_groups?)"),
    ],
)
def test_what_is_wrong_in_a_pool_is_said_with_what_would_be_right(
    error: Callable[..., str], pool: str, said: str
) -> None:
    found = error(GROUPS + pool)
    assert found.startswith("_task_groups.yaml:9: polling_pools.p")
    assert said in found


def test_a_pool_whose_groups_are_all_disabled_is_a_pool_of_nothing(error: Callable[..., str]) -> None:
    groups = (
        "task_groups: {a: {enabled: false}, b: {e: {models: [openai-gpt4]}}}\npolling_pools: {p: {task_groups: [a]}}"
    )
    assert "a pool of nothing: each of its groups is disabled" in error(groups)
