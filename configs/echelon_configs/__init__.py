"""What the cluster is told: raw YAML to validated frozen models.

`load(directory)` reads the files (`files`, `compose`), validates each mapping (`raw`, `validate`), checks the whole
(`checks`) and fills in every default (`build`). It reports every error at once, or gives a `Configuration`.
"""

from echelon_configs.configuration import Configuration, Defaults
from echelon_configs.fallbacks import Breaker, Fallback, GlobalFallback, PoolFallback
from echelon_configs.groups import Echelon, Group
from echelon_configs.instances import Instance, Retry, Supports, Timeouts
from echelon_configs.limits import ConcurrencyLevels, Level, Limits, RateLimit, RateLimiting
from echelon_configs.load import Loaded, load
from echelon_configs.nodes import Node
from echelon_configs.pools import Pool
from echelon_configs.problems import ConfigurationInvalid, Problem, UnknownTarget
from echelon_configs.queues import Member, Queue, Resolved
from echelon_configs.references import SecretReference, SecretTemplate
from echelon_configs.registry import Registry
from echelon_configs.settings import CallOverrides, CallSettings, Thinking

__all__ = [
    "Breaker",
    "CallOverrides",
    "CallSettings",
    "ConcurrencyLevels",
    "Configuration",
    "ConfigurationInvalid",
    "Defaults",
    "Echelon",
    "Fallback",
    "GlobalFallback",
    "Group",
    "Instance",
    "Level",
    "Limits",
    "Loaded",
    "Member",
    "Node",
    "Pool",
    "PoolFallback",
    "Problem",
    "Queue",
    "RateLimit",
    "RateLimiting",
    "Registry",
    "Resolved",
    "Retry",
    "SecretReference",
    "SecretTemplate",
    "Supports",
    "Thinking",
    "Timeouts",
    "UnknownTarget",
    "load",
]
