"""Celery's own clients: AsyncResult, messages of plain Celery apps, and the events that Flower reads."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from celery import Celery
from celery.events.receiver import EventReceiver
from waiting import until
from worker_process import FAST, SLOW, Start

from echelon_producers import Client, JobDied
from echelon_workers.ledger.client import Ledger


def test_async_result_of_our_app_reads_the_record(start: Start, client: Client, app: Celery) -> None:
    start()
    job = client.submit(FAST, "say hello")
    assert app.AsyncResult(job).get(timeout=20)["text"] == "hello"
    dead = client.submit(FAST, "fail bad_request")
    with pytest.raises(RuntimeError, match="bad_request: scripted bad_request"):
        app.AsyncResult(dead).get(timeout=20)
    assert app.AsyncResult(dead).state == "FAILURE"
    assert app.AsyncResult("nothing").state == "PENDING"


def test_a_plain_celery_app_sends_and_gets_its_answer(start: Start, foreign: Celery, client: Client) -> None:
    start()
    sent = [
        foreign.send_task("fast_group.echelon1", kwargs={"prompt": "say inbox"}),
        foreign.send_task("fast_group", kwargs={"prompt": "say routed"}, queue=FAST, priority=9),
        foreign.send_task("node.polite_node", kwargs={"prompt": "say node"}),
    ]
    assert [result.get(timeout=20)["text"] for result in sent] == ["inbox", "routed", "Be polite. node"]
    assert client.status(sent[1].id).priority == 9


def test_a_plain_celery_app_is_told_when_its_job_expired(start: Start, foreign: Celery) -> None:
    sent = foreign.send_task(FAST, kwargs={"prompt": "say late"}, queue=FAST, expires=datetime(2001, 1, 1, tzinfo=UTC))
    start()
    with pytest.raises(RuntimeError, match="expired"):
        sent.get(timeout=20)


@pytest.mark.parametrize(
    ("name", "options", "why"),
    [
        ("fast_group.echelon1", {"kwargs": {}}, "prompt"),
        ("fast_group.echelon1", {"args": ["hello"]}, "positional arguments are not understood"),
        ("fast_group.echelon1", {"kwargs": {"prompt": "x"}, "countdown": 60}, "countdown and eta are not supported"),
        ("fast_group.echelon7", {"kwargs": {"prompt": "x"}}, r"fast_group\.echelon1"),
        ("some.task", {"kwargs": {"prompt": "x"}}, r"some\.task"),
    ],
)
def test_a_message_that_cannot_be_a_job_is_buried_and_its_sender_told(
    start: Start, foreign: Celery, client: Client, name: str, options: dict[str, Any], why: str
) -> None:
    start()
    sent = foreign.send_task(name, **options)
    with pytest.raises(ValueError, match=why):
        sent.get(timeout=20)
    assert client.status(sent.id).state == "dead"


def test_a_sender_whose_task_id_cannot_be_used_is_told_under_it(
    start: Start, foreign: Celery, ledger: Ledger, client: Client
) -> None:
    sent = foreign.send_task(FAST, kwargs={"prompt": "say never"}, queue=FAST, task_id="bad id with spaces")
    start()
    with pytest.raises(ValueError, match=r"task id 'bad id with spaces' cannot be used \(would be right: "):
        sent.get(timeout=20)
    assert sent.state == "FAILURE"
    dead: Any = ledger.redis.zrange(ledger.keys.of("dead"), 0, -1)
    (buried,) = dead
    assert client.status(buried.decode()).state == "dead"


def test_garbage_in_a_queue_is_buried_and_the_worker_lives(start: Start, ledger: Ledger, client: Client) -> None:
    start()
    for garbage in (b"{", b'{"headers": 7}', b'{"headers": {"id": "a b"}}', b'{"body": "%%%"}', b"nonsense"):
        ledger.redis.lpush(ledger.keys.queue(FAST), garbage)
    assert client.result(client.submit(FAST, "say alive"), 20).text == "alive"
    until(lambda: ledger.redis.zcard(ledger.keys.of("dead")) == 4, what="four messages are buried")


@pytest.fixture
def events(app: Celery) -> Iterator[list[tuple[str, str]]]:
    """(task name, event type) of every task event, as Flower would receive them."""
    seen: list[tuple[str, str]] = []
    names: dict[str, str] = {}

    def record(event: dict[str, Any]) -> None:
        if "uuid" in event:
            names.setdefault(event["uuid"], event.get("name", ""))
            seen.append((names[event["uuid"]], event["type"]))

    listening = threading.Event()
    with app.connection_for_read() as connection:
        receiver = EventReceiver(connection, handlers={"*": record}, app=app)
        receiver.on_consume_ready = lambda *_, **__: listening.set()
        thread = threading.Thread(target=lambda: receiver.capture(wakeup=False))
        thread.start()
        assert listening.wait(10)
        yield seen
        receiver.should_stop = True
        thread.join(10)


def test_events_name_each_queue_and_a_retry_shows_as_a_retry(
    start: Start, client: Client, events: list[tuple[str, str]]
) -> None:
    start()
    client.result(client.submit(FAST, "fail server_failed 1"), 20)
    with pytest.raises(JobDied):
        client.result(client.submit(SLOW, "fail bad_request"), 20)
    until(lambda: {(SLOW, "task-failed"), (FAST, "task-succeeded")} <= set(events), what="the last events are here")
    twice = ["task-received", "task-started", "task-retried", "task-received", "task-started", "task-succeeded"]
    assert [kind for name, kind in events if name == FAST] == twice
    assert [kind for name, kind in events if name == SLOW] == ["task-received", "task-started", "task-failed"]
