"""Instances that fail are out, and come back by themselves, though nobody submits a job; and scores are published."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from waiting import until
from worker_process import WorkerProcess, start_worker

from echelon_configs import load
from echelon_producers import Client
from echelon_workers.ledger import revisions
from echelon_workers.ledger.address import Address
from echelon_workers.ledger.client import Ledger
from echelon_workers.ledger.instances import InstanceStatus

QUEUE = "fast_group.echelon1"
CLUSTER = """\
task_groups:
  fast_group:
    echelon1: {models: [openai-one, openai-two], rotation_strategy: weighted}
    circuit_breaker: {failure_threshold: 2, recovery_time: 1, half_open_requests: 1}
polling_pools:
  fast_pool: {task_groups: [fast_group], health_check_interval: INTERVAL, failure_threshold: 2, recovery_time: 1}
"""

Start = Callable[..., WorkerProcess]


class Moods:
    """What the provider is told, and what it has noted."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def sick(self, *lines: str) -> None:
        (self._folder / "sick.new").write_text("\n".join(lines))
        (self._folder / "sick.new").rename(self._folder / "sick")

    def noted(self, what: str) -> Counter[str]:
        file = self._folder / what
        return Counter(file.read_text().split() if file.exists() else [])


@pytest.fixture
def moods(tmp_path: Path) -> Moods:
    return Moods(tmp_path)


@pytest.fixture
def interval() -> float:
    return 0.5


@pytest.fixture
def client(address: Address, tmp_path: Path, interval: float) -> Iterator[Client]:
    groups = tmp_path / "configs" / "llms" / "groups"
    groups.mkdir(parents=True)
    (groups / "_task_groups.yaml").write_text(CLUSTER.replace("INTERVAL", str(interval)))
    ledger = Ledger(address)
    revisions.publish(ledger, load(tmp_path / "configs").configuration)
    ledger.close()
    with Client(address.url, namespace=address.namespace) as client:
        yield client


@pytest.fixture
def start(address: Address, client: Client, tmp_path: Path) -> Iterator[Start]:
    workers: list[WorkerProcess] = []

    def start_one(**options: Any) -> WorkerProcess:
        log = tmp_path / f"w{len(workers)}.log"
        options = {"ECHELON_PROVIDERS": "moody_provider:Providers", **options}
        workers.append(start_worker(address, log, **options))
        return workers[-1]

    yield start_one
    for worker in workers:
        worker.kill()
    for worker in workers:
        assert "Traceback" not in worker.output(), worker.output()


def status(client: Client, name: str = "openai-one") -> InstanceStatus:
    return next(instance for instance in client.cluster_status().instances if instance.name == name)


def becomes(client: Client, *states: str) -> None:
    until(lambda: status(client).state in states, timeout_s=20, what=f"openai-one is {' or '.join(states)}")


def test_an_instance_that_nobody_calls_is_found_out_and_comes_back(start: Start, client: Client, moods: Moods) -> None:
    moods.sick("openai-one")
    start()
    becomes(client, "unhealthy")
    assert (status(client).why, status(client).probe) == ("connection_failed", "connection_failed")
    assert moods.noted("paid") == {}
    moods.sick()
    becomes(client, "healthy", "degraded")
    assert moods.noted("paid") == {"openai-one": 1}, "its one half-open probe"
    assert (status(client).failures, status(client).in_use) == (0, 0)


def test_one_whose_calls_fail_though_it_lists_its_models_stays_out(start: Start, client: Client, moods: Moods) -> None:
    moods.sick("openai-one calls", "openai-two calls")
    start()
    client.submit_many(["say hello"] * 2, target=QUEUE)
    becomes(client, "unhealthy")
    until(lambda: moods.noted("paid")["openai-one"] >= 2, timeout_s=30, what="two probes were paid for")
    assert status(client).state in ("unhealthy", "recovering")
    moods.sick()
    becomes(client, "healthy", "degraded")


def test_one_that_lists_no_models_comes_back_by_a_paid_probe(start: Start, client: Client, moods: Moods) -> None:
    moods.sick("openai-one calls")
    start(SCRIPTED_UNLISTED="openai-one,openai-two")
    for _ in range(2):
        client.result(client.submit(QUEUE, "say hello"), 20)
    until(lambda: status(client).failures or status(client).open_ms != 0, what="it has failed")
    moods.sick()
    becomes(client, "healthy", "degraded")
    until(lambda: status(client).failures == 0, timeout_s=20, what="a paid probe has answered")
    assert moods.noted("paid")["openai-one"]


@pytest.mark.parametrize("interval", [1.0])
def test_one_worker_of_the_fleet_looks_at_each_interval(start: Start, client: Client, moods: Moods) -> None:
    start()
    start()
    start()
    began, before = time.monotonic(), moods.noted("looks")["openai-one"]
    until(lambda: moods.noted("looks")["openai-one"] >= before + 3, timeout_s=20, what="it was looked at three times")
    assert time.monotonic() - began >= 1.9, "three looks are at least two intervals apart"


@pytest.mark.parametrize("interval", [0])
def test_an_interval_of_nothing_switches_it_off(start: Start, client: Client, moods: Moods, address: Address) -> None:
    moods.sick("openai-one", "openai-two")
    start()
    ledger = Ledger(address)
    try:
        until(lambda: ledger.redis.exists(ledger.keys.of("scorer")), timeout_s=20, what="background work has begun")
        assert not ledger.redis.exists(ledger.keys.of("checks"))
    finally:
        ledger.close()
    assert moods.noted("looks") == {}


def test_scores_follow_what_instances_do(start: Start, client: Client, moods: Moods, address: Address) -> None:
    ledger = Ledger(address)

    def scores() -> dict[str, float]:
        found = ledger.redis.hgetall(ledger.keys.of("scores", QUEUE))
        return {name.decode(): float(score) for name, score in found.items()}

    try:
        start()
        start()
        until(lambda: scores() == {"openai-one": 1, "openai-two": 1}, timeout_s=20, what="scores are published")
        ledger.redis.hset(ledger.keys.of("scope", "model:openai-one"), "ew", f"20 0.5 100 100 {2**45}")
        until(lambda: scores() == {"openai-one": 0.25, "openai-two": 1}, timeout_s=20, what="they follow")
    finally:
        ledger.close()
