"""What a cluster is made of, as commands: workers, the HTTP API, Flower, the simulator."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from echelon_workers.ledger.address import Address
from echelon_workers.ledger.client import Ledger

from .ports import HOST
from .process import Part
from .ready import announces, answers_at, beats

#: What `echelon_workers.settings` reads; a worker that stops is given its grace and some seconds more.
_GRACE = "ECHELON_GRACE_S"
_MORE_S = 20.0

_CELERY = ("celery", "--quiet", "-A", "echelon_workers.app")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What all parts of a cluster are told: where Redis is, where the configuration, and the simulator if any."""

    address: Address
    configs: Path
    simulator_url: str = ""

    @property
    def environment(self) -> dict[str, str]:
        """The same as environment variables: a URL with a password has no place on a command line."""
        told = {
            "ECHELON_REDIS_URL": self.address.url,
            "ECHELON_NAMESPACE": self.address.namespace,
            "ECHELON_CONFIGS": str(self.configs.absolute()),
            "PYTHONUNBUFFERED": "1",
        }
        return {**told, "ECHELON_SIMULATOR_URL": self.simulator_url} if self.simulator_url else told


def simulator_part(*options: str) -> Part:
    """The simulator, on a port of its own choice unless the options say otherwise."""
    arguments = ("echelon_producers.simulator", "--host", HOST, *options)
    return Part(name="simulator", arguments=arguments, ready=announces("simulator", "/_sim/ready"))


def worker_part(
    place: Place, ledger: Ledger, name: str, *, slots: int, queues: Sequence[str] = (), verbose: bool = False
) -> Part:
    """A Celery worker for these queues (all, if none)."""
    level = "INFO" if verbose else "WARNING"
    options = (f"--hostname={name}.{os.getpid()}@%h", f"--loglevel={level}", "--without-gossip", "--without-mingle")
    served = (f"--queues={','.join(queues)}",) if queues else ()
    return Part(
        name=name,
        arguments=(*_CELERY, "worker", *options, *served),
        ready=beats(ledger),
        environment={**place.environment, "ECHELON_SLOTS": str(slots)},
        stop_s=_grace_s(os.environ) + _MORE_S,
        works=True,
        revives=True,
    )


def api_part(place: Place, port: int) -> Part:
    """The HTTP API."""
    arguments = ("echelon_producers.api", "--host", HOST, "--port", str(port))
    return Part(
        name="api",
        arguments=arguments,
        ready=announces("api", "/healthz"),
        environment=place.environment,
        stop_s=10.0,
        revives=True,
    )


def flower_part(place: Place, port: int) -> Part:
    """Flower, over the same broker."""
    options = (f"--address={HOST}", f"--port={port}", "--max-tasks=10000", "--inspect-timeout=3000")
    return Part(
        name="flower",
        arguments=(*_CELERY, "flower", *options),
        ready=answers_at(f"http://{HOST}:{port}", "/healthcheck"),
        environment=place.environment,
        revives=True,
    )


def _grace_s(environment: Mapping[str, str]) -> float:
    try:
        return float(environment.get(_GRACE) or 30.0)
    except ValueError:
        return 30.0  # the worker itself will say what is wrong with it
