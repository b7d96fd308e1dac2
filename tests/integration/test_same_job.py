"""One id is one job: the same again changes nothing, another is refused. A draining queue refuses all that are new."""

from typing import Any

import pytest
from byhand import QUEUES, waiting

from echelon_producers import Client, IdempotencyConflict, QueueDraining
from echelon_workers.ledger.address import Address
from echelon_workers.ledger.client import Ledger
from echelon_workers.ledger.verbs import Order, steer

QUEUE = QUEUES[0]
#: The same, said in another order.
METADATA = ({"a": "1", "b": "2"}, {"b": "2", "a": "1"})


def drain(address: Address, order: Order) -> None:
    ledger = Ledger(address)
    try:
        assert ledger.run(steer(order, [QUEUE])) == 1
    finally:
        ledger.close()


def test_the_same_id_again_is_the_same_job(producer: Client, published: Address) -> None:
    ids = [producer.submit(QUEUE, "hello", id="order-7", metadata=said) for said in METADATA]
    assert ids == ["order-7", "order-7"]
    assert producer.submit_many([{"prompt": "twice", "id": "j1", "target": QUEUE}] * 2) == ["j1", "j1"]
    assert waiting(published) == 2


@pytest.mark.parametrize(
    "other",
    [
        {"prompt": "another"},
        {"target": "plan_group"},
        {"node": "summary"},
        {"fallback_groups": []},
        {"max_tokens": 9},
    ],
)
def test_the_same_id_for_another_job_is_refused(producer: Client, published: Address, other: dict[str, Any]) -> None:
    job = {"target": QUEUE, "prompt": "hello", "id": "order-7"}
    producer.submit_job(job)
    with pytest.raises(IdempotencyConflict, match="the id order-7 is that of another job") as caught:
        producer.submit_job({**job, **other})
    assert (caught.value.job_id, caught.value.accepted) == ("order-7", ())
    assert producer.status("order-7").target == QUEUE
    assert waiting(published) == 1


def test_an_id_of_another_job_among_many_stops_where_it_is(producer: Client, published: Address) -> None:
    producer.submit(QUEUE, "first", id="job-700")
    jobs = [{"prompt": "x", "id": f"job-{number}"} for number in range(1200)]
    with pytest.raises(IdempotencyConflict, match=r"500 of 1,200 jobs were accepted before") as caught:
        producer.submit_many(jobs, target=QUEUE)
    assert caught.value.job_id == "job-700"
    assert caught.value.accepted == tuple(f"job-{number}" for number in range(500))
    assert caught.value.job_ids == tuple(f"job-{number}" for number in range(1200))
    assert waiting(published) == 501


def test_one_id_for_two_jobs_of_many_is_refused_before_any_is_sent(producer: Client, published: Address) -> None:
    jobs = [{"prompt": "x"}] * 600 + [{"prompt": "a", "id": "one"}, {"prompt": "b", "id": "one"}]
    with pytest.raises(IdempotencyConflict) as caught:
        producer.submit_many(jobs, target=QUEUE)
    assert (caught.value.job_id, len(caught.value.job_ids), caught.value.accepted) == ("one", 602, ())
    assert waiting(published) == 0


def test_a_draining_queue_takes_no_new_jobs(producer: Client, published: Address) -> None:
    producer.submit(QUEUE, "early", id="early")
    drain(published, "drain")
    with pytest.raises(QueueDraining, match=r"queue fast_group\.echelon1 is being drained") as caught:
        producer.submit(QUEUE, "late")
    assert (caught.value.queue, len(caught.value.job_ids), caught.value.accepted) == (QUEUE, 1, ())
    assert producer.submit(QUEUE, "early", id="early") == "early", "the same job again is no new one"
    assert producer.submit("plan_group", "elsewhere")
    drain(published, "resume")
    assert producer.submit(QUEUE, "late")


def test_of_many_those_before_the_draining_queue_are_told(producer: Client, published: Address) -> None:
    drain(published, "drain")
    jobs = [{"prompt": "x", "target": "plan_group"}] * 500 + [{"prompt": "x", "target": QUEUE}]
    with pytest.raises(QueueDraining, match="500 of 501 jobs were accepted before") as caught:
        producer.submit_many(jobs)
    assert len(caught.value.accepted) == 500
    assert waiting(published, "plan_group.echelon1") == 500
