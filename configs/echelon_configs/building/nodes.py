"""Workflow nodes: their target, their last resort, their own settings and limits."""

from echelon_configs.building.calls import call_overrides, given
from echelon_configs.building.limits import build_limits
from echelon_configs.limits import ConcurrencyLevels
from echelon_configs.nodes import Node
from echelon_configs.raw.limits import ScopeLimits
from echelon_configs.raw.nodes import RawNode
from echelon_configs.reading.checks import kept
from echelon_configs.reading.drafts import Draft, DraftNode
from echelon_configs.settings import CallOverrides


def build_node(written: DraftNode, draft: Draft, levels: ConcurrencyLevels) -> Node:
    """A node with its target and all that it states."""
    raw = written.raw
    assert raw is not None
    pool = raw.polling_pool.removeprefix("pool.") if raw.polling_pool else None
    target = raw.llm_group or (f"pool.{pool}" if pool else f"model.{raw.model}")
    fallbacks = kept(raw.fallback_groups, draft)
    # Beside a group, the pool is where the node's jobs go when everything else has failed.
    last = (f"pool.{pool}",) if pool and raw.llm_group and f"pool.{pool}" not in fallbacks else ()
    return Node(
        name=written.name,
        description=raw.description,
        type=raw.type,
        target=target,
        fallback_groups=(*fallbacks, *last),
        polling_pool=pool,
        system_prompt=raw.system_prompt,
        overrides=_node_overrides(raw),
        limits=build_limits(_node_limits(raw), levels.node, levels, written.rate),
    )


def _node_overrides(raw: RawNode) -> CallOverrides:
    task = raw.task_config
    stated = given(timeout_s=task.timeout, max_retries=task.max_retries) if task else {}
    return call_overrides(raw).model_copy(update=stated)


def _node_limits(raw: RawNode) -> ScopeLimits:
    config = raw.concurrency_config
    if config is None or not config.enabled:
        return raw
    return raw.model_copy(update=given(concurrency_limit=config.limit, queue_size=config.queue_size))
