"""Every strategy, every kind of failure and every scheduler, end to end: a real worker and its providers over the
simulator."""

import signal
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from worker_process import start_worker

from echelon_configs import load
from echelon_producers import Client, JobDied
from echelon_producers.simulator.process import SimulatorProcess
from echelon_workers.ledger import revisions
from echelon_workers.ledger.address import Address
from echelon_workers.ledger.client import Ledger

#: One group a strategy: instances of OpenAI at home, of another provider where the strategy leads.
GROUPS = """\
task_groups:
  down_group:
    echelon1: {models: [openai-d1], max_retries: 0}
    echelon2: {models: [anthropic-d2], priority: 2}
    fallback_config: {strategy: echelon_down, max_attempts: 4, retry_delay: 0.05}
  rotate_group:
    echelon1: {models: [openai-r1, openai-r2, gemini-r3], max_retries: 0}
    fallback_config: {strategy: model_rotate, max_attempts: 4, retry_delay: 0.05}
  provider_group:
    echelon1: {models: [openai-p1, openai-p2], max_retries: 0}
    echelon2: {models: [openai-p3, anthropic-p4], priority: 2}
    fallback_config: {strategy: provider_failover, max_attempts: 4, retry_delay: 0.05}
  switch_group:
    echelon1: {models: [openai-s1], max_retries: 0}
    echelon2: {models: [openai-s2], priority: 2}
    fallback_config: {strategy: task_group_switch, fallback_groups: [spare_group], max_attempts: 4, retry_delay: 0.05}
  pool_group:
    echelon1: {models: [openai-o1], max_retries: 0}
    fallback_config:
      {strategy: polling_pool_switch, fallback_groups: [pool.spare_pool], max_attempts: 4, retry_delay: 0.05}
  turn_group:
    echelon1: {models: [openai-t1, openai-t2, gemini-t3]}
  spare_group:
    echelon1: {models: [gemini-spare, anthropic-spare], max_retries: 1}
polling_pools:
  spare_pool: {task_groups: [spare_group], rotation_strategy: round_robin}
  rotating_pool: {task_groups: [rotate_group], fallback_config: {strategy: instance_rotation, max_instance_attempts: 4}}
  same_pool: {task_groups: [rotate_group], fallback_config: {strategy: simple_retry, max_instance_attempts: 3}}
  turn_pool: {task_groups: [turn_group], rotation_strategy: round_robin}
  least_pool: {task_groups: [turn_group], rotation_strategy: least_recently_used}
  weight_pool: {task_groups: [turn_group], rotation_strategy: weighted}
global_fallback: {max_attempts: 4, retry_delay: 0.05, circuit_breaker: {failure_threshold: 1000}}
defaults: {health_check_interval: 0}
"""
ANSWER_S = 30.0


@pytest.fixture(scope="module")
def simulator() -> Iterator[SimulatorProcess]:
    with SimulatorProcess() as simulator:
        yield simulator


