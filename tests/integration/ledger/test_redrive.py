"""Sending again what ended without an answer, and finding it, on a real server."""

import json
from collections.abc import Iterator

import pytest
import redis

from echelon_workers.ledger.address import Address
from echelon_workers.ledger.client import Ledger
from echelon_workers.ledger.listing import JOBS_A_CALL, LISTED, Listed, list_jobs, redrive_dead, redrive_jobs
from echelon_workers.ledger.record import FIELDS, JobRecord, read_record
from echelon_workers.ledger.verbs import (
    Decision,
    Ending,
    Finish,
    Grant,
    NewJob,
    Settlement,
    Terms,
    finish,
    redrive,
    refuse,
    renew,
    settle,
    submit,
    take,
)
from echelon_workers.strategies import read_trail

TERMS = Terms(retention_ms=60_000)
FAST, PLAN = "fast_group.echelon1", "plan_group.echelon1"
ERROR = {"code": "timed_out", "message": "no answer", "retry": "elsewhere"}


@pytest.fixture
def ledger(address: Address) -> Iterator[Ledger]:
    with_ledger = Ledger(address)
    yield with_ledger
    with_ledger.close()


class Worker:
    """A worker as the ledger sees it."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.sequence = 0

    def take(self, want: int = 10, queues: tuple[str, ...] = (FAST, PLAN)) -> list[Grant]:
        self.sequence += 1
        served = [(queue, "one") for queue in queues]
        verb = take("w", self.sequence, self.sequence - 1, served, want=want, fills=False, terms=TERMS)
        return self.ledger.run(verb).grants

    def finish(self, grant: Grant, decision: Decision = "bury", **more: object) -> None:
        tried = {"attempt": 1, "queue": grant.queue, "instance": "one", "decision": decision, "error": ERROR}
        values = {"payload": json.dumps(ERROR), "entry": json.dumps(tried), "retention_ms": 60_000, **more}
        end = Finish(id=grant.id, lease=grant.lease, decision=decision, **values)  # type: ignore[arg-type]
        assert self.ledger.run(finish(end))

    def settle(self, grant: Grant, ending: Ending) -> None:
        end = Settlement(id=grant.id, lease=grant.lease, ending=ending, reason='{"code":"cancelled"}')
        assert self.ledger.run(settle([end], TERMS)) == [True]


@pytest.fixture
def worker(ledger: Ledger) -> Worker:
    return Worker(ledger)


def put(ledger: Ledger, *ids: str, queue: str = FAST, **options: object) -> None:
    jobs = [NewJob(id=id, queue=queue, request="{}", target=queue, **options) for id in ids]  # type: ignore[arg-type]
    assert all(ledger.run(submit(jobs)))  # type: ignore[arg-type]


def bury(ledger: Ledger, worker: Worker, *ids: str, queue: str = FAST, **options: object) -> None:
    put(ledger, *ids, queue=queue, **options)
    for grant in worker.take(len(ids), (queue,)):
        worker.finish(grant)


def record(ledger: Ledger, id: str) -> JobRecord:
    found = read_record(id, ledger.redis.hmget(ledger.keys.of("job", id), FIELDS))
    assert found is not None
    return found


def hash_of(ledger: Ledger, id: str) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in ledger.redis.hgetall(ledger.keys.of("job", id)).items()}


def clock(ledger: Ledger) -> int:
    return int(ledger.redis.get(ledger.keys.of("clock")) or 0)


def age(ledger: Ledger, id: str, by_ms: int) -> None:
    """Let a job be older."""
    for name in ("created", "deadline"):
        ledger.redis.hincrby(ledger.keys.of("job", id), name, -by_ms)


def test_a_dead_job_is_as_new_and_its_trail_is_kept(ledger: Ledger, worker: Worker) -> None:
    put(ledger, "a", deadline_ms=5_000)
    worker.finish(worker.take()[0], "move", move_to=PLAN, strategy="s", avoid="one", delay_ms=0)
    worker.finish(worker.take()[0])
    age(ledger, "a", 4_000)
    before = record(ledger, "a")
    assert (before.state, before.queue, before.attempts) == ("dead", PLAN, 2)

    assert ledger.run(redrive(["a"])) == ["done"]
    after, fields = record(ledger, "a"), hash_of(ledger, "a")
    assert (after.state, after.queue, after.home, after.attempts, after.error) == ("queued", FAST, FAST, 0, None)
    assert (after.ended_ms, after.started_ms, after.instance, after.worker) == (0, 0, "", "")
    assert after.deadline_ms - clock(ledger) == 5_000
    assert not fields.keys() & {"avoid", "strategy", "stays", "lapses", "attempts", "error", "ended"}
    assert ledger.redis.ttl(ledger.keys.of("job", "a")) == -1
    assert ledger.redis.zcard(ledger.keys.of("dead")) == 0
    assert ledger.redis.hget(ledger.keys.of("totals", FAST), "redriven") == b"1"
    assert after.trail == before.trail
    (again,) = after.redrives
    assert (again["state"], again["after"], again["reason"]) == ("dead", 2, ERROR)
    assert (after.created_ms, after.waits_from_ms) == (before.created_ms, again["at_ms"])


def test_its_next_attempt_is_the_first_and_nothing_that_failed_counts(ledger: Ledger, worker: Worker) -> None:
    put(ledger, "a")
    worker.finish(worker.take()[0], "retry")
    worker.settle(worker.take()[0], "cancel")  # an end that leaves no entry in the trail
    assert ledger.run(redrive(["a"])) == ["done"]
    (grant,) = worker.take()
    assert (grant.attempts, read_trail(grant.trail)) == (0, ())
    worker.finish(grant, "retry")
    (grant,) = worker.take()
    assert (grant.attempts, len(read_trail(grant.trail)), len(record(ledger, "a").trail)) == (1, 1, 2)


def test_a_job_may_be_sent_again_and_again_each_time_for_as_long_as_at_first(ledger: Ledger, worker: Worker) -> None:
    put(ledger, "a", deadline_ms=5_000)
    created = record(ledger, "a").created_ms
    for _ in range(3):
        worker.finish(worker.take()[0])
        age(ledger, "a", 3_000)
        assert ledger.run(redrive(["a"])) == ["done"]
        assert record(ledger, "a").deadline_ms - clock(ledger) == 5_000
    assert record(ledger, "a").created_ms == created - 3_000
    assert [redrive["after"] for redrive in record(ledger, "a").redrives] == [1, 2, 3]


def test_a_job_without_a_deadline_has_none_again(ledger: Ledger, worker: Worker) -> None:
    bury(ledger, worker, "a")
    ledger.run(redrive(["a"]))
    assert record(ledger, "a").deadline_ms == 0


def test_expired_and_cancelled_jobs_are_sent_again(ledger: Ledger, worker: Worker) -> None:
    put(ledger, "late", deadline_ms=-1)
    assert worker.take() == []
    put(ledger, "stopped")
    worker.settle(worker.take()[0], "cancel")
    assert [record(ledger, id).state for id in ("late", "stopped")] == ["expired", "cancelled"]
    assert ledger.run(redrive(["late", "stopped"])) == ["done", "done"]
    assert [record(ledger, id).state for id in ("late", "stopped")] == ["queued", "queued"]


def test_each_is_told_why_it_is_not(ledger: Ledger, worker: Worker) -> None:
    ledger.run(refuse(b'{"raw": 1}', "raw", FAST, '{"code":"refused"}', {}, TERMS))
    put(ledger, "answered", "running", "queued")
    grants = worker.take(2)
    answer = {"text": "x", "finish_reason": "stop", "usage": {}, "model": "m", "instance": "one", "latency_ms": 1}
    worker.finish(grants[0], "answer", payload=json.dumps(answer))
    ledger.redis.set(ledger.keys.of("job", "odd"), "not a hash")
    ids = ["answered", "running", "queued", "raw", "nobody", "odd"]
    said = ledger.run(redrive(ids))
    assert said == ["answered", "not ended", "not ended", "no job", "unknown", "unknown"]
    assert [grant.id for grant in worker.take()] == ["queued"]


def test_the_same_call_again_is_the_same_redrive(ledger: Ledger, worker: Worker) -> None:
    bury(ledger, worker, "a")
    verb = redrive(["a"])
    assert [ledger.run(verb) for _ in range(2)] == [["done"], ["done"]]
    assert len(worker.take()) == 1
    assert ledger.run(verb) == ["done"]
    assert ledger.run(redrive(["a"])) == ["not ended"]
    assert ledger.redis.hget(ledger.keys.of("totals", FAST), "redriven") == b"1"


def test_it_is_the_last_of_its_priority(ledger: Ledger, worker: Worker) -> None:
    bury(ledger, worker, "low")
    bury(ledger, worker, "high", priority=7)
    age(ledger, "low", 3_600_000)
    put(ledger, "other")
    put(ledger, "first", priority=7)
    ledger.run(redrive(["low", "high"]))
    assert [grant.id for grant in worker.take()] == ["first", "high", "other", "low"]


def test_its_node_counts_it_as_waiting(ledger: Ledger, worker: Worker) -> None:
    bury(ledger, worker, "a", node="n")
    counted = ledger.keys.of("counts")
    assert ledger.redis.hget(counted, "waiting:node:n") == b"0"
    ledger.run(redrive(["a"]))
    assert ledger.redis.hget(counted, "waiting:node:n") == b"1"
    worker.take()
    assert ledger.redis.hget(counted, "waiting:node:n") == b"0"


def test_a_foreign_job_has_no_result_any_more(ledger: Ledger, worker: Worker) -> None:
    put(ledger, "a", foreign=True)
    worker.finish(worker.take()[0], foreign_result='{"status":"FAILURE"}')
    result = f"{ledger.keys.queue_prefix}celery-task-meta-a"
    assert ledger.redis.exists(result)
    assert ledger.run(redrive(["a"])) == ["done"]
    assert not ledger.redis.exists(result)
    assert worker.take()[0].foreign


def test_a_poisoned_job_has_all_its_leases_again(ledger: Ledger, worker: Worker) -> None:
    put(ledger, "a")
    for _ in range(TERMS.poison):
        assert len(worker.take()) == 1
        ledger.redis.zadd(ledger.keys.of("running"), {"a": 1})
        ledger.run(renew("reaper", "{}", 1000, [], TERMS))
    assert record(ledger, "a").state == "dead"
    ledger.run(redrive(["a"]))
    assert len(worker.take()) == 1
    ledger.redis.zadd(ledger.keys.of("running"), {"a": 1})
    ledger.run(renew("reaper", "{}", 1000, [], TERMS))
    assert record(ledger, "a").state == "queued"


def test_a_late_end_of_its_former_life_changes_nothing(ledger: Ledger, worker: Worker) -> None:
    put(ledger, "a")
    (before,) = worker.take()
    worker.finish(before)
    ledger.run(redrive(["a"]))
    late = Finish(id="a", lease=before.lease, decision="answer", payload="{}", entry="", retention_ms=60_000)
    ledger.run(finish(late))
    (grant,) = worker.take()
    assert int(grant.lease) > int(before.lease)
    assert not ledger.run(finish(Finish(id="a", lease="99", decision="bury", payload="{}", entry="", retention_ms=1)))
    assert record(ledger, "a").state == "running"


def test_a_home_that_is_gone_or_no_list_takes_nothing(ledger: Ledger, worker: Worker) -> None:
    bury(ledger, worker, "a")
    before = hash_of(ledger, "a")
    ledger.redis.sadd(ledger.keys.of("plans"), PLAN)
    assert ledger.run(redrive(["a"])) == ["no queue"]
    ledger.redis.delete(ledger.keys.of("plans"))
    ledger.redis.set(ledger.keys.queue(FAST), "no list")
    assert ledger.run(redrive(["a"])) == ["no queue"]
    assert hash_of(ledger, "a") == before
    assert ledger.redis.zscore(ledger.keys.of("dead"), "a")


def test_idle_workers_are_woken(ledger: Ledger, worker: Worker) -> None:
    bury(ledger, worker, "a")
    assert worker.take() == []
    pubsub = ledger.redis.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
    pubsub.subscribe(ledger.keys.of("wake", "w"))
    pubsub.get_message(timeout=5)
    ledger.run(redrive(["a"]))
    assert pubsub.get_message(timeout=5)["data"] == FAST.encode()
    pubsub.close()


def test_more_than_a_bounded_number_of_jobs_is_not_one_call(ledger: Ledger) -> None:
    with pytest.raises(ValueError, match="at most 500"):
        redrive([str(number) for number in range(501)])
    assert set(ledger.follow(redrive_jobs(str(number) for number in range(501))).values()) == {"unknown"}


def listed(ledger: Ledger, *states: Listed, queue: str = "", limit: int = 1000) -> list[str]:
    return [record.id for record in ledger.follow(list_jobs(states or LISTED, queue, [FAST, PLAN], limit))]


def test_every_place_is_listed_the_newest_first(ledger: Ledger, worker: Worker) -> None:
    bury(ledger, worker, "dead1")
    put(ledger, "running", "delayed")
    worker.finish(worker.take()[1], "retry", delay_ms=60_000)
    bury(ledger, worker, "dead2", queue=PLAN)
    put(ledger, "one", priority=3)
    put(ledger, "two", queue=PLAN)
    for number, (id, field) in enumerate(
        [("dead1", "ended"), ("dead2", "ended"), ("delayed", "created"), ("running", "started"), ("one", "created")]
    ):
        ledger.redis.hset(ledger.keys.of("job", id), field, number + 1)
    assert listed(ledger) == ["two", "one", "running", "delayed", "dead2", "dead1"]
    assert listed(ledger, limit=2) == ["two", "one"]
    assert listed(ledger, "dead") == ["dead2", "dead1"]
    assert listed(ledger, "queued", queue=PLAN) == ["two"]
    assert listed(ledger, "running", "delayed", queue=PLAN) == []
    assert listed(ledger, "running", "delayed", queue=FAST) == ["running", "delayed"]
    assert listed(ledger, "dead", queue=PLAN) == ["dead2"]


def test_jobs_that_are_parked_or_guests_are_listed_and_messages_are_not(ledger: Ledger, worker: Worker) -> None:
    ledger.redis.hset(ledger.keys.of("scope", "node:n"), mapping={"cl": 1, "cu": 1})
    put(ledger, "parked", node="n")
    assert worker.take() == []
    put(ledger, "guest", queue=PLAN)
    worker.finish(worker.take(queues=(PLAN,))[0], "move", move_to=FAST, strategy="s")
    ledger.redis.rpush(ledger.keys.queue(FAST), b'{"raw": "message"}')
    assert sorted(listed(ledger, "queued")) == ["guest", "parked"]


def test_a_long_list_is_read_page_by_page(ledger: Ledger, worker: Worker) -> None:
    many = [f"j{number:04}" for number in range(2 * JOBS_A_CALL + 50)]
    for first in range(0, len(many), 200):
        put(ledger, *many[first : first + 200])
    assert sorted(listed(ledger, "queued")) == many
    assert listed(ledger, "queued", limit=2) == [many[-1], many[-2]]
    for _ in range(3):
        for grant in worker.take(200):
            worker.finish(grant)
    assert sorted(listed(ledger, "dead")) == many
    assert len(listed(ledger, "dead", limit=JOBS_A_CALL + 1)) == JOBS_A_CALL + 1


def test_all_the_dead_of_a_filter_are_sent_again(ledger: Ledger, worker: Worker) -> None:
    many = [f"j{number:04}" for number in range(JOBS_A_CALL + 30)]
    put(ledger, *many)
    for grant in worker.take(len(many)):
        worker.finish(grant)
    bury(ledger, worker, "plan", queue=PLAN)
    put(ledger, "other")
    worker.finish(worker.take()[0], payload='{"code":"bad_request"}')
    assert ledger.follow(redrive_dead(PLAN, "bad_request")) == {}
    assert ledger.follow(redrive_dead("", "bad_request")) == {"other": "done"}
    assert ledger.follow(redrive_dead(PLAN, "")) == {"plan": "done"}
    assert ledger.follow(redrive_dead(FAST, "timed_out")) == dict.fromkeys(reversed(many), "done")
    assert ledger.follow(redrive_dead("", "")) == {}


def test_what_is_no_record_is_passed_over(ledger: Ledger, worker: Worker) -> None:
    bury(ledger, worker, "a")
    ledger.redis.zadd(ledger.keys.of("dead"), {"gone": 5, "odd": 6})
    ledger.redis.set(ledger.keys.of("job", "odd"), "not a hash")
    ledger.redis.set(ledger.keys.queue(PLAN), "no list")
    assert listed(ledger) == ["a"]


def test_at_the_limit_of_memory_nothing_is_sent_again(ledger: Ledger, worker: Worker) -> None:
    bury(ledger, worker, "a")
    ledger.redis.config_set("maxmemory", 1)
    try:
        with pytest.raises(redis.exceptions.OutOfMemoryError):
            ledger.run(redrive(["a"]))
    finally:
        ledger.redis.config_set("maxmemory", 0)
    assert record(ledger, "a").state == "dead"
