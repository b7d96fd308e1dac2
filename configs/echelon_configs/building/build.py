"""A checked draft to the configuration: every default filled in, everything in a stable order."""

from echelon_configs.building.calls import given
from echelon_configs.building.groups import build_global_fallback, build_group
from echelon_configs.building.instances import build_instance
from echelon_configs.building.limits import build_levels
from echelon_configs.building.nodes import build_node
from echelon_configs.configuration import Configuration, Defaults
from echelon_configs.fallbacks import PoolFallback
from echelon_configs.groups import Echelon, Group
from echelon_configs.instances import Instance
from echelon_configs.pools import Pool
from echelon_configs.queues import Member, Queue
from echelon_configs.reading.checks import kept
from echelon_configs.reading.drafts import Draft, DraftPool


def build(draft: Draft) -> Configuration:
    """The configuration that a draft without errors describes."""
    levels = build_levels(draft)
    fallback = build_global_fallback(draft)
    groups = {name: build_group(draft.groups[name], draft, levels, fallback) for name in sorted(draft.groups)}
    pools = {name: _pool(draft.pools[name], draft) for name in sorted(draft.pools)}
    instances = {name: build_instance(draft.models[name], levels) for name in sorted(draft.models)}
    return Configuration(
        groups=groups,
        pools=pools,
        nodes={name: build_node(draft.nodes[name], draft, levels) for name in sorted(draft.nodes)},
        instances=instances,
        queues=_queues(groups, pools, instances),
        global_fallback=fallback,
        concurrency=levels,
        rate_limiting=draft.rate_limiting,
        limits=draft.limits,
        defaults=_defaults(draft),
    )


def _defaults(draft: Draft) -> Defaults:
    raw = draft.defaults
    return Defaults(
        **given(
            deadline_s=raw.deadline_s,
            retention_s=raw.retention_s,
            health_check_interval_s=raw.health_check_interval,
            durability=raw.durability,
        )
    )


def _pool(written: DraftPool, draft: Draft) -> Pool:
    raw = written.raw
    assert raw is not None
    fallback = raw.fallback_config
    stated = given(
        rotation=raw.rotation_strategy,
        health_check_interval_s=raw.health_check_interval,
        failure_threshold=raw.failure_threshold,
        recovery_time_s=raw.recovery_time,
    )
    inner = given(strategy=fallback.strategy, max_instance_attempts=fallback.max_instance_attempts) if fallback else {}
    return Pool(
        name=written.name,
        description=raw.description,
        task_groups=kept(raw.task_groups, draft),
        fallback=PoolFallback(**inner),
        limits=written.limits,
        **stated,
    )


def _queues(groups: dict[str, Group], pools: dict[str, Pool], instances: dict[str, Instance]) -> dict[str, Queue]:
    queues = [_echelon_queue(echelon) for group in groups.values() for echelon in group.echelons.values()]
    queues += [_pool_queue(pool, groups) for pool in pools.values()]
    for instance in instances.values():
        member = Member(instance=instance.name, home=instance.queue)
        queues.append(Queue(name=instance.queue, kind="model", members=(member,)))
    return {queue.name: queue for queue in queues}


def _echelon_queue(echelon: Echelon) -> Queue:
    members = tuple(Member(instance=name, home=echelon.queue) for name in echelon.models)
    return Queue(name=echelon.queue, kind="echelon", members=members, rotation=echelon.rotation)


def _pool_queue(pool: Pool, groups: dict[str, Group]) -> Queue:
    members: dict[Member, None] = {}
    for reference in pool.task_groups:
        name, _, only = reference.partition(".")
        for echelon in groups[name].echelons.values():
            if only in ("", echelon.name):
                members.update((Member(instance=model, home=echelon.queue), None) for model in echelon.models)
    return Queue(name=pool.queue, kind="pool", members=tuple(members), rotation=pool.rotation)
