"""Addresses: what is said of them, and how each library wants them spelled."""

import pytest
import redis

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
        ("redis+socket:///tmp/s.sock?password=hunter2", "redis+socket:///tmp/s.sock?password=***"),
        ("sentinel://:hunter2@one:1,two:2/0?master=main", "sentinel://:***@one:1,two:2/0?master=main"),
        ("sentinel://one/0?sentinel_password=hun@ter2&master=m", "sentinel://one/0?sentinel_password=***&master=m"),
    ],
)
def test_a_password_is_never_shown(url: str, shown: str) -> None:
    assert Address(url).redacted == shown
    assert "ter2" not in repr(Address(url))


@pytest.mark.parametrize("url", ["http://host", "host:6379", "", "amqp://guest@host"])
def test_a_url_of_another_kind_is_refused_with_what_would_be_right(url: str) -> None:
    with pytest.raises(AddressInvalid, match="would be right: redis://"):
        Address(url)


def test_a_socket_is_spelled_as_each_library_wants_it() -> None:
    address = Address("unix:///tmp/s.sock?virtual_host=0")
    assert address.broker_url == "redis+socket:///tmp/s.sock?virtual_host=0"
    assert Address(address.broker_url)._client_url == "unix:///tmp/s.sock?db=0"


@pytest.mark.parametrize(
    "url",
    [
        "sentinel://app:open%20sesame@one:1,two/3?master=main&sentinel_password=x",
        "sentinel://app:open%20sesame@one:1;sentinel://app:open%20sesame@two/3?master_name=main&sentinel_password=x",
    ],
)
def test_sentinels_are_spelled_as_each_library_wants_them(url: str) -> None:
    address = Address(url)
    one, two = address.broker_url.split(";")
    assert one == "sentinel://app:open%20sesame@one:1/3"
    assert two == "sentinel://app:open%20sesame@two:26379/3"
    assert address.broker_options["master_name"] == "main"
    assert address.broker_options["sentinel_kwargs"]["password"] == "x"
    with address.client() as client:
        pool = client.connection_pool
        assert pool.connection_kwargs["db"] == 3
        assert pool.connection_kwargs["password"] == "open sesame"
        assert [s.connection_pool.connection_kwargs["host"] for s in pool.sentinel_manager.sentinels] == ["one", "two"]


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("sentinel://one:1/0", "does not say what the Sentinels call the server: ?master=NAME"),
        ("sentinel://one:x/0?master=main", "a port is no number"),
        ("sentinel://one:1,/0?master=main", "a host is missing"),
        ("sentinel://one:1/main?master=main", "the database is no number"),
        ("sentinel://one:1/0?master=main&timeout=3", "unknown in its query: timeout"),
    ],
)
def test_sentinels_that_cannot_be_used_are_refused_with_what_would_be_right(url: str, why: str) -> None:
    with pytest.raises(AddressInvalid) as refused:
        Address(url)
    assert why in str(refused.value)
    assert "would be right: sentinel://USER:PASSWORD@HOST:PORT,HOST:PORT/DB?master=NAME" in str(refused.value)


def test_sentinels_that_cannot_be_reached_are_named_without_their_password(free_port: int) -> None:
    url = f"sentinel://127.0.0.1:{free_port}?master=main&sentinel_password=hunter2"
    with Address(url).client(retries=0) as client, pytest.raises(redis.ConnectionError) as away:
        client.ping()
    assert str(away.value) == f"no Sentinel of 127.0.0.1:{free_port} names a primary called 'main' at present"


@pytest.mark.parametrize(
    "namespace", ["echelon", "echelon:", "echelon:blue", "a:echelon", "a:echelon:b", "a b", " ", "a\n"]
)
def test_a_namespace_that_others_have_keys_below_or_with_a_space_is_refused(namespace: str) -> None:
    with pytest.raises(AddressInvalid, match="would be right: text without spaces, such as 'blue'"):
        Address("redis://host", namespace)
    with pytest.raises(AddressInvalid, match=r"^namespace "):
        Address.from_environment({"REDIS_URL": "redis://host", "ECHELON_NAMESPACE": namespace})


@pytest.mark.parametrize("namespace", ["", "blue", "echelons", "my-echelon", "team:blue", "a[x]*"])
def test_no_cluster_of_a_namespace_has_its_keys_below_those_of_another(namespace: str) -> None:
    keys = Address("redis://host", namespace).keys
    assert not namespace or not keys.of("job").startswith(Address("redis://host").keys.own)
    assert keys.of("job", "a").endswith("echelon:job:a")


def test_the_environment_names_the_address_and_the_namespace() -> None:
    assert Address.from_environment({}) is None
    environment = {"REDIS_URL": "redis://second", "ECHELON_REDIS_URL": "redis://first", "ECHELON_NAMESPACE": "mine"}
    assert Address.from_environment(environment) == Address("redis://first", "mine")
    assert Address("redis://first", "mine").keys.queue("a.b", 3) == "mine:a.b\x06\x163"
