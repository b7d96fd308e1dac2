"""`PollingPoolManager`: the pools of the running cluster, each with the health of its instances."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from byhand import publish

from echelon_configs import UnknownTarget, load
from echelon_producers import Client, EchelonError
from echelon_producers.seed import PollingPoolManager, TaskGroupManager
from echelon_workers.ledger.address import Address
from echelon_workers.ledger.client import Ledger

CLUSTER = """\
task_groups:
  fast_group:
    echelon1: {models: [openai-gpt4, anthropic-claude-opus]}
    echelon2: {models: [openai-gpt4]}
  plan_group:
    echelon1: {models: [gemini-pro]}
polling_pools:
  single_turn_pool: {task_groups: [fast_group], rotation_strategy: least_recently_used, health_check_interval: 15}
  other_pool: {task_groups: [plan_group]}
"""


@pytest.fixture
def configs(tmp_path: Path) -> Path:
    groups = tmp_path / "llms" / "groups"
    groups.mkdir(parents=True)
    (groups / "_task_groups.yaml").write_text(CLUSTER)
    return tmp_path


@pytest.fixture
def client(address: Address, configs: Path) -> Iterator[Client]:
    publish(address, load(configs).configuration)
    with Client(address.url, namespace=address.namespace) as client:
        yield client


def test_the_pools_are_those_in_force(client: Client, configs: Path) -> None:
    manager = PollingPoolManager(TaskGroupManager(configs), client=client)
    assert manager.list_pools() == ["other_pool", "single_turn_pool"]
    assert manager.get_pool("single_turn_pool").name == manager.get_pool("pool.single_turn_pool").name
    assert list(manager.get_status()) == ["other_pool", "single_turn_pool"]


def test_a_pool_that_is_not_there_is_refused_with_the_nearest(client: Client) -> None:
    with pytest.raises(UnknownTarget, match="single_turn_pool"):
        PollingPoolManager(client=client).get_pool("single_turn_pol")


def test_a_pool_says_how_its_instances_are(client: Client, address: Address) -> None:
    client.submit_many(["one", "two"], target="pool.single_turn_pool")
    ledger = Ledger(address)
    ledger.redis.hset(ledger.keys.of("scope", "model:openai-gpt4"), mapping={"bo": 2**50, "bw": "timed_out"})
    ledger.close()
    status = PollingPoolManager(client=client).get_pool("single_turn_pool").get_status()
    assert (status["rotation_strategy"], status["health_check_interval_s"]) == ("least_recently_used", 15)
    assert (status["waiting"], status["running"], status["total_instances"]) == (2, 0, 2)
    assert (status["healthy_instances"], status["unhealthy_instances"], status["degraded_instances"]) == (1, 1, 0)
    sick = next(instance for instance in status["instances"] if instance["name"] == "openai-gpt4")
    assert (sick["state"], sick["why"]) == ("unhealthy", "timed_out")
    assert sick["homes"] == ["fast_group.echelon1", "fast_group.echelon2"]


def test_a_pool_that_is_gone_says_so(client: Client, address: Address, configs: Path) -> None:
    pool = PollingPoolManager(client=client).get_pool("other_pool")
    groups = configs / "llms" / "groups" / "_task_groups.yaml"
    groups.write_text(CLUSTER.replace("  other_pool: {task_groups: [plan_group]}\n", ""))
    publish(address, load(configs).configuration)
    client.configuration(fresh=True)
    with pytest.raises(UnknownTarget, match="other_pool"):
        pool.get_status()


@pytest.mark.usefixtures("client")
def test_without_a_client_the_environment_says_where_the_cluster_is(
    address: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(EchelonError):
        PollingPoolManager()
    monkeypatch.setenv("ECHELON_REDIS_URL", address.url)
    monkeypatch.setenv("ECHELON_NAMESPACE", address.namespace)
    with PollingPoolManager() as found:
        assert found.list_pools() == ["other_pool", "single_turn_pool"]
