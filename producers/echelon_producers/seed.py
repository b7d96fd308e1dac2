"""The names of the task group system this cluster grew from, as a Python face of the parts that do the work.

from echelon_producers.seed import TaskGroupManager
"""

from collections import Counter
from datetime import UTC, datetime
from os import environ
from pathlib import Path
from typing import Any

from echelon_configs import Configuration, Echelon, Group, Loaded, Pool, UnknownTarget, load
from echelon_workers.ledger.status import Counts, ScopeStatus
from echelon_workers.strategies import Situation, strategy_named

from .borrowed import WithClient
from .client import Client
from .fallback_manager import EnhancedFallbackManager

__all__ = ["ConcurrencyController", "EnhancedFallbackManager", "PollingPool", "PollingPoolManager", "TaskGroupManager"]


class TaskGroupManager:
    """Loads the configuration and answers questions about its task groups.

    Nothing is cached beside the configuration itself: limits in force are read where they are enforced.
    """

    def __init__(self, config_loader: object | None = None) -> None:
        """`config_loader`: the configuration's directory, an object with `.directory`, or nothing for
        ECHELON_CONFIGS, else ./configs.
        """
        self._directory = _directory_of(config_loader)
        self._loaded: Loaded | None = None
        self._loaded_at: datetime | None = None

    def load_config(self) -> Configuration:
        """The configuration; read from the files the first time. Raises ConfigurationInvalid."""
        return self._ready().configuration

    def reload_config(self) -> Configuration:
        """Reads the files again. Raises ConfigurationInvalid, and keeps what was loaded before."""
        self._loaded = load(self._directory)
        self._loaded_at = datetime.now(UTC)
        return self._loaded.configuration

    def get_models_for_group(self, group_reference: str) -> list[str]:
        """The instances of `group.echelon`, or of all echelons of `group`, the best first. Raises UnknownTarget."""
        group, echelon = self._find(group_reference)
        echelons = [echelon] if echelon else list(group.echelons.values())
        return list(dict.fromkeys(model for chosen in echelons for model in chosen.models))

    def get_fallback_groups(self, group_reference: str) -> list[str]:
        """Where the jobs of a group or an echelon may go next, in order, as configured. Raises UnknownTarget.

        First the queues that the group's strategy names, then its `fallback_groups`.
        """
        group, echelon = self._find(group_reference)
        if group.fallback.strategy is None:
            return []
        home = (echelon or group.best).queue
        situation = Situation(configuration=self.load_config(), queue=home, home=home, trail=())
        named = [candidate.queue for candidate in strategy_named(group.fallback.strategy).candidates(situation)]
        targets = [*named, *group.fallback.fallback_groups]
        return [target for target in dict.fromkeys(targets) if target != home]

    def validate_group_reference(self, group_reference: str) -> bool:
        """Whether there is such a group, or such an echelon of a group."""
        try:
            self._find(group_reference)
        except UnknownTarget:
            return False
        return True

    def get_config_status(self) -> dict[str, Any]:
        """What is loaded: directory, time, digest, counts, names, and the warnings. Loads nothing by itself."""
        if self._loaded is None or self._loaded_at is None:
            return {"loaded": False, "directory": str(self._directory)}
        configuration = self._loaded.configuration
        return {
            "loaded": True,
            "directory": str(self._directory),
            "loaded_at": self._loaded_at.isoformat(timespec="seconds"),
            "digest": configuration.digest(),
            "task_groups": {name: list(group.echelons) for name, group in configuration.groups.items()},
            "polling_pools": list(configuration.pools),
            "nodes": list(configuration.nodes),
            "models": list(configuration.instances),
            "queues": len(configuration.queues),
            "warnings": [str(warning) for warning in self._loaded.warnings],
        }

    def _ready(self) -> Loaded:
        if self._loaded is None:
            self.reload_config()
        assert self._loaded is not None
        return self._loaded

    def _find(self, reference: str) -> tuple[Group, Echelon | None]:
        configuration = self.load_config()
        if reference in configuration.groups:
            return configuration.groups[reference], None
        echelon = configuration.echelon(reference)
        return configuration.groups[echelon.group], echelon


