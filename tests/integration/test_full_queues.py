"""What a producer sees of limits: queues that are full, and what a job waits for."""

import asyncio
import math

import pytest
from asgi import asked, error_of, posted
from byhand import QUEUES, Hands, limited, publish

from echelon_configs import Limits
from echelon_producers import AsyncClient, Client, JobRecord, QueueFull
from echelon_workers.ledger.address import Address

QUEUE = QUEUES[0]
SCOPE = f"echelon:{QUEUE}"


@pytest.fixture
def narrow(address: Address) -> Address:
    """A cluster in whose first queue three jobs may wait, and one may run."""
    publish(address, limited(Limits(queue_size=3, concurrency=1)))
    return address


def client(address: Address) -> Client:
    return Client(address.url, namespace=address.namespace)


def waiting(address: Address) -> int:
    with client(address) as producer:
        return producer.cluster_status().queues[0].counts.waiting


def test_what_has_no_room_is_refused_whole_and_says_when_to_try_again(narrow: Address) -> None:
    with client(narrow) as producer:
        producer.submit(QUEUE, "one")
        with pytest.raises(QueueFull) as caught:
            producer.submit_many(["two", "three", "four"], target=QUEUE)
    full = caught.value
    assert (full.scope, full.limit, full.waiting, full.accepted) == (SCOPE, 3, 1, ())
    assert len(full.job_ids) == 3
    assert full.retry_after_s > 0
    assert str(full).startswith(f"echelon {QUEUE} has no room for so many jobs: 1 wait there, 3 may (would be right: ")
    assert waiting(narrow) == 1


def test_other_queues_are_not_concerned(narrow: Address) -> None:
    with client(narrow) as producer:
        producer.submit_many(["one", "two", "three"], target=QUEUE)
        with pytest.raises(QueueFull, match=rf"^echelon {QUEUE} is full: 3 jobs wait there, 3 may"):
            producer.submit(QUEUE, "four")
        assert producer.submit(QUEUES[1], "four")


def test_the_same_job_again_is_no_more_than_it_was(narrow: Address) -> None:
    with client(narrow) as producer:
        jobs = [{"prompt": "x", "id": f"job-{number}"} for number in range(3)]
        assert producer.submit_many(jobs, target=QUEUE) == producer.submit_many(jobs, target=QUEUE)
    assert waiting(narrow) == 3


def test_of_many_the_parts_before_are_accepted_and_all_may_be_given_again(address: Address) -> None:
    publish(address, limited(Limits(queue_size=700)))
    jobs = [{"prompt": "x", "id": f"job-{number}"} for number in range(1200)]
    with client(address) as producer:
        with pytest.raises(QueueFull) as caught:
            producer.submit_many(jobs, target=QUEUE)
        assert caught.value.accepted == tuple(f"job-{number}" for number in range(500))
        assert caught.value.job_ids == tuple(f"job-{number}" for number in range(1200))
        assert "500 of 1,200 jobs were accepted before" in str(caught.value)
        publish(address, limited(Limits(queue_size=1200)))
        producer.submit_many(jobs, target=QUEUE)
    assert waiting(address) == 1200


def test_in_an_event_loop_it_is_the_same(narrow: Address) -> None:
    async def main() -> QueueFull:
        async with AsyncClient(narrow.url, namespace=narrow.namespace) as producer:
            with pytest.raises(QueueFull) as caught:
                await producer.submit_many(["one", "two", "three", "four"], target=QUEUE)
            return caught.value

    full = asyncio.run(main())
    assert (full.scope, full.limit, full.waiting) == (SCOPE, 3, 0)


def test_the_api_answers_429_with_the_time_to_come_back(narrow: Address) -> None:
    body = {"target": QUEUE, "jobs": ["one", "two", "three"]}
    assert posted(narrow, body).status == 202
    reply = posted(narrow, {"target": QUEUE, "prompt": "four"})
    error = error_of(reply)
    assert (reply.status, error["code"], error["where"]) == (429, "queue_full", "target")
    assert (error["scope"], error["limit"], error["waiting"]) == (SCOPE, 3, 3)
    assert "job_ids" not in error
    with client(narrow) as producer, pytest.raises(QueueFull) as caught:
        producer.submit(QUEUE, "four")
    assert int(reply.headers["retry-after"]) == math.ceil(caught.value.retry_after_s) >= 1


def test_the_api_names_what_was_accepted_of_many(address: Address) -> None:
    publish(address, limited(Limits(queue_size=700)))
    reply = posted(address, {"target": QUEUE, "jobs": ["x"] * 1001}, idempotency_key="k")
    error = error_of(reply)
    assert (reply.status, error["accepted"][-1], error["job_ids"][-1]) == (429, "k:499", "k:1000")


def test_a_job_says_what_it_waits_for(narrow: Address) -> None:
    async def read(job: str) -> JobRecord:
        async with AsyncClient(narrow.url, namespace=narrow.namespace) as producer:
            return await producer.status(job)

    with client(narrow) as producer, Hands(narrow) as hands:
        first, second = producer.submit_many(["one", "two"], target=QUEUE)
        assert producer.status(first).waits_for == ""
        (grant,) = hands.take()
        hands.take()
        record = producer.status(second)
        assert (record.state, record.waits_for) == ("queued", SCOPE)
        assert record.waits_since_ms >= record.created_ms
        assert asyncio.run(read(second)) == record
        shown = asked(narrow, "GET", f"/v1/jobs/{second}").json
        assert (shown["waits_for"], shown["waits_since_ms"]) == (SCOPE, record.waits_since_ms)
        hands.answer(grant)
        producer.steer("pause", [QUEUE])
        assert producer.status(second).waits_for == "paused"
        assert asyncio.run(read(second)).waits_for == "paused"
        producer.steer("resume", [QUEUE])
        assert producer.status(first).waits_for == ""
