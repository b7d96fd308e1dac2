"""The names of the task group system this cluster grew from, as a Python face of the parts that do the work.

from echelon_producers.seed import TaskGroupManager
"""

from datetime import UTC, datetime
from os import environ
from pathlib import Path
from typing import Any, Self

from echelon_configs import Configuration, Echelon, Group, Loaded, UnknownTarget, load
from echelon_workers.ledger.status import ScopeStatus

from .client import Client

# Strategies that try the echelons below before anything else.
_DOWNWARD = ("echelon_down", "provider_failover")


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

        With `echelon_down` or `provider_failover` the echelons below come first, then the group's `fallback_groups`.
        """
        group, echelon = self._find(group_reference)
        if group.fallback.strategy is None:
            return []
        order = list(group.echelons.values())
        below = order[order.index(echelon or group.best) + 1 :] if group.fallback.strategy in _DOWNWARD else []
        home = (echelon or group.best).queue
        targets = [*(lower.queue for lower in below), *group.fallback.fallback_groups]
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


class ConcurrencyController:
    """Every limit of the running cluster with its use, at all levels: what `Client.cluster_status` says of scopes."""

    def __init__(self, client: Client | str | None = None) -> None:
        """`client`: one to share, the URL of a Redis, or nothing for ECHELON_REDIS_URL, else REDIS_URL.

        Raises EchelonError when there is no URL.
        """
        self._is_own = not isinstance(client, Client)
        self._client = client if isinstance(client, Client) else Client(client)

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

    def close(self) -> None:
        """Close the connections, unless the client was given."""
        if self._is_own:
            self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


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