@pytest.fixture(scope="module")
def client(redis_url: str, simulator: SimulatorProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    folder = tmp_path_factory.mktemp("fallback")
    groups = folder / "configs" / "llms" / "groups"
    groups.mkdir(parents=True)
    (groups / "_task_groups.yaml").write_text(GROUPS)
    (folder / "configs" / "llms" / "gemini-t3.yaml").write_text(
        "model_type: gemini\nmodel_name: gemini-t3\nweight: 2\n"
    )
    address = Address(redis_url, f"fallback{simulator.url.rpartition(':')[2]}")
    ledger = Ledger(address)
    revisions.publish(ledger, load(folder / "configs").configuration)
    ledger.close()
    environment: dict[str, Any] = {
        "ECHELON_PROVIDERS": "echelon_workers.providers:Providers",
        "ECHELON_SIMULATOR_URL": simulator.url,
    }
    worker = start_worker(address, folder / "w.log", **environment)
    with Client(address.url, namespace=address.namespace) as client:
        yield client
    worker.send(signal.SIGTERM)
    worker.process.wait(30)
    assert "Traceback" not in worker.output(), worker.output()


@pytest.fixture
def ledger(client: Client) -> Iterator[Ledger]:
    ledger = Ledger(client.address)
    yield ledger
    ledger.close()


def forget_failures(ledger: Ledger) -> None:
    """Nothing is out, and nothing has failed yet."""
    keys, redis = ledger.keys, ledger.redis
    redis.hdel(keys.of("scope", "model:openai-d1"), "bf", "bo", "bn", "bp", "bk", "bw")
    redis.zrem(keys.of("out"), "openai-d1")


def fails(simulator: SimulatorProcess, kind: str, **where: Any) -> None:
    """From now on, and nothing else does."""
    simulator.load({"faults": [{"kind": kind, "operation": "call", **where}]})


def way(client: Client, job: str) -> list[tuple[str, str]]:
    return [(entry["instance"], entry["outcome"]) for entry in client.status(job).trail]


@pytest.mark.parametrize(
    ("target", "way_on", "queue"),
    [
        ("down_group", {"anthropic-d2"}, "down_group.echelon2"),
        ("rotate_group", {"gemini-r3"}, "rotate_group.echelon1"),
        ("provider_group", {"anthropic-p4"}, "provider_group.echelon2"),
        ("switch_group", {"gemini-spare", "anthropic-spare"}, "spare_group.echelon1"),
        ("pool_group", {"gemini-spare", "anthropic-spare"}, "pool.spare_pool"),
        ("pool.rotating_pool", {"gemini-r3"}, "pool.rotating_pool"),
    ],
)
def test_each_strategy_leads_away_from_the_provider_that_is_down(
    client: Client, simulator: SimulatorProcess, target: str, way_on: set[str], queue: str
) -> None:
    fails(simulator, "503", provider="openai")
    for number in range(4):
        job = client.submit(target, f"Question {number}.")
        assert client.result(job, ANSWER_S).instance in way_on
        record = client.status(job)
        assert record.queue == queue
        assert record.attempts <= 4


def test_a_simple_retry_stays_with_the_instance_that_failed(client: Client, simulator: SimulatorProcess) -> None:
    fails(simulator, "503", count=1)
    job = client.submit("pool.same_pool", "Stay.")
    client.result(job, ANSWER_S)
    (first, failed), (second, answered) = way(client, job)
    assert (first, failed, answered) == (second, "server_failed", "answered")


@pytest.mark.parametrize(
    ("kind", "outcome", "goes_on"),
    [
        ("500", "server_failed", True),
        ("503", "server_failed", True),
        ("529", "server_failed", True),
        ("502", "server_failed", True),
        ("504", "server_failed", True),
        ("cut", "connection_failed", True),
        ("broken_body", "invalid_output", True),
        ("wrong_shape", "invalid_output", True),
        ("401", "authentication_failed", True),
        ("403", "authentication_failed", True),
        ("404", "instance_unusable", True),
        ("quota", "quota_exhausted", True),
        ("context_too_long", "context_too_long", True),
        ("400", "bad_request", False),
        ("refusal", "content_refused", False),
    ],
)
def test_each_kind_of_failure_goes_on_elsewhere_or_ends_as_it_should(
    client: Client, simulator: SimulatorProcess, ledger: Ledger, kind: str, outcome: str, goes_on: bool
) -> None:
    forget_failures(ledger)
    fails(simulator, kind, instance="openai-d1")
    job = client.submit("down_group", f"Fail with {kind}.")
    if goes_on:
        assert client.result(job, ANSWER_S).instance == "anthropic-d2"
        assert way(client, job) == [("openai-d1", outcome), ("anthropic-d2", "answered")]
    else:
        with pytest.raises(JobDied):
            client.result(job, ANSWER_S)
        assert way(client, job) == [("openai-d1", outcome)]


def test_a_429_waits_and_spends_nothing(client: Client, simulator: SimulatorProcess) -> None:
    fails(simulator, "429", instance="anthropic-spare", retry_after_s=0.5, count=1)
    jobs = client.submit_many([f"Question {number}." for number in range(4)], target="spare_group")
    for job in jobs:
        client.result(job, ANSWER_S)
    assert {client.status(job).attempts for job in jobs} == {1}
    assert sum(len(way(client, job)) for job in jobs) == 5


@pytest.mark.parametrize(
    ("pool", "shares"),
    [
        ("turn_pool", {"openai-t1": 8, "openai-t2": 8, "gemini-t3": 8}),
        ("least_pool", {"openai-t1": 8, "openai-t2": 8, "gemini-t3": 8}),
        ("weight_pool", {"openai-t1": 6, "openai-t2": 6, "gemini-t3": 12}),
    ],
)
def test_each_scheduler_shares_the_calls_out(
    client: Client, simulator: SimulatorProcess, pool: str, shares: dict[str, int]
) -> None:
    simulator.load({"faults": []})
    jobs = [client.submit(f"pool.{pool}", f"Question {number}.") for number in range(24)]
    found = Counter(client.result(job, ANSWER_S).instance for job in jobs)
    assert all(abs(found[name] - share) <= 3 for name, share in shares.items()), found
