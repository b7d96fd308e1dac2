"""Celery's revoke, from our app and from a plain one: it cancels, wherever the job is, and a later redrive runs."""

import threading
from typing import Any

import pytest
from celery import Celery
from celery.events.receiver import EventReceiver
from celery.exceptions import TaskRevokedError
from waiting import until
from worker_process import FAST, SLOW, Arrivals, Start

from echelon_producers import Client, JobCancelled
from echelon_workers.ledger.client import Ledger


def said_by(reply: Any) -> str:
    """What the one worker answered."""
    ((answer,),) = [one.values() for one in reply]
    return str(answer.get("ok") or f"error: {answer['error']}")


def test_a_revoked_job_that_waits_is_cancelled_at_once_though_no_slot_is_free(
    start: Start, client: Client, app: Celery, arrivals: Arrivals
) -> None:
    start(slots=1)
    running, waiting = client.submit_many(["nap 60", "say never"], target=FAST)
    until(lambda: running in arrivals(), what="the first call is in flight")
    assert said_by(app.control.revoke(waiting, reply=True)) == f"{waiting} cancelled"
    record = client.status(waiting)
    assert (record.state, record.attempts) == ("cancelled", 0)
    assert record.error == {"code": "cancelled", "message": "revoked by a Celery client"}
    assert client.status(running).state == "running"
    with pytest.raises(TaskRevokedError, match="cancelled"):
        app.AsyncResult(waiting).get(timeout=5)


@pytest.mark.parametrize("options", [{}, {"terminate": True, "signal": "SIGKILL"}])
def test_a_revoked_job_that_runs_is_stopped_and_runs_again_when_it_is_sent_again(
    start: Start, client: Client, app: Celery, arrivals: Arrivals, ledger: Ledger, options: dict[str, Any]
) -> None:
    start()
    job, other = client.submit_many(["nap 2", "nap 1"], target=FAST)
    until(lambda: len(arrivals()) == 2, what="both calls are in flight")
    assert said_by(app.control.revoke(job, reply=True, **options)) == f"{job} stopping"
    with pytest.raises(JobCancelled, match="revoked by a Celery client"):
        client.result(job, 1.5)
    assert client.redrive([job]) == {job: "done"}
    client.result(other, 20)
    client.result(job, 20)
    assert arrivals() == {job: 2, other: 1}
    assert [line["decision"] for line in client.status(job).trail][-1] == "answer"
    assert not ledger.redis.zcard(ledger.keys.of("running"))


def test_a_list_is_revoked_as_one_and_every_worker_may_be_told(
    start: Start, client: Client, app: Celery, arrivals: Arrivals
) -> None:
    for _ in range(2):
        start(slots=2)
    jobs = client.submit_many(["nap 60"] * 150, target=FAST)
    until(lambda: len(arrivals()) == 4, what="four calls are in flight")
    replies: Any = app.control.revoke(jobs, reply=True, timeout=3)
    assert [said_by([reply]).endswith(" and 130 more") for reply in replies] == [True, True]
    until(lambda: {client.status(job).state for job in jobs} == {"cancelled"}, what="all are cancelled")
    assert len(arrivals()) == 4
    assert client.result(client.submit(FAST, "say free"), 20).text == "free"


def test_terminate_by_remote_control_cancels(start: Start, client: Client, app: Celery, arrivals: Arrivals) -> None:
    start()
    job = client.submit(FAST, "nap 60")
    until(lambda: job in arrivals(), what="its call is in flight")
    said = app.control.broadcast("terminate", arguments={"signal": "TERM", "task_id": [job]}, reply=True)
    assert said_by(said) == f"{job} stopping"
    with pytest.raises(JobCancelled):
        client.result(job, 20)


def test_the_worker_remembers_nothing_of_a_revoke(start: Start, client: Client, app: Celery) -> None:
    start(SLOW)
    job = client.submit(FAST, "say again")
    app.AsyncResult(job).revoke(wait=True, timeout=2)
    assert client.status(job).state == "cancelled"
    (revoked,) = (app.control.inspect().revoked() or {}).values()
    assert revoked == []


@pytest.mark.parametrize(
    ("command", "arguments", "said"),
    [
        ("revoke", {"task_id": []}, "error: no id (would be right"),
        ("revoke", {"task_id": [7]}, "error: 7 is no id of a job (would be right"),
        ("revoke", {"task_id": "a b"}, "error: 'a b' is no id of a job (would be right"),
        ("revoke_by_stamped_headers", {"headers": {"a": "b"}}, "error: jobs have no stamped headers (would be right"),
    ],
)
def test_what_cannot_be_revoked_is_said(
    start: Start, client: Client, app: Celery, command: str, arguments: dict[str, Any], said: str
) -> None:
    start(FAST)
    assert said_by(app.control.broadcast(command, arguments=arguments, reply=True)).startswith(said)
    assert client.result(client.submit(FAST, "say alive"), 20).text == "alive"


def test_a_plain_celery_app_revokes_a_message_that_no_worker_has_read_yet(
    start: Start, client: Client, foreign: Celery, ledger: Ledger, arrivals: Arrivals
) -> None:
    start(SLOW, slots=1)
    busy = client.submit(SLOW, "nap 6")
    until(lambda: busy in arrivals(), what="the only slot is taken")
    sent = foreign.send_task(FAST, kwargs={"prompt": "say never"})
    assert said_by(foreign.control.revoke(sent.id, reply=True)) == f"{sent.id} not here yet"
    assert ledger.redis.exists(ledger.keys.of("revoked", sent.id))
    with pytest.raises((TaskRevokedError, RuntimeError), match=r"cancelled|revoked"):
        sent.get(timeout=20)
    assert client.status(sent.id).state == "cancelled"
    assert not ledger.redis.exists(ledger.keys.of("revoked", sent.id))
    assert client.redrive([sent.id]) == {sent.id: "done"}
    start(FAST)
    assert client.result(sent.id, 20).text == "never"
    assert arrivals() == {busy: 1, sent.id: 1}


def test_a_plain_celery_app_revokes_a_job_that_runs(
    start: Start, client: Client, foreign: Celery, arrivals: Arrivals
) -> None:
    start()
    sent = foreign.send_task(FAST, kwargs={"prompt": "nap 60"})
    until(lambda: sent.id in arrivals(), what="its call is in flight")
    foreign.control.revoke(sent.id)
    with pytest.raises((TaskRevokedError, RuntimeError), match=r"cancelled|revoked"):
        sent.get(timeout=20)
    assert client.status(sent.id).state == "cancelled"


def test_flower_sees_a_cancelled_job_as_revoked(start: Start, client: Client, app: Celery, arrivals: Arrivals) -> None:
    seen: list[str] = []
    listening = threading.Event()
    with app.connection_for_read() as connection:
        receiver = EventReceiver(connection, handlers={"*": lambda event: seen.append(event["type"])}, app=app)
        receiver.on_consume_ready = lambda *_, **__: listening.set()  # type: ignore[method-assign]
        thread = threading.Thread(target=lambda: receiver.capture(wakeup=False))
        thread.start()
        try:
            assert listening.wait(10)
            start()
            job = client.submit(FAST, "nap 60")
            until(lambda: job in arrivals(), what="its call is in flight")
            client.cancel(job)
            until(lambda: "task-revoked" in seen, what="the event is here")
        finally:
            receiver.should_stop = True
            thread.join(10)
    assert [kind for kind in seen if kind.startswith("task-")] == ["task-received", "task-started", "task-revoked"]
