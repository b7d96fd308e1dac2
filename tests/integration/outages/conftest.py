"""Servers that crash, and a small cluster on one of them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from outage_server import OutageServer, free_port
from waiting import until
from worker_process import FAST, WorkerProcess, start_worker, write_configs

from echelon_configs import load
from echelon_producers import Client
from echelon_workers.ledger import revisions
from echelon_workers.ledger.address import Address
from echelon_workers.ledger.client import Ledger
from echelon_workers.ledger.server_binary import find_server_binary

NewServer = Callable[..., OutageServer]
NewCluster = Callable[[Address], "Cluster"]


@pytest.fixture
def new_server(tmp_path: Path) -> Iterator[NewServer]:
    """Makes servers, which are not started yet; options as `OutageServer` takes them."""
    made: list[OutageServer] = []
    binary = find_server_binary()

    def new(**options: str) -> OutageServer:
        made.append(OutageServer(binary, tmp_path / f"server{len(made)}", free_port(), **options))
        return made[-1]

    yield new
    for server in made:
        server.close()


@pytest.fixture
def server(new_server: NewServer) -> OutageServer:
    """A server that runs and loses nothing that it has acknowledged."""
    server = new_server()
    server.start()
    return server


@dataclass
class Cluster:
    """Workers and a client on one address, and what arrived at the provider."""

    address: Address
    folder: Path
    client: Client
    workers: list[WorkerProcess] = field(default_factory=list)

    def work(self, name: str = "worker", *, wait: bool = True, slots: int = 20, **environment: str) -> WorkerProcess:
        """Start a worker."""
        worker = start_worker(self.address, self.folder / f"{name}.log", FAST, slots=slots, wait=wait, **environment)
        self.workers.append(worker)
        return worker

    def arrived(self) -> list[str]:
        """The ids of the jobs whose calls have reached the provider, in order."""
        file = self.folder / "arrivals"
        return file.read_text().split() if file.exists() else []

    def until_arrived(self, most: int, **wait: float) -> None:
        until(lambda: len(self.arrived()) >= most, what=f"{most} calls have arrived", **wait)

    def answered(self) -> int:
        """How many jobs of the queue have been answered, as the ledger counts them."""
        ledger = Ledger(self.address)
        try:
            return int(ledger.redis.hget(ledger.keys.of("totals", FAST), "answered") or 0)
        finally:
            ledger.close()

    def until_answered(self, ids: Sequence[str], **wait: float) -> None:
        """Until every one of these jobs has been answered, each once, and nothing is held any more."""
        until(lambda: self.answered() >= len(ids), what=f"{len(ids)} jobs are answered", **wait)
        assert {self.client.status(id).state for id in ids} == {"answered"}
        assert self.answered() == len(ids)
        until(self.holds_nothing, what="no lease and no permit is left")

    def holds_nothing(self) -> bool:
        """No job is running, and no permit is in use."""
        ledger = Ledger(self.address)
        try:
            keys, redis = ledger.keys, ledger.redis
            in_use = [redis.hget(scope, "cu") for scope in redis.scan_iter(f"{keys.of('scope')}*")]
            counted = [
                count for name, count in redis.hgetall(keys.of("counts")).items() if name.startswith(b"running:")
            ]
            return not redis.zcard(keys.of("running")) and not any(int(number or 0) for number in in_use + counted)
        finally:
            ledger.close()

    def close(self) -> None:
        for worker in self.workers:
            worker.kill()
        self.client.close()


@pytest.fixture
def new_cluster(tmp_path: Path) -> Iterator[NewCluster]:
    """Publishes the tests' configuration at an address and makes a cluster there."""
    made: list[Cluster] = []
    configs = write_configs(tmp_path / "configs")

    def new(address: Address) -> Cluster:
        ledger = Ledger(address)
        revisions.publish(ledger, load(configs, environment={}).configuration)
        ledger.close()
        made.append(Cluster(address, tmp_path, Client(address.url, namespace=address.namespace)))
        return made[-1]

    yield new
    for cluster in made:
        cluster.close()


@pytest.fixture
def cluster(server: OutageServer, new_cluster: NewCluster) -> Cluster:
    """A cluster on `server`, without workers yet."""
    return new_cluster(Address(server.url, "outage"))
