"""A published configuration, its producer, and a worker's part played by hand."""

from collections.abc import Iterator

import pytest
from byhand import Hands, publish

from echelon_producers import Client
from echelon_workers.ledger.address import Address


@pytest.fixture
def published(address: Address) -> Address:
    """The tests' server, with the configuration of `byhand` in force."""
    publish(address)
    return address


@pytest.fixture
def producer(published: Address) -> Iterator[Client]:
    with Client(published.url, namespace=published.namespace) as producer:
        yield producer


@pytest.fixture
def hands(published: Address) -> Iterator[Hands]:
    with Hands(published) as hands:
        yield hands
