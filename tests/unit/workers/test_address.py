"""Addresses: what is said of them, and how each library wants them spelled."""

import pytest

from echelon_workers.ledger.address import Address, AddressInvalid


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://host:6379/0", "redis://host:6379/0"),
        ("redis://:hunter2@host:6379/0", "redis://:***@host:6379/0"),
        ("redis://app:hunter2@host/0", "redis://app:***@host/0"),
        ("redis://:hunter2/x@host:1/0", "redis://:***@host:1/0"),
        ("redis://:hun@ter2@host:1/0", "redis://:***@host:1/0"),
        ("redis+socket:///tmp/s.sock?virtual_host=2", "redis+socket:///tmp/s.sock?virtual_host=2"),
    ],
)
def test_a_password_is_never_shown(url: str, shown: str) -> None:
    assert Address(url).redacted == shown


@pytest.mark.parametrize("url", ["http://host", "host:6379", "", "amqp://guest@host"])
def test_a_url_of_another_kind_is_refused_with_what_would_be_right(url: str) -> None:
    with pytest.raises(AddressInvalid, match="would be right: redis://"):
        Address(url)


def test_a_socket_is_spelled_as_each_library_wants_it() -> None:
    address = Address("unix:///tmp/s.sock?virtual_host=0")
    assert address.broker_url == "redis+socket:///tmp/s.sock?virtual_host=0"
    assert Address(address.broker_url)._client_url == "unix:///tmp/s.sock?db=0"


def test_the_environment_names_the_address_and_the_namespace() -> None:
    assert Address.from_environment({}) is None
    environment = {"REDIS_URL": "redis://second", "ECHELON_REDIS_URL": "redis://first", "ECHELON_NAMESPACE": "mine"}
    assert Address.from_environment(environment) == Address("redis://first", "mine")
    assert Address("redis://first", "mine").keys.queue("a.b", 3) == "mine:a.b\x06\x163"
