"""pytest-celery's fixtures, with processes where it would start containers: one server, two workers.

Run apart from the other tests (`python -m pytest tests/nodes`): the plugin replaces Celery's own `celery_worker`.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from nodes.processes import ServerProcess, WorkerProcess
from pytest_celery import (
    CeleryBrokerCluster,
    CeleryTestBroker,
    CeleryTestSetup,
    CeleryTestWorker,
    CeleryWorkerCluster,
)
from worker_process import FAST, SLOW, write_configs

from echelon_configs import load
from echelon_workers.app import make_app
from echelon_workers.ledger import revisions
from echelon_workers.ledger.address import Address
from echelon_workers.ledger.client import Ledger
from echelon_workers.settings import WorkerSettings

ANSWER_S = 60.0


class EchelonSetup(CeleryTestSetup):  # type: ignore[misc]  # pytest-celery is untyped
    """A setup over our own app. It is ready when each worker by itself says so, not when nobody contradicts."""

    @classmethod
    def create_setup_app(cls, celery_setup_config: dict[str, Any], celery_setup_app_name: str) -> Celery:
        """The cluster's app at the broker that the nodes told."""
        environment = {"ECHELON_REDIS_URL": celery_setup_config["broker_url"]}
        return make_app(WorkerSettings.from_environment(environment))

    def _is_control_ping_ready(self, control: bool) -> bool:
        if not control:
            return True
        said = self.app.control.ping(timeout=3, limit=len(self.worker_cluster))
        answers = {name: answer for reply in said for name, answer in reply.items()}
        return answers == {worker.hostname(): {"ok": "pong"} for worker in self.worker_cluster}

    def _is_task_ping_ready(self, ping: bool) -> bool:
        """A job of each queue comes back: pytest-celery's own ping task is none of the cluster's queues."""
        queues = {queue for worker in self.worker_cluster for queue in worker.worker_queue.split(",")} if ping else ()
        sent = [self.app.send_task(queue, kwargs={"prompt": "say pong"}) for queue in queues]
        return all(result.get(timeout=ANSWER_S)["text"] == "pong" for result in sent)


@pytest.fixture
def celery_setup_cls() -> type[CeleryTestSetup]:
    return EchelonSetup


@pytest.fixture
def celery_broker(free_port: int, tmp_path: Path) -> Iterator[CeleryTestBroker]:
    """The server, with the tests' configuration published in it."""
    server = ServerProcess("server", free_port, tmp_path)
    broker = CeleryTestBroker(server)
    try:
        server.start()
        broker.ready()
        _publish(Address(server.url), tmp_path / "configs")
        yield broker
    finally:
        broker.teardown()


def _publish(address: Address, folder: Path) -> None:
    configuration = load(write_configs(folder)).configuration
    ledger = Ledger(address)
    revisions.publish(ledger, configuration)
    ledger.close()


@pytest.fixture
def celery_broker_cluster(celery_broker: CeleryTestBroker) -> CeleryBrokerCluster:
    return CeleryBrokerCluster(celery_broker)


@pytest.fixture
def celery_backend_cluster() -> None:
    """None: answers are in the jobs' records, where our app's result backend reads them."""


@pytest.fixture
def celery_setup_app(
    celery_setup_cls: type[CeleryTestSetup], celery_setup_config: dict[str, Any], celery_setup_name: str
) -> Iterator[Celery]:
    app = celery_setup_cls.create_setup_app(celery_setup_config, celery_setup_name)
    yield app
    app.backend.ledger.close()
    app.close()


@pytest.fixture
def celery_worker_cluster(
    celery_broker: CeleryTestBroker, celery_setup_app: Celery, tmp_path: Path
) -> Iterator[CeleryWorkerCluster]:
    """Two workers, which start at the same time: one for both echelons, one for the first."""
    address = Address(celery_broker.config()["host_url"])
    processes = [
        WorkerProcess("both", [FAST, SLOW], address, tmp_path),
        WorkerProcess("fast", [FAST], address, tmp_path),
    ]
    cluster = CeleryWorkerCluster(*[CeleryTestWorker(process, celery_setup_app) for process in processes])
    try:
        for process in processes:
            process.start()
        cluster.ready()
        yield cluster
    finally:
        for worker in cluster:
            worker.teardown()
