"""A published configuration, a client, and real workers over the scripted provider."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from worker_process import Arrivals, Start, WorkerProcess, start_worker, write_configs

from echelon_configs import load
from echelon_producers import Client
from echelon_workers.app import make_app
from echelon_workers.ledger import revisions
from echelon_workers.ledger.address import Address
from echelon_workers.ledger.client import Ledger
from echelon_workers.settings import WorkerSettings


@pytest.fixture
def ledger(address: Address, tmp_path: Path) -> Iterator[Ledger]:
    """The ledger, with the tests' configuration published."""
    ledger = Ledger(address)
    configuration = load(write_configs(tmp_path / "configs")).configuration
    revisions.publish(ledger, configuration)
    yield ledger
    ledger.close()


@pytest.fixture
def client(ledger: Ledger, address: Address) -> Iterator[Client]:
    with Client(address.url, namespace=address.namespace) as client:
        yield client


@pytest.fixture
def start(address: Address, ledger: Ledger, tmp_path: Path) -> Iterator[Start]:
    """Starts workers; what still runs at the end is killed, and a worker's traceback fails the test."""
    workers: list[WorkerProcess] = []

    def start_one(*queues: str, name: str = "", **options: Any) -> WorkerProcess:
        log = tmp_path / f"{name or f'w{len(workers)}'}.log"
        workers.append(start_worker(address, log, *queues, **options))
        return workers[-1]

    yield start_one
    for worker in workers:
        worker.kill()
        assert "Traceback" not in worker.output(), worker.output()


@pytest.fixture
def app(address: Address) -> Iterator[Celery]:
    """Our Celery app, for remote control and AsyncResult."""
    environment = {"ECHELON_REDIS_URL": address.url, "ECHELON_NAMESPACE": address.namespace}
    app = make_app(WorkerSettings.from_environment(environment))
    yield app
    app.close()


@pytest.fixture
def arrivals(tmp_path: Path) -> Arrivals:
    """How many calls arrived for each job, counted by the provider."""
    file = tmp_path / "arrivals"
    return lambda: Counter(file.read_text().split() if file.exists() else [])


@pytest.fixture
def foreign(address: Address) -> Iterator[Celery]:
    """A Celery app that has nothing of ours; the namespace stands where its own key prefix would."""
    app = Celery("foreign", broker=address.url, backend=address.url, set_as_current=False)
    options = {"global_keyprefix": f"{address.namespace}:"}
    app.conf.update(broker_transport_options=options, result_backend_transport_options=options)
    yield app
    app.close()