class PollingPoolManager(WithClient):
    """The polling pools of the running cluster; what turns their instances and looks after them is the workers."""

    def __init__(
        self, task_group_manager: TaskGroupManager | None = None, *, client: Client | str | None = None
    ) -> None:
        """`client`: as for ConcurrencyController.

        Pools are those of the configuration in force. `task_group_manager` may be given, as ever, and is not needed.
        """
        self.task_group_manager = task_group_manager
        super().__init__(client)

    def list_pools(self) -> list[str]:
        """The names of the pools. Raises NoConfiguration, Unavailable."""
        return list(self._client.configuration().pools)

    def get_pool(self, name: str) -> "PollingPool":
        """A pool by its name, with or without `pool.` before it.

        Raises UnknownTarget, NoConfiguration, Unavailable.
        """
        configuration, bare = self._client.configuration(), name.removeprefix("pool.")
        configuration.resolve(f"pool.{bare}")
        return PollingPool(configuration.pools[bare], self._client)

    def get_status(self) -> dict[str, dict[str, Any]]:
        """The status of every pool, by its name."""
        return {name: self.get_pool(name).get_status() for name in self.list_pools()}


class PollingPool:
    """One polling pool, as it was configured when it was asked for."""

    def __init__(self, pool: Pool, client: Client) -> None:
        self.pool = pool
        self._client = client

    @property
    def name(self) -> str:
        return self.pool.name

    def get_status(self) -> dict[str, Any]:
        """Its rotation, health settings and counts, how many of its instances are in which state, and `instances`, each
        with its health and with `homes`, the echelons it is there for.

        Raises UnknownTarget when it is configured no more, NoConfiguration, Unavailable.
        """
        members, status = self._homes(), self._client.cluster_status()
        counts = {queue.name: queue.counts for queue in status.queues}.get(self.pool.queue, Counts())
        instances = [instance for instance in status.instances if instance.name in members]
        states = Counter(instance.state for instance in instances)
        return {
            "name": self.pool.name,
            "rotation_strategy": self.pool.rotation,
            "task_groups": list(self.pool.task_groups),
            "health_check_interval_s": self.pool.health_check_interval_s,
            "failure_threshold": self.pool.failure_threshold,
            "recovery_time_s": self.pool.recovery_time_s,
            "total_instances": len(instances),
            **{f"{state}_instances": states[state] for state in ("healthy", "degraded", "unhealthy", "recovering")},
            "waiting": counts.waiting,
            "running": counts.running,
            "answered": counts.answered,
            "instances": [{**instance.to_json(), "homes": members[instance.name]} for instance in instances],
        }

    def _homes(self) -> dict[str, list[str]]:
        configuration = self._client.configuration()
        queue = configuration.resolve(self.pool.queue).queue
        homes: dict[str, list[str]] = {}
        for member in configuration.queues[queue].members:
            homes.setdefault(member.instance, []).append(member.home)
        return homes


class ConcurrencyController(WithClient):
    """Every limit of the running cluster with its use, at all levels: what `Client.cluster_status` says of scopes."""

    def get_status(self) -> dict[str, Any]:
        """`cluster`, and by name `groups`, `echelons`, `models`, `nodes` and `pools`: of each scope `concurrency` (its
        limit), `in_use`, `queue_size`, `waiting`, `rates` (limits with what is `used` in the window) and
        `next_free_ms`; None is no limit, or in `next_free_ms` when an attempt ends.

        Raises NoConfiguration, Unavailable.
        """
        status = self._client.cluster_status()
        found: dict[str, Any] = {"revision": status.revision, "now_ms": status.now_ms, "cluster": {}}
        found |= {section: {} for section in _SECTIONS.values()}
        for scope in status.scopes:
            if scope.level == "cluster":
                found["cluster"] = _shown(scope)
            else:
                found[_SECTIONS[scope.level]][scope.name] = _shown(scope)
        return found


_SECTIONS = {"group": "groups", "echelon": "echelons", "model": "models", "node": "nodes", "pool": "pools"}


def _shown(scope: ScopeStatus) -> dict[str, Any]:
    return {name: value for name, value in scope.to_json().items() if name not in ("level", "name")}


def _directory_of(config_loader: object | None) -> Path:
    if config_loader is None:
        return Path(environ.get("ECHELON_CONFIGS") or "configs")
    if isinstance(config_loader, str | Path):
        return Path(config_loader)
    directory = getattr(config_loader, "directory", None)
    if isinstance(directory, str | Path):
        return Path(directory)
    raise TypeError("config_loader is the configuration's directory, or an object whose .directory is")
