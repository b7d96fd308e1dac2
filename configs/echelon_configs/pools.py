"""Polling pools, once everything is resolved."""

from pydantic import Field

from echelon_configs.fallbacks import PoolFallback
from echelon_configs.frozen import Frozen
from echelon_configs.limits import Limits


class Pool(Frozen):
    """Instances of several groups, rotated by one strategy: the queue `pool.NAME`."""

    name: str = Field(description="its name")
    description: str = Field(default="", description="for people")
    task_groups: tuple[str, ...] = Field(description="groups and echelons whose instances it rotates")
    rotation: str = Field(default="round_robin", description="how the instances take turns")
    health_check_interval_s: float = Field(
        default=30.0, description="seconds between two probes of an instance; 0: none"
    )
    failure_threshold: int = Field(default=3, description="failures in a row that make an instance unhealthy")
    recovery_time_s: float = Field(default=60.0, description="seconds before an unhealthy instance is tried again")
    fallback: PoolFallback = Field(default=PoolFallback(), description="what happens when an instance fails")
    limits: Limits = Field(default=Limits(), description="limits of what goes through the pool")

    @property
    def queue(self) -> str:
        """Its queue's name: `pool.NAME`."""
        return f"pool.{self.name}"
