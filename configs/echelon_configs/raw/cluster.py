"""The whole of `_task_groups.yaml`, and of a file under `configs/workflows/`."""

from typing import Literal

from pydantic import Field

from echelon_configs.raw.fallbacks import RawGlobalFallback
from echelon_configs.raw.fields import Delay, Raw, Seconds
from echelon_configs.raw.groups import RawGroup
from echelon_configs.raw.limits import RawConcurrencyControl, RawTopRateLimiting
from echelon_configs.raw.nodes import RawNode
from echelon_configs.raw.pools import RawPool


class RawDefaults(Raw):
    """What holds where nothing is said."""

    deadline_s: Seconds | None = Field(default=None, description="seconds from submit until a job is given up")
    retention_s: Seconds | None = Field(default=None, description="seconds that an answer is kept")
    health_check_interval: Delay | None = Field(
        default=None, description="seconds between two probes of an instance that is in no pool; 0: none"
    )
    durability: Literal["local", "replicated"] | None = Field(
        default=None, description="who has to have a job or an outcome before it counts: this Redis, or a replica too"
    )


class RawWorkflow(Raw):
    """A file under `configs/workflows/`."""

    nodes: dict[str, RawNode] | None = Field(default=None, description="nodes by name, with their keys under `config:`")
    workflow_nodes: dict[str, RawNode] | None = Field(default=None, description="nodes by name, with their keys flat")


class RawCluster(RawWorkflow):
    """`_task_groups.yaml`."""

    task_groups: dict[str, RawGroup] = Field(description="task groups by name")
    polling_pools: dict[str, RawPool] | None = Field(default=None, description="polling pools by name")
    global_fallback: RawGlobalFallback | None = Field(default=None, description="what holds where a group says nothing")
    concurrency_control: RawConcurrencyControl | None = Field(default=None, description="concurrency, level by level")
    rate_limiting: RawTopRateLimiting | None = Field(
        default=None, description="rates of the whole cluster, and the sizes of rates named without any"
    )
    defaults: RawDefaults | None = Field(default=None, description="what holds where nothing is said")
