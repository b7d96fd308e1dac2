"""`ConcurrencyController`: every limit of the running cluster with its use."""

from collections.abc import Iterator

import pytest
from byhand import QUEUES, Hands, limited, publish

from echelon_configs import Limits
from echelon_producers import Client, EchelonError, NoConfiguration
from echelon_producers.seed import ConcurrencyController
from echelon_workers.ledger.address import Address

QUEUE = QUEUES[0]


@pytest.fixture
def working(address: Address) -> Iterator[Client]:
    """A cluster whose first echelon has every kind of limit; one of its jobs runs and two wait."""
    publish(address, limited(Limits(concurrency=1, queue_size=9, requests_per_minute=60, tokens_per_minute=10_000)))
    with Client(address.url, namespace=address.namespace) as producer, Hands(address) as hands:
        producer.submit_many(["one", "two", "three"], target=QUEUE)
        assert len(hands.take()) == 1
        yield producer


def test_every_scope_has_its_limits_with_their_use(working: Client) -> None:
    status = ConcurrencyController(working).get_status()
    echelon = status["echelons"][QUEUE]
    assert (echelon["concurrency"], echelon["in_use"], echelon["queue_size"], echelon["waiting"]) == (1, 1, 9, 2)
    assert echelon["next_free_ms"] is None
    requests, tokens = sorted(echelon["rates"], key=lambda rate: rate["limit"])
    assert (requests["unit"], requests["limit"], requests["used"]) == ("requests", 60, 1)
    assert (tokens["unit"], tokens["limit"]) == ("tokens", 10_000)
    assert 0 < tokens["used"] < 10_000


def test_all_levels_are_there(working: Client) -> None:
    status = ConcurrencyController(working).get_status()
    assert list(status) == ["revision", "now_ms", "cluster", "groups", "echelons", "models", "nodes", "pools"]
    assert status["cluster"]["in_use"] == 1
    assert set(status["groups"]) == {"fast_group", "plan_group"}
    assert set(status["echelons"]) == set(QUEUES[:3])
    assert (set(status["models"]), set(status["nodes"]), status["pools"]) == ({"openai-gpt4"}, {"summary"}, {})
    assert status["groups"]["fast_group"]["concurrency"] is None


def test_it_is_what_the_client_says(working: Client) -> None:
    status, scopes = ConcurrencyController(working).get_status(), working.cluster_status().scopes
    shown = {scope.name: scope.to_json() for scope in scopes if scope.level == "model"}
    assert {name: {"level": "model", "name": name, **of} for name, of in status["models"].items()} == shown


@pytest.mark.usefixtures("working")
def test_without_a_client_the_environment_says_where_the_cluster_is(
    address: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ECHELON_REDIS_URL", address.url)
    monkeypatch.setenv("ECHELON_NAMESPACE", address.namespace)
    with ConcurrencyController() as found:
        assert found.get_status()["echelons"][QUEUE]["in_use"] == 1
    monkeypatch.delenv("ECHELON_REDIS_URL")
    monkeypatch.delenv("REDIS_URL", raising=False)
    with pytest.raises(EchelonError, match="no Redis given"):
        ConcurrencyController()


def test_a_client_that_was_given_stays_open(working: Client) -> None:
    with ConcurrencyController(working) as controller:
        controller.get_status()
    assert working.cluster_status().revision == 1


def test_without_a_configuration_there_is_no_status(address: Address) -> None:
    with Client(address.url, namespace=address.namespace) as producer, pytest.raises(NoConfiguration):
        ConcurrencyController(producer).get_status()
