"""What scripts cost the server: `usec` of `evalsha` in INFO commandstats, and the CPU of its process in INFO cpu."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import redis


@dataclass(frozen=True, slots=True)
class Spent:
    """Server time of the scripts that ran, with all that they call inside."""

    calls: int
    us: float


def spent_on(client: "redis.Redis", run: Callable[[], object]) -> Spent:
    """Run something, and say what the scripts it ran cost. Nobody else may run scripts meanwhile."""
    client.config_resetstat()
    run()
    stats: Any = client.info("commandstats")
    mine = stats.get("cmdstat_evalsha", {"calls": 0, "usec": 0})
    return Spent(mine["calls"], float(mine["usec"]))


def cpu_s(client: "redis.Redis") -> float:
    """CPU seconds of the server's process so far, user and system, all of its threads."""
    stats: Any = client.info("cpu")
    return float(stats["used_cpu_user"]) + float(stats["used_cpu_sys"])
