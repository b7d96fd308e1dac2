"""Celery's remote control over our worker."""

from celery import Celery
from waiting import until
from worker_ledger import counts
from worker_process import FAST, SLOW, Arrivals, Start

from echelon_producers import Client
from echelon_workers.ledger.client import Ledger


def test_slots_grow_and_shrink_by_remote_control(start: Start, client: Client, app: Celery, arrivals: Arrivals) -> None:
    start(slots=1)
    client.submit_many(["nap 2"] * 6, target=FAST)
    until(lambda: len(arrivals()) == 1, what="one call is in flight")
    app.control.pool_grow(3)
    until(lambda: len(arrivals()) == 4, what="four calls are in flight")
    app.control.pool_shrink(3)
    (stats,) = until(lambda: app.control.inspect().stats(), what="the worker answers").values()
    assert stats["pool"]["max-concurrency"] == 1


def test_queues_are_added_and_cancelled_by_remote_control(start: Start, client: Client, app: Celery) -> None:
    start(FAST)
    waiting = client.submit(SLOW, "say later")
    client.result(client.submit(FAST, "say now"), 20)
    assert client.status(waiting).state == "queued"
    app.control.add_consumer(SLOW, reply=True)
    assert client.result(waiting, 20).text == "later"
    app.control.cancel_consumer(SLOW, reply=True)
    (queues,) = until(lambda: app.control.inspect().active_queues(), what="the worker answers").values()
    assert [queue["name"] for queue in queues] == [FAST]
    waiting = client.submit(SLOW, "say never")
    client.result(client.submit(FAST, "say now"), 20)
    assert client.status(waiting).state == "queued"


def test_a_queue_that_there_is_not_cannot_be_added_and_the_worker_lives(
    start: Start, client: Client, app: Celery
) -> None:
    start(FAST)
    (reply,) = app.control.add_consumer("nope", reply=True)
    assert "error" in next(iter(reply.values()))
    assert client.result(client.submit(FAST, "say alive"), 20).text == "alive"


def test_terminating_a_task_cancels_its_job(
    start: Start, client: Client, ledger: Ledger, app: Celery, arrivals: Arrivals
) -> None:
    start()
    job, other = client.submit_many(["nap 60", "nap 2"], target=FAST)
    until(lambda: len(arrivals()) == 2, what="both calls are in flight")
    app.control.revoke(job, terminate=True)
    until(lambda: client.status(job).state == "cancelled", what="the job is cancelled")
    client.result(other, 20)
    assert counts(ledger) == {}


def test_revoking_a_job_that_waits_cancels_it_when_its_turn_comes(start: Start, client: Client, app: Celery) -> None:
    start(SLOW)
    job, other = client.submit_many(["say never", "say now"], target=FAST)
    app.control.revoke(job, reply=True)
    app.control.add_consumer(FAST, reply=True)
    assert client.result(other, 20).text == "now"
    until(lambda: client.status(job).state == "cancelled", what="the job is cancelled")
