"""The Python client while Redis is away: told in bounded time, with the ids to go on with."""

import asyncio
import socket
import time
from collections.abc import Callable, Iterator
from functools import partialmethod
from typing import Any

import pytest
from byhand import QUEUES, configuration

from echelon_producers import AsyncClient, Client, Unavailable
from echelon_workers.ledger.address import Address

QUEUE = QUEUES[0]


@pytest.fixture
def nothing_listens() -> Iterator[str]:
    """A URL whose port refuses connections."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"redis://127.0.0.1:{taken.getsockname()[1]}/0"


def _thread_calls(url: str) -> list[Callable[[], object]]:
    producer = Client(url)
    producer._catalogue.update(_revision())
    return [lambda: producer.submit(QUEUE, "hello", id="j1"), lambda: producer.status("j1"), producer.cluster_status]


def _revision() -> Any:
    from echelon_workers.ledger.revisions import Revision

    return Revision(1, configuration().digest(), configuration().model_dump_json().encode())


#: In place of the five seconds that a command may take.
TIMEOUT_S = 0.4


def sooner(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("client", "async_client"):
        made = partialmethod(getattr(Address, name), timeout_s=TIMEOUT_S)
        monkeypatch.setattr(Address, name, made)


def test_every_call_says_so_within_seconds(nothing_listens: str) -> None:
    for call in _thread_calls(nothing_listens):
        began = time.monotonic()
        with pytest.raises(Unavailable, match=r"Redis at redis://127\.0\.0\.1"):
            call()
        assert time.monotonic() - began < 5


def test_the_ids_to_submit_again_with_are_kept(nothing_listens: str) -> None:
    with Client(nothing_listens) as producer:
        producer._catalogue.update(_revision())
        with pytest.raises(Unavailable) as caught:
            producer.submit_many([{"prompt": "a", "id": "j1"}, "b"], target=QUEUE)
    assert caught.value.job_ids[0] == "j1"
    assert len(caught.value.job_ids) == 2


def test_in_an_event_loop_too(nothing_listens: str) -> None:
    async def main() -> None:
        async with AsyncClient(nothing_listens) as producer:
            for call in (producer.submit(QUEUE, "hello"), producer.result("j1", 60), producer.cluster_status()):
                began = time.monotonic()
                with pytest.raises(Unavailable, match=r"Redis at redis://127\.0\.0\.1"):
                    await call
                assert time.monotonic() - began < 5

    asyncio.run(main())


def test_a_silent_server_is_given_up_after_a_few_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    sooner(monkeypatch)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"
        with Client(url) as producer:
            producer._catalogue.update(_revision())
            with pytest.raises(Unavailable, match=r"it does not answer: .* \(would be right: try again") as caught:
                producer.submit(QUEUE, "hello", id="j1")
    assert caught.value.job_ids == ("j1",)


def test_hundreds_in_an_event_loop_are_told_together(monkeypatch: pytest.MonkeyPatch) -> None:
    sooner(monkeypatch)

    async def main(url: str) -> None:
        async with AsyncClient(url) as producer:
            producer._catalogue.update(_revision())
            submits = [producer.submit(QUEUE, "hello", id=f"j{number}") for number in range(400)]
            reads = [producer.status(f"j{number}") for number in range(600)]
            told = await asyncio.gather(*submits, *reads, return_exceptions=True)
        assert {type(one) for one in told} == {Unavailable}
        assert [one.job_ids for one in told[:400]] == [(f"j{number}",) for number in range(400)]  # type: ignore[union-attr]

    with socket.create_server(("127.0.0.1", 0), backlog=100) as silent:
        began = time.monotonic()
        asyncio.run(main(f"redis://127.0.0.1:{silent.getsockname()[1]}/0"))
    assert time.monotonic() - began < 4 * TIMEOUT_S + 3, "not one after the other"


def test_no_password_is_in_the_message(nothing_listens: str) -> None:
    url = nothing_listens.replace("redis://", "redis://:hidden-word@")
    with Client(url) as producer, pytest.raises(Unavailable) as caught:
        producer.configuration()
    assert "hidden-word" not in str(caught.value)
    assert "***" in str(caught.value)
