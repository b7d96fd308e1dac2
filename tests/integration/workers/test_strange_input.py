"""What comes from outside and is garbage, with a real worker: each is a job or is buried, and the worker lives."""

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from waiting import until
from worker_process import FAST, SLOW, start_worker

from echelon_workers.ledger.address import Address
from echelon_workers.ledger.client import Ledger
from echelon_workers.ledger.verbs import NewJob, steer, submit

ENDED = {b"answered", b"dead", b"cancelled", b"expired"}
GARBAGE = ["garbage", "", "-1", "7.5", "\x00", b"\xff\xfe", "nan", "inf", "[]", "null", "{" * 500, '{"a":' * 2000]


@pytest.fixture
def start(address: Address, ledger: Ledger, tmp_path: Path) -> Iterator[Callable[[], Any]]:
    """Starts one worker, which has to be alive at the end."""
    workers = []

    def start_one() -> None:
        workers.append(start_worker(address, tmp_path / "worker.log"))

    yield start_one
    for worker in workers:
        alive = worker.process.poll() is None
        worker.kill()
        assert alive, worker.output()[-4000:]
        assert "Traceback" not in worker.output(), worker.output()[-4000:]


def put(ledger: Ledger, id: str, queue: str = FAST) -> None:
    ledger.run(submit([NewJob(id=id, queue=queue, request='{"prompt":"say hello"}', target=queue)]))


def state(ledger: Ledger, id: str) -> bytes:
    return ledger.redis.hget(ledger.keys.of("job", id), "state") or b""


def wholesome(ledger: Ledger, id: str) -> None:
    """The worker still does its work."""
    for queue in (FAST, SLOW):
        put(ledger, f"{id}.{queue}", queue)
        until(lambda q=queue: state(ledger, f"{id}.{q}") == b"answered", what="a sound job is answered")  # type: ignore[misc]


def test_jobs_whose_records_are_garbage_end_and_the_worker_goes_on(ledger: Ledger, start: Callable[[], Any]) -> None:
    ledger.run(steer("pause", [FAST]))
    jobs: dict[str, str] = {}
    fields = ("request", "options", "trail", "size", "deadline", "priority", "lease", "created", "node", "avoid")
    for field in fields:
        for number, garbage in enumerate(GARBAGE):
            put(ledger, id := f"{field}.{number}")
            ledger.redis.hset(ledger.keys.of("job", id), field, garbage)
            jobs[id] = field
    start()
    ledger.run(steer("resume", [FAST]))
    until(
        lambda: all(state(ledger, id) in ENDED for id in jobs),
        timeout_s=40,
        every_s=0.1,
        what="every one of them has ended",
    )
    for id, field in jobs.items():
        if state(ledger, id) == b"dead":
            assert json.loads(ledger.redis.hget(ledger.keys.of("job", id), "error") or "{}")["message"]
        if field == "request":
            assert state(ledger, id) == b"dead", id
    wholesome(ledger, "after")


def strange(lot: random.Random, number: int) -> bytes:
    """A message like a Celery client's, with something wrong with it; or nothing like one."""
    body = [[], {"prompt": "say hello"}, {}]
    headers = {"task": FAST, "id": f"m{number}", "lang": "py"}
    whole: dict[str, Any] = {"body": json.dumps(body), "content-type": "application/json", "headers": headers}
    whole["properties"] = {"delivery_info": {"routing_key": FAST}}
    odd = lot.choice(
        [None, [], {}, 0, -1, 1e308, "", "x", "\ud800", "\x00", True, [[[]]], {"a": {"b": []}}, "2" * 5000]
    )
    kind = number % 8
    if kind == 0:
        return b"{" + lot.randbytes(60)
    if kind == 1:
        raw = json.dumps(whole).encode()
        return raw[: lot.randrange(1, len(raw))]
    if kind == 2:
        return b'{"a":' * lot.randrange(1, 5000)
    if kind == 3:
        whole[lot.choice(sorted(whole))] = odd
    elif kind == 4:
        headers[lot.choice(["task", "id", "eta", "expires", "retries", "group"])] = odd
    elif kind == 5:
        whole["properties"][lot.choice(["priority", "delivery_info", "body_encoding"])] = odd
    elif kind == 6:
        whole["body"] = json.dumps(lot.choice([odd, [odd, odd, odd], [[], {"prompt": odd}, {}], [[], odd, {}]]))
    return json.dumps(whole).encode()


def test_two_hundred_strange_messages_are_each_a_job_or_buried(ledger: Ledger, start: Callable[[], Any]) -> None:
    lot = random.Random(5)
    for number in range(200):
        inbox = ledger.keys.queue(lot.choice(["celery", FAST]))
        ledger.redis.lpush(inbox, strange(lot, number))
    start()
    job = ledger.keys.of("job", "*")
    lists = [name for queue in (FAST, SLOW, "celery") for name in ledger.keys.queue_lists(queue)]

    def settled() -> bool:
        if ledger.redis.exists(*lists) or ledger.redis.zcard(ledger.keys.of("adopting")):
            return False
        return all((ledger.redis.hget(name, "state") or b"") in ENDED for name in ledger.redis.scan_iter(job, 1000))

    until(settled, timeout_s=40, every_s=0.1, what="none of them waits")
    states = [ledger.redis.hget(name, "state") for name in ledger.redis.scan_iter(job, 1000)]
    assert states.count(b"answered") >= 20
    assert states.count(b"dead") >= 100
    wholesome(ledger, "after")
