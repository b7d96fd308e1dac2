"""The whole configuration, validated: what is published, and what every part of the cluster reads."""

import hashlib
from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from echelon_configs.fallbacks import GlobalFallback
from echelon_configs.frozen import Frozen
from echelon_configs.groups import Echelon, Group
from echelon_configs.instances import Instance
from echelon_configs.limits import ConcurrencyLevels, Limits, RateLimiting
from echelon_configs.nodes import Node
from echelon_configs.pools import Pool
from echelon_configs.problems import UnknownTarget, nearest
from echelon_configs.queues import Queue, Resolved
from echelon_configs.settings import CallSettings


class Defaults(Frozen):
    """What holds where nothing is said."""

    deadline_s: float = Field(default=3600.0, description="seconds from submit until a job is given up")
    retention_s: float = Field(default=86_400.0, description="seconds that an answer is kept")
    health_check_interval_s: float = Field(
        default=30.0, description="seconds between two probes of an instance that is in no pool; 0: none"
    )
    durability: Literal["local", "replicated"] = Field(
        default="local",
        description="who has to have a job or an outcome before it counts: this Redis, or a replica too",
    )

    @property
    def is_replicated(self) -> bool:
        """Whether a replica has to have it too."""
        return self.durability == "replicated"


class Configuration(Frozen):
    """Everything the cluster is told. Two files that mean the same give the same `model_dump_json()`."""

    groups: dict[str, Group] = Field(description="task groups by name")
    pools: dict[str, Pool] = Field(default={}, description="polling pools by name")
    nodes: dict[str, Node] = Field(default={}, description="workflow nodes by name")
    instances: dict[str, Instance] = Field(description="instances by name")
    queues: dict[str, Queue] = Field(description="every Celery queue: echelons group by group, pools, models")
    global_fallback: GlobalFallback = Field(
        default=GlobalFallback(), description="what holds where a group says nothing"
    )
    concurrency: ConcurrencyLevels = Field(default=ConcurrencyLevels(), description="level defaults as written")
    rate_limiting: RateLimiting = Field(default=RateLimiting(), description="top-level rate and sizes")
    limits: Limits = Field(default=Limits(), description="limits of the whole cluster")
    defaults: Defaults = Field(default=Defaults(), description="what holds where nothing is said")

    def resolve(self, target: str, node: str | None = None) -> Resolved:
        """Where a job goes that is sent to `target`, submitted under `node` if one is named.

        Raises UnknownTarget, with the nearest names, for a target or a node that there is not.
        """
        under = self._node(node) if node is not None else None
        if target.startswith("node."):
            named = self._node(target.removeprefix("node."))
            under = under or named
            return Resolved(
                target=target, queue=self._queue(named.target), node=under, fallback_groups=under.fallback_groups
            )
        return Resolved(
            target=target,
            queue=self._queue(target),
            node=under,
            fallback_groups=under.fallback_groups if under else (),
        )

    def settings_of(self, home: str, instance: str | None = None) -> CallSettings:
        """The call settings that hold at an echelon's or a model's queue.

        With `instance`, what its own file states is taken where the echelon states nothing.
        Raises UnknownTarget for any other name, a pool's included: its members have homes of their own.
        """
        if home.startswith("model."):
            alone = self.instances.get(home.removeprefix("model."))
            if alone is None:
                raise self._unknown(home)
            return alone.settings
        echelon = self.echelon(home)
        if instance is None:
            return echelon.settings
        if instance not in self.instances:
            raise self._unknown(f"model.{instance}")
        return CallSettings().updated(self.instances[instance].stated, echelon.stated)

    def echelon(self, queue: str) -> Echelon:
        """The echelon whose queue this is. Raises UnknownTarget."""
        group, _, name = queue.partition(".")
        found = self.groups[group].echelons.get(name) if group in self.groups else None
        if found is None:
            raise self._unknown(queue)
        return found

    def health_interval_s(self, instance: str) -> float:
        """The seconds between two health probes of an instance, 0 for none: the least that a pool of it states."""
        pools = [
            pool.health_check_interval_s
            for pool in self.pools.values()
            if any(member.instance == instance for member in self.queues[pool.queue].members)
        ]
        if not pools:
            return self.defaults.health_check_interval_s
        return min((interval for interval in pools if interval > 0), default=0.0)

    def targets(self) -> tuple[str, ...]:
        """Everything a job can be sent to."""
        return tuple(self._targets())

    def digest(self) -> str:
        """A short name for this configuration: 16 hexadecimal digits of SHA-256 over its JSON."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:16]

    def _queue(self, target: str) -> str:
        if target in self.queues:
            return target
        if target in self.groups:
            return self.groups[target].best.queue
        raise self._unknown(target)

    def _node(self, name: str) -> Node:
        if name not in self.nodes:
            raise self._unknown(f"node.{name}")
        return self.nodes[name]

    def _unknown(self, target: str) -> UnknownTarget:
        bare = [name for name in self._targets() if target and name.partition(".")[2] == target]
        return UnknownTarget(target, bare[:3] or nearest(target, self._targets(), 3))

    def _targets(self) -> Iterator[str]:
        for name, group in self.groups.items():
            yield name
            yield from (echelon.queue for echelon in group.echelons.values())
        yield from (f"pool.{name}" for name in self.pools)
        yield from (f"node.{name}" for name in self.nodes)
        yield from (f"model.{name}" for name in self.instances)
